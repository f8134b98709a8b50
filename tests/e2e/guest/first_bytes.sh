# What packets hold when their headers are not complete yet, in a kernel that does not clear what it allocates
# (init_on_alloc=0): memory of packets before them.
#
# Leaves clones.out (JSON lines) and clones.pcapng: marked datagrams with their clones, and pings without a mark, on one
# CPU. bytes.out and bytes.pcapng: an IPv4 datagram in fragments, a ping over IPv6, ARP. bytes-read.*: what tcpdump makes
# of the latter. followed.* and followed-read.*: likewise, a datagram in fragments, selected by a filter.

grep -q init_on_alloc=0 /proc/cmdline
network_pair
ip netns exec b udpflood receive 9000 >received &
receiver=$!
# Marked on arrival, so that the receiver's clone of each is, too.
PROTOCOL=udp mark_namespace b
for end in a/va b/vb; do
	ip netns exec "${end%/*}" tcpdump -ni "${end#*/}" -w "/tmp/${end%/*}.pcap" 2>/dev/null &
done
wait_until 60 sh -c 'ip netns exec b ss -Hlun sport = :9000 | grep -q .'
sleep 2
datagrams() {
	taskset -c 1 ip netns exec a udpflood send 10.0.0.2 9000 "$1" 64 "$MARK"
}
pings() {
	taskset -c 1 ip netns exec a ping -n -q -c 3 -i 0.01 10.0.0.2
}

datagrams 500
start_ipft clones -m "$MARK" -o jsonl --record-bytes 64 --pcapng clones.pcapng
for _ in 1 2 3; do
	datagrams 20
	pings
done
settle
end_ipft clones
kill "$receiver" %2 %3
wait

ip netns exec b iptables -t raw -F
mark_namespace a b
mark_arrivals a va
mark_arrivals b vb
for end in a/va/1 b/vb/2; do
	IFS=/ read -r name device number <<<"$end"
	ip netns exec "$name" sh -c 'for each in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 0 >$each; done'
	ip -n "$name" addr add "2001:db8::$number/64" dev "$device" nodad
done
sleep 2
ip -n a neigh del 10.0.0.2 dev va
start_ipft bytes -m "$MARK" -o jsonl --pcapng bytes.pcapng
ip netns exec a ping -n -q -c 1 -W 10 -s 4000 10.0.0.2
ip netns exec a ping -6 -n -q -c 1 -W 10 -m "$((MARK))" 2001:db8::2
settle
end_ipft bytes
exit_of bytes-read tcpdump -nr bytes.pcapng

start_ipft followed -o jsonl --pcapng followed.pcapng 'icmp[icmptype] == icmp-echo and src host 10.0.0.1'
ip netns exec a ping -n -q -c 1 -W 10 -s 4000 10.0.0.2
settle
end_ipft followed
exit_of followed-read tcpdump -nr followed.pcapng
