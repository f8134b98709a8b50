# Messages and exit codes of ipft for many command lines. One function is traced where any would do, for speed.
#
# Leaves NAME.out, .err and .exit of each run.

network_pair
ip netns exec b udpflood receive 9000 >/dev/null &
receiver=$!
ONE='^ip_send_skb$'

# datagrams COUNT: with mark 1.
datagrams() {
	ip netns exec a udpflood send 10.0.0.2 9000 "$1" 64 1 >/dev/null
	settle
}

exit_to() {
	echo "$2" >"$1"
}

# piped NAME READER ARGS...: runs ipft ARGS | READER in the background, as $PIPE, until it traces. READER is a shell
# command; its exit code goes to NAME.reader.
piped() {
	local name=$1 reader=$2
	shift 2
	note "$name"
	{
		ipft "$@" 2>"$name.err" && exit_to "$name.exit" 0 || exit_to "$name.exit" $?
	} | {
		sh -c "$reader" >"$name.out" && exit_to "$name.reader" 0 || exit_to "$name.reader" $?
	} &
	PIPE=$!
	wait_until 180 is_ready "$name"
}

# ipft_ends SECONDS
ipft_ends() {
	wait_until "$1" sh -c '! pgrep -x ipft >/dev/null'
}

# soon COMMAND...: a command that should refuse to run. If it traces instead, it is ended, which gives another exit
# code.
soon() {
	"$@" &
	wait_until 60 sh -c "! kill -0 $! 2>/dev/null" || kill -KILL "$!"
	wait "$!"
}

# ends_itself NAME: waits for what start_ipft started. If it goes on, it is killed, which is another exit code.
ends_itself() {
	ipft_ends 120 || kill -KILL "$IPFT_PID"
	exit_of "$1-wait" wait "$IPFT_PID"
}

# Wrong usage.
exit_of mark-zero ipft -m 0
exit_of mark-banana ipft -m banana
exit_of mark-wide ipft -m 0x100000000
exit_of mark-missing ipft -o json
exit_of mask-zero ipft -m 1 --mask 0
exit_of mask-disjoint ipft -m 1 --mask 2
exit_of backend-nonsense ipft -m 1 -b nonsense
exit_of tracer-nonsense ipft -m 1 -t nonsense
exit_of output-nonsense ipft -m 1 -o nonsense
exit_of regex-broken ipft -m 1 -r '('
exit_of ring-odd ipft -m 1 --ring-size 5000
exit_of unknown-option ipft -m 1 --nonsense
exit_of no-function ipft -m 1 -r '^no_function_has_this_name$'

# A plain user, and root on a machine that works.
as_plain_user() {
	setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all --inh-caps -all "$@"
}
exit_of plain-trace soon as_plain_user ipft -m 1
exit_of plain-doctor as_plain_user ipft doctor
exit_of plain-usage as_plain_user ipft -m 0
exit_of root-doctor ipft doctor

# Readers.
piped jq 'exec jq -c .' -m 1 -r "$ONE" -o json
datagrams 3
pkill -INT -x ipft
wait "$PIPE"
for output in json jsonl; do
	piped "head-$output" 'exec head -n 1' -m 1 -r "$ONE" -o "$output"
	datagrams 3
	datagrams 3
	ipft_ends 30 || pkill -KILL -x ipft
	wait "$PIPE"
done
piped head-aggregate 'exec head -n 1' -m 1 -r "$ONE"
datagrams 3000
pkill -INT -x ipft
ipft_ends 30 || pkill -KILL -x ipft
wait "$PIPE"

# Signals.
for signal in INT TERM HUP; do
	start_ipft "signal-$signal" -m 1 -r "$ONE"
	datagrams 1
	kill "-$signal" "$IPFT_PID"
	exit_of "wait-$signal" wait "$IPFT_PID"
done
# The output of the first signal has no reader.
piped twice 'echo $$ >/tmp/sleeper; exec sleep 1000' -m 1 -r "$ONE"
datagrams 3000
pkill -INT -x ipft
sleep 2
pgrep -x ipft >twice.alive || :
pkill -INT -x ipft
ipft_ends 30 || pkill -KILL -x ipft
kill "$(cat /tmp/sleeper)"
wait "$PIPE"

# Limits.
start_ipft duration -m 1 -r "$ONE" -o jsonl --duration 3s
datagrams 3
ends_itself duration
start_ipft events -m 1 -r "$ONE" -o jsonl --stop-after 5events
datagrams 20
ends_itself events
start_ipft packets -m 1 -r '^(__)?ip_' -o jsonl --stop-after 3packets
datagrams 20
ends_itself packets
# More than can be read, so that the buffer is never empty: the flood and who reads share a CPU, and the flood has nine
# tenths of it.
piped flood 'exec tail -n 200' -m 1 -o jsonl --duration 5s --ring-size 1M
taskset -apc 0 "$receiver" >/dev/null
taskset -apc 0 "$(pgrep -x ipft)" >/dev/null
ip netns exec a taskset -c 0 nice -n -10 udpflood send 10.0.0.2 9000 100000000 64 1 >/dev/null &
FLOOD=$!
ipft_ends 120 || pkill -KILL -x ipft
wait "$PIPE"
kill "$FLOOD"
wait "$FLOOD" || :

# The probe server. All functions, so that attaching takes a moment.
ipft -m 1 --enable-probe-server -o jsonl >probe.out 2>probe.err &
IPFT_PID=$!
refused=0
until nc -z 127.0.0.1 13720; do
	refused=$((refused + 1))
	kill -0 "$IPFT_PID"
done
datagrams 3
echo "$refused" >probe.refused
ss -Hltn >probe.listening
end_ipft probe
exit_of probe-after nc -z 127.0.0.1 13720
start_ipft probe-address -m 1 -r "$ONE" --enable-probe-server --probe-server-address 0.0.0.0 --probe-server-port 13721
ss -Hltn >probe-address.listening
end_ipft probe-address
start_ipft probe-none -m 1 -r "$ONE"
ss -Hltn >probe-none.listening
end_ipft probe-none
left_behind all

# A kernel that does not offer what is needed.
mkdir /tmp/empty
mount --bind /tmp/empty /sys/kernel/btf
exit_of no-btf soon ipft -m 1 -r "$ONE"
exit_of no-btf-doctor ipft doctor
umount /sys/kernel/btf
grep -E ' (debugfs|tracefs) ' /proc/mounts | cut -d' ' -f2 | sort -r | xargs -n 1 umount -l
exit_of no-tracefs soon ipft -m 1 -r "$ONE"
exit_of no-tracefs-doctor ipft doctor
mount -t tracefs tracefs /sys/kernel/tracing
# This cannot be undone.
mountpoint -q /sys/kernel/security || mount -t securityfs securityfs /sys/kernel/security
echo confidentiality >/sys/kernel/security/lockdown
exit_of lockdown soon ipft -m 1 -r "$ONE"
exit_of lockdown-doctor ipft doctor

kill "$receiver"
