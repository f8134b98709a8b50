# What ipft may still do once everything is attached, and that it does its work without more.
#
#   FEW   a regular expression for a handful of functions on the packets' way
#
# Leaves NAME.out, .err, .exit, .status (of all threads, while it traces) and .txt (what an attacker in its place could
# do) of
#   plain   what ipft does by default
#   ring    a ring of files, which it has to make and delete to the end
#   other   packets and a recording into a folder of another user's
#   kept    --keep-privileges
# `doctor` (what is said of it), `files` (what is in the ring's folder and the other user's).

network_nat
mark_arrivals server vs
mkdir -p /tmp/ring /tmp/other
chown 1000 /tmp/other

# trace NAME ARGS...: the attacker's attempts come before the packets.
trace() {
	local name=$1
	shift
	rm -f /tmp/planted
	start_ipft "$name" -m "$MARK" -r "$FEW" -v --plugin "$WORK/escape.so" --plugin-out "$name.txt" "$@"
	cat /proc/"$IPFT_PID"/task/*/status >"$name.status"
	ip netns exec client ping -n -q -c 3 -i 0.02 -W 10 10.1.0.2 >/dev/null
	settle
	end_ipft "$name"
}

# Everything that is loaded on demand is, before the first trace.
ip netns exec client ping -n -q -c 1 -W 10 10.1.0.2 >/dev/null
trace plain -o jsonl
undisturbed ring trace ring -o jsonl --record /tmp/ring/trace.ipft --record-max-size 64K --record-files 2
trace other --pcapng /tmp/other/out.pcapng --record /tmp/other/trace.ipft
trace kept -o jsonl --keep-privileges
exit_of doctor ipft doctor
ls /tmp/ring /tmp/other >files
left_behind plain
