# Recordings of real traces.
#
#   FEW   a regular expression for a handful of functions on the packets' way
#
# Leaves NAME.out, .err and .exit of
#   live       a trace that is recorded into live.ipft, drawn as JSON and as a flame graph in live.svg
#   again      the recording as JSON, and as a flame graph in again.svg
#   nowhere    a recording that cannot be made
#   full       a trace that is recorded until the file system is full, beside JSON lines
#   full-again what was recorded until then, as JSON lines
#   stuck      a trace that is recorded beside JSON lines whose reader does not read
#   stuck-again  the recording as JSON lines
#   killed-N   what can be read of a trace whose ipft was killed when the recording had N bytes; its size is in .size
#   ring       a trace in a ring of files, beside JSON lines; `parts` has their names and sizes
#   ring-again all that the ring still has, as JSON lines
# and `files` (what is in the full file system).

traffic() {
	ip netns exec client ping -n -q -c 1 -W 10 10.1.0.2 >/dev/null
	tcp_exchange client server 10.1.0.2 8000
	settle
}

# flood COUNT: sends datagrams, which are not answered.
flood() {
	ip netns exec client udpflood send 10.1.0.2 9000 "$1" 64 "$MARK"
}

# larger SIZE FILE
larger() {
	[ "$(stat -c %s "$2")" -gt "$1" ]
}

whole_network_nat
ip netns exec server iptables -t raw -A PREROUTING -p udp -j DROP
# Everything that is loaded on demand is, and every table that fills itself has, before the first trace.
traffic
flood 10

live() {
	start_ipft live -m "$MARK" -t function_graph --record live.ipft -o json --plugin flame --plugin-out live.svg
	traffic
	end_ipft live
}
undisturbed live live
exit_of again ipft replay live.ipft -o json
exit_of again-flame ipft replay live.ipft --plugin flame --plugin-out again.svg
exit_of nowhere ipft -m "$MARK" -r "$FEW" --record /no/such/folder/x -o json

# A file system that is full before the trace ends.
mkdir /tmp/small
mount -t tmpfs -o size=64k tmpfs /tmp/small
start_ipft full -m "$MARK" -r "$FEW" --record /tmp/small/full.ipft -o jsonl
for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
	! grep -q 'No space' full.err || break
	flood 1500
	sleep 1.1
done
wait_until 20 grep -q 'No space' full.err || :
traffic
end_ipft full
exit_of full-again ipft replay /tmp/small/full.ipft -o jsonl
cp /tmp/small/full.ipft full.ipft
ls /tmp/small >files
umount /tmp/small

# A reader of stdout that does not read.
mkfifo stuck.out
sleep 100000 <stuck.out &
reader=$!
start_ipft stuck -m "$MARK" -r "$FEW" --record stuck.ipft -o jsonl
flood 3000
settle
end_ipft stuck
kill "$reader"
wait "$reader" || :
rm stuck.out
exit_of stuck-again ipft replay stuck.ipft -o jsonl

# A ring: two files are kept of those that there were.
mkdir ring
start_ipft ring -m "$MARK" -r "$FEW" --record ring/r.ipft --record-max-size 64K --record-files 2 -o jsonl
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
	[ ! -e ring/r.000003.ipft ] || break
	flood 3000
	sleep 1.1
done
traffic
end_ipft ring
(cd ring && stat -c '%n %s' *) >parts
exit_of ring-again ipft replay ring/*.ipft -o jsonl

# Killed when the recording has a certain size, under traffic.
for size in 1000 10000 40000 90000 200000; do
	rm -f killed.ipft
	start_ipft killed -m "$MARK" -r '^ip_' --record killed.ipft
	ip netns exec client udpflood send 10.1.0.2 9000 1000000000 64 "$MARK" &
	flooding=$!
	wait_until 60 larger "$size" killed.ipft || :
	kill -KILL "$IPFT_PID"
	wait "$IPFT_PID" || :
	kill "$flooding"
	wait "$flooding" || :
	stat -c %s killed.ipft >"killed-$size.size"
	exit_of "killed-$size" ipft replay killed.ipft -o jsonl
done

left_behind all
