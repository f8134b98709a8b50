# The text of packets that a filter selects, from a to b.
#
#   FEW  a regular expression for functions that see packets before, at and behind their devices, and that make others
#
# Leaves namespaces (the numbers of a and b), and text: ping.out, fragments.out (a ping of 4,000 bytes, of which the filter
# selects the request), tcp.out (an exchange on port 8000), graph.out (a ping with returns), absolute.out (a ping with the
# time of day, in colours, written by a user that is not root) and dropped.out (a ping that b's firewall drops).

network_pair
stat -L -c %i /run/netns/a /run/netns/b >namespaces
ip netns exec a ping -q -c 1 -W 5 10.0.0.2 >/dev/null
settle

# trace NAME "WORDS..." COMMAND...: traces what the command causes.
trace() {
	local run=$1 words=$2
	shift 2
	once() {
		# shellcheck disable=SC2086
		start_ipft "$run" $words
		"$@"
		settle
		end_ipft "$run"
	}
	undisturbed "$run" once "$@"
}

ping_b() {
	ip netns exec a ping -q -c 1 -W 5 "$@" >/dev/null
}

trace ping "icmp and host 10.0.0.2 -r $FEW" ping_b 10.0.0.2
trace fragments "icmp and src 10.0.0.1 -r $FEW" ping_b -s 4000 10.0.0.2
trace tcp "tcp port 8000 -r $FEW" tcp_exchange a b 10.0.0.2 8000
trace graph "icmp -t function_graph -r $FEW" ping_b 10.0.0.2
trace absolute "icmp -r $FEW --time absolute --color always --user nobody" ping_b 10.0.0.2

ping_dropped() {
	! ip netns exec a ping -q -c 1 -W 1 10.0.0.2 >/dev/null
}
ip netns exec b iptables -A INPUT -p icmp -j DROP
trace dropped "icmp -r $FEW" ping_dropped
left_behind all
