# Modules that are loaded, and one that is removed, during a trace, with the default backends.
#
#   FEW   a regular expression for the functions of NAT, and a handful of others
#
# Leaves JSON lines of each: NAME.out, .err, .exit.
#   late      NAT is loaded during the trace; `replayed` is the same from its recording
#   removed   the module dummy is removed during the trace, and loaded again if that worked; .rmmod has rmmod's exit code,
#             .stayed whether it was still loaded then, .freed rmmod's exit code after the trace

network_pair
mark_namespace a b
mark_arrivals b vb

# The rule brings conntrack and NAT with it.
start_ipft late -m "$MARK" -r "$FEW" -o jsonl --record late.ipft
ip netns exec a iptables -t nat -A POSTROUTING -o va -j MASQUERADE
wait_until 60 grep -q 'module nf_nat' late.err
ip netns exec a ping -n -q -c 1 -W 5 10.0.0.2 >ping.txt
settle
end_ipft late
exit_of replayed ipft replay late.ipft -o jsonl

modprobe dummy numdummies=0
start_ipft removed -m "$MARK" -r '^(dummy_xmit|ip_rcv)$' -o jsonl
code=0
rmmod dummy 2>removed.rmmod.err || code=$?
echo "$code" >removed.rmmod
if [ -d /sys/module/dummy ]; then
	echo yes >removed.stayed
else
	echo no >removed.stayed
	modprobe dummy numdummies=0
	wait_until 60 grep -q 'module dummy, loaded during' removed.err
fi
ip -n a link add d0 type dummy
ip -n a addr add 10.99.0.1/24 dev d0
ip -n a link set d0 up
ip -n a neigh add 10.99.0.2 lladdr 02:00:00:00:00:01 dev d0
ip netns exec a ping -n -q -c 1 -W 1 10.99.0.2 >ping.txt || :
ip -n a link del d0
settle
end_ipft removed
code=0
rmmod dummy 2>removed.rmmod.err || code=$?
echo "$code" >removed.freed

left_behind late
