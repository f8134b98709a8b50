//! `gso_size`, `gso_segs` and `gso_type`: how the packet is to be segmented. All are 0 if it is not to be.

use std::mem::offset_of;

use ipft_bpf::wire::Gso;

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

/// `SKB_GSO_*` in `include/linux/skbuff.h`, the same in Linux 5.10 to 7.2; the last three came with 6.17 and 6.18.
const TYPES: &[(&str, u64)] = &[
    ("tcpv4", 1),
    ("dodgy", 1 << 1),
    ("tcp_ecn", 1 << 2),
    ("tcp_fixedid", 1 << 3),
    ("tcpv6", 1 << 4),
    ("fcoe", 1 << 5),
    ("gre", 1 << 6),
    ("gre_csum", 1 << 7),
    ("ipxip4", 1 << 8),
    ("ipxip6", 1 << 9),
    ("udp_tunnel", 1 << 10),
    ("udp_tunnel_csum", 1 << 11),
    ("partial", 1 << 12),
    ("tunnel_remcsum", 1 << 13),
    ("sctp", 1 << 14),
    ("esp", 1 << 15),
    ("udp", 1 << 16),
    ("udp_l4", 1 << 17),
    ("fraglist", 1 << 18),
    ("tcp_accecn", 1 << 19),
    ("tcp_fixedid_outer", 1 << 30),
    ("tcp_fixedid_inner", 1 << 31),
];

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "gso",
    about: "segmentation offload",
    fields: &[
        Part {
            name: "gso_size",
            offset: offset_of!(Gso, gso_size),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "gso_segs",
            offset: offset_of!(Gso, gso_segs),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "gso_type",
            offset: offset_of!(Gso, gso_type),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::Flags(TYPES),
        },
    ],
};
