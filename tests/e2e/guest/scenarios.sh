# What becomes of packets on many ways, in one trace. Each scenario sends a ping or a datagram of its own
# length: 100 bytes and its number.
#
#   FEW  a regular expression for functions on the ways
#
# Leaves scenarios.out (JSON lines).

modprobe -qa veth bridge dummy vxlan ip_gre sch_netem act_mirred act_gact cls_matchall sch_ingress ip_tables iptable_filter \
	iptable_nat iptable_raw nf_tables nft_compat xt_MASQUERADE macvlan xt_NFQUEUE nfnetlink_queue wireguard || :
network_pair
network_nat
for name in client router server; do
	ip netns exec "$name" iptables -t raw -F
done

# A bridge of three hosts. The address that is pinged is that of no host, and its neighbour entry is permanent.
new_namespace d e g bridge
for name in d e g; do
	ip link add "v$name" netns "$name" type veth peer name "p$name" netns bridge
	ip -n "$name" link set "v$name" up
	ip -n bridge link set "p$name" up
done
ip -n bridge link add br0 type bridge
for name in d e g; do
	ip -n bridge link set "p$name" master br0
done
ip -n bridge link set br0 up
ip -n d addr add 10.9.0.1/24 dev vd
ip -n d neigh replace 10.9.0.9 lladdr 02:00:00:00:99:99 dev vd nud permanent

# Tunnels between a and b.
for end in a/va/1/2 b/vb/2/1; do
	IFS=/ read -r name device own other <<<"$end"
	ip -n "$name" link add vx address "02:00:00:00:07:0$own" type vxlan id 7 dstport 4789 remote "10.0.0.$other" dev "$device"
	ip -n "$name" link add tunnel type gre local "10.0.0.$own" remote "10.0.0.$other"
	ip -n "$name" addr add "172.16.0.$own/24" dev vx
	ip -n "$name" addr add "172.17.0.$own/24" dev tunnel
	ip -n "$name" link set vx up
	ip -n "$name" link set tunnel up
	ip -n "$name" neigh replace "172.16.0.$other" lladdr "02:00:00:00:07:0$other" dev vx nud permanent
done
# WireGuard's socket stays in the namespace in which the device is made.
for name in a b; do
	ip -n "$name" link add wg type wireguard
	(umask 077 && wg genkey >"/tmp/$name.key")
done
for end in a/1/b/2 b/2/a/1; do
	IFS=/ read -r name own other peer <<<"$end"
	ip netns exec "$name" wg set wg listen-port 51820 private-key "/tmp/$name.key" \
		peer "$(wg pubkey <"/tmp/$other.key")" allowed-ips 172.18.0.0/24 endpoint "10.0.0.$peer:51820"
	ip -n "$name" addr add "172.18.0.$own/24" dev wg
	ip -n "$name" link set wg up
done
ip -n b link add sink type dummy
ip -n b link set sink up
ip -n router link add sink type dummy
ip -n router link set sink up
new_namespace m
ip -n a neigh replace 10.0.0.29 lladdr 02:00:00:00:00:29 dev va nud permanent
for name in a b; do
	ip netns exec "$name" sysctl -qw net.ipv6.conf.all.disable_ipv6=0
	ip -n "$name" addr add "fd00::$name/64" dev "v$name" nodad
done
ip netns exec b tc qdisc add dev vb clsact
ip netns exec router tc qdisc add dev rc clsact
ip -n router route add blackhole 10.7.0.0/16
ip -n a addr add 99.9.9.9/32 dev lo
ip -n a route add 239.0.0.0/8 dev va
ip -n b addr add 239.1.1.1/32 dev vb autojoin
sysctl -qw net.core.rmem_default=2304
sleep 1
# So that no neighbour is looked for, and no key agreed on, during the trace.
ip netns exec a ping -q -c 1 -W 5 172.18.0.2 >/dev/null
ip netns exec a ping -q -c 1 -W 5 fd00::b >/dev/null

# ping_of NUMBER NAMESPACE ARGS...
ping_of() {
	local number=$1 name=$2
	shift 2
	ip netns exec "$name" ping -q -c 1 -W 1 -s "$((100 + number))" "$@" >/dev/null || :
	settle
}

listen() {
	ip netns exec "$1" tcpdump -ni "$2" -w /dev/null 2>/tmp/tcpdump &
	listener=$!
	wait_until 60 grep -q listening /tmp/tcpdump
}

# xdp_of NUMBER MODE PROGRAM: a program judges what arrives at b.
xdp_of() {
	ip -n b link set dev vb "$2" obj "$WORK/xdp.o" sec "$3"
	ping_of "$1" a 10.0.0.2
	ip -n b link set dev vb "$2" off
}

# datagram_of NUMBER ADDRESS PORT
datagram_of() {
	ip netns exec a udpflood send "$2" "$3" 1 "$((100 + $1))" >/dev/null
	settle
}

# receive COUNT: sockets of one port, with little room.
receive() {
	local at
	receivers=()
	for ((at = 0; at < $1; at++)); do
		ip netns exec b nc -d -u -l 7778 >/dev/null &
		receivers+=($!)
	done
	wait_until 60 sh -c "[ \$(ip netns exec b ss -Hlun sport = :7778 | wc -l) -eq $1 ]"
}

end_receivers() {
	kill -KILL "${receivers[@]}"
	wait "${receivers[@]}" || :
}

# segments_of NUMBER ADDRESS PORT SIZE: one datagram for the network stack, several for the network (UDP_SEGMENT).
segments_of() {
	ip netns exec a perl -e '
		use Socket;
		my ($number, $address, $port, $size) = @ARGV;
		socket(my $socket, AF_INET, SOCK_DGRAM, 0) or die $!;
		setsockopt($socket, 17, 103, pack("i", $size)) or die $!;
		connect($socket, sockaddr_in($port, inet_aton($address))) or die $!;
		send($socket, "x" x (100 + $number), 0) or die $!;' "$@"
	settle
}

# read_queue NUMBER: accepts each packet of this queue of netfilter.
read_queue() {
	ip netns exec b perl -e '
		use Socket;
		# The layouts are in linux/netlink.h, linux/netfilter/nfnetlink.h and nfnetlink_queue.h.
		my ($number) = @ARGV;
		my $kernel = pack("SSLL", 16, 0, 0, 0);
		socket(my $socket, 16, SOCK_RAW, 12) or die $!;
		bind($socket, $kernel) or die $!;
		sub request {
			my ($kind, $attribute, $value) = @_;
			my $body = pack("CCnSS", 0, 0, $number, 4 + length $value, $attribute) . $value;
			$body .= "\0" x (-length($body) & 3);
			send($socket, pack("LSSLL", 16 + length $body, 3 << 8 | $kind, 1, 0, 0) . $body, 0, $kernel) or die $!;
		}
		request(2, 1, pack("CCn", 1, 0, 0));
		request(2, 2, pack("NC", 0, 1));
		$| = 1;
		print "reading\n";
		while (defined recv($socket, my $got, 65536, 0)) {
			my ($length, $kind) = unpack("LS", $got);
			next if $kind != 3 << 8;
			for (my $at = 20; $at + 4 <= $length;) {
				my ($size, $attribute) = unpack("SS", substr($got, $at, 4));
				request(1, 2, pack("N", 1) . substr($got, $at + 4, 4)) if ($attribute & 0x7fff) == 1;
				$at += $size + 3 & ~3;
			}
		}' "$1" >/tmp/reading &
	reader=$!
	wait_until 60 grep -q reading /tmp/reading
}

# fragments_of NUMBER ADDRESS PORT: a datagram that was cut before it is sent: only its first part has a port.
fragments_of() {
	ip netns exec a perl -e '
		use Socket;
		my ($number, $address, $port) = @ARGV;
		my $size = 100 + $number;
		my $datagram = pack("nnnn", 9999, $port, 8 + $size, 0) . "x" x $size;
		socket(my $socket, AF_INET, SOCK_RAW, 255) or die $!;
		for my $at (0, 64) {
			my $part = $at ? substr($datagram, $at) : substr($datagram, 0, 64);
			my $more = $at ? 0 : 0x2000;
			my $header = pack("CCnnnCCna4a4", 0x45, 0, 0, 7, $more | $at / 8, 64, 17, 0, inet_aton("10.0.0.1"), inet_aton($address));
			send($socket, $header . $part, 0, sockaddr_in(0, inet_aton($address))) or die $!;
		}' "$@"
	settle
}

# stream PORT
stream() {
	ip netns exec b nc -l -n "$1" >/dev/null &
	local listener=$!
	wait_until 60 is_listening "$listener" "$1"
	head -c 60000 /dev/zero | ip netns exec a nc -N -n 10.0.0.2 "$1"
	wait "$listener"
	settle
}

# retransmit PORT: what is sent first is dropped on its way.
retransmit() {
	ip netns exec b nc -l -n "$1" >/dev/null &
	local listener=$!
	wait_until 60 is_listening "$listener" "$1"
	ip netns exec a bash -c '
		exec 3<>"/dev/tcp/10.0.0.2/$0"
		ip netns exec b tc filter add dev vb ingress matchall action drop
		echo x >&3
		sleep 0.1
		ip netns exec b tc filter del dev vb ingress
		sleep 1' "$1"
	wait "$listener"
	settle
}

scenarios() {
	start_ipft scenarios 'icmp[0]=8 or udp dst portrange 7777-7779 or tcp dst portrange 8005-8007 or icmp6[0]=128' -o jsonl -r "$FEW"

	ping_of 1 a 10.0.0.2

	listen b vb
	ping_of 2 a 10.0.0.2
	kill "$listener"
	wait "$listener" || :
	listen a va
	ping_of 3 a 10.0.0.2
	kill "$listener"
	wait "$listener" || :

	ip netns exec a tc qdisc add dev va root netem duplicate 100%
	ping_of 4 a 10.0.0.2
	ip netns exec a tc qdisc del dev va root

	ip netns exec b tc filter add dev vb ingress matchall action mirred egress mirror dev sink
	ping_of 5 a 10.0.0.2
	ip netns exec b tc filter del dev vb ingress
	ip netns exec router tc filter add dev rc ingress matchall action mirred egress redirect dev sink
	ping_of 6 client 10.1.0.2
	ip netns exec router tc filter del dev rc ingress
	ip netns exec router tc filter add dev rc ingress matchall action drop
	ping_of 7 client 10.1.0.2
	ip netns exec router tc filter del dev rc ingress

	ping_of 8 d 10.9.0.9
	ping_of 9 a 172.16.0.2
	ping_of 10 a 172.17.0.2
	ping_of 11 client 10.1.0.2

	ip netns exec b sh -c 'echo 1 | tee /proc/sys/net/ipv4/conf/all/rp_filter >/proc/sys/net/ipv4/conf/vb/rp_filter'
	ping_of 12 a -I 99.9.9.9 10.0.0.2

	ping_of 13 client -t 1 10.1.0.2
	ping_of 14 client 10.7.0.1
	ip netns exec router iptables -A FORWARD -j DROP
	ping_of 15 client 10.1.0.2
	ip netns exec router iptables -F FORWARD

	ip -n router link set rs mtu 600
	ping_of 1300 client -M dont 10.1.0.2
	ping_of 900 client -M do 10.1.0.2
	ip -n router link set rs mtu 1500

	ip -n a neigh replace 10.0.0.2 lladdr 02:00:00:00:00:77 dev va nud permanent
	ping_of 16 a 10.0.0.2
	ip -n a neigh del 10.0.0.2 dev va
	ip netns exec a sysctl -qw net.ipv4.neigh.va.mcast_solicit=1 net.ipv4.neigh.va.retrans_time_ms=100
	ping_of 17 a 10.0.0.77
	ip -n a neigh replace 10.0.0.2 lladdr "$(ip netns exec b cat /sys/class/net/vb/address)" dev va nud permanent
	ip netns exec a tc qdisc add dev va root netem loss 100%
	ping_of 18 a 10.0.0.2
	ip netns exec a tc qdisc del dev va root
	ip -n router route del default 2>/dev/null || :
	ping_of 19 client 10.66.0.1

	xdp_of 20 xdpgeneric drop
	xdp_of 21 xdpgeneric pass
	xdp_of 22 xdp pass
	xdp_of 23 xdp drop

	datagram_of 24 10.0.0.2 7777
	receive 1
	kill -STOP "${receivers[@]}"
	for _ in 1 2 3 4 5 6; do
		datagram_of 0 10.0.0.2 7778
	done
	datagram_of 25 10.0.0.2 7778
	end_receivers
	receive 3
	datagram_of 26 239.1.1.1 7778
	end_receivers

	# A frame of veth goes on only if the other end takes frames, too.
	ip -n a link set dev va xdp obj "$WORK/xdp.o" sec pass
	xdp_of 27 xdp tx
	ip -n a link set dev va xdp off
	xdp_of 28 xdpgeneric tx

	ip -n b link add mv netns m address 02:00:00:00:00:29 link vb type macvlan mode bridge
	ip -n m addr add 10.0.0.29/24 dev mv
	ip -n m link set mv up
	ping_of 29 a 10.0.0.29
	ip -n m link del mv
	ip netns exec b nft -f - <<-'END'
		table ip refuse {
			chain input {
				type filter hook input priority 0
				icmp type echo-request drop
			}
		}
	END
	ping_of 30 a 10.0.0.2
	ip netns exec b nft delete table ip refuse
	ip netns exec router nft -f - <<-'END'
		table inet refuse {
			chain forward {
				type filter hook forward priority 0; policy drop;
			}
		}
	END
	ping_of 31 client 10.1.0.2
	ip netns exec router nft delete table inet refuse
	ip netns exec b iptables -A INPUT -p icmp -j NFQUEUE --queue-num 0 --queue-bypass
	ping_of 32 a 10.0.0.2
	ip netns exec b iptables -F INPUT
	ip netns exec b iptables -A INPUT -p icmp -j NFQUEUE --queue-num 1
	read_queue 1
	ping_of 33 a 10.0.0.2
	ip netns exec b iptables -F INPUT
	kill "$reader"
	wait "$reader" || :
	ping_of 45 a 172.18.0.2
	receive 1
	segments_of 240 10.0.0.2 7778 150
	end_receivers
	receive 1
	fragments_of 35 10.0.0.2 7778
	end_receivers
	receive 1
	# Linux 5.10 has neither for veth.
	ip netns exec b ethtool -K vb gro on rx-gro-list on >/dev/null || :
	ip netns exec a ethtool -K va tx-udp-segmentation off >/dev/null || :
	segments_of 250 10.0.0.2 7778 150
	ip netns exec b ethtool -K vb gro off rx-gro-list off >/dev/null || :
	end_receivers
	ping_of 2000 a fd00::b

	retransmit 8005
	ip netns exec a ethtool -K va tso off >/dev/null || :
	stream 8006
	ip netns exec b ethtool -K vb gro on >/dev/null || :
	stream 8007

	end_ipft scenarios
}
undisturbed scenarios scenarios
