# demo.sh LIBRARY FOLDER PLUGINS: traces a ping and a TCP exchange through a NAT router, as a list of functions and as a
# graph. The results are function.txt and function_graph.txt in FOLDER, and of the graph what plugins draw, flame.svg and
# report.html, and a recording, demo.ipft. Everything it makes belongs to namespaces that end with it, or to a guest.
set -euo pipefail
. "$1"
cd "$2"

say() { printf 'xtask:   %s\n' "$*" >&2; }

# A recording has the command line in it. Plugins are called by their names, so that it has no path of this machine.
XDG_DATA_HOME=$(mktemp -d)
export XDG_DATA_HOME
trap 'rm -rf "$XDG_DATA_HOME"' EXIT
mkdir "$XDG_DATA_HOME/ipft"
ln -s "$3" "$XDG_DATA_HOME/ipft/plugins"

say "building the network: client - router (NAT) - server"
network_nat
for tracer in function function_graph; do
	say "ipft -m $MARK -t $tracer: attaching"
	drawn=()
	if [ "$tracer" = function_graph ]; then
		drawn=(--record demo.ipft --record-bytes 128 -o aggregate
			--plugin flame --plugin-out flame.svg --plugin report --plugin-out report.html)
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
