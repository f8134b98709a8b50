# demo.sh LIBRARY FOLDER: traces a ping and a TCP exchange through a NAT router, as a list of functions and as a graph.
# The results are function.txt and function_graph.txt in FOLDER. Everything it makes belongs to namespaces that end
# with it, or to a guest.
set -euo pipefail
. "$1"
cd "$2"

network_nat
for tracer in function function_graph; do
	echo "ipft -m $MARK -t $tracer: attaching" >&2
	start_ipft "$tracer" -m "$MARK" -t "$tracer"
	echo "ipft -m $MARK -t $tracer: ping and TCP from client through router to server" >&2
	ip netns exec client ping -n -q -c 1 -W 5 10.1.0.2 >&2
	tcp_exchange client server 10.1.0.2 8000
	stop_ipft
	mv "$tracer.out" "$tracer.txt"
	mv "$tracer.err" "$tracer.messages"
done
