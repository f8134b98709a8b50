# One kernel, all its backends: what extensions of every kind show of a TCP transfer that is segmented late.
#
#   PLANS   an array: a backend and, behind a slash, what to trace with at the same time, each as KIND-OUTPUT. KIND is
#           c, o, decode (a script) or dump (a script of the older generation)
#   FEW     a regular expression for a handful of functions on the packets' way
#
# Leaves NAME.out, .err and .exit for each NAME of
#   BACKEND-KIND-OUTPUT
#   gso, published, skeleton, owner, function, lua-skeleton (functions in Lua), and graph, perf, ring, followed, followed-perf (JSON lines)
# and cgroup.id, the id of the control group of what sends.

SENDER=1234
KIT=$WORK/clang
export KEEP=/tmp/kept.o
COMPILER="bash $WORK/keep.sh $KIT/ld.so --library-path $KIT/lib $KIT/clang"

network_pair
mark_namespace a b
mkdir /tmp/cgroup /tmp/made
mount -t cgroup2 cgroup2 /tmp/cgroup
mkdir /tmp/cgroup/sender
stat -c %i /tmp/cgroup/sender >cgroup.id

# transfer: as user $SENDER in a control group of its own, sends more than fits into one packet, and no more than shows
# that: the longer the trace, the more often an interrupt disturbs it.
transfer() {
	local listener
	ip netns exec b nc -l -n 8000 >/tmp/received &
	listener=$!
	wait_until 60 is_listening "$listener" 8000
	head -c 30000 /dev/zero | sh -c 'echo $$ >/tmp/cgroup/sender/cgroup.procs
		exec ip netns exec a setpriv --reuid '"$SENDER"' --clear-groups nc -N -n -w 10 10.0.0.2 8000'
	wait "$listener"
	[ "$(stat -c %s /tmp/received)" -eq 30000 ]
	settle
}

declare -A pids

# begin NAME ARGS...: starts a tracer without waiting for it.
begin() {
	local name=$1
	shift
	note "$name"
	ipft -m "$MARK" "$@" >"$name.out" 2>"$name.err" &
	pids[$name]=$!
}

ready_or_gone() {
	is_ready "$1" || ! kill -0 "${pids[$1]}" 2>/dev/null
}

# record: waits for the tracers that were begun, lets them see a transfer, and ends them.
record() {
	local name code
	for name in "${!pids[@]}"; do
		wait_until 120 ready_or_gone "$name" || :
	done
	note "traffic for ${!pids[*]}"
	transfer
	kill -TERM "${pids[@]}" 2>/dev/null || :
	for name in "${!pids[@]}"; do
		code=0
		wait "${pids[$name]}" || code=$?
		echo "$code" >"$name.exit"
	done
	pids=()
	note "recorded"
}

# As a user has them: beside each other, in a folder that can be written.
cd /tmp/made
cp "$WORK"/examples/* "$WORK"/published.* .
ipft --gen bpf-module-header >ipft_module.h
ipft --gen bpf-module-skeleton >skeleton.c
ipft --gen lua-skeleton >skeleton.lua
# A name is a name.
cp gso.c "it's \"gso\"; touch pwned \$(touch pwned).c"
cd /out

# Everything that is loaded on demand is, and every table that fills itself has, before the first trace.
transfer

export CC=$COMPILER CFLAGS='-Wall -Werror' GSO_OBJECT=/tmp/made/gso.bpf.o
compiled() {
	KEEP=/tmp/made/$1.bpf.o begin "$1" -r "$FEW" -o jsonl -e "/tmp/made/$1.c"
}
of_sources() {
	local name
	for name in gso published skeleton owner; do
		compiled "$name"
	done
	begin function -r "$FEW" -o jsonl -e /tmp/made/gso-fields.lua
	begin lua-skeleton -r "$FEW" -o jsonl -e /tmp/made/skeleton.lua
	record
}
undisturbed "gso published skeleton owner function lua-skeleton" of_sources

# From here on, only what says so has a compiler.
unset CC

# of_backend BACKEND RUN...
of_backend() {
	local backend=$1 run kind
	shift
	for run; do
		kind=${run%-*}
		case $kind in
		c) CC=$COMPILER FILE="/tmp/made/it's \"gso\"; touch pwned \$(touch pwned).c" ;;
		o) FILE=/tmp/made/gso.bpf.o ;;
		decode) FILE=/tmp/made/gso.lua ;;
		dump) FILE=/tmp/made/published.lua ;;
		esac
		export CC
		begin "$backend-$run" -b "$backend" -r "$FEW" -o "${run#*-}" -e "$FILE"
		unset CC
	done
	record
}
for plan in "${PLANS[@]}"; do
	backend=${plan%%/*} names=
	for run in ${plan#*/}; do
		names+=" $backend-$run"
	done
	# shellcheck disable=SC2086 # the runs are words
	undisturbed "$names" of_backend "$backend" ${plan#*/}
done

# As a call graph, and through the other buffer.
of_others() {
	begin graph -t function_graph -r "$FEW" -o jsonl -e /tmp/made/gso.bpf.o
	begin perf --perf-page-count 64 -r "$FEW" -o jsonl -e /tmp/made/published.bpf.o
	begin ring -r "$FEW" -o jsonl -e /tmp/made/gso.bpf.o
	record
}
undisturbed "graph perf ring" of_others

# All that needs the stack at once: old kernels give a program and what it calls 512 bytes.
of_followed() {
	begin followed tcp -v -t function_graph --record-bytes 64 -r "$FEW" -o jsonl -e /tmp/made/gso.bpf.o
	begin followed-perf tcp -v -t function_graph --perf-page-count 64 -r "$FEW" -o jsonl -e /tmp/made/gso.bpf.o
	record
}
undisturbed "followed followed-perf" of_followed
left_behind all
ls -A /tmp/made /tmp /out >files
