# One kernel, all its backends: traces a ping and a TCP exchange through the NAT router with each of them.
#
#   BACKENDS   an array, the backends to try, each as NAME/REGEX: which functions it traces; all, where REGEX is empty
#   KILLED     the backends, between blanks, of which a trace is ended by SIGKILL
#   FEW        a regular expression for a handful of functions
#   SHARED     one for the trace that three tracers make together
#
# Leaves, for each NAME-TRACER: .out (JSON lines), of the graph also .pcapng (the packets, with their first bytes), .err,
# .exit, .during (what was attached while it traced) and .left (what was attached after its end); the same of NAME-killed,
# which was ended by SIGKILL; of the three outputs of the same traffic, jsonl, json, aggregate; and of the list of
# functions, list and list-closed, the latter from sources other than the kernel's memory.

traffic() {
	ip netns exec client ping -n -q -c 1 -W 10 10.1.0.2 >/dev/null
	tcp_exchange client server 10.1.0.2 8000
	settle
}

# trace NAME ARGS...
trace() {
	local name=$1 code=0
	shift
	if start_ipft "$name" -m "$MARK" "$@"; then
		attached >"$name.during"
		traffic
		end_ipft "$name"
	else
		wait "$IPFT_PID" || code=$?
		echo "$code" >"$name.exit"
	fi
	left_behind "$name"
}

whole_network_nat
# Everything that is loaded on demand is, and every table that fills itself has, before the first trace.
traffic

# The list as ipft makes it, and as it does where the kernel's memory is closed.
exit_of list ipft -l -v
touch /tmp/closed
mount --bind /tmp/closed /proc/kcore
exit_of list-closed ipft -l -v
umount /proc/kcore

for backend in "${BACKENDS[@]}"; do
	name=${backend%%/*} regex=${backend#*/}
	for tracer in function function_graph; do
		packets=()
		[ "$tracer" = function ] || packets=(--record-bytes 64 --pcapng "$name-$tracer.pcapng")
		undisturbed "$name-$tracer" trace "$name-$tracer" -b "$name" -t "$tracer" -r "$regex" -o jsonl "${packets[@]}"
	done
	[[ $KILLED == *" $name "* ]] || continue
	if start_ipft "$name-killed" -m "$MARK" -b "$name" -t function_graph -r "$FEW"; then
		attached >"$name-killed.during"
		kill -9 "$IPFT_PID"
		wait "$IPFT_PID" || :
		left_behind "$name-killed"
	fi
done

# The three outputs, each by a tracer of its own, at the same time: what they see is the same.
three_outputs() {
	local output
	local -A pids
	for output in jsonl json aggregate; do
		start_ipft "$output" -m "$MARK" -t function_graph -r "$SHARED" -o "$output"
		pids[$output]=$IPFT_PID
	done
	traffic
	for output in jsonl json aggregate; do
		IPFT_PID=${pids[$output]}
		end_ipft "$output"
	done
}
undisturbed "jsonl json aggregate" three_outputs
