//! `vlan`, `vlan_proto` and `vlan_priority`: the VLAN tag that is kept apart from the packet's bytes. All are 0 where there is none.

use std::mem::offset_of;

use ipft_bpf::wire::Vlan;

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "vlan",
    about: "its VLAN tag",
    fields: &[
        Part {
            name: "vlan",
            offset: offset_of!(Vlan, vlan),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "vlan_proto",
            offset: offset_of!(Vlan, vlan_proto),
            size: 2,
            kind: FieldType::Unsigned,
            format: PartFormat::HEX,
        },
        Part {
            name: "vlan_priority",
            offset: offset_of!(Vlan, vlan_priority),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
    ],
};
