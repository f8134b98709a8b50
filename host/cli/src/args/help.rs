//! The texts around the options in the help of the program, and help that is made of lists. Imports
//! plain values of `ipft_core`.

use ipft_core::field;

pub(super) const ABOUT: &str = "Show every kernel function that a packet goes through";

pub(super) const LONG_ABOUT: &str = "\
Show every kernel function that a packet goes through.

Select packets by a filter, as for tcpdump, or by their mark (set it with
iptables, nftables, tc, SO_MARK, XDP). End ipft with Ctrl-C. The result goes to
stdout, everything else to stderr.";

pub(super) const AFTER_HELP: &str = "'ipft --help' says more, with examples.";

pub(super) const AFTER_LONG_HELP: &str = "\
Numbers are decimal, hexadecimal (0x...) or octal (0...).

Examples:
  Show what the kernel does with the packets of a ping, and where they end:
      ipft 'icmp and host 192.0.2.1'

  The same with the time of day:
      ipft 'icmp and host 192.0.2.1' --time absolute

  Watch packets, flows, drops and functions on the terminal:
      ipft top 'host 192.0.2.1'

  Select packets by any field of the kernel, and show another one:
      ipft --where 'skb.len > 1400 and skb.dev.name == \"eth0\"'
      ipft icmp --show 'mtu=skb.dev.mtu'

  Show the functions that packets with mark 0xdeadbeef go through:
      ipft -m 0xdeadbeef

  Show a call graph with durations:
      ipft -m 0xdeadbeef -t function_graph

  Trace only the IPv4 stack and connection tracking:
      ipft -m 0xdeadbeef -r '^(ip|nf_conntrack)_'

  Stop after ten seconds, or after three packets:
      ipft -m 0xdeadbeef --duration 10s
      ipft -m 0xdeadbeef --stop-after 3packets

  Send marked packets, from another terminal:
      ping -m 3735928559 -c 1 192.0.2.1

  Mark all packets from one host:
      iptables -t raw -A PREROUTING -s 192.0.2.1 -j MARK --set-mark 0xdeadbeef

  Show segmentation offload with the extension gso.c:
      ipft -m 0xdeadbeef -e gso.c

  Draw a flame graph with a plugin:
      ipft -m 0xdeadbeef -t function_graph --plugin flame --plugin-out f.svg

  Record a trace, and replay it later in other formats:
      ipft -m 0xdeadbeef --record trace.ipft
      ipft replay trace.ipft -o json

  Compare a trace of a bad day with one of a good day:
      ipft diff good.ipft bad.ipft

  Write JSON lines for another program:
      ipft -m 0xdeadbeef -o jsonl | jq .

  Wait in a script until the trace is ready:
      ipft -m 1 --enable-probe-server &
      until nc -z 127.0.0.1 13720; do sleep 1; done

Signals:
  SIGINT, SIGTERM and SIGHUP end the trace and print what was seen.
  A second one ends ipft at once.

Exit status:
  0  success
  1  failed; see stderr
  2  wrong usage";

/// The help of `--show`, which lists the fields.
pub(super) fn show() -> String {
    format!(
        "Add built-in fields to every entry [default: len,mark,tuple,iface,netns if packets are followed, else none]\n\nLIST is one or more of {}, \
         separated by commas, or all or none. +NAME and -NAME change the default. They come before the fields of an \
         extension.\n\nNAME=EXPR adds a field of your own: an expression in Lua over the kernel's sk_buff, such as \
         dport=ntoh(skb.sk.__sk_common.skc_dport) or only skb.dev.mtu, once for each --show. What cannot be read is 0 or \
         empty. Its type is that of the expression; ipv4(...), ipv6(...) and mac(...) show addresses. No clang is needed.",
        field::described()
    )
}
