# Shell functions for the scripts of the end-to-end tests, on top of the guest's own library. The working directory is
# /out: what is written there is looked at after the guest has ended.

# mark_arrivals NAMESPACE DEVICE: marks what arrives before anything looks at it, so that __netif_receive_skb_core and
# ip_rcv belong to the picture. (Crossing into another namespace cleared the mark.)
mark_arrivals() {
	tc -n "$1" qdisc add dev "$2" clsact
	tc -n "$1" filter add dev "$2" ingress matchall action skbedit mark "$MARK"
}

# whole_network_nat: the network of network_nat, with nothing of the way unmarked but a packet's making.
whole_network_nat() {
	network_nat
	mark_arrivals client vc
	mark_arrivals router rc
	mark_arrivals router rs
	mark_arrivals server vs
}

# attached: what the kernel has attached: BPF programs, links and maps, kprobes, functions that ftrace calls out of. As
# few processes as possible: these cost 0.15 s each under emulation, and this is called hundreds of times.
attached() {
	printf '%s list\n' prog link map | bpftool -j batch file - |
		jq -r '.[] | .command[0] as $what | .output[] | "\($what) \(.id) \(.type) \(.name // "")"'
	sed 's/^/kprobe /' /sys/kernel/debug/kprobes/list
	sed 's/^/function /' /sys/kernel/tracing/enabled_functions
}

nothing_more_attached() {
	attached >/tmp/attached.now
	diff -u /tmp/attached.before /tmp/attached.now >/tmp/attached.diff
}

# left_behind NAME: writes what is attached that was not when the script began to NAME.left, which is empty if all is
# well. The kernel frees some of it later than it detaches it.
left_behind() {
	note "what is left of $1"
	wait_until 60 nothing_more_attached || :
	cp /tmp/attached.diff "$1.left"
}

# note WORDS...: says what the script is at, for people who wonder what takes so long.
note() {
	echo "[$SECONDS s] $*" >&2
}

# exit_of NAME COMMAND...: runs a command, stdout in NAME.out, stderr in NAME.err, and its exit code in NAME.exit.
exit_of() {
	local name=$1 code=0
	shift
	note "$name"
	"$@" >"$name.out" 2>"$name.err" || code=$?
	echo "$code" >"$name.exit"
}

# end_ipft NAME: ends what start_ipft started; its exit code goes to NAME.exit.
end_ipft() {
	local code=0
	note "ending $1"
	stop_ipft || code=$?
	echo "$code" >"$1.exit"
}

# undisturbed "NAME..." COMMAND...: runs a command that leaves traces of these names. The kernel does not run a program
# that an interrupt has caught running. ipft counts what it did not see for that, but a test that is about all that
# happened needs another trace: the command runs again then, ten times in all.
undisturbed() {
	local names=$1 name disturbed
	shift
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		"$@"
		disturbed=
		for name in $names; do
			! grep -qs 'probe hit inside another probe' "$name.err" || disturbed=$name
		done
		[ -n "$disturbed" ] || return 0
		note "$disturbed was disturbed by an interrupt"
	done
}

# settle: until what was sent has arrived and been freed, delayed TCP acknowledgements among it.
settle() {
	nap 0.3
}

mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing
attached >/tmp/attached.before
