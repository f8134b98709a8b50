//! The fields of the packet's headers: addresses, protocol, ports, and what TCP and ICMP say. They are 0 where the
//! packet has no such header, and all of them before it has a network header.

use std::mem::offset_of;

use ipft_bpf::wire::Tuple;

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

/// Names of protocols (`/etc/protocols`), by their number in IP headers.
pub(super) const PROTOCOLS: &[(&str, u64)] = &[
    ("none", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ospf", 89),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("sctp", 132),
    ("udplite", 136),
];

/// Flags of TCP (RFC 9293, section 3.1).
pub(super) const TCP_FLAGS: &[(&str, u64)] = &[
    ("fin", 1),
    ("syn", 2),
    ("rst", 4),
    ("psh", 8),
    ("ack", 16),
    ("urg", 32),
    ("ece", 64),
    ("cwr", 128),
];

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "tuple",
    about: "its addresses, protocol and ports",
    fields: &[
        Part {
            name: "saddr",
            offset: offset_of!(Tuple, saddr),
            size: 16,
            kind: FieldType::Bytes,
            format: PartFormat::IP,
        },
        Part {
            name: "daddr",
            offset: offset_of!(Tuple, daddr),
            size: 16,
            kind: FieldType::Bytes,
            format: PartFormat::IP,
        },
        Part {
            name: "sport",
            offset: offset_of!(Tuple, sport),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::BE16,
        },
        Part {
            name: "dport",
            offset: offset_of!(Tuple, dport),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::BE16,
        },
        Part {
            name: "ethertype",
            offset: offset_of!(Tuple, ethertype),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::HEX,
        },
        Part {
            name: "proto",
            offset: offset_of!(Tuple, proto),
            size: 1,
            kind: FieldType::Unsigned,
            format: PartFormat::Enum(PROTOCOLS),
        },
        Part {
            name: "tcp_flags",
            offset: offset_of!(Tuple, tcp_flags),
            size: 1,
            kind: FieldType::Unsigned,
            format: PartFormat::Flags(TCP_FLAGS),
        },
        Part {
            name: "seq",
            offset: offset_of!(Tuple, seq),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "ack",
            offset: offset_of!(Tuple, ack),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "icmp_type",
            offset: offset_of!(Tuple, icmp_type),
            size: 1,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "icmp_code",
            offset: offset_of!(Tuple, icmp_code),
            size: 1,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "frag",
            offset: offset_of!(Tuple, frag),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::HEX,
        },
        Part {
            name: "icmp_id",
            offset: offset_of!(Tuple, icmp_id),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "icmp_seq",
            offset: offset_of!(Tuple, icmp_seq),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
    ],
};
