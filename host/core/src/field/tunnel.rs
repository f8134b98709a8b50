//! The fields of the headers of the packet inside a tunnel's packet. They are 0 where there is none.

use std::mem::offset_of;

use ipft_bpf::wire::Tuple;

use super::tuple::{PROTOCOLS, TCP_FLAGS};
use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "tunnel",
    about: "the headers of a packet inside, in a tunnel",
    fields: &[
        Part {
            name: "inner_saddr",
            offset: offset_of!(Tuple, saddr),
            size: 16,
            kind: FieldType::Bytes,
            format: PartFormat::IP,
        },
        Part {
            name: "inner_daddr",
            offset: offset_of!(Tuple, daddr),
            size: 16,
            kind: FieldType::Bytes,
            format: PartFormat::IP,
        },
        Part {
            name: "inner_sport",
            offset: offset_of!(Tuple, sport),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::BE16,
        },
        Part {
            name: "inner_dport",
            offset: offset_of!(Tuple, dport),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::BE16,
        },
        Part {
            name: "inner_ethertype",
            offset: offset_of!(Tuple, ethertype),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::HEX,
        },
        Part {
            name: "inner_proto",
            offset: offset_of!(Tuple, proto),
            size: 1,
            kind: FieldType::Unsigned,
            format: PartFormat::Enum(PROTOCOLS),
        },
        Part {
            name: "inner_tcp_flags",
            offset: offset_of!(Tuple, tcp_flags),
            size: 1,
            kind: FieldType::Unsigned,
            format: PartFormat::Flags(TCP_FLAGS),
        },
        Part {
            name: "inner_seq",
            offset: offset_of!(Tuple, seq),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "inner_ack",
            offset: offset_of!(Tuple, ack),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "inner_icmp_type",
            offset: offset_of!(Tuple, icmp_type),
            size: 1,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "inner_icmp_code",
            offset: offset_of!(Tuple, icmp_code),
            size: 1,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "inner_frag",
            offset: offset_of!(Tuple, frag),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::HEX,
        },
        Part {
            name: "inner_icmp_id",
            offset: offset_of!(Tuple, icmp_id),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "inner_icmp_seq",
            offset: offset_of!(Tuple, icmp_seq),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
    ],
};
