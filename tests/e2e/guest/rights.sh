# The same ping, traced by root, by who has only the rights that tracing needs (no /proc/kcore), and where the kernel
# hides its addresses from everybody (kernel.kptr_restrict=2).
#
# Leaves root, few and hidden, each .out (JSON lines), .err and .exit.

whole_network_nat

# trace NAME COMMAND: as start_ipft and end_ipft do.
trace() {
	local name=$1 code=0
	: >"$name.err"
	"$2" -m "$MARK" -v -o jsonl >"$name.out" 2>"$name.err" &
	IPFT_PID=$!
	wait_until 180 grep -q 'Trace ready!' "$name.err"
	ip netns exec client ping -n -q -c 1 -W 10 10.1.0.2 >/dev/null
	settle
	end_ipft "$name"
}

# Everything that is loaded on demand is, and every table that fills itself has, before the first trace.
ip netns exec client ping -n -q -c 1 -W 10 10.1.0.2 >/dev/null
settle
undisturbed root trace root ipft
# setpriv becomes what it runs, so that the signal reaches ipft; bash does not become its function.
cat >/tmp/few <<-'END'
	#!/bin/sh
	exec setpriv --bounding-set -all,+bpf,+perfmon,+syslog,+dac_override,+dac_read_search --inh-caps -all ipft "$@"
END
chmod +x /tmp/few
undisturbed few trace few /tmp/few
sysctl -qw kernel.kptr_restrict=2
undisturbed hidden trace hidden ipft
