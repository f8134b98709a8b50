# What ipft does before it attaches: reads types and symbols, and makes its list of functions.
#
# Runs in a guest that counts instructions: a nanosecond is an instruction. Prints lines of a name and microseconds,
# which `cargo xtask bench sinks` reads.
microseconds() { echo $((${EPOCHREALTIME/./})); }

# The first time the program is read from the disk. The clock does not count that, and jumps ahead while it lasts.
ipft -l >/dev/null 2>&1

for _ in 1 2 3; do
	began=$(microseconds)
	ipft -l >list 2>/dev/null
	echo "list $(($(microseconds) - began))"
done
[ -s list ] || { echo "start.sh: ipft -l listed nothing" >&2; exit 1; }

# To one function, so that little of it is the kernel's work of attaching.
for _ in 1 2 3; do
	rm -f errors
	mkfifo errors
	began=$(microseconds)
	ipft -m 1 -b kprobe-multi -r '^ip_rcv$' >/dev/null 2>errors &
	exec 3<errors
	until IFS= read -r line <&3 && [ "$line" = "Trace ready!" ]; do
		kill -0 $! || { echo "start.sh: ipft ended before it was ready" >&2; exit 1; }
	done
	echo "ready $(($(microseconds) - began))"
	kill -INT $!
	cat <&3 >/dev/null
	exec 3<&-
	wait $!
done
