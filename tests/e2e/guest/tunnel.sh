# What is inside of packets selects them, and is shown: of tunnels of the kernel, and of datagrams that look like a tunnel's.
#
#   FEW  a regular expression for functions that see packets on their way through a tunnel
#
# Leaves JSON lines: both.out (a ping and a datagram through VXLAN, of which filters of both headers select the ping's request), any.out
# (pings through GRE and IP in IP, and one without a tunnel, of which everything inside is selected), made.out (a datagram whose
# bytes are a packet of VXLAN with a ping's request inside), and wrong.err, of a wrong filter.

modprobe -qa vxlan ip_gre ipip || :
network_pair
for end in a/va/1/2 b/vb/2/1; do
	IFS=/ read -r name device own other <<<"$end"
	ip -n "$name" link add vx address "02:00:00:00:07:0$own" type vxlan id 7 dstport 4789 remote "10.0.0.$other" dev "$device"
	ip -n "$name" link add gre1 type gre local "10.0.0.$own" remote "10.0.0.$other"
	ip -n "$name" link add ipip1 type ipip local "10.0.0.$own" remote "10.0.0.$other"
	ip -n "$name" addr add "172.16.0.$own/24" dev vx
	ip -n "$name" addr add "172.17.0.$own/24" dev gre1
	ip -n "$name" addr add "172.18.0.$own/24" dev ipip1
	for tunnel in vx gre1 ipip1; do
		ip -n "$name" link set "$tunnel" up
	done
	ip -n "$name" neigh replace "172.16.0.$other" lladdr "02:00:00:00:07:0$other" dev vx nud permanent
done

ping_b() {
	ip netns exec a ping -q -c 1 -W 5 "$@" >/dev/null
}

# datagram PORT TEXT ADDRESS: TEXT as printf has it.
datagram() {
	ip netns exec a bash -c 'printf "$1" >/dev/udp/$2/$0' "$1" "$2" "$3"
}

for address in 172.16.0.2 172.17.0.2 172.18.0.2; do
	ping_b "$address"
done
settle

# trace NAME COMMAND -- WORDS...: traces what the command causes.
trace() {
	local run=$1 command=$2
	shift 3
	once() {
		start_ipft "$run" "$@" --show +tunnel -o jsonl -r "$FEW"
		"$command"
		settle
		end_ipft "$run"
	}
	undisturbed "$run" once "$@"
}

through_vxlan() {
	ping_b 172.16.0.2
	datagram 5002 x 172.16.0.2
}

through_both() {
	ping_b 172.17.0.2
	ping_b 172.18.0.2
	ping_b 10.0.0.2
}

# VXLAN of number 7, Ethernet, IP, and a request of ICMP.
made() {
	local vxlan='\x08\x00\x00\x00\x00\x00\x07\x00'
	local ethernet='\x02\x00\x00\x00\x07\x02\x02\x00\x00\x00\x07\x01\x08\x00'
	local ip='\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x01\x22\xbe\xac\x10\x00\x01\xac\x10\x00\x02'
	local icmp='\x08\x00\xf7\xfd\x00\x01\x00\x01'

	datagram 4789 "$vxlan$ethernet$ip$icmp" 10.0.0.2
}

trace both through_vxlan -- 'udp port 4789' --inner 'icmp[0] = 8 and ether dst 02:00:00:00:07:02'
trace any through_both -- --inner ''
trace made made -- 'src 10.0.0.1' --inner 'icmp and less 100 and dst 172.16.0.2'
exit_of wrong ipft --inner 'tcp prt 80'
left_behind all
