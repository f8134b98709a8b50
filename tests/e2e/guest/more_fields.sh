# What the fields that are in no default say, against what ping, ss, ip and the file system of control groups say.
#
#   FEW  a regular expression for functions that see packets before, at and behind their devices
#
# Leaves JSON lines: ping.out (a ping by the process ping.pid, of the group whose number is in group), perf.out (the same by way
# of the perf buffer), tagged.out (a ping with VLAN tags of number 100 and priority 5), and tcp.out (60,000 bytes to port
# 8003, by a socket that ss describes in tcp.ss).

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
	wait_until 10 sh -c 'ip netns exec b ss -Hltn sport = :8003 | grep -q .'
	ip netns exec a bash -c 'exec 3<>/dev/tcp/10.0.0.2/8003 && ss -Htne dport = :8003 >tcp.ss && head -c 60000 /dev/zero >&3'
	wait "$listener"
}

trace ping icmp ping_in_group
trace perf "icmp --perf-page-count 8" ping_in_group
trace tagged icmp ip netns exec a ping -q -c 1 -W 5 10.0.9.2
trace tcp "tcp dst port 8003" send
left_behind all
