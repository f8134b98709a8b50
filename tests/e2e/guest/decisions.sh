# What decides about packets from a to b: connection tracking and NAT.
#
#   FEW  a regular expression for functions behind the decisions
#
# b sends what comes to port 4010 to 4011 and gives its connection a mark, does not track what comes to 4012, and tracks
# what comes to 4013 in zone 7. a gives what it sends to 4010 port 5000. Nobody listens, so each datagram is answered by an
# ICMP message.
#
# Leaves JSON lines: ct.out (a datagram from port 4000 to each of these ports; ct.text has the same in words), tcp.out (an
# exchange on port 8000), and perf.err (a trace with ct by way of the perf buffer).

modprobe -qa nf_tables nf_conntrack nf_nat nft_ct nft_nat nft_chain_nat || :
network_pair
ip netns exec a nft -f - <<-'END'
	table ip translate {
		chain post {
			type nat hook postrouting priority 100;
			udp dport 4010 snat to 10.0.0.1:5000
		}
	}
END
ip netns exec b nft -f - <<-'END'
	table ip translate {
		chain early {
			type filter hook prerouting priority -300;
			udp dport 4012 notrack
			udp dport 4013 ct zone set 7
		}
		chain pre {
			type nat hook prerouting priority -100;
			udp dport 4010 dnat to 10.0.0.2:4011
		}
		chain in {
			type filter hook input priority 0;
			udp dport 4011 ct mark set 0x2a
		}
	}
END

datagram() {
	ip netns exec a perl -MSocket -e '
		socket(my $socket, AF_INET, SOCK_DGRAM, 0) or die $!;
		bind($socket, sockaddr_in(4000, INADDR_ANY)) or die $!;
		send($socket, "x" x 22, 0, sockaddr_in($ARGV[0], inet_aton("10.0.0.2"))) or die $!;' "$1"
	settle
}

track() {
	start_ipft ct "udp or icmp" --show tuple,ct -o jsonl -r "$FEW" --record ct.ipft
	datagram 4010
	datagram 4012
	datagram 4013
	end_ipft ct
	# The next time, nothing is known of these connections.
	for name in a b; do
		ip netns exec "$name" sh -c 'echo 1 >/proc/sys/net/netfilter/nf_conntrack_udp_timeout'
	done
	sleep 1.5
}
undisturbed ct track
ipft replay ct.ipft -o text >ct.text

exchange() {
	start_ipft tcp "tcp port 8000" --show tuple,ct -o jsonl -r "$FEW"
	tcp_exchange a b 10.0.0.2 8000
	settle
	end_ipft tcp
}
undisturbed tcp exchange

start_ipft perf icmp --show +ct --perf-page-count 8 -r "^icmp_rcv$"
end_ipft perf
left_behind all
