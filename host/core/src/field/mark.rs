//! `mark`: the packet's mark, whole: with `--mask`, it may be another one than `-m`.

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "mark",
    about: "its mark",
    fields: &[Part {
        name: "mark",
        offset: 0,
        size: 4,
        kind: FieldType::Unsigned,
        format: PartFormat::HEX,
    }],
};
