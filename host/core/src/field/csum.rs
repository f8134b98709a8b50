//! `ip_summed`, `csum_start` and `csum_offset`: who computes the checksum of the transport layer, and where it is. The last two
//! are 0 unless a device is to compute it (`partial`).

use std::mem::offset_of;

use ipft_bpf::wire::Csum;

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

/// `CHECKSUM_*` in `include/linux/skbuff.h`.
const KINDS: &[(&str, u64)] = &[("none", 0), ("unnecessary", 1), ("complete", 2), ("partial", 3)];

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "csum",
    about: "who computes its checksum",
    fields: &[
        Part {
            name: "ip_summed",
            offset: offset_of!(Csum, ip_summed),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::Enum(KINDS),
        },
        Part {
            name: "csum_start",
            offset: offset_of!(Csum, csum_start),
            size: 4,
            kind: FieldType::Signed,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "csum_offset",
            offset: offset_of!(Csum, csum_offset),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
    ],
};
