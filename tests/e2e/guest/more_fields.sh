# What the fields that are in no default say, against what ping, ss, ip and the file system of control groups say.
#
#   FEW     a regular expression for functions that see packets before, at and behind their devices
#   ROUTED  one for functions that see packets when they are routed
#
# Leaves JSON lines: ping.out (a ping by a process of the group whose number is in group), perf.out (the same by way of the perf
# buffer, by the process perf.pid), tagged.out (a ping with VLAN tags of number 100 and priority 5), and tcp.out (60,000 bytes to port
# 8003, by a socket that ss describes in tcp.ss). And of packets that are selected by whose they are: by-pid.out and by-comm.out
# (a ping, and a datagram of another process), by-cgroup.out (a ping of a group below the selected one, and one of no such
# group, with ARP), and wrong-*.err, of those that there are not. And route.out (a datagram to port 5005 of each address in
# `routes`, which a sends; route.text has the same in words, and `route.get` what ip says of some).

network_pair
ip -n a link add link va name va.100 type vlan id 100 egress-qos-map 0:5
ip -n b link add link vb name vb.100 type vlan id 100
ip -n a addr add 10.0.9.1/24 dev va.100
ip -n b addr add 10.0.9.2/24 dev vb.100
ip -n a link set va.100 up
ip -n b link set vb.100 up
mkdir -p /tmp/groups
mount -t cgroup2 none /tmp/groups
mkdir /tmp/groups/sub
stat -c %i /tmp/groups/sub >group
for address in 10.0.0.2 10.0.9.2; do
	ip netns exec a ping -q -c 1 -W 5 "$address" >/dev/null
done
settle

# trace NAME "WORDS..." COMMAND...: traces what the command causes.
trace() {
	local run=$1 words=$2
	shift 2
	once() {
		# shellcheck disable=SC2086
		start_ipft "$run" $words --show all -o jsonl -r "$FEW"
		"$@"
		settle
		end_ipft "$run"
	}
	undisturbed "$run" once "$@"
}

ping_in_group() {
	bash -c 'echo 0 >/tmp/groups/sub/cgroup.procs && echo $$ >ping.pid && exec ip netns exec a ping -q -c 1 -W 5 10.0.0.2' >/dev/null
}

send() {
	ip netns exec b nc -l -n 8003 >/dev/null &
	local listener=$!
	wait_until 60 is_listening "$listener" 8003
	ip netns exec a bash -c 'exec 3<>/dev/tcp/10.0.0.2/8003 && ss -Htne dport = :8003 >tcp.ss && head -c 60000 /dev/zero >&3'
	wait "$listener"
}

trace ping icmp ping_in_group
trace perf "icmp --perf-page-count 8" ping_in_group
cp ping.pid perf.pid
trace tagged icmp ip netns exec a ping -q -c 1 -W 5 10.0.9.2
trace tcp "tcp dst port 8003" send
mkfifo go
by_pid() {
	bash -c 'echo $$ >by-pid.pid && read -r <go && exec ip netns exec a ping -q -c 1 -W 5 10.0.0.2' >/dev/null &
	local process=$!
	wait_until 60 sh -c "grep -qx $process by-pid.pid"
	start_ipft by-pid icmp or udp --pid "$process" -o jsonl -r "$FEW"
	echo >go
	wait "$process"
	ip netns exec a bash -c 'echo x >/dev/udp/10.0.0.2/5004'
	settle
	end_ipft by-pid
}
undisturbed by-pid by_pid

by_comm() {
	start_ipft by-comm icmp or udp --comm ping -o jsonl -r "$FEW"
	ping_in_group
	ip netns exec a bash -c 'echo x >/dev/udp/10.0.0.2/5004'
	settle
	end_ipft by-comm
}
undisturbed by-comm by_comm

mkdir /tmp/groups/sub/below
by_cgroup() {
	start_ipft by-cgroup icmp or arp --cgroup /tmp/groups/sub --show +sock -o jsonl -r "$FEW"
	bash -c 'echo 0 >/tmp/groups/sub/below/cgroup.procs && exec ip netns exec a ping -q -c 1 -W 5 10.0.0.2' >/dev/null
	ip -n a neigh del 10.0.0.2 dev va
	ip netns exec a ping -q -c 1 -W 5 10.0.0.2 >/dev/null
	settle
	end_ipft by-cgroup
}
stat -c %i /tmp/groups/sub/below >below
undisturbed by-cgroup by_cgroup

# b forwards: to one network, to none, and not what is refused.
modprobe -q dummy || :
ip netns exec b sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
ip -n b link add d0 type dummy
ip -n b addr add 10.8.0.1/24 dev d0
ip -n b link set d0 up
for name in a b; do
	ip netns exec "$name" sysctl -qw net.ipv6.conf.all.disable_ipv6=0
	ip -n "$name" addr add "fd00::$name/64" dev "v$name" nodad
done
ip -n b addr add fd00:8::1/64 dev d0 nodad
ip -n a route add default via 10.0.0.2
ip -n a -6 route add fd00:8::/64 via fd00::b
ip -n a -6 rule add to fd00:7::/64 table 77
ip -n a -6 route add fd00:7::/64 via fd00::b table 77
ip -n a -6 route add fd00:6::/64 via fd00::b
ip -n b route add blackhole 10.7.0.0/24
ip -n b route add prohibit 10.6.0.0/24
ip -n b route add unreachable 10.5.0.0/24
ip -n b -6 route add unreachable fd00:6::/64
echo "10.0.0.2 10.0.0.255 10.8.0.5 10.7.0.5 10.6.0.5 10.5.0.5 10.4.0.5 fd00::b fd00:8::5 fd00:7::5 fd00:6::5" >routes
for address in 10.0.0.2 10.8.0.5 fd00::b fd00:8::5 fd00:7::5; do
	ip -n a -o route get "$address" | sed "s/^/$address: /" >>route.get
done
ip netns exec a ping -q -c 1 -W 5 fd00::b >/dev/null
settle
route() {
	start_ipft route udp dst port 5005 --show tuple,route -o jsonl -r "$ROUTED" --record route.ipft
	# shellcheck disable=SC2046
	ip netns exec a perl -MSocket=:all -e '
		for (@ARGV) {
			my $address = /:/ ? pack_sockaddr_in6(5005, inet_pton(AF_INET6, $_)) : sockaddr_in(5005, inet_aton($_));
			socket(my $socket, /:/ ? AF_INET6 : AF_INET, SOCK_DGRAM, 0) or die $!;
			setsockopt($socket, SOL_SOCKET, SO_BROADCAST, 1) or die $!;
			send($socket, "x" x 22, 0, $address) or die "$_: $!";
		}' $(cat routes)
	settle
	end_ipft route
}
undisturbed route route
ipft replay route.ipft -o text >route.text

exit_of wrong-pid ipft icmp --pid 4194304
exit_of wrong-cgroup ipft icmp --cgroup /tmp
left_behind all
