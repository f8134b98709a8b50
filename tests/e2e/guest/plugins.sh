# Plugins in real traces.
#
#   FEW   a regular expression for a handful of functions on the packets' way
#
# Leaves NAME.out, .err and .exit of
#   all       a flame graph in f.svg, a table of latencies, and JSON
#   complete  a plugin that brings kernel code; what it draws is in complete.txt
#   alone     a plugin in the place of ipft's own output
#   named     likewise, of pings that a filter selects
#   trap, loop   one that fails, beside one that draws and JSON lines; neither may lose an event
# and `cache` (mode and owner of the cache), `files` (what is in the folders that were written to).

traffic() {
	ip netns exec client ping -n -q -c 1 -W 10 10.1.0.2 >/dev/null
	tcp_exchange client server 10.1.0.2 8000
	settle
}

# trace NAME ARGS...
trace() {
	local name=$1
	shift
	start_ipft "$name" -m "$MARK" "$@"
	traffic
	end_ipft "$name"
}

whole_network_nat
# Everything that is loaded on demand is, and every table that fills itself has, before the first trace.
traffic
COMPLETE=$WORK/complete.wasm

undisturbed all trace all -t function_graph --plugin flame --plugin-out f.svg --plugin latency -o json
undisturbed complete trace complete -r "$FEW" -o jsonl --plugin "$COMPLETE" --plugin-opt 'suffix=?' --plugin-out complete.txt
undisturbed alone trace alone -r "$FEW" --plugin paths
followed() {
	start_ipft named --plugin paths 'icmp and host 10.1.0.2'
	traffic
	end_ipft named
}
undisturbed named followed
for fails in trap loop; do
	undisturbed "$fails" trace "$fails" -r "$FEW" -o jsonl --plugin "$COMPLETE" --plugin-opt "fails=$fails" --plugin-timeout 2 \
		--plugin-out "$fails.txt" --plugin paths --plugin-out "$fails-paths.txt"
done

# Whatever ends it, a file is there whole or not at all.
start_ipft killed -m "$MARK" -r "$FEW" --plugin paths --plugin-out killed.txt
traffic
kill -9 "$IPFT_PID"
wait "$IPFT_PID" || :

stat -c '%a %u' /var/cache/ipft >cache
ls -A /tmp /out /var/cache/ipft >files
left_behind all
