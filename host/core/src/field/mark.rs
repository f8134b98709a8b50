//! `mark`: the packet's mark, whole: with `--mask`, it may be another one than `-m`.

use super::BuiltIn;
use crate::event::{FieldFormat, FieldType};

pub(super) static FIELD: BuiltIn = BuiltIn {
    name: "mark",
    about: "its mark",
    size: 4,
    kind: FieldType::Unsigned,
    format: FieldFormat::Hex,
};
