# Messages when the machine or its settings prevent tracing, and when nothing was seen. Each run leaves NAME.out, .err
# and .exit.

network_pair
mark_namespace a b
ONE='^ip_output$'

# with_capabilities LIST COMMAND...: not as root.
with_capabilities() {
	setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps "-all$1" --ambient-caps "-all$1" \
		--bounding-set "-all$1" "${@:2}"
}

# Rights. The last is what the book names.
exit_of none with_capabilities '' ipft -m 1 --duration 1
exit_of bpf-only with_capabilities ,+bpf ipft -m 1 --duration 1
exit_of no-tracefs with_capabilities ,+bpf,+perfmon,+syslog ipft -m 1 --duration 1 -r "$ONE"
exit_of enough with_capabilities ,+bpf,+perfmon,+syslog,+dac_read_search ipft -m 1 --duration 1 -r '^ip_'
exit_of enough-doctor with_capabilities ,+bpf,+perfmon,+syslog,+dac_read_search ipft doctor
exit_of enough-ftrace with_capabilities ,+bpf,+perfmon,+syslog,+dac_read_search \
	ipft -m 1 --duration 1 -b ftrace -v -r '^(ip_output|veth_xmit)$'

# A control group in which the default ring has no room.
mkdir /sys/fs/cgroup/small
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
echo 30M >/sys/fs/cgroup/small/memory.max
in_small_group() {
	sh -c 'echo $$ >/sys/fs/cgroup/small/cgroup.procs; exec "$@"' sh "$@"
}
exit_of memory in_small_group ipft -m 1 -r "$ONE" --duration 1
exit_of memory-smaller in_small_group ipft -m 1 -r "$ONE" --duration 1 --ring-size 4M
exit_of files sh -c "ulimit -n 64; exec ipft -m 1 -b kprobe -r '^ip' --duration 1 --no-set-rlimit"

# Nothing is seen, or selected.
start_ipft unmarked -m 0xdead -r '^ip_'
ip netns exec a ping -n -q -c 1 -W 10 10.0.0.2 >/dev/null
end_ipft unmarked
start_ipft recorded -m "$MARK" -r '^ip_' --record t.ipft
ip netns exec a ping -n -q -c 1 -W 10 10.0.0.2 >/dev/null
settle
end_ipft recorded
exit_of replay-packet ipft replay t.ipft -o json --packet 0x1
exit_of replay-function ipft replay t.ipft -o json -r nosuch
exit_of replay-from ipft replay t.ipft -o json --from +1h
exit_of replay-order ipft replay t.ipft -o json --from +2s --to +1s

# What probes need is switched off. A kernel that does not let kprobes be switched off has nothing to test.
echo 0 >/sys/kernel/debug/kprobes/enabled
exit_of kprobes-off ipft -m 1 -b kprobe -r "$ONE" --duration 1
exit_of kprobes-off-any ipft -m 1 -r "$ONE" --duration 1
echo 1 >/sys/kernel/debug/kprobes/enabled
sysctl -qw kernel.ftrace_enabled=0
exit_of ftrace-off ipft -m 1 -r "$ONE" --duration 1
exit_of ftrace-off-doctor ipft doctor
sysctl -qw kernel.ftrace_enabled=1
left_behind all
