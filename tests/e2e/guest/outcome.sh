# How packets end that are selected by a filter and followed, through a veth pair.
#
# Leaves JSON lines, each of which traces few functions: delivered.out (a ping of 4,000 bytes, of which the filter selects the
# request), firewall.out (a ping that a rule of b drops), perf.out (the same through perf buffers), closed.out (a datagram to a
# port without a socket), merged.out (three lines that wait in a connection), and many.out (exchanges over TCP, pings and datagrams, which all have an end); and
# heading.out, the aggregate of a ping that is dropped. The recording firewall.ipft is of the same as firewall.out,
# all.left has what is still attached at the end, and reasons the names of the kernel's reasons of drops.

modprobe -qa openvswitch || :
# reasons_in BTF...: prints the enumerators of enums with reasons, as the kernel has them.
reasons_in() {
	bpftool "${@:2}" btf dump file "$1" format raw 2>/dev/null |
		awk -F "'" '/ENUM/ { ours = $2 ~ /drop_reason$/; next } ours && /val=/ { print $2 }'
}
for btf in /sys/kernel/btf/*; do
	case $btf in
	*/vmlinux) reasons_in "$btf" ;;
	*) reasons_in "$btf" -B /sys/kernel/btf/vmlinux ;;
	esac
done | sort -u >reasons

network_pair

FEW='^(ip_rcv|icmp_rcv|tcp_v4_rcv|udp_rcv)$'

# ping_once ARGS...: from a to b.
ping_once() {
	ip netns exec a ping -q -c 1 "$@" 10.0.0.2 >/dev/null
	settle
}

drop_pings() {
	ip netns exec b iptables "$1" INPUT -p icmp -j DROP
}

ping_once -W 5

delivered() {
	start_ipft delivered 'icmp and src 10.0.0.1' -o jsonl -r "$FEW"
	ping_once -W 5 -s 4000
	end_ipft delivered
}
undisturbed delivered delivered

closed() {
	start_ipft closed udp -o jsonl -r "$FEW"
	ip netns exec a udpflood send 10.0.0.2 4444 1 64 >/dev/null
	settle
	end_ipft closed
}
undisturbed closed closed

# A connection whose server reads nothing until all has arrived, and whose lines were acknowledged one by one.
merged() {
	local listener
	start_ipft merged 'tcp dst port 8005' -o jsonl -r '^(ip_rcv|tcp_v4_rcv|tcp_v4_do_rcv|tcp_rcv_established)$'
	ip netns exec b nc -l -n 8005 >/dev/null &
	listener=$!
	wait_until 60 is_listening "$listener" 8005
	kill -STOP "$listener"
	{ sleep 1; for line in first second third; do echo "$line"; sleep 1; done; kill -CONT "$listener"; } |
		ip netns exec a nc -N -n -w 10 10.0.0.2 8005
	wait "$listener"
	settle
	end_ipft merged
}
undisturbed merged merged

many() {
	start_ipft many -v ip -o jsonl -r "$FEW"
	tcp_exchange a b 10.0.0.2 8000
	ping_once -W 5 -c 5 -i 0.02 -s 3000
	ip netns exec a udpflood send 10.0.0.2 4444 50 64 >/dev/null
	settle
	end_ipft many
}
undisturbed many many

drop_pings -A

firewall() {
	start_ipft firewall 'icmp and src 10.0.0.1' -o jsonl -r "$FEW" --record firewall.ipft
	ping_once -W 1 || :
	end_ipft firewall
}
undisturbed firewall firewall

start_ipft perf 'icmp and src 10.0.0.1' -o jsonl -r "$FEW" --perf-page-count 8
ping_once -W 1 || :
end_ipft perf

start_ipft heading 'icmp and src 10.0.0.1' -o aggregate -r "$FEW"
ping_once -W 1 || :
end_ipft heading

drop_pings -D

left_behind all
