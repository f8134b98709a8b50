# What `ipft drops` says of packets that the kernel drops, through a veth pair.
#
# Leaves flood.out (2,000 datagrams that a rule of b drops, and one to a port without a socket), events.out (the same rule, as
# JSON lines), narrow.out (likewise, with a filter and the namespace of b; what does not match is dropped as well), a.out (with
# the namespace of a, where nothing is), every.out (a ping, with --all), clean.out (traffic of which nothing is lost), inner.out (datagrams
# in a tunnel), beside.out (a trace of ping, as JSON lines, with 25 datagrams that the rule drops), on 6.12 terminal (what a terminal is sent), and all.left, what is still attached at the end.

network_pair

drop_datagrams() {
	ip netns exec b iptables "$1" INPUT -p udp --dport 4000:4009 -j DROP
}

# send PORT COUNT: datagrams from a to b.
send() {
	ip netns exec a udpflood send 10.0.0.2 "$1" "$2" 64 >/dev/null
}

ip netns exec a ping -q -c 1 -W 5 10.0.0.2 >/dev/null
drop_datagrams -A

start_ipft flood drops udp --color never
send 4000 2000
send 4444 1
settle
end_ipft flood

start_ipft events drops 'udp port 4001' -o jsonl --max-per-place 0 --record events.ipft
send 4001 20
settle
end_ipft events

start_ipft narrow drops 'udp port 4002' --netns b
send 4002 3
send 4003 3
settle
end_ipft narrow

start_ipft a drops udp --netns a
send 4002 3
settle
end_ipft a

start_ipft every drops icmp --all
ip netns exec a ping -q -c 2 -i 0.2 -W 5 10.0.0.2 >/dev/null
settle
end_ipft every

# What is dropped is no ping.
start_ipft beside icmp --drops -o jsonl -r '^(__ip_local_out|icmp_rcv)$'
ip netns exec a ping -q -c 2 -i 0.2 -W 5 10.0.0.2 >/dev/null
send 4001 25
settle
end_ipft beside

clean() {
	tcp_exchange a b 10.0.0.2 8000
	ip netns exec a ping -q -c 3 -i 0.1 -W 5 -s 3000 10.0.0.2 >/dev/null
	ip netns add c
	ip -n c link set lo up
	ip netns exec c ping -q -c 1 127.0.0.1 >/dev/null
	ip netns del c
	settle
}
start_ipft clean drops
clean
end_ipft clean

# Only datagrams in a tunnel: the rule drops the tunnel's packets.
modprobe -q ip_gre
for end in a:1:2 b:2:1; do
	IFS=: read -r name own other <<<"$end"
	ip -n "$name" link add tunnel type gre local "10.0.0.$own" remote "10.0.0.$other"
	ip -n "$name" addr add "172.16.0.$own/24" dev tunnel
	ip -n "$name" link set tunnel up
done
ip netns exec b iptables -A INPUT -p gre -j DROP
start_ipft inner drops --inner 'udp port 4005'
ip netns exec a udpflood send 172.16.0.2 4005 3 64 >/dev/null
ip netns exec a udpflood send 172.16.0.2 4006 3 64 >/dev/null
send 4005 3
settle
end_ipft inner
ip netns exec b iptables -D INPUT -p gre -j DROP

if [[ $(uname -r) == 6.12.* ]]; then
	note terminal
	TERM=xterm script -qfec 'ipft drops udp --netns b' terminal </dev/null >/dev/null 2>&1 &
	wait_until 60 grep -q 'Trace ready' terminal
	for count in 2 4; do
		send 4004 2
		wait_until 60 grep -q "^ *$count  NETFILTER_DROP" terminal
	done
	kill -INT "$(pgrep -x ipft)"
	wait $!
fi

drop_datagrams -D

left_behind all
