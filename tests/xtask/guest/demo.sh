# demo.sh LIBRARY FOLDER PLUGINS: traces a ping and a TCP exchange through a NAT router, as a list of functions and as a
# graph. The results are function.txt and function_graph.txt in FOLDER, and what plugins draw of the graph: flame.svg and
# report.html. Everything it makes belongs to namespaces that end with it, or to a guest.
set -euo pipefail
. "$1"
cd "$2"

say() { printf 'xtask:   %s\n' "$*" >&2; }

say "building the network: client - router (NAT) - server"
network_nat
for tracer in function function_graph; do
	say "ipft -m $MARK -t $tracer: attaching"
	drawn=()
	if [ "$tracer" = function_graph ]; then
		drawn=(-o aggregate --plugin "$3/flame.wasm" --plugin-out flame.svg
			--plugin "$3/report.wasm" --plugin-out report.html)
	fi
	start_ipft "$tracer" -m "$MARK" -t "$tracer" "${drawn[@]}"
	say "$(grep attached "$tracer.err" || :)"
	say "ping and TCP, from client through router to server"
	ip netns exec client ping -n -q -c 1 -W 5 10.1.0.2 >/dev/null
	tcp_exchange client server 10.1.0.2 8000
	say "stopping ipft"
	stop_ipft
	mv "$tracer.out" "$tracer.txt"
	mv "$tracer.err" "$tracer.messages"
done
