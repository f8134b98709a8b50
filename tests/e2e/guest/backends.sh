# Which functions the backends attach, alone and together, and those of modules that come later.
#
# Leaves JSON lines of each: NAME.out, .err, .exit.

network_pair
mark_namespace a b
mark_arrivals b vb

# ping_through NAME ARGS...: a ping, traced.
ping_through() {
	local name=$1
	shift
	start_ipft "$name" -m "$MARK" -o jsonl "$@"
	ip netns exec a ping -n -q -c 1 -W 5 10.0.0.2 >ping.txt
	settle
	end_ipft "$name"
}

ping_through default -v
ping_through multi -b kprobe-multi
ping_through graph -t function_graph

# Only functions of a module are left for the fentry programs, which are loaded with one of the kernel's own elsewhere.
exit_of module ipft -m 1 -b ftrace --module-regex '^veth$' --duration 1 -o jsonl

# The rule brings conntrack and NAT with it.
start_ipft late -m "$MARK" -o jsonl --record late.ipft
ip netns exec a iptables -t nat -A POSTROUTING -o va -j MASQUERADE
wait_until 20 grep -q 'module nf_nat' late.err
ip netns exec a ping -n -q -c 1 -W 5 10.0.0.2 >ping.txt
settle
end_ipft late
exit_of replayed ipft replay late.ipft -o jsonl

left_behind late
