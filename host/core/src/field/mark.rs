//! `mark`: the packet's mark.

use super::{BuiltIn, Capability};
use crate::event::{FieldFormat, FieldType};

pub(super) static FIELD: BuiltIn = BuiltIn {
    name: "mark",
    about: "the packet's mark, whole: with --mask, it may be another one than -m",
    size: 4,
    kind: FieldType::Unsigned,
    format: FieldFormat::Hex,
    capability: Capability::EveryKernel,
};
