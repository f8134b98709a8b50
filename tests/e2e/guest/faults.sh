# Everybody frees NULL: a socket that is made and closed calls kfree_skb(NULL). A probe of kfree_skb reads a mark there,
# and that has to fault in a way that the kernel handles. What an old kernel looks up then depends on where it has put
# the program, so there are several traces of each kind.
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
