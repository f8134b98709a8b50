# Many callers free NULL: closing a new socket calls kfree_skb(NULL). A probe of kfree_skb reads the mark there, and the
# kernel must handle that fault. What an old kernel looks up then depends on where the program is in memory, so there
# are several traces of each kind.
#
#   $WORK/taken.o   an extension
#   ROUNDS          how many traces of each kind
#   FREES           a regular expression for functions that take NULL, and some that packets pass
#
# Leaves ROUND-bytes and ROUND-extension, each .out (JSON lines), .err and .exit, and `said`, what the kernel said of faults.

network_pair
mark_namespace a b

round() {
	start_ipft "$@" -m "$MARK" -b ftrace -r "$FREES" -o jsonl
	ip netns exec a ping -n -q -c 1 -W 10 10.0.0.2 >/dev/null
	end_ipft "$1"
}

for number in $(seq "$ROUNDS"); do
	round "$number-bytes" --record-bytes 64 --pcapng "$number.pcapng"
	round "$number-extension" -e "$WORK/taken.o"
done
dmesg | grep -E 'BUG|Oops|WARNING' >said || :
