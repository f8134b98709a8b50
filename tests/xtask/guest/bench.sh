# FLOOR IPFT-ARGUMENTS...: what ipft costs, and what programs that do nothing cost (bench-floor FLOOR).
#
# Runs in a guest that counts instructions: a nanosecond is an instruction. Prints lines of a name and numbers, which
# `cargo xtask bench kernel` reads. Traffic is 64-byte UDP over a veth pair. The receiver is SCHED_IDLE: one that
# competes for the only CPU makes a flood's figures jump between two values.
floor=$1
shift

FLOOD=3000
PACKETS=1000
FEW=500
PORT=9

microseconds() { echo $((${EPOCHREALTIME/./})); }

# send COUNT [MARK]: nanoseconds of sending so many packets
send() {
	local said
	said=$(ip netns exec a udpflood send 10.0.0.2 "$PORT" "$1" 64 ${2:+"$2"})
	[[ $said == *failed=0* ]] || { echo "bench.sh: packets were not sent: $said" >&2; return 1; }
	echo "${said##*nanoseconds=}"
}

# flood NAME COUNT [MARK]: five times, each followed by time for the receiver and the tracer to take all in
flood() {
	local _
	for _ in 1 2 3 4 5; do
		echo "$1 $2 $(send "$2" ${3:+"$3"})"
		sleep 2
	done
}

# The whole journey is marked: by the socket, and again behind the veth, which clears the mark between namespaces.
mark() { ip netns exec b iptables -t raw -A PREROUTING -p udp -j MARK --set-mark "$MARK"; }
# Without the rule, and without the hook that even an empty chain is.
unmark() { ip netns exec b nft delete table ip raw; }

# unread NAME [MARK]: the kernel's part alone: the reader sleeps, and the buffer holds all.
unread() {
	local _
	for _ in 1 2 3; do
		kill -STOP "$subject"
		echo "$1 $FEW $(send "$FEW" ${2:+"$2"})"
		kill -CONT "$subject"
		sleep 2
	done
}

runs() { bpftool --json prog show | jq '[.[] | .run_cnt // 0] | add // 0'; }

# path NAME: how often programs run per packet, while it is sent and delivered to the receiver's socket. The kernel
# counts, which slows it, so nothing else is measured meanwhile.
path() {
	local before after
	kill -STOP "$receiver"
	echo 1 >/proc/sys/kernel/bpf_stats_enabled
	before=$(runs)
	send "$FEW" >/dev/null
	after=$(runs)
	echo 0 >/proc/sys/kernel/bpf_stats_enabled
	kill -CONT "$receiver"
	sleep 1
	echo "$1 $FEW $((after - before))"
}

# start COMMAND...: until it says that it is ready; sets $subject and $ready (microseconds)
start() {
	local line began
	rm -f errors said
	mkfifo errors
	began=$(microseconds)
	"$@" >output 2>errors &
	subject=$!
	exec 3<errors
	while IFS= read -r line <&3; do
		printf '%s\n' "$line" >>said
		if [ "$line" = "Trace ready!" ]; then
			ready=$(($(microseconds) - began))
			cat <&3 >>said &
			return
		fi
	done
	echo "bench.sh: '$*' ended before it was ready:" >&2
	cat said >&2
	return 1
}

# stop: interrupts it; sets $stopped (microseconds)
stop() {
	local began
	began=$(microseconds)
	kill -INT "$subject"
	wait "$subject" || { echo "bench.sh: it failed at its end:"; cat said; } >&2
	stopped=$(($(microseconds) - began))
	exec 3<&-
}

modprobe -qa veth bridge br_netfilter dummy ip_tables ip6_tables iptable_raw ip6table_raw iptable_mangle iptable_nat \
	iptable_filter nf_tables nft_compat xt_mark xt_MASQUERADE xt_conntrack nf_nat nf_conntrack nft_chain_nat nft_ct \
	nft_masq nft_fib_inet sch_ingress cls_matchall act_mirred sch_fq_codel || :
network_pair
ip netns exec b chrt -i 0 udpflood receive "$PORT" &
receiver=$!
sleep 0.5
# Makes the chains that the rule needs, and warms everything up.
mark
send "$FLOOD" "$MARK" >/dev/null
sleep 2
send "$PACKETS" "$MARK" >/dev/null
sleep 2
flood untraced-marked "$PACKETS" "$MARK"
unmark
send "$FEW" >/dev/null
sleep 1
flood untraced "$PACKETS"

for _ in 1 2 3; do
	began=$(microseconds)
	ipft -l >list 2>/dev/null
	echo "list $(($(microseconds) - began))"
done
echo "listed $(wc -l <list)"

if [ "$floor" != none ]; then
	start bench-floor "$floor"
	echo "floor-ready $ready"
	echo "floor-attached $(sed -n 's/ functions attached$//p' said)"
	send "$FEW" >/dev/null
	sleep 1
	flood floor "$PACKETS"
	path floor-path
	stop
	echo "floor-stop $stopped"
fi

start ipft -m "$MARK" "$@"
echo "ready $ready"
send "$FEW" >/dev/null
sleep 1
flood unmarked "$PACKETS"
path path
mark
send 10 "$MARK" >/dev/null
sleep 1
flood marked "$FLOOD" "$MARK"
unread unread "$MARK"
stop
echo "stop $stopped"
echo "marked-packets $((10 + 5 * FLOOD + 3 * FEW))"
echo "seen $(grep -vc -e '^===' -e '^Timestamp' output)"
echo "lost $(sed -n 's/^Lost \([0-9]*\) events.*/\1/p' said | grep . || echo 0)"
echo "attached $(sed -n 's/ functions attached.*//p' said)"
unmark

# Hot functions are detached when the process has ended (host/core/src/probe/detach.rs).
sleep 30
start ipft 'host 10.0.0.99 and tcp port 80' "$@"
echo "filter-ready $ready"
send "$FEW" >/dev/null
sleep 1
flood filtered "$PACKETS"
stop
sleep 30
start ipft "udp port $PORT" --ring-size 64M "$@"
unread selected
stop
