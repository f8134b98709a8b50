# Causes of loss, made one after the other while `ipft drops` runs, each for real.
#
# Leaves causes.out (JSON lines), and times: the name of each cause, and the uptime at which it began and was over, in
# nanoseconds.

modprobe -qa veth bridge dummy vxlan ip_gre sch_netem sch_tbf act_gact act_police cls_matchall sch_ingress ip_tables iptable_filter \
	iptable_nat iptable_raw iptable_mangle nf_tables nft_compat xt_conntrack nf_conntrack xfrm_user esp4 8021q xt_MASQUERADE || :
network_pair
network_nat
for name in client router server; do
	ip netns exec "$name" iptables -t raw -F
done

# frame.pl DEVICE MAC TYPE HEX, or DEVICE MAC ip SOURCE DESTINATION PROTOCOL HEX [NAME=VALUE...]: sends a frame. Of an IPv4
# header, version, sum (of the header: a difference), length, ttl, id and frag may be set; l4sum is where the checksum of the rest is.
cat >frame.pl <<'PERL'
use Socket;
sub sum {
	my ($bytes) = @_;
	$bytes .= "\0" if length($bytes) % 2;
	my $sum = 0;
	$sum += $_ for unpack "n*", $bytes;
	$sum = ($sum & 0xffff) + ($sum >> 16) while $sum >> 16;
	return ~$sum & 0xffff;
}
my ($device, $mac, $type, @rest) = @ARGV;
my $payload;
if ($type eq "ip") {
	my ($source, $destination, $protocol, $hex, @options) = @rest;
	my %o = (version => 4, sum => 0, ttl => 64, id => 7, frag => 0, map { my ($k, $v) = split /=/; ($k, $v =~ /^0x/ ? hex $v : $v) } @options);
	my $l4 = pack "H*", $hex;
	my $addresses = pack "a4a4", inet_aton($source), inet_aton($destination);
	if (defined $o{l4sum}) {
		my $pseudo = $protocol == 1 ? "" : $addresses . pack("nn", $protocol, length $l4);
		substr($l4, $o{l4sum}, 2) = pack "n", sum($pseudo . $l4) ^ ($o{l4wrong} // 0);
	}
	my $header = sub {
		pack "CCnnnCCn", $o{version} << 4 | 5, 0, $o{length} // 20 + length $l4, $o{id}, $o{frag}, $o{ttl}, $protocol, $_[0];
	};
	$payload = $header->((sum($header->(0) . $addresses) + $o{sum}) & 0xffff) . $addresses . $l4;
	$type = "0800";
} else {
	$payload = pack "H*", $rest[0] // "";
}
my $own = do { local @ARGV = "/sys/class/net/$device/address"; my $own = <>; $own =~ s/[:\n]//g; $own };
$mac =~ s/://g;
my $index = do { local @ARGV = "/sys/class/net/$device/ifindex"; <> + 0 };
socket(my $socket, 17, SOCK_RAW, 0) or die "socket: $!";
my $frame = pack("H12H12H4", $mac, $own, $type) . $payload;
send($socket, $frame, 0, pack "SnlSCCa8", 17, hex $type, $index, 0, 0, 6, "") or die "send: $!";
PERL

MAC=$(ip netns exec b cat /sys/class/net/vb/address)
# frame NAMESPACE ARGS...
frame() {
	local name=$1
	shift
	ip netns exec "$name" perl frame.pl "$@"
}

to_b() {
	frame a va "$MAC" "$@"
}

uptime_now() {
	local now
	read -r now _ </proc/uptime
	echo "${now/./}0000000"
}

# cause NAME COMMAND...
cause() {
	local name=$1 start
	shift
	note "$name"
	# The clock that is read has steps of a hundredth of a second.
	nap
	start=$(uptime_now)
	"$@" >/dev/null 2>&1 || :
	settle
	nap
	echo "$name $start $(uptime_now)" >>times
}

in_ns() {
	ip netns exec "$@"
}

datagram() {
	in_ns "$1" udpflood send "$2" "$3" "${4:-1}" "${5:-64}"
}

UDP=0fa00fa1000c000061626364 # 4000 > 4001
SYN=0fa00fa100000001000000005002200000000000

# The ways: a and b are neighbours; client, router and server are behind each other.
ip -n router link set rs mtu 1500
ip -n a neigh replace 10.0.0.2 lladdr "$MAC" dev va nud permanent
ip -n router route add blackhole 10.7.0.0/16
ip -n router route add prohibit 10.8.0.0/16
ip -n a addr add 99.9.9.9/32 dev lo
ip netns exec b tc qdisc add dev vb clsact
ip -n a route add 239.0.0.0/8 dev va

start_ipft causes drops --all -o jsonl --max-per-place 0 --max-events-per-second 0

# Routing.
cause no-route in_ns client ping -c 1 -W 1 10.66.0.1
cause blackhole in_ns client ping -c 1 -W 1 10.7.0.1
cause prohibit in_ns client ping -c 1 -W 1 10.8.0.1
rp_filter() {
	in_ns b sh -c "echo $1 | tee /proc/sys/net/ipv4/conf/all/rp_filter >/proc/sys/net/ipv4/conf/vb/rp_filter"
}
reverse_path() {
	rp_filter 1
	in_ns a ping -c 1 -W 1 -I 99.9.9.9 10.0.0.2
	rp_filter 0
}
cause reverse-path reverse_path
cause martian-source to_b ip 127.0.0.1 10.0.0.2 17 "$UDP"
cause martian-destination to_b ip 10.0.0.1 127.0.0.1 17 "$UDP"
cause broadcast-source to_b ip 255.255.255.255 10.0.0.2 17 "$UDP"
cause ttl in_ns client ping -c 1 -W 1 -t 1 10.1.0.2
too_big() {
	ip -n router link set rs mtu 600
	in_ns client ping -c 1 -W 1 -s 900 -M do 10.1.0.2
	ip -n router link set rs mtu 1500
	ip -n client route flush cache
}
cause too-big too_big
forwarding() {
	in_ns router sh -c "echo 0 >/proc/sys/net/ipv4/ip_forward"
	in_ns client ping -c 1 -W 1 10.1.0.2
	in_ns router sh -c "echo 1 >/proc/sys/net/ipv4/ip_forward"
}
cause forwarding-off forwarding
neighbour() {
	in_ns a sysctl -qw net.ipv4.neigh.va.mcast_solicit=1 net.ipv4.neigh.va.retrans_time_ms=100
	in_ns a ping -c 1 -W 1 10.0.0.77
}
cause neighbour neighbour
cause other-host frame a va 02:00:00:00:00:77 ip 10.0.0.1 10.0.0.2 17 "$UDP"

# Sockets.
cause udp-closed datagram a 10.0.0.2 4400
cause tcp-closed in_ns a nc -n -w 1 10.0.0.2 4400
full_buffer() {
	sysctl -qw net.core.rmem_default=2304
	# Not by a function, of which the shell would be stopped and not the program.
	ip netns exec b nc -d -u -l 4401 >/dev/null &
	local receiver=$!
	wait_until 60 sh -c "ip netns exec b ss -Hlun sport = :4401 | grep -q ."
	kill -STOP "$receiver"
	datagram a 10.0.0.2 4401 20 1000
	settle
	kill -KILL "$receiver"
	wait "$receiver" || :
	sysctl -qw net.core.rmem_default=212992
}
cause full-buffer full_buffer
# holding PERL COMMAND...: with the sockets of b that the text makes, which are not read.
holding() {
	rm -f held
	ip netns exec b perl -e "use Socket; $1; \$| = 1; print qq(ready\\n); sleep 60" >held &
	local holder=$!
	shift
	wait_until 60 grep -q ready held
	"$@"
	settle
	kill -KILL "$holder"
	wait "$holder" || :
}
# All protocols, and a buffer of the least size.
cause sniffer-full holding 'socket($s, 17, SOCK_RAW, 0x0300) && setsockopt($s, SOL_SOCKET, SO_RCVBUF, pack("i", 1)) or die' \
	datagram a 10.0.0.2 4402 20 1000
# A filter that is one instruction: return 0.
cause socket-filter holding 'socket($s, PF_INET, SOCK_DGRAM, 0) && bind($s, sockaddr_in(4403, INADDR_ANY)) or die;
	$f = pack("SCCL", 6, 0, 0, 0); setsockopt($s, SOL_SOCKET, 26, pack("Sx6P", 1, $f)) or die' datagram a 10.0.0.2 4403
LISTENER='socket($s, PF_INET, SOCK_STREAM, 0) && bind($s, sockaddr_in(4001, INADDR_ANY)) && listen($s, 1) or die'
cause no-connection holding "$LISTENER" to_b ip 10.0.0.1 10.0.0.2 6 "${SYN/50022000/50102000}" l4sum=16
# Damage.
cause ip-sum to_b ip 10.0.0.1 10.0.0.2 17 "$UDP" sum=1
cause ip-version to_b ip 10.0.0.1 10.0.0.2 17 "$UDP" version=5
cause ip-length to_b ip 10.0.0.1 10.0.0.2 17 "$UDP" length=400
cause udp-sum to_b ip 10.0.0.1 10.0.0.2 17 "$UDP" l4sum=6 l4wrong=1
cause udp-length to_b ip 10.0.0.1 10.0.0.2 17 0fa00fa100ff000061626364
cause tcp-sum to_b ip 10.0.0.1 10.0.0.2 6 "$SYN" l4sum=16 l4wrong=1
cause icmp-sum to_b ip 10.0.0.1 10.0.0.2 1 0800000000010001 l4sum=2 l4wrong=1
cause icmp-type to_b ip 10.0.0.1 10.0.0.2 1 6300000000010001 l4sum=2
cause short-tcp to_b ip 10.0.0.1 10.0.0.2 6 0fa00fa1
cause unknown-type to_b 1234 00112233445566778899
cause unknown-protocol to_b ip 10.0.0.1 10.0.0.2 253 00112233
cause vlan to_b 8100 00630800450000280007000040110000

# Fragments.
fragment_timeout() {
	in_ns b sysctl -qw net.ipv4.ipfrag_time=1
	to_b ip 10.0.0.1 10.0.0.2 17 "${UDP}00112233" frag=0x2000
	sleep 2
	in_ns b sysctl -qw net.ipv4.ipfrag_time=30
}
cause fragment-timeout fragment_timeout
duplicate_fragment() {
	to_b ip 10.0.0.1 10.0.0.2 17 "${UDP}00112233" frag=0x2000 id=9
	to_b ip 10.0.0.1 10.0.0.2 17 "${UDP}00112233" frag=0x2000 id=9
	# The last one, so that nothing waits.
	to_b ip 10.0.0.1 10.0.0.2 17 00112233 frag=2 id=9
}
cause duplicate-fragment duplicate_fragment

# Firewalls.
through() { # through NAMESPACE TABLE CHAIN COMMAND...: with a rule there
	local name=$1 table=$2 chain=$3
	shift 3
	in_ns "$name" iptables -t "$table" -A "$chain" -p udp --dport 4003 -j DROP
	"$@"
	in_ns "$name" iptables -t "$table" -D "$chain" -p udp --dport 4003 -j DROP
}
cause iptables-prerouting through b raw PREROUTING datagram a 10.0.0.2 4003
cause iptables-input through b filter INPUT datagram a 10.0.0.2 4003
cause iptables-forward through router filter FORWARD datagram client 10.1.0.2 4003
cause iptables-output through a filter OUTPUT datagram a 10.0.0.2 4003
cause iptables-postrouting through a mangle POSTROUTING datagram a 10.0.0.2 4003
custom_chain() {
	in_ns b iptables -N custom
	in_ns b iptables -A INPUT -j custom
	through b filter custom datagram a 10.0.0.2 4003
	in_ns b iptables -F INPUT
	in_ns b iptables -X custom
}
cause iptables-custom custom_chain
nft_hook() { # nft_hook FAMILY HOOK: in b
	in_ns b nft "add table $1 ours; add chain $1 ours c { type filter hook $2 priority 0; }; add rule $1 ours c udp dport 4004 drop"
	datagram a 10.0.0.2 4004
	in_ns b nft delete table "$1" ours
}
cause nft-input nft_hook inet input
cause nft-prerouting nft_hook ip prerouting
cause nft-ingress nft_hook netdev 'ingress device vb'
nft_policy() {
	in_ns b nft 'add table ip ours; add chain ip ours c { type filter hook input priority 0; policy drop; }'
	datagram a 10.0.0.2 4004
	in_ns b nft delete table ip ours
}
cause nft-policy nft_policy
invalid() {
	in_ns b iptables -A INPUT -m conntrack --ctstate INVALID -j DROP
	# An acknowledgement with flags that no connection has.
	to_b ip 10.0.0.1 10.0.0.2 6 "0fa00fa10000000100000001503f2000000000000000" l4sum=16
	in_ns b iptables -F INPUT
}
cause conntrack-invalid invalid
conntrack_full() {
	in_ns b iptables -A INPUT -m conntrack --ctstate NEW -j ACCEPT
	sysctl -qw net.netfilter.nf_conntrack_max=1
	in_ns b sh -c 'for port in 1 2 3 4 5 6 7 8 9; do udpflood send 10.0.0.1 440$port 1 64; done'
	datagram a 10.0.0.2 4005 3
	sysctl -qw net.netfilter.nf_conntrack_max=65536
	in_ns b iptables -F INPUT
}
cause conntrack-full conntrack_full
nat_full() {
	in_ns router conntrack -F
	in_ns router iptables -t nat -I POSTROUTING -p udp -d 10.1.0.2 --dport 4006 -j SNAT --to-source 10.1.0.1:5000-5000
	in_ns client sh -c 'for port in 1 2; do udpflood send 10.1.0.2 4006 1 64; done'
	in_ns router iptables -t nat -D POSTROUTING 1
}
cause nat-ports nat_full

# Queues and programs.
tc_drop() { # tc_drop DIRECTION
	in_ns b tc filter add dev vb "$1" matchall action drop
	if [ "$1" = ingress ]; then datagram a 10.0.0.2 4007; else datagram b 10.0.0.1 4007; fi
	in_ns b tc filter del dev vb "$1"
}
cause tc-ingress tc_drop ingress
cause tc-egress tc_drop egress
police() {
	in_ns b tc filter add dev vb ingress matchall action police rate 8kbit burst 200 drop
	datagram a 10.0.0.2 4008 5 150
	in_ns b tc filter del dev vb ingress
}
cause tc-police police
queue() { # queue NAMESPACE QDISC...: with a datagram for it
	local name=$1
	shift
	in_ns a tc qdisc add dev va root "$@"
	datagram a 10.0.0.2 4009 20 500
	nap 0.3
	in_ns a tc qdisc del dev va root
}
cause netem-loss queue a netem loss 100%
cause netem-limit queue a netem delay 100ms limit 2
cause tbf queue a tbf rate 8kbit burst 1600 limit 1600
pfifo_full() {
	in_ns a tc qdisc add dev va root handle 1: tbf rate 8kbit burst 1600 limit 100000
	in_ns a tc qdisc add dev va parent 1:1 pfifo limit 2
	datagram a 10.0.0.2 4009 20 500
	nap 0.3
	in_ns a tc qdisc del dev va root
}
cause pfifo-limit pfifo_full
backlog_full() {
	# Two packets at once, so that the second finds the first one.
	in_ns a tc qdisc add dev va root netem duplicate 100%
	sysctl -qw net.core.netdev_max_backlog=0
	datagram a 10.0.0.2 4010
	sysctl -qw net.core.netdev_max_backlog=1000
	in_ns a tc qdisc del dev va root
}
cause backlog-full backlog_full
xdp_of() { # xdp_of MODE
	ip -n b link set dev vb "$1" obj "$WORK/xdp.o" sec drop
	datagram a 10.0.0.2 4011
	ip -n b link set dev vb "$1" off
}
cause xdp-generic xdp_of xdpgeneric
device_down() {
	ip -n b link set vb down
	datagram a 10.0.0.2 4012
	ip -n b link set vb up
	in_ns b tc qdisc add dev vb clsact 2>/dev/null || :
}
cause peer-down device_down

# Links above links.
new_namespace d e bridge
for name in d e; do
	ip link add "v$name" netns "$name" type veth peer name "p$name" netns bridge
	ip -n "$name" link set "v$name" up
	ip -n bridge link set "p$name" up
done
ip -n bridge link add br0 type bridge
ip -n bridge link set pd master br0
ip -n bridge link set pe master br0
ip -n bridge link set br0 up
ip -n d addr add 10.9.0.1/24 dev vd
ip -n d neigh replace 10.9.0.9 lladdr 02:00:00:00:99:99 dev vd nud permanent
# Until the bridge has seen that the port has a carrier, it changes the port's state.
is_blocked() {
	in_ns bridge bridge link set dev pd state 0
	in_ns bridge bridge link show dev pd | grep -q 'state disabled'
	nap
	in_ns bridge bridge link show dev pd | grep -q 'state disabled'
}
stp_port() {
	wait_until 60 is_blocked
	datagram d 10.9.0.9 4013
	in_ns bridge bridge link set dev pd state 3
}
cause bridge-blocked stp_port
vlan_port() {
	ip -n bridge link set br0 type bridge vlan_filtering 1
	frame d vd 02:00:00:00:99:99 8100 00630800450000280007000040110000
	ip -n bridge link set br0 type bridge vlan_filtering 0
}
cause bridge-vlan vlan_port
vxlan() {
	ip -n a link add vx type vxlan id 7 dstport 4789 dev va
	ip -n a addr add 172.16.0.1/24 dev vx
	ip -n a link set vx up
	ip -n a neigh replace 172.16.0.2 lladdr 02:00:00:00:07:02 dev vx nud permanent
	datagram a 172.16.0.2 4014
	ip -n a link del vx
}
cause vxlan-no-remote vxlan
gre() {
	ip -n a link add tunnel type gre local 10.0.0.1 remote 10.0.0.2 key 1
	ip -n b link add tunnel type gre local 10.0.0.2 remote 10.0.0.1 key 2
	ip -n a addr add 172.17.0.1/24 dev tunnel
	ip -n a link set tunnel up
	ip -n b link set tunnel up
	datagram a 172.17.0.2 4015
	ip -n a link del tunnel
	ip -n b link del tunnel
}
cause gre-key gre
xfrm_block() {
	ip -n b xfrm policy add dir in src 10.0.0.1 dst 10.0.0.2 proto udp dport 4016 action block
	datagram a 10.0.0.2 4016
	ip -n b xfrm policy flush
}
cause xfrm-policy xfrm_block
xfrm_state() {
	ip -n b xfrm policy add dir in src 10.0.0.1 dst 10.0.0.2 proto udp dport 4016 tmpl proto esp mode transport
	datagram a 10.0.0.2 4016
	ip -n b xfrm policy flush
}
cause xfrm-state xfrm_state

# Groups and IPv6.
cause multicast-no-member to_b ip 10.0.0.1 239.7.7.7 17 "$UDP"
ip6_disabled() {
	in_ns b sysctl -qw net.ipv6.conf.vb.disable_ipv6=1
	to_b 86dd 6000000000083a40fe800000000000000000000000000001fe8000000000000000000000000000028000000000000000
	in_ns b sysctl -qw net.ipv6.conf.vb.disable_ipv6=0
}
cause ip6-disabled ip6_disabled
cause ip6-cut to_b 86dd 6000000000ff1140fe800000000000000000000000000001fe8000000000000000000000000000028000000000000000

# IPv6 between a and b.
A6=fd000000000000000000000000000001
B6=fd000000000000000000000000000002
for end in a:va:1 b:vb:2; do
	IFS=: read -r name device number <<<"$end"
	in_ns "$name" sysctl -qw "net.ipv6.conf.$device.disable_ipv6=0" "net.ipv6.conf.$device.accept_dad=0"
	ip -n "$name" addr add "fd00::$number/64" dev "$device" nodad
done
ip -n a neigh replace fd00::2 lladdr "$MAC" dev va nud permanent
ip -n b -6 route add fd00:7::/64 dev vb
ip -n b -6 route add fd00:8::/64 dev vb mtu 1280
ip -n b -6 route add blackhole fd00:9::/64
# frame6 DESTINATION LENGTH NEXT LIMIT HEX: of four, four, two and two digits, but the first, which is an address
frame6() {
	to_b 86dd "60000000$2$3$4$A6$1$5"
}
to_net() { # to_net NUMBER LENGTH LIMIT HEX: a datagram to a host of fd00:NUMBER::/64
	frame6 "fd00000${1}000000000000000000000001" "$2" 11 "$3" "$4"
}
UDP6=0fa00fa100080000 # 4000 > 4001, without a checksum
cause ip6-forwarding-off to_net 7 0008 40 "$UDP6"
in_ns b sysctl -qw net.ipv6.conf.all.forwarding=1
cause ip6-no-route to_net 6 0008 40 "$UDP6"
cause ip6-blackhole to_net 9 0008 40 "$UDP6"
cause ip6-hop-limit to_net 7 0008 01 "$UDP6"
cause ip6-too-big to_net 8 0540 40 "0fa00fa105400000$(printf '0%.0s' {1..2672})"
in_ns b sysctl -qw net.ipv6.conf.all.forwarding=0
cause ip6-unknown-protocol frame6 "$B6" 0004 fd 40 00112233
cause udp6-closed in_ns a sh -c 'echo closed | nc -6 -u -w 1 fd00::2 4400'
cause tcp6-closed in_ns a nc -6 -n -w 1 fd00::2 4400

end_ipft causes
