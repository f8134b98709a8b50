//! The fields of the route that was found for a packet. All are 0 or empty before the kernel has looked for one.

use std::mem::offset_of;

use ipft_bpf::wire::{NO_ROUTE, Route};

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

/// `RTN_*` in `include/uapi/linux/rtnetlink.h`, as far as a packet can have them, and [`NO_ROUTE`].
const TYPES: &[(&str, u64)] = &[
    ("none", 0),
    ("unicast", 1),
    ("local", 2),
    ("broadcast", 3),
    ("anycast", 4),
    ("multicast", 5),
    ("blackhole", 6),
    ("unreachable", 7),
    ("prohibit", 8),
    ("no_route", NO_ROUTE as u64),
];

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "route",
    about: "the route that was found for it",
    fields: &[
        Part {
            name: "route_type",
            offset: offset_of!(Route, route_type),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::Enum(TYPES),
        },
        Part {
            name: "route_gateway",
            offset: offset_of!(Route, route_gateway),
            size: 16,
            kind: FieldType::Bytes,
            format: PartFormat::IP,
        },
        Part {
            name: "route_dev",
            offset: offset_of!(Route, route_dev),
            size: 16,
            kind: FieldType::Char,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "route_table",
            offset: offset_of!(Route, route_table),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
    ],
};
