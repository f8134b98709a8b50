//! The fields of connection tracking: which connection the packet is of, what it is to it, and what NAT makes of its
//! addresses. All are 0 if the packet has no connection.

use std::mem::offset_of;

use ipft_bpf::wire::Ct;

use super::tuple::PROTOCOLS;
use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

/// `enum ip_conntrack_info` in `include/uapi/linux/netfilter/nf_conntrack_common.h`, and 1.
pub(crate) const STATES: &[(&str, u64)] = &[
    ("none", 0),
    ("established", 1),
    ("related", 2),
    ("new", 3),
    ("reply", 4),
    ("related_reply", 5),
    ("untracked", 8),
];

/// `IPS_*` in the same header. What the bit of `nat_clash` means to Linux 5.10 to 7.2; before 4.12, it was `untracked`.
const STATUS: &[(&str, u64)] = &[
    ("expected", 1),
    ("seen_reply", 1 << 1),
    ("assured", 1 << 2),
    ("confirmed", 1 << 3),
    ("snat", 1 << 4),
    ("dnat", 1 << 5),
    ("seq_adjust", 1 << 6),
    ("snat_done", 1 << 7),
    ("dnat_done", 1 << 8),
    ("dying", 1 << 9),
    ("fixed_timeout", 1 << 10),
    ("template", 1 << 11),
    ("nat_clash", 1 << 12),
    ("helper", 1 << 13),
    ("offload", 1 << 14),
    ("hw_offload", 1 << 15),
];

const fn address(name: &'static str, offset: usize) -> Part {
    Part {
        name,
        offset,
        size: 16,
        kind: FieldType::Bytes,
        format: PartFormat::IP,
    }
}

const fn port(name: &'static str, offset: usize) -> Part {
    Part {
        name,
        offset,
        size: 2,
        kind: FieldType::Unsigned,
        format: PartFormat::BE16,
    }
}

const fn number(name: &'static str, offset: usize, size: usize, format: PartFormat) -> Part {
    Part {
        name,
        offset,
        size,
        kind: FieldType::Unsigned,
        format,
    }
}

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "ct",
    about: "its tracked connection and NAT",
    fields: &[
        number("ct_state", offset_of!(Ct, ct_state), 1, PartFormat::Enum(STATES)),
        number("ct_status", offset_of!(Ct, ct_status), 4, PartFormat::Flags(STATUS)),
        address("ct_saddr", offset_of!(Ct, ct_saddr)),
        address("ct_daddr", offset_of!(Ct, ct_daddr)),
        port("ct_sport", offset_of!(Ct, ct_sport)),
        port("ct_dport", offset_of!(Ct, ct_dport)),
        number("ct_proto", offset_of!(Ct, ct_proto), 1, PartFormat::Enum(PROTOCOLS)),
        address("ct_nat_saddr", offset_of!(Ct, ct_nat_saddr)),
        address("ct_nat_daddr", offset_of!(Ct, ct_nat_daddr)),
        port("ct_nat_sport", offset_of!(Ct, ct_nat_sport)),
        port("ct_nat_dport", offset_of!(Ct, ct_nat_dport)),
        number("ct_zone", offset_of!(Ct, ct_zone), 2, PartFormat::PLAIN),
        number("ct_mark", offset_of!(Ct, ct_mark), 4, PartFormat::HEX),
    ],
};
