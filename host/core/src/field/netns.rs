//! `netns`: the inode number of the packet's network namespace, as `lsns -t net` lists them. It is that of the packet's
//! device or, before it has one, of its socket; 0 if it has neither.

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "netns",
    about: "its network namespace",
    fields: &[Part {
        name: "netns",
        offset: 0,
        size: 4,
        kind: FieldType::Unsigned,
        format: PartFormat::PLAIN,
    }],
};
