# ipft top on a terminal (script(1)), with keys from a pipe: pings from a to b, of which b's firewall drops the last.
#
# Leaves top.screen (what was written to the terminal), before and after (stty -a), top.exit, and recorded.text (what the
# key w recorded, replayed).

network_pair
ip netns exec a ping -q -c 1 -W 5 10.0.0.2 >/dev/null
mkfifo keys
exec 7<>keys
export TERM=xterm

ping_b() {
	ip netns exec a ping -q -c 1 -W 1 10.0.0.2 >/dev/null || :
}

# shown TEXT: the terminal has got this text since the last key. Only cells that change are drawn, unless the size of the
# terminal may have changed; then all that are not empty.
shown() {
	pkill -WINCH -x ipft || :
	sleep 0.3
	tail -c "+$seen" top.screen | sed -E 's/\x1b\[[0-9;?]*[A-Za-z]/ /g' | tr -s ' ' | grep -aqF -- "$1"
}

# press KEYS TEXT: types keys, and waits for a text that is drawn then.
press() {
	note "key $1"
	seen=$(($(stat -c %s top.screen) + 1))
	printf "$1" >&7
	wait_until 60 shown "$2"
}

script -qefc "stty rows 24 cols 120; stty -a >before
	ipft top icmp -r '$FEW' -w recorded.ipft; echo \$? >top.exit
	stty -a >after" top.screen <keys >/dev/null &
seen=1
wait_until 60 shown '1 packets'
ping_b
wait_until 60 shown 'icmp echo reply'
press '/reply' '/reply_'
press '\033' 'Tab pane'
press 'w' 'RECORDING'
ip netns exec b iptables -A INPUT -p icmp -j DROP
ping_b
wait_until 60 shown 'DROPPED'
press 'p' 'FROZEN'
press '\r' 'Esc back'
press '\033' 'Tab pane'
press '3' 'refused it'
printf pq >&7
wait
exec 7>&-
rm keys
ipft replay recorded.ipft -o text >recorded.text
left_behind all
