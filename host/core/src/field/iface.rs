//! `iface` and `ifindex`: the device that the packet is of at the moment. A name is empty, and an index 0, where it has none.

use std::mem::offset_of;

use ipft_bpf::wire::Iface;

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "iface",
    about: "its device",
    fields: &[
        Part {
            name: "iface",
            offset: offset_of!(Iface, iface),
            size: 16,
            kind: FieldType::Char,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "ifindex",
            offset: offset_of!(Iface, ifindex),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
    ],
};
