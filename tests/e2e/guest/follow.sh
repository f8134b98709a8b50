# Packets that are selected by a filter and followed, through a veth pair, which clears marks.
#
#   EVERYTHING  a regular expression for all functions that the kernel can be made to trace in reasonable time
#   STAGES      a regular expression for functions on the way, and for those that make and release packets
#
# Leaves JSON lines: icmp.out (a ping), fragments.out (a ping of 4,000 bytes, of which the filter selects the request),
# tcp.out (an exchange on port 8000, and one on 8001), marked.out (a ping whose request carries a mark as it is sent), silent.out
# (a ping of which two functions are traced that select nothing), other.out (a ping, seen by a filter for UDP), and
# heading.out, the aggregate of a ping of 4,000 bytes, deep.err, of a filter that looks at data, placed.out (a ping whose
# packets are selected in b), sampled.out (one of whose flow is left out), unfollowed.out (a ping that is shown at vb alone),
# apart.out (a ping of 4,000 bytes, of which nothing is followed), graph.out and graph-perf.out (the calls of a ping, the former
# with first bytes, the latter by way of the perf buffer with all fields), and limited.out (20 datagrams at once, of which 3 a
# second are selected).

network_pair

# ping_once ARGS...: from a to b.
ping_once() {
	ip netns exec a ping -q -c 1 -W 5 "$@" 10.0.0.2 >/dev/null
	settle
}

ping_once

icmp() {
	start_ipft icmp 'icmp and host 10.0.0.2' -o jsonl -r "$EVERYTHING"
	ping_once
	end_ipft icmp
}
undisturbed icmp icmp

fragments() {
	start_ipft fragments -o jsonl -r "$STAGES" icmp and src 10.0.0.1
	ping_once -s 4000
	end_ipft fragments
}
undisturbed fragments fragments

tcp() {
	start_ipft tcp 'tcp port 8000' -o jsonl -r "$STAGES"
	tcp_exchange a b 10.0.0.2 8000
	tcp_exchange a b 10.0.0.2 8001
	settle
	end_ipft tcp
}
undisturbed tcp tcp

marked() {
	start_ipft marked -m 0x77 --follow -o jsonl -r "$STAGES"
	ping_once -m 119
	end_ipft marked
}
undisturbed marked marked

silent() {
	start_ipft silent icmp -o jsonl -r '^(ip_rcv|icmp_rcv)$'
	ping_once
	end_ipft silent
}
undisturbed silent silent

start_ipft other udp -o jsonl -r '^(ip_rcv|icmp_rcv)$'
ping_once
end_ipft other

# The byte is in the data of TCP, which is not in the linear part of an sk_buff that is sent.
start_ipft deep 'tcp dst port 8002 and ip[60] = 0' -r '^ip_output$'
tcp_exchange a b 10.0.0.2 8002
settle
end_ipft deep

start_ipft heading 'icmp and src 10.0.0.1' -o aggregate -r "$STAGES"
ping_once -s 4000
end_ipft heading

start_ipft placed icmp --netns b --ifname 'v?' -o jsonl -r '^(ip_output|ip_rcv|icmp_rcv)$'
ping_once
end_ipft placed

start_ipft sampled icmp --netns a --sample 1/4294967295 -o jsonl -r '^(ip_rcv|icmp_rcv)$'
ping_once
end_ipft sampled

unfollowed() {
	start_ipft unfollowed icmp --netns b --ifname vb --no-follow -o jsonl -r '^(dev_hard_start_xmit|ip_rcv|icmp_rcv)$'
	ping_once
	end_ipft unfollowed
}
undisturbed unfollowed unfollowed

apart() {
	start_ipft apart 'icmp and src 10.0.0.1' --no-follow -o jsonl -r '^dev_hard_start_xmit$'
	ping_once -s 4000
	end_ipft apart
}
undisturbed apart apart

graph() {
	start_ipft graph icmp -t function_graph --record-bytes 64 --show all -o jsonl -r "$STAGES"
	ping_once
	end_ipft graph
}
undisturbed graph graph

graph_perf() {
	start_ipft graph-perf icmp -t function_graph --perf-page-count 64 --show all -o jsonl -r "$STAGES"
	ping_once
	end_ipft graph-perf
}
undisturbed graph-perf graph_perf

limited() {
	start_ipft limited 'udp dst port 5003' --max-packets-per-second 3 -o jsonl -r '^(__dev_queue_xmit|ip_rcv)$'
	date +%s%N >limited.times
	ip netns exec a bash -c 'exec 3<>/dev/udp/10.0.0.2/5003; for i in {1..20}; do echo $i >&3; done'
	date +%s%N >>limited.times
	settle
	end_ipft limited
}
undisturbed limited limited

exit_of unknown ipft icmp --netns nowhere
exit_of wrong ipft tcp prt 80
exit_of never ipft ip and ip6
