# Functions that the backends attach, alone and together.
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

# Datagrams, of which most events should be of functions that are attached in the cheapest way.
ip netns exec b udpflood receive 9 &
RECEIVER=$!
nap 0.3
start_ipft datagrams -v -m "$MARK" -o jsonl
ip netns exec a udpflood send 10.0.0.2 9 10 64 "$MARK" >datagrams.txt
settle
end_ipft datagrams
left_behind datagrams
kill "$RECEIVER"

# Only functions of a module are left for the fentry programs, which are loaded with one of the kernel's own elsewhere.
exit_of module ipft -m 1 -b ftrace --module-regex '^veth$' --duration 1 -o jsonl
