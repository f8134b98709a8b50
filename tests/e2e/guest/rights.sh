# The same ping, traced by root, by a user with only the capabilities for tracing (no /proc/kcore), and with hidden
# kernel addresses (kernel.kptr_restrict=2).
#
# Leaves root, few and hidden, each .out (JSON lines), .err and .exit.

whole_network_nat

trace() {
	start_ipft "$1" -m "$MARK" -v -o jsonl
	ip netns exec client ping -n -q -c 1 -W 10 10.1.0.2 >/dev/null
	settle
	end_ipft "$1"
}

# Everything that is loaded on demand is, and every table that fills itself has, before the first trace.
ip netns exec client ping -n -q -c 1 -W 10 10.1.0.2 >/dev/null
settle
undisturbed root trace root
mkdir /tmp/few
cat >/tmp/few/ipft <<-END
	#!/bin/sh
	exec setpriv --bounding-set -all,+bpf,+perfmon,+syslog,+dac_override,+dac_read_search --inh-caps -all \
		"$(command -v ipft)" "\$@"
END
chmod +x /tmp/few/ipft
PATH=/tmp/few:$PATH undisturbed few trace few
sysctl -qw kernel.kptr_restrict=2
undisturbed hidden trace hidden
