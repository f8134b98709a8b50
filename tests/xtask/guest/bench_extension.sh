# What an extension that does nothing adds to each event. Runs in a guest that counts instructions: a nanosecond is an
# instruction. Prints `NAME NUMBER NANOSECONDS` for floods of marked packets, without an extension and with the one in
# empty.o, and the calls per packet, which `cargo xtask bench extension` reads. The tracer's reader sleeps meanwhile, and
# its buffer holds all.
PACKETS=500
PORT=9

# send COUNT: nanoseconds of sending so many packets
send() {
	local said
	said=$(ip netns exec a udpflood send 10.0.0.2 "$PORT" "$1" 64 "$MARK")
	[[ $said == *failed=0* ]] || { echo "bench_extension.sh: packets were not sent: $said" >&2; return 1; }
	echo "${said##*nanoseconds=}"
}

network_pair
ip netns exec b chrt -i 0 udpflood receive "$PORT" &
sleep 0.5
send "$PACKETS" >/dev/null
sleep 1

# measure NAME ARGUMENTS...
measure() {
	local name=$1
	shift
	start_ipft "$name" -m "$MARK" -b kprobe-multi -o jsonl "$@"
	send "$PACKETS" >/dev/null
	sleep 2
	for _ in 1 2 3 4 5; do
		kill -STOP "$IPFT_PID"
		echo "$name $PACKETS $(send "$PACKETS")"
		kill -CONT "$IPFT_PID"
		sleep 2
	done
	stop_ipft
	echo "$name-events $((6 * PACKETS)) $(grep -c '"type":"event"' "$name.out")"
	echo "$name-lost 1 $(grep -c '"type":"lost"' "$name.out" || :)"
}

measure plain
measure extended -e empty.o
