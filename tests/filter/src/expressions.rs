//! Expressions: a table, and composed ones.

use crate::random::Random;

/// Returns the table. All of it means the same here and in libpcap.
pub fn table() -> impl Iterator<Item = &'static str> {
    include_str!("expressions.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        // White space that the file cannot have.
        .chain(["", " tcp ", "tcp\tand\nport 80"])
}

/// Expressions that only libpcap accepts, and the reason.
pub const REFUSED_HERE: &[(&str, &str)] = &[
    ("ip protochain 6", "loops"),
    ("ip6 protochain 17", "loops"),
    ("protochain \\tcp", "loops"),
    ("inbound", "not a property of the frame"),
    ("outbound and tcp", "not a property of the frame"),
    ("ifindex 3", "not a property of the frame"),
    ("decnet host 10.123", "addresses of DECnet"),
    ("decnet src 10.123", "addresses of DECnet"),
    ("net loopback", "names of networks"),
    ("tcp and udp", "no packet can match"),
    ("ip and ip6", "no packet can match"),
    ("1 = 2", "no packet can match"),
];

/// Expressions that only this compiler accepts, and the reason. libpcap 1.10.3 is compared.
pub const ACCEPTED_ONLY_HERE: &[(&str, &str)] = &[
    ("vxlan", "libpcap has it from 1.11 on"),
    ("vxlan 5 and ip", "libpcap has it from 1.11 on"),
    ("portrange ftp-data-http", "a hyphen in a name"),
    ("tcp port ((80 or 443) or 22)", "any parentheses around values"),
    ("ip proto Tcp", "case of protocols' names does not matter"),
];

/// Expressions that mean something else in libpcap 1.10.3, and the reason.
pub const DIFFERENT: &[(&str, &str)] = &[
    ("byte 0 & 1", "libpcap does not load the byte"),
    ("byte 0 | 0", "libpcap does not load the byte"),
    (
        "1 << ip[8] > 8",
        "libpcap forgets that the packet has to be IP if a constant is on the left",
    ),
    (
        "1 + ip[8] > 8",
        "libpcap forgets that the packet has to be IP if a constant is on the left",
    ),
];

const PRIMITIVES: &[&str] = &[
    "host 10.0.0.1",
    "src host 10.0.0.1",
    "dst 10.0.0.2",
    "net 10.0.0.0/8",
    "net 192.168.1",
    "src net 10",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "ip",
    "ip6",
    "arp",
    "sctp",
    "esp",
    "iso",
    "ipx",
    "isis",
    "llc",
    "tcp port 80",
    "udp port 53",
    "port 53",
    "src port 443",
    "dst port 22",
    "portrange 1000-6000",
    "tcp dst portrange 79-443",
    "tcp[tcpflags] & tcp-syn != 0",
    "tcp[13] & (tcp-syn|tcp-ack) = tcp-syn",
    "ip[8] < 5",
    "ip[2:2] > 576",
    "ip[6:2] & 0x1fff != 0",
    "icmp[icmptype] = icmp-echo",
    "udp[4:2] > 20",
    "ip[0] & 0xf != 5",
    "host 2001:db8::1",
    "src host 2001:db8::2",
    "net 2001:db8::/32",
    "ip6[6] = 58",
    "ip proto 17",
    "ip6 proto 17",
    "proto 6",
    "ip6 multicast",
    "ip multicast",
    "greater 100",
    "less 64",
    "len > 80",
    "ether host 00:11:22:33:44:55",
    "ether src 02:00:00:00:00:01",
    "ether broadcast",
    "ether multicast",
    "ether proto 0x806",
    "ether[0] & 1 = 1",
    "ether[12:2] > 0x7ff",
    "arp host 10.0.0.1",
    "ip host 10.0.0.2",
    "vlan",
    "vlan 100",
    "mpls",
    "mpls 100",
    "pppoes",
    "pppoes 7",
    "pppoed",
    "arp[6:2] = 1",
    "src or dst port 80",
    "src and dst net 10.0.0.0/8",
    "icmp6[icmp6type] = 128",
    "ip[ip[9]] > 3",
    "ip[ip[9] & 31:2] > ip[8] / ip[1]",
    "(ip[2:2] - ((ip[0]&0xf)<<2)) > 100",
    "tcp[((tcp[12] & 0xf0) >> 2):1] = 0x47",
    "ether[len & 63] > 100",
    "len - 14 > 60",
];

/// Values that follow a primitive of the same kind and inherit its qualifiers.
const INHERITING: &[(&str, &[&str])] = &[
    ("port", &["80", "443", "domain", "not 22"]),
    ("tcp port", &["22", "53", "(80 or 443)"]),
    ("host", &["10.0.0.1", "10.0.0.2", "2001:db8::1"]),
    ("src host", &["10.0.0.1", "192.168.1.1"]),
    ("net", &["10.0.0.0/8", "192.168.1", "fe80::/10"]),
    ("ether host", &["00:11:22:33:44:55", "02:00:00:00:00:01"]),
    ("ip proto", &["6", "17", "\\icmp"]),
    ("udp dst port", &["53", "5353"]),
];

/// Composes an expression of primitives, connectives and parentheses.
pub fn compose(random: &mut Random, depth: u32) -> String {
    if depth == 0 {
        return (*random.pick(PRIMITIVES)).to_owned();
    }
    match random.below(10) {
        0 | 1 => (*random.pick(PRIMITIVES)).to_owned(),
        2 | 3 => format!("{} and {}", compose(random, depth - 1), compose(random, depth - 1)),
        4 | 5 => format!("{} or {}", compose(random, depth - 1), compose(random, depth - 1)),
        6 => format!("({})", compose(random, depth - 1)),
        7 => format!("not ({})", compose(random, depth - 1)),
        8 => format!("not {}", compose(random, 0)),
        _ => {
            let (qualifiers, values) = *random.pick(INHERITING);
            let mut text = format!("{qualifiers} {}", random.pick(values));
            for _ in 0..1 + random.below(2) {
                let connective = if random.percent(70) { "or" } else { "and" };
                text += &format!(" {connective} {}", random.pick(values));
            }
            text
        }
    }
}
