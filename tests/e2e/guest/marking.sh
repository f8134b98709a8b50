# Runs the recipes of the book, each in a fresh pair of namespaces, while two ipfts watch: one for the mark that the
# recipes set, and one for the single bit that some of them use.
#
#   $WORK/recipes   NN.sh for each, and the objects that they attach
#   FUNCTIONS       a regular expression for functions that tell sent and received packets and their families apart
#
# Leaves mark.out and bit.out (JSON lines), NN.out, NN.err and NN.exit of each recipe, and in `windows` a line
# "NN START END RECEIVED": when it was used, in seconds of uptime, and how many IPv4 packets the client received then.

uptime_now() {
	cut -d' ' -f1 /proc/uptime
}

fresh_pair() {
	local number=1 name
	for name in client server; do
		ip netns del "$name" 2>/dev/null || :
	done
	for name in client server; do
		ip netns add "$name"
	done
	ip link add veth0 netns client type veth peer name veth0 netns server
	for name in client server; do
		ip -n "$name" -batch - <<-END
			link set lo up
			addr add 192.0.2.$number/24 dev veth0
			addr add 2001:db8::$number/64 dev veth0 nodad
			link set veth0 up
		END
		number=2
	done
	ip netns exec client nft -f - <<-'END'
		table inet check {
			chain input {
				type filter hook input priority 300;
				meta nfproto ipv4 counter
			}
		}
	END
}

traffic() {
	local listener
	# Seen once, on a busy machine: nc went on listening after its connection. What it received is of no interest here,
	# and that the client could send is known from the client.
	timeout 60 ip netns exec server nc -l -n 80 >/dev/null &
	listener=$!
	ip netns exec client ping -q -c 5 -i 0.02 192.0.2.2
	ip netns exec client ping -q -c 5 -i 0.02 2001:db8::2
	echo hello | ip netns exec client nc -N -n -w 10 192.0.2.2 80
	wait "$listener" || [ $? -eq 124 ]
	settle
}

received() {
	ip netns exec client nft list table inet check | sed -n 's/.*counter packets \([0-9]*\) .*/\1/p'
}

# The mirror side of a recipe that fails must not end the others.
cp -r "$WORK/recipes" /tmp/recipes
cd /tmp/recipes
start_ipft /out/mark -m "$MARK" -r "$FUNCTIONS" -o jsonl
mark_pid=$IPFT_PID
start_ipft /out/bit -m 0x10000000 --mask 0x10000000 -r "$FUNCTIONS" -o jsonl
for recipe in *.sh; do
	name=${recipe%.sh}
	fresh_pair
	settle
	start=$(uptime_now)
	exit_of "/out/$name" ip netns exec client sh -e "$recipe"
	traffic >>"/out/$name.out" 2>>"/out/$name.err"
	echo "$name $start $(uptime_now) $(received)" >>/out/windows
done
end_ipft /out/bit
IPFT_PID=$mark_pid
end_ipft /out/mark
