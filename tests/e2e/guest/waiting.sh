# Attaching and detaching one kprobe after the other takes long, and is reported; a second signal ends it at once. The
# filter is wide enough for some seconds.
#
# Leaves stopped and twice, each .out, .err and .exit; attached-after, what was attached when the second signal had ended
# ipft; stopped.seconds and twice.seconds, how long the end took.

SOME='^(__)?(ip|tcp|udp|skb|sk|sock|netif|dev|icmp|arp|nf)_'
FEWER='^(__)?(ip|tcp)_'

# ends_in NAME: the seconds until the process is gone, and its exit code.
ends_in() {
	local start code=0
	start=$(cut -d. -f1 /proc/uptime)
	wait "$IPFT_PID" || code=$?
	echo "$code" >"$1.exit"
	echo $(($(cut -d. -f1 /proc/uptime) - start)) >"$1.seconds"
}

start_ipft stopped -m 1 -b kprobe -r "$SOME"
kill -TERM "$IPFT_PID"
ends_in stopped
left_behind stopped

# Fewer: the end of ipft comes after two seconds, and the kernel goes on detaching.
start_ipft twice -m 1 -b kprobe -r "$FEWER"
kill -TERM "$IPFT_PID"
sleep 2
kill -TERM "$IPFT_PID"
ends_in twice
grep -c . /sys/kernel/debug/kprobes/list >twice.attached || :
wait_until 300 sh -c '! grep -q . /sys/kernel/debug/kprobes/list'
left_behind twice

# While it attaches.
ipft -m 1 -b kprobe -r "$SOME" >early.out 2>early.err &
IPFT_PID=$!
wait_until 60 sh -c '[ "$(grep -c . /sys/kernel/debug/kprobes/list)" -ge 10 ]'
kill -TERM "$IPFT_PID"
ends_in early
left_behind early
