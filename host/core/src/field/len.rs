//! `len`: the packet's length in bytes, from where its data begins: behind the headers that were taken off.

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "len",
    about: "length of the packet",
    fields: &[Part {
        name: "len",
        offset: 0,
        size: 4,
        kind: FieldType::Unsigned,
        format: PartFormat::PLAIN,
    }],
};
