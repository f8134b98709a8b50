# What decides about packets from a to b: connection tracking, NAT and firewalls.
#
#   FEW  a regular expression for functions behind the decisions
#
# b sends what comes to port 4010 to 4011 and gives its connection a mark, does not track what comes to 4012, and tracks
# what comes to 4013 in zone 7. a gives what it sends to 4010 port 5000. nf_tables drops what comes to 4014, and iptables what
# comes to 4015. No socket listens, so each other datagram is answered by an ICMP message.
#
# Leaves JSON lines: ct.out (a datagram from port 4000 to each of these ports; ct.text has the same in words), tcp.out (an
# exchange on port 8000), netfilter.out (datagrams to 4014, 4015 and 4016, with verdicts; netfilter.text has the same in
# words), judged.out (datagrams to 4021 and 4022, with verdicts of traffic control and of a generic XDP program that lets
# them pass; judged.text has the same in words), xdp.out (one to 4023, which another program drops), queue.out (text of a
# datagram that waits 40 ms for the address of b, and 40 ms at a; queue.jsonl has it as JSON lines), and perf.err (a trace
# with ct by way of the perf buffer) with perf.out (JSON lines of a datagram to 4014).

modprobe -qa nf_tables nf_conntrack nf_nat nft_ct nft_nat nft_chain_nat ip_tables iptable_filter sch_netem sch_htb \
	sch_ingress cls_u32 act_gact || :
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

ip netns exec b nft -f - <<-'END'
	table inet firewall {
		chain in {
			type filter hook input priority 10;
			udp dport 4014 drop
		}
	}
END
ip netns exec b iptables-legacy -A INPUT -p udp --dport 4015 -j DROP

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

judge() {
	start_ipft netfilter udp --show tuple,netfilter,stack -o jsonl -r "$FEW" --record netfilter.ipft
	datagram 4014
	datagram 4015
	datagram 4016
	end_ipft netfilter
}
undisturbed netfilter judge
ipft replay netfilter.ipft -o text -v >netfilter.text

judge_by_perf() {
	start_ipft perf udp --show tuple,ct,netfilter -o jsonl --perf-page-count 8 -r "$FEW"
	datagram 4014
	end_ipft perf
}
undisturbed perf judge_by_perf
tc -n a qdisc add dev va root handle 1: htb default 10
tc -n a class add dev va parent 1: classid 1:10 htb rate 1gbit
tc -n a class add dev va parent 1: classid 1:20 htb rate 1gbit
tc -n a filter add dev va parent 1: protocol ip prio 1 u32 match ip dport 4022 0xffff flowid 1:20
tc -n b qdisc add dev vb clsact
tc -n b filter add dev vb ingress protocol ip prio 1 u32 match ip dport 4021 0xffff action drop
tc -n b filter add dev vb ingress protocol ip prio 2 u32 match ip dport 4022 0xffff action pass
ip -n b link set dev vb xdpgeneric obj "$WORK/xdp.o" sec pass
judge_by_tc() {
	start_ipft judged udp --show tuple,tc -o jsonl -r "$FEW" --record judged.ipft
	datagram 4021
	datagram 4022
	end_ipft judged
}
undisturbed judged judge_by_tc
ipft replay judged.ipft -o text >judged.text
ip -n b link set dev vb xdpgeneric off
ip -n b link set dev vb xdpgeneric obj "$WORK/xdp.o" sec drop
judge_by_xdp() {
	start_ipft xdp udp --show tuple,tc -o jsonl -r "$FEW"
	datagram 4023
	end_ipft xdp
}
undisturbed xdp judge_by_xdp
ip -n b link set dev vb xdpgeneric off
tc -n a qdisc del dev va root
tc -n a qdisc add dev va root netem delay 40ms
wait_in_queue() {
	start_ipft queue udp dst port 4016 -o text --record queue.ipft -r '^(__ip_local_out|__neigh_event_send|neigh_.*_output|__dev_queue_xmit|.*_enqueue|sch_direct_xmit|dev_hard_start_xmit|ip_rcv_core)$'
	ip -n a neigh del 10.0.0.2 dev va || :
	datagram 4016
	end_ipft queue
}
undisturbed queue wait_in_queue
ipft replay queue.ipft -o jsonl >queue.jsonl
exit_of marked ipft -m 1 --show netfilter -r "^ip_rcv$" --duration 0.1
left_behind all
