//! Headers of a packet that a socket's program reads: where their fields are, and which header follows. Imports `ir`
//! and `value`.
//!
//! Nothing checks that a packet has the header that a source names: the source does, by the field that says so. Numbers
//! are in the order of the machine.

use crate::ir::{Node, Operation};
use crate::value::{Kind, Number, PLAIN, Value};

/// A kind of header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    Ethernet,
    /// What begins behind the link layer, on sockets that see none.
    Network,
    Arp,
    Ip,
    Ip6,
    Ip6Option,
    Icmp,
    Icmp6,
    Udp,
    Tcp,
    Vxlan,
    /// Bytes without names.
    Data,
}

/// Where a header that follows begins.
#[derive(Debug, Clone, Copy)]
enum Distance {
    Fixed(i64),
    /// The number in these bits of the header, in so many bytes each, and bytes beside them.
    Counted(u16, u16, i64, i64),
    /// At the offset that the kernel has noted for the network layer.
    Noted,
}

/// The offset from which the kernel counts from the network layer (SKF_NET_OFF).
const NETWORK: i64 = -0x10_0000;

/// A field: its name, its first bit, and its bits.
type Field = (&'static str, u16, u16);
type Next = (&'static str, Layer, Distance);

const IP: Next = ("ip", Layer::Ip, Distance::Fixed(14));
const IP6: Next = ("ip6", Layer::Ip6, Distance::Fixed(14));

const OPTION: Distance = Distance::Counted(8, 8, 8, 8);

impl Layer {
    /// Returns its name in messages.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Layer::Ethernet => "the Ethernet header",
            Layer::Network => "the network layer",
            Layer::Arp => "the ARP header",
            Layer::Ip => "the IPv4 header",
            Layer::Ip6 => "the IPv6 header",
            Layer::Ip6Option => "an IPv6 option",
            Layer::Icmp => "the ICMP header",
            Layer::Icmp6 => "the ICMPv6 header",
            Layer::Udp => "the UDP header",
            Layer::Tcp => "the TCP header",
            Layer::Vxlan => "the VXLAN header",
            Layer::Data => "the packet's bytes",
        }
    }

    fn fields(self) -> &'static [Field] {
        match self {
            Layer::Ethernet => &[("type", 96, 16)],
            Layer::Network | Layer::Data => &[],
            Layer::Arp => &[
                ("htype", 0, 16),
                ("ptype", 16, 16),
                ("hlen", 32, 8),
                ("plen", 40, 8),
                ("oper", 48, 16),
                ("spa", 112, 32),
                ("tpa", 192, 32),
            ],
            Layer::Ip => &[
                ("ver", 0, 4),
                ("hlen", 4, 4),
                ("tos", 8, 8),
                ("tlen", 16, 16),
                ("identification", 32, 16),
                ("ffo_unused", 48, 1),
                ("df", 49, 1),
                ("mf", 50, 1),
                ("foffset", 51, 13),
                ("ttl", 64, 8),
                ("proto", 72, 8),
                ("hchecksum", 80, 16),
                ("src", 96, 32),
                ("dst", 128, 32),
            ],
            Layer::Ip6 => &[
                ("ver", 0, 4),
                ("priority", 4, 8),
                ("flow_label", 12, 20),
                ("payload_len", 32, 16),
                ("next_header", 48, 8),
                ("hop_limit", 56, 8),
                ("src_hi", 64, 64),
                ("src_lo", 128, 64),
                ("dst_hi", 192, 64),
                ("dst_lo", 256, 64),
            ],
            Layer::Ip6Option => &[("next_header", 0, 8), ("ext_len", 8, 8)],
            Layer::Icmp | Layer::Icmp6 => &[("type", 0, 8), ("code", 8, 8), ("checksum", 16, 16)],
            Layer::Udp => &[
                ("src_port", 0, 16),
                ("dst_port", 16, 16),
                ("length", 32, 16),
                ("crc", 48, 16),
            ],
            Layer::Tcp => &[
                ("src_port", 0, 16),
                ("dst_port", 16, 16),
                ("seq_num", 32, 32),
                ("ack_num", 64, 32),
                ("offset", 96, 4),
                ("reserved", 100, 4),
                ("flag_cwr", 104, 1),
                ("flag_ece", 105, 1),
                ("flag_urg", 106, 1),
                ("flag_ack", 107, 1),
                ("flag_psh", 108, 1),
                ("flag_rst", 109, 1),
                ("flag_syn", 110, 1),
                ("flag_fin", 111, 1),
                ("rcv_wnd", 112, 16),
                ("cksum", 128, 16),
                ("urg_ptr", 144, 16),
            ],
            Layer::Vxlan => &[("iflag", 4, 1), ("key", 32, 24)],
        }
    }

    fn next(self) -> &'static [Next] {
        match self {
            Layer::Ethernet => &[
                IP,
                IP6,
                ("arp", Layer::Arp, Distance::Fixed(14)),
                ("net_off", Layer::Network, Distance::Noted),
                ("dst", Layer::Data, Distance::Fixed(0)),
                ("src", Layer::Data, Distance::Fixed(6)),
            ],
            Layer::Network => &[
                ("ip", Layer::Ip, Distance::Fixed(0)),
                ("ip6", Layer::Ip6, Distance::Fixed(0)),
            ],
            Layer::Ip => &[
                ("icmp", Layer::Icmp, Distance::Counted(4, 4, 4, 0)),
                ("udp", Layer::Udp, Distance::Counted(4, 4, 4, 0)),
                ("tcp", Layer::Tcp, Distance::Counted(4, 4, 4, 0)),
            ],
            Layer::Ip6 => &[
                ("icmp6", Layer::Icmp6, Distance::Fixed(40)),
                ("udp", Layer::Udp, Distance::Fixed(40)),
                ("tcp", Layer::Tcp, Distance::Fixed(40)),
                ("ip6_opt", Layer::Ip6Option, Distance::Fixed(40)),
            ],
            Layer::Ip6Option => &[
                ("icmp6", Layer::Icmp6, OPTION),
                ("udp", Layer::Udp, OPTION),
                ("tcp", Layer::Tcp, OPTION),
                ("ip6_opt", Layer::Ip6Option, OPTION),
            ],
            Layer::Arp => &[
                ("sha", Layer::Data, Distance::Fixed(8)),
                ("tha", Layer::Data, Distance::Fixed(18)),
            ],
            Layer::Icmp | Layer::Icmp6 => &[("data", Layer::Data, Distance::Fixed(8))],
            Layer::Udp => &[
                ("data", Layer::Data, Distance::Fixed(8)),
                ("vxlan", Layer::Vxlan, Distance::Fixed(8)),
            ],
            Layer::Tcp => &[("data", Layer::Data, Distance::Counted(96, 4, 4, 0))],
            Layer::Vxlan => &[("eth", Layer::Ethernet, Distance::Fixed(8))],
            Layer::Data => &[],
        }
    }

    /// Returns the names that can follow it.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        let fields = self.fields().iter().map(|(name, ..)| *name);
        fields.chain(self.next().iter().map(|(name, ..)| *name))
    }

    /// Returns a field of the header that begins at this byte, or the header that follows; none if it has no such name.
    pub(crate) fn member(self, base: &Node, name: &str) -> Option<Value> {
        if let Some((_, bit, bits)) = self.fields().iter().find(|(found, ..)| *found == name) {
            return Some(number(base, *bit, *bits));
        }
        let (_, layer, distance) = self.next().iter().find(|(found, ..)| *found == name)?;
        let base = match distance {
            Distance::Fixed(bytes) => add(base, Node::Number(*bytes)),
            Distance::Counted(bit, bits, unit, beside) => {
                let count = read(base, *bit, *bits);
                let bytes = Node::Binary(Operation::Multiply, Box::new(count), Box::new(Node::Number(*unit)));
                add(&add(base, Node::Number(*beside)), bytes)
            }
            Distance::Noted => Node::Number(NETWORK),
        };
        Some(header(*layer, base))
    }
}

/// Returns a header as a value.
pub(crate) fn header(layer: Layer, base: Node) -> Value {
    Value::always(Kind::Header(layer, base))
}

/// Returns a byte of the packet.
pub(crate) fn byte(base: &Node) -> Value {
    number(base, 0, 8)
}

/// Adds a distance in bytes to a place.
pub(crate) fn add(base: &Node, distance: Node) -> Node {
    match (base, &distance) {
        (Node::Number(base), Node::Number(distance)) => Node::Number(base.wrapping_add(*distance)),
        (_, Node::Number(0)) => base.clone(),
        // What is constant stays together, and becomes a part of the instruction.
        (Node::Binary(Operation::Add, inner, last), Node::Number(distance))
            if let Node::Number(before) = last.as_ref() =>
        {
            add(inner, Node::Number(before.wrapping_add(*distance)))
        }
        (Node::Number(_), _) => add(&distance, base.clone()),
        _ => Node::Binary(Operation::Add, Box::new(base.clone()), Box::new(distance)),
    }
}

fn number(base: &Node, bit: u16, bits: u16) -> Value {
    let bytes = match bits {
        ..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        _ => 8,
    };
    let number = Number {
        bytes,
        signed: false,
        natural: bits < 64,
        ..PLAIN
    };
    Value::number(read(base, bit, bits), number)
}

/// Reads bits of a header, counted from the most significant one of its first byte.
fn read(base: &Node, bit: u16, bits: u16) -> Node {
    let sizes = [1_u8, 2, 4, 8].into_iter();
    let whole = |bytes: u8| {
        let size = 8 * u16::from(bytes);
        let start = bit / size * size;
        (bit + bits <= start + size).then_some((bytes, start, size))
    };
    // Whole integers are read where they are, and others with the aligned integer that they are in.
    let own = matches!(bits, 8 | 16 | 32 | 64) && bit.is_multiple_of(8);
    let exact = own.then(|| u8::try_from(bits / 8).map_or((8, bit, bits), |bytes| (bytes, bit, bits)));
    let (bytes, start, size) = exact.or_else(|| sizes.filter_map(whole).next()).unwrap_or((8, bit, 64));
    let at = add(base, Node::Number(i64::from(start / 8)));
    let node = Node::Frame {
        base: Box::new(at),
        bytes,
    };
    let below = size - (bit - start) - bits;
    let shifted = match below {
        0 => node,
        below => Node::Binary(
            Operation::ShiftRight,
            Box::new(node),
            Box::new(Node::Number(below.into())),
        ),
    };
    match bits < size - below {
        true => Node::Binary(
            Operation::And,
            Box::new(shifted),
            Box::new(Node::Number((1 << bits) - 1)),
        ),
        false => shifted,
    }
}
