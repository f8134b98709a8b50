# Privileges of ipft after attaching, which are sufficient for its work.
#
#   FEW   a regular expression for a handful of functions on the packets' way
#
# Leaves NAME.out, .err, .exit, .status (of all threads, while it traces) and .txt (what an attacker in its place could
# do) of
#   plain   what ipft does by default
#   ring    a ring of files, which it has to make and delete to the end
#   other   packets and a recording into a folder of another user's
#   kept    --keep-privileges
#   user    --user nobody, with a ring and packets in folders of that user, and nothing kept
#   given   --user 4242, with packets in a folder of root's
# `doctor` (what is said of it), `files` (what is in the ring's folder and the other user's), `owners` (of the files of
# `user` and `given`), `unknown` (a user that is not there), `plain-user` (--user without root), `killed.left` (what is
# attached after a trace with --user was killed).

network_nat
mark_arrivals server vs
mkdir -p /tmp/ring /tmp/other /tmp/user /tmp/given
chown 1000 /tmp/other
chown nobody /tmp/user
chmod 755 /tmp/given

# trace NAME ARGS...: the attacker's attempts come before the packets, and go to the folder $DRAWN, or to this one.
trace() {
	local name=$1
	shift
	rm -f /tmp/planted
	start_ipft "$name" -m "$MARK" -r "$FEW" -v --plugin "$WORK/escape.so" --plugin-out "${DRAWN:-$PWD}/$name.txt" "$@"
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
DRAWN=/tmp/user trace user -o jsonl --user nobody --pcapng /tmp/user/out.pcapng \
	--record /tmp/user/trace.ipft --record-max-size 64K --record-files 2
trace given -o jsonl --user 4242 --pcapng /tmp/given/out.pcapng
stat -c '%n %u %g %a' /tmp/user/* /tmp/given/* given.txt >owners
cp /tmp/user/user.txt .
exit_of unknown ipft -m 1 --user nemo
exit_of plain-user setpriv --reuid 65534 --regid 65534 --clear-groups ipft -m 1 --user nobody
start_ipft killed -m "$MARK" -r "$FEW" --user nobody -o jsonl
kill -9 "$IPFT_PID"
left_behind killed
exit_of doctor ipft doctor
# Scripts that trace, on a device that nothing else uses.
ip netns add own
ip -n own link set lo up
exit_of script ip netns exec own ipft lua "$WORK/count.lua" -x lo
exit_of plain-script setpriv --reuid 65534 --regid 65534 --clear-groups ipft lua "$WORK/count.lua"
ls /tmp/ring /tmp/other >files
left_behind plain
