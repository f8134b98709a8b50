# demo.sh LIBRARY FOLDER PLUGINS: traces a ping and a TCP exchange through a NAT router: selected by a filter, as text, and
# by a mark, as a graph. The results are packets.txt and function_graph.txt in FOLDER, and of the graph what plugins draw,
# flame.svg and report.html, and a recording, demo.ipft. Everything it makes belongs to namespaces that end with it, or to a guest.
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
# trace NAME ARGUMENTS...: what it shows of a ping and of a TCP exchange is NAME.txt.
trace() {
	local name=$1
	shift
	say "ipft $*: attaching"
	start_ipft "$name" "$@"
	say "$(grep attached "$name.err" || :)"
	say "ping and TCP, from client through router to server"
	ip netns exec client ping -n -q -c 1 -W 5 10.1.0.2 >/dev/null
	tcp_exchange client server 10.1.0.2 8000
	say "stopping ipft"
	stop_ipft
	mv "$name.out" "$name.txt"
	mv "$name.err" "$name.messages"
}

trace packets 'icmp or tcp port 8000'
trace function_graph -m "$MARK" -t function_graph --record demo.ipft --record-bytes 128 -o aggregate \
	--plugin flame --plugin-out flame.svg --plugin report --plugin-out report.html
