# Shell functions for scripts in guests, and for the demo: . /guest/lib.sh
#
# Networks are made of namespaces. IPv6 is off in them and neighbours are permanent, so that the only packets are those
# that a test sends. A veth pair clears the mark when a packet changes namespace; marking again in the other side's raw
# PREROUTING is what makes the whole journey visible.

MARK=0xdeadbeef

# new_namespace NAME...: namespaces with lo up and IPv6 off.
new_namespace() {
	local name
	printf 'netns add %s\n' "$@" | ip -batch -
	for name; do
		ip netns exec "$name" sh -c '[ ! -e /proc/sys/net/ipv6/conf ] ||
			echo 1 | tee /proc/sys/net/ipv6/conf/all/disable_ipv6 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
		ip -n "$name" link set lo up
	done
}

# join_namespaces NAME1 DEVICE1 ADDRESS1 MAC1 NAME2 DEVICE2 ADDRESS2 MAC2: a veth pair between them, both ends up, each
# knowing the other's hardware address. Addresses are written 10.0.0.1/24.
join_namespaces() {
	ip link add "$2" address "$4" netns "$1" type veth peer name "$6" address "$8" netns "$5"
	end_of_pair "$1" "$2" "$3" "${7%/*}" "$8"
	end_of_pair "$5" "$6" "$7" "${3%/*}" "$4"
}

# end_of_pair NAME DEVICE ADDRESS PEER_ADDRESS PEER_MAC: one process for all of it, as each costs 50 ms under emulation.
end_of_pair() {
	ip -n "$1" -batch - <<-END
		addr add $3 dev $2
		link set $2 up
		neigh replace $4 lladdr $5 dev $2 nud permanent
	END
}

# mark_namespace NAME...: gives every IPv4 packet that is sent from or arrives in the namespaces the mark $MARK.
# $PROTOCOL (icmp, udp, ...) limits it to one protocol.
mark_namespace() {
	local name
	for name; do
		ip netns exec "$name" iptables-restore -n <<-END
			*raw
			-A OUTPUT -p ${PROTOCOL:-all} -j MARK --set-mark $MARK
			-A PREROUTING -p ${PROTOCOL:-all} -j MARK --set-mark $MARK
			COMMIT
		END
	done
}

# network_pair: a (10.0.0.1) and b (10.0.0.2), joined by the veth pair va - vb. Nothing is marked.
network_pair() {
	new_namespace a b
	join_namespaces a va 10.0.0.1/24 02:00:00:00:00:0a b vb 10.0.0.2/24 02:00:00:00:00:0b
}

# network_nat: client (192.168.1.2) - router (192.168.1.1, 10.1.0.1) - server (10.1.0.2). The router forwards, and the
# server sees the router's address (MASQUERADE). Everything is marked in all three.
network_nat() {
	new_namespace client router server
	join_namespaces client vc 192.168.1.2/24 02:00:00:00:01:02 router rc 192.168.1.1/24 02:00:00:00:01:01
	join_namespaces router rs 10.1.0.1/24 02:00:00:00:02:01 server vs 10.1.0.2/24 02:00:00:00:02:02
	ip -n client route add default via 192.168.1.1
	ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward
		exec iptables -t nat -A POSTROUTING -o rs -j MASQUERADE'
	mark_namespace client router server
}

# tcp_exchange CLIENT SERVER ADDRESS PORT: sends a line from one namespace to a listener in the other, and fails if
# that line does not arrive.
tcp_exchange() {
	local got line="a line over TCP" received listener
	received=$(mktemp)
	ip netns exec "$2" nc -l -n "$4" >"$received" &
	listener=$!
	wait_until 60 is_listening "$listener" "$4" || return 1
	printf '%s\n' "$line" | ip netns exec "$1" nc -N -n -w 10 "$3" "$4" || return 1
	wait "$listener"
	got=$(cat "$received")
	rm -f "$received"
	[ "$got" = "$line" ] || { echo "tcp_exchange: the server received '$got'" >&2; return 1; }
}

# nap [SECONDS]: waits, for a twentieth of a second by default, without a process: one costs some 50 ms under emulation, and
# a loop that waits would take half of the time from what it waits for. Nothing ever comes out of this pipe.
exec {NAP}<> <(:)
nap() {
	read -rt "${1:-0.05}" -u "$NAP" || :
}

# is_listening PID PORT: whether the process's namespace has a TCP socket of IPv4 that listens there. Without a process.
is_listening() {
	local sockets='' port
	printf -v port %04X "$2"
	read -rd '' sockets <"/proc/$1/net/tcp" || :
	# State 0A is TCP_LISTEN (include/net/tcp_states.h).
	[[ $sockets == *":$port 00000000:0000 0A "* ]]
}

# is_ready NAME: whether an ipft whose stderr is NAME.err says that it traces. Without a process, too.
is_ready() {
	local said=
	read -rd '' said <"$1.err" || :
	[[ $said == *'Trace ready!'* ]]
}

# wait_until SECONDS COMMAND...: until the command succeeds; fails when the time is over. It naps longer each time, up to
# a second: a command that starts processes takes the only CPU from what it waits for.
wait_until() {
	local end=$((SECONDS + $1)) naps=(0.05 0.1 0.2 0.4 0.8) at=0
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		nap "${naps[at]}"
		[ "$at" -eq 4 ] || at=$((at + 1))
	done
}

# start_ipft NAME ARGS...: runs ipft in the background with stdout in NAME.out and stderr in NAME.err, and returns when
# it says that it traces. The process is $IPFT_PID. $READY_TIMEOUT is in seconds (180).
start_ipft() {
	local name=$1 end=$((SECONDS + ${READY_TIMEOUT:-180}))
	shift
	# Here and not in the background, where an older run's message could be read before it is gone.
	: >"$name.err"
	ipft "$@" >"$name.out" 2>"$name.err" {NAP}>&- &
	IPFT_PID=$!
	until is_ready "$name"; do
		if ! kill -0 "$IPFT_PID" 2>/dev/null; then
			echo "ipft $* ended before it was ready:" >&2
			cat "$name.err" >&2
			return 1
		fi
		if [ "$SECONDS" -ge "$end" ]; then
			echo "ipft $* was not ready in time:" >&2
			cat "$name.err" >&2
			kill -9 "$IPFT_PID"
			return 1
		fi
		nap
	done
}

# stop_ipft [SECONDS]: ends what start_ipft started, and returns its exit code. It is killed, which gives 137, when it
# does not end in time (180). SIGTERM and not SIGINT, which a shell without job control makes its background jobs ignore.
stop_ipft() {
	local code=0 watchdog
	(nap "${1:-180}" && echo "ipft did not end in ${1:-180} s: killing it" >&2 && kill -9 "$IPFT_PID") &
	watchdog=$!
	kill -TERM "$IPFT_PID" 2>/dev/null || :
	# No polling: under emulation that would take the CPU from what it waits for.
	wait "$IPFT_PID" || code=$?
	kill "$watchdog" 2>/dev/null || :
	wait "$watchdog" 2>/dev/null || :
	return "$code"
}
