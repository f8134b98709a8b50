# Floods of a known size, through buffers that hold them and buffers that do not.
#
#   FUNCTIONS   a regular expression for functions that a datagram enters once each, on the CPU that sends it
#   FLOOD_0, FLOOD_1   datagrams that CPU 0 and CPU 1 send
#   LIMIT       events that a CPU may record at once and per second, in the traces `limited...`
#
# Leaves JSON lines of each: NAME.out, .err, .exit. That of `early` is rows, of two floods. `limited.work` has the lines
# that another process on CPU 0 wrote during that flood.

network_pair
# Nothing comes back, and nothing is seen of what arrives, as the mark is cleared on the way.
ip netns exec b iptables -t raw -A PREROUTING -j DROP

flood() {
	local first
	taskset -c 0 ip netns exec a udpflood send 10.0.0.2 9000 "$FLOOD_0" 64 "$MARK" &
	first=$!
	taskset -c 1 ip netns exec a udpflood send 10.0.0.2 9000 "$FLOOD_1" 64 "$MARK"
	wait "$first"
}

# trace NAME ARGS...
trace() {
	local name=$1
	shift
	start_ipft "$name" -m "$MARK" -r "$FUNCTIONS" -o jsonl "$@"
	flood
	end_ipft "$name"
}

# More than the memory that it may take holds.
early() {
	start_ipft early -m "$MARK" -r "$FUNCTIONS" --max-memory 1M
	flood
	flood
	end_ipft early
}

# limited NAME ARGS...
limited() {
	local name=$1 worker
	shift
	start_ipft "$name" -m "$MARK" -r "$FUNCTIONS" -o jsonl --max-events-per-second "$LIMIT" "$@"
	taskset -c 0 sh -c 'while :; do echo; done' >"$name.work" &
	worker=$!
	flood
	kill "$worker"
	# Longer than the interval of warnings.
	sleep 1.2
	end_ipft "$name"
}

undisturbed large trace large
undisturbed small-ring trace small-ring --ring-size 4K
undisturbed large-perf trace large-perf --perf-page-count 1024
undisturbed small-perf trace small-perf --perf-page-count 1
undisturbed small-ring-graph trace small-ring-graph --ring-size 4K -t function_graph
undisturbed limited limited limited
undisturbed limited-graph limited limited-graph -t function_graph
undisturbed early early
