//! The syntax tree of an expression. Imports nothing.
//!
//! Its depth is bounded by the parser, so that walking and dropping it may recurse.

use std::net::Ipv6Addr;
use std::ops::Range;

/// Bytes of the expression, for messages.
pub(super) type Span = Range<usize>;

/// A condition.
#[derive(Debug)]
pub(super) enum Node {
    /// `a and b or c`: both connectives have the same precedence, and are evaluated from the left.
    Chain(Box<Node>, Vec<(Connective, Node)>),
    Not(Box<Node>),
    Primitive(Primitive, Span),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connective {
    And,
    Or,
}

#[derive(Debug)]
pub(super) enum Primitive {
    /// `tcp dst port 80`, and also a lone `80` that inherits its qualifiers.
    Value(Qualifiers, Value),
    /// A protocol alone: `tcp`.
    Protocol(Protocol),
    /// `ip[8] < 5`.
    Relation(Arithmetic, Relation, Arithmetic),
    Broadcast(Option<Protocol>),
    Multicast(Option<Protocol>),
    /// `less N`: at most so many bytes.
    Less(u32),
    /// `greater N`: at least so many bytes.
    Greater(u32),
    /// `byte INDEX = VALUE`.
    Byte(u32, ByteTest, u32),
    Vlan(Option<u32>),
    Mpls(Option<u32>),
    Pppoed,
    Pppoes(Option<u32>),
    Geneve(Option<u32>),
    Vxlan(Option<u32>),
    Llc(Option<LlcType>),
}

/// What precedes a value: protocol, direction and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Qualifiers {
    pub(super) protocol: Option<Protocol>,
    pub(super) direction: Direction,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Source,
    Destination,
    /// The default, and `src or dst`.
    Either,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// None was written: a host.
    Default,
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

/// The value of a primitive.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Name(String),
    Number(u32),
    /// One to four numbers with dots: the address so far, and its bits.
    Ipv4(u32, u32),
    Ipv4Net(u32, u32, Mask),
    Ipv6(Ipv6Addr, Option<u32>),
    Ethernet([u8; 6]),
}

#[derive(Debug, Clone)]
pub(super) enum Mask {
    /// `/8`.
    Length(u32),
    /// `mask 255.0.0.0`: the mask so far, and its bits.
    Address(u32, u32),
}

#[derive(Debug)]
pub(super) enum Arithmetic {
    Number(u32),
    /// `len`.
    Length,
    /// `tcp[INDEX:SIZE]`.
    Load(Protocol, Box<Arithmetic>, u32, Span),
    Binary(Operator, Box<Arithmetic>, Box<Arithmetic>, Span),
    Negate(Box<Arithmetic>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    And,
    Or,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ByteTest {
    Equal,
    Less,
    Greater,
    And,
    Or,
}

/// Types of LLC frames: the mask of the control field, and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LlcType {
    pub(super) mask: u8,
    pub(super) value: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Protocol {
    Link,
    Ip,
    Ip6,
    Arp,
    Rarp,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Igmp,
    Igrp,
    Pim,
    Vrrp,
    Carp,
    Ah,
    Esp,
    Atalk,
    Aarp,
    Decnet,
    Lat,
    Sca,
    Moprc,
    Mopdl,
    Iso,
    Esis,
    Isis,
    Clnp,
    IsisL1,
    IsisL2,
    IsisIih,
    IsisLsp,
    IsisSnp,
    IsisCsnp,
    IsisPsnp,
    Stp,
    Ipx,
    Netbeui,
}

/// Keywords of protocols. The names of other link layers mean Ethernet here, as in libpcap.
pub(super) const PROTOCOLS: &[(&str, Protocol)] = &[
    ("ether", Protocol::Link),
    ("link", Protocol::Link),
    ("ppp", Protocol::Link),
    ("slip", Protocol::Link),
    ("fddi", Protocol::Link),
    ("tr", Protocol::Link),
    ("wlan", Protocol::Link),
    ("ip", Protocol::Ip),
    ("ip6", Protocol::Ip6),
    ("arp", Protocol::Arp),
    ("rarp", Protocol::Rarp),
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("sctp", Protocol::Sctp),
    ("icmp", Protocol::Icmp),
    ("icmp6", Protocol::Icmp6),
    ("igmp", Protocol::Igmp),
    ("igrp", Protocol::Igrp),
    ("pim", Protocol::Pim),
    ("vrrp", Protocol::Vrrp),
    ("carp", Protocol::Carp),
    ("ah", Protocol::Ah),
    ("esp", Protocol::Esp),
    ("atalk", Protocol::Atalk),
    ("aarp", Protocol::Aarp),
    ("decnet", Protocol::Decnet),
    ("lat", Protocol::Lat),
    ("sca", Protocol::Sca),
    ("moprc", Protocol::Moprc),
    ("mopdl", Protocol::Mopdl),
    ("iso", Protocol::Iso),
    ("esis", Protocol::Esis),
    ("es-is", Protocol::Esis),
    ("isis", Protocol::Isis),
    ("is-is", Protocol::Isis),
    ("clnp", Protocol::Clnp),
    ("l1", Protocol::IsisL1),
    ("l2", Protocol::IsisL2),
    ("iih", Protocol::IsisIih),
    ("lsp", Protocol::IsisLsp),
    ("snp", Protocol::IsisSnp),
    ("csnp", Protocol::IsisCsnp),
    ("psnp", Protocol::IsisPsnp),
    ("stp", Protocol::Stp),
    ("ipx", Protocol::Ipx),
    ("netbeui", Protocol::Netbeui),
];

impl Protocol {
    /// Returns its keyword, for messages.
    pub(super) fn keyword(self) -> &'static str {
        PROTOCOLS
            .iter()
            .find(|(_, protocol)| *protocol == self)
            .map_or("", |(keyword, _)| keyword)
    }
}
