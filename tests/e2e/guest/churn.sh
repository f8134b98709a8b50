# Many packets at the same time on two CPUs, followed: memory is reused, packets are cloned, fragmented, delivered and dropped.
#
#   ROUNDS   how often
#   BURST    datagrams that each of two senders sends per round
#   BACKEND  options that choose a backend
#   FEW      a regular expression for functions on the way
#
# Leaves churn.ipft (a recording), sent (how many datagrams went to ports with a receiver, to ports without, and in
# fragments, a line each) and refused (how many of the first a rule dropped).

network_pair

# flood FILE PORT COUNT SIZE: adds the number of datagrams that were sent to the file.
flood() {
	ip netns exec a udpflood send 10.0.0.2 "$2" "$3" "$4" | sed 's/sent=\([0-9]*\) .*/\1/' >>"/tmp/$1"
}

# burst PORT: the port and the two behind it are those of this round alone, so port and number name a datagram.
burst() {
	local sender
	flood with "$1" "$BURST" 64 &
	sender=$!
	flood without "$(($1 + 1))" "$BURST" 64
	wait "$sender"
	flood fragments "$(($1 + 2))" 100 3000
	settle
}

churn() {
	local at port receiver listener
	: >/tmp/with >/tmp/without >/tmp/fragments >/tmp/refused
	# shellcheck disable=SC2086 # the options are words
	start_ipft churn 'udp dst portrange 10000-39999' -e "$WORK/number.o" -r "$FEW" $BACKEND -v --ring-size 64M -w churn.ipft
	for ((at = 0; at < ROUNDS; at++)); do
		port=$((10000 + 3 * at))
		ip netns exec b iptables -A INPUT -p udp --dport "$port" -m statistic --mode nth --every 10 --packet 0 -j DROP
		ip netns exec b udpflood receive "$port" >/dev/null &
		receiver=$!
		wait_until 60 sh -c "ip netns exec b ss -Hlun sport = :$port | grep -q ."
		# In every other round, each packet that is sent is cloned for a listener.
		listener=
		if ((at % 2)); then
			ip netns exec a tcpdump -ni va -w /dev/null 2>/tmp/tcpdump &
			listener=$!
			wait_until 60 grep -q listening /tmp/tcpdump
		fi
		burst "$port"
		# shellcheck disable=SC2086 # there may be no listener
		kill "$receiver" $listener
		# shellcheck disable=SC2086
		wait "$receiver" $listener || :
		ip netns exec b iptables -nvxL INPUT | awk '$3 == "DROP" { print $1 }' >>/tmp/refused
		ip netns exec b iptables -F INPUT
	done
	end_ipft churn
	for name in with without fragments; do
		awk '{ sum += $1 } END { print sum }' "/tmp/$name"
	done >sent
	awk '{ sum += $1 } END { print sum }' /tmp/refused >refused
}
undisturbed churn churn
left_behind all
