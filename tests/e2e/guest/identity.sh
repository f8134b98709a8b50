# Packets one after another, which reuse each other's memory.
#
#   LIFE       a regular expression for functions that every packet enters once
#   EVERYTHING one for all functions that the kernel can be made to trace in reasonable time
#
# Leaves JSON lines: flood.out of 10,000 datagrams with LIFE, and with EVERYTHING datagrams.out of 200 and tcp.out of
# a transfer over TCP, GRO on the receiving side where veth has it.

network_pair
mark_namespace a b
mark_arrivals a va
mark_arrivals b vb
for end in a/va b/vb; do
	ip netns exec "${end%/*}" ethtool -K "${end#*/}" gro on || echo "no GRO on ${end#*/}"
done
ip netns exec b udpflood receive 9000 >received &
receiver=$!
wait_until 60 sh -c 'ip netns exec b ss -Hlun sport = :9000 | grep -q .'

# datagrams COUNT: the socket's mark is there from the packet's making.
datagrams() {
	ip netns exec a udpflood send 10.0.0.2 9000 "$1" 64 "$MARK"
	settle
}

transfer() {
	local listener
	ip netns exec b nc -l -n 8000 | sha256sum >transferred &
	listener=$!
	wait_until 60 sh -c 'ip netns exec b ss -Hltn sport = :8000 | grep -q .'
	head -c 300000 /dev/urandom >/tmp/data
	ip netns exec a nc -N -n -w 10 10.0.0.2 8000 </tmp/data
	wait "$listener"
	[ "$(cat transferred)" = "$(sha256sum </tmp/data)" ]
	settle
}

datagrams 10
start_ipft flood -m "$MARK" -o jsonl -r "$LIFE"
datagrams 10000
end_ipft flood

# traced NAME COMMAND...: traces a command.
traced() {
	start_ipft "$1" -m "$MARK" -o jsonl -r "$EVERYTHING"
	"${@:2}"
	end_ipft "$1"
}
# A release that was not seen makes two packets one.
undisturbed datagrams traced datagrams datagrams 200
undisturbed tcp traced tcp transfer

kill "$receiver"
wait "$receiver"
