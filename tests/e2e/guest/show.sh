# Built-in fields, alone, beside an extension and beside a script that decodes the same bytes.
#
#   FEW   a regular expression for a handful of functions on the packets' way
#
# Leaves NAME.out, .err and .exit for each NAME of
#   KIND-OUTPUT          KIND is only, c (an object) or lua (a script); OUTPUT is jsonl, json or aggregate
#   again-KIND-OUTPUT    the recording of KIND-jsonl, drawn
#   again-decoded        that of c-jsonl, decoded by the script
#   info                 what is in the recording of lua-jsonl
#   mark, graph, perf    JSON lines with the mark alone, of a call graph, and through the other buffer
#   clash                an extension with a field of the same name

network_pair
mark_namespace a b
mark_arrivals a va
mark_arrivals b vb
export SHOWN=$WORK/show-objects/shown.o
SCRIPT=$WORK/show.lua

traffic() {
	ip netns exec a ping -n -q -c 2 -i 0.1 -s 100 -W 10 10.0.0.2 >ping.txt
	settle
}
traffic

declare -A pids
begin() {
	local name=$1
	shift
	note "$name"
	ipft -m "$MARK" -r "$FEW" "$@" >"$name.out" 2>"$name.err" &
	pids[$name]=$!
}

# record: waits for the tracers that were begun, lets them see the traffic, and ends them.
record() {
	local name code
	for name in "${!pids[@]}"; do
		wait_until 120 sh -c "grep -q 'Trace ready!' $name.err || ! kill -0 ${pids[$name]} 2>/dev/null" || :
	done
	traffic
	kill -TERM "${pids[@]}" 2>/dev/null || :
	for name in "${!pids[@]}"; do
		code=0
		wait "${pids[$name]}" || code=$?
		echo "$code" >"$name.exit"
	done
	pids=()
}

all() {
	local kind extension
	for kind in only c lua; do
		case $kind in
		only) extension=() ;;
		c) extension=(-e "$SHOWN") ;;
		lua) extension=(-e "$SCRIPT") ;;
		esac
		begin "$kind-jsonl" --show len,mark "${extension[@]}" -o jsonl --record "$kind.ipft"
		begin "$kind-json" --show mark,len "${extension[@]}" -o json
		begin "$kind-aggregate" --show len,mark "${extension[@]}"
	done
	record
	begin mark --show mark -e "$SHOWN" -o jsonl
	begin graph --show len,mark -e "$SCRIPT" -t function_graph -o jsonl
	begin perf --show len,mark -e "$SHOWN" -o jsonl --perf-page-count 64
	record
}
undisturbed "only-jsonl only-json only-aggregate c-jsonl c-json c-aggregate lua-jsonl lua-json lua-aggregate mark graph perf" all

for kind in only c lua; do
	exit_of "again-$kind-jsonl" ipft replay "$kind.ipft" -o jsonl
	exit_of "again-$kind-json" ipft replay "$kind.ipft" -o json
	exit_of "again-$kind-aggregate" ipft replay "$kind.ipft"
done
exit_of again-decoded ipft replay c.ipft -s "$SCRIPT" -o jsonl
exit_of info ipft replay --info lua.ipft
exit_of clash ipft -m "$MARK" -r "$FEW" --show len -e "$WORK/show-objects/clash.o"
left_behind all
