//! The texts around the options in the help of the program.

pub(super) const ABOUT: &str = "Show every kernel function that a marked packet goes through";

pub(super) const LONG_ABOUT: &str = "\
Show every kernel function that a marked packet goes through.

Mark the packets you care about (iptables, nftables, tc, SO_MARK, XDP), start
ipft with that mark, and end it with Ctrl-C. The result goes to stdout,
everything else to stderr.";

pub(super) const AFTER_HELP: &str = "'ipft --help' says more, with examples.";

pub(super) const AFTER_LONG_HELP: &str = "\
Numbers are decimal, hexadecimal (0x...) or octal (0...).

Examples:
  Which functions do packets with mark 0xdeadbeef go through?
      ipft -m 0xdeadbeef

  The same as a call graph, with the duration of each call:
      ipft -m 0xdeadbeef -t function_graph

  Only functions of the IPv4 stack and of netfilter's connection tracking:
      ipft -m 0xdeadbeef -r '^(ip|nf_conntrack)_'

  For ten seconds, or only the first three packets:
      ipft -m 0xdeadbeef --duration 10s
      ipft -m 0xdeadbeef --stop-after 3packets

  Mark what a ping sends, from another terminal:
      ping -m 3735928559 -c 1 192.0.2.1

  Mark all that comes from one host:
      iptables -t raw -A PREROUTING -s 192.0.2.1 -j MARK --set-mark 0xdeadbeef

  What segmentation offload does to the packets, as gso.c says:
      ipft -m 0xdeadbeef -e gso.c

  A flame graph, drawn by a plugin:
      ipft -m 0xdeadbeef -t function_graph --plugin flame --plugin-out f.svg

  Keep a trace, and draw it later, as often and in as many ways as you like:
      ipft -m 0xdeadbeef --record trace.ipft
      ipft replay trace.ipft -o json

  For a program to read:
      ipft -m 0xdeadbeef -o jsonl | jq .

  Wait in a script until all is attached:
      ipft -m 1 --enable-probe-server &
      until nc -z 127.0.0.1 13720; do sleep 1; done

Signals:
  SIGINT, SIGTERM and SIGHUP end the trace and print what was seen.
  A second one ends ipft at once.

Exit status:
  0  traced, or printed what was asked for
  1  could not; stderr says why and what to try
  2  wrong usage";
