# What the fields of packets say, against what the sender and the namespaces say.
#
#   FEW    a regular expression for functions that see packets before, at and behind their devices
#   PAGE   an array: the commands of the book's page on expressions, or nothing
#   $WORK  if there are commands, with the file that one of them names
#
# Leaves namespaces (the numbers of a and b), and JSON lines: ping.out, mixed.out (a ping over IPv6, a datagram from a to
# port 5002 of b, an exchange on port 8000, a ping of 4,000 bytes, and ARP), marked.out (a ping with a mark, traced by it),
# perf.out (a ping, by way of the perf buffer), and alone.out, a ping that an expression selects, with one group of fields.
# Fields with names that begin with lua are expressions. Of the page: page-N.out for each command, JSON lines, and
# wrong.err, what ipft says of a field that no kernel has.

network_pair
for namespace in a b; do
	ip netns exec "$namespace" sysctl -qw net.ipv6.conf.all.disable_ipv6=0
done
ip -n a addr add fd00::1/64 dev va nodad
ip -n b addr add fd00::2/64 dev vb nodad
stat -L -c %i /run/netns/a /run/netns/b >namespaces
for address in 10.0.0.2 fd00::2; do
	ip netns exec a ping -q -c 1 -W 5 "$address" >/dev/null
done
settle

# trace NAME "WORDS..." COMMAND...: traces what the command causes.
trace() {
	local run=$1 words=$2
	shift 2
	once() {
		# shellcheck disable=SC2086
		start_ipft "$run" $words -o jsonl
		"$@"
		settle
		end_ipft "$run"
	}
	undisturbed "$run" once "$@"
}

ping_b() {
	ip netns exec a ping -q -c 1 -W 5 "$@" >/dev/null
}

mixed() {
	ping_b fd00::2
	ip netns exec a bash -c 'exec 3<>/dev/udp/10.0.0.2/5002 && echo x >&3'
	tcp_exchange a b 10.0.0.2 8000
	ping_b -s 4000 10.0.0.2
	ip -n a neigh del 10.0.0.2 dev va
	ping_b 10.0.0.2
}

# Words are split at blanks.
ip='cast("iphdr",skb.head+skb.network_header)'
transport='cast("tcphdr",skb.head+skb.transport_header)'
same="--show lua.len=skb.len --show lua.iface=skb.dev.name --show lua.mark=skb.mark --show lua.proto=$ip.protocol"
same+=" --show lua.saddr=ipv4($ip.saddr) --show lua.ifindex=skb.dev.ifindex --show lua.mac=mac(skb.dev.dev_addr)"
same+=" --show lua.far=skb.dev.name==\"vb\""

trace ping "icmp -r $FEW" ping_b 10.0.0.2
trace mixed "udp or tcp or arp or icmp or icmp6[0]==128 or icmp6[0]==129 -r $FEW --show lua.dport=ntoh($transport.dest)" mixed
trace marked "-m 0x77 --show all -r $FEW $same" ping_b -m 119 10.0.0.2
trace perf "icmp --perf-page-count 8 -r $FEW --show lua.len=skb.len" ping_b 10.0.0.2
trace alone "--where (skb.network_header>0)and($ip.version==4)and($ip.protocol==1) --show iface -r $FEW" ping_b 10.0.0.2

# each_of_page: runs the commands side by side, while packets come that each of them selects.
each_of_page() {
	local at pids=() code
	for at in "${!PAGE[@]}"; do
		eval "exec ${PAGE[at]} -r '$FEW' -o jsonl" >"page-$at.out" 2>"page-$at.err" &
		pids+=($!)
	done
	for at in "${!PAGE[@]}"; do
		wait_until 60 is_ready "page-$at" || :
	done
	ping_b 10.0.0.2
	ping_b -m 7 10.0.0.2
	ping_b -m "$((0xdeadbeef))" 10.0.0.2
	tcp_exchange a b 10.0.0.2 80
	tcp_exchange a b 10.0.0.2 8080
	ip netns exec a ping -q -c 1 -W 1 -s 1400 192.0.2.2 >/dev/null || :
	settle
	kill -TERM "${pids[@]}" || :
	for at in "${!PAGE[@]}"; do
		code=0
		wait "${pids[at]}" || code=$?
		echo "$code" >"page-$at.exit"
	done
}
if [ ${#PAGE[@]} -gt 0 ]; then
	note "page"
	# Its neighbours need no address, and none answers.
	ip -n a link add eth0 type dummy
	ip -n a addr add 192.0.2.1/24 dev eth0
	ip -n a link set eth0 up
	cp "$WORK"/examples/gso-fields.lua .
	each_of_page
	exit_of wrong ipft icmp --show skb.lenn
fi
left_behind all
