//! `len`: the packet's length in bytes, from where its data begins: behind the headers that were taken off.

use super::BuiltIn;
use crate::event::{FieldFormat, FieldType};

pub(super) static FIELD: BuiltIn = BuiltIn {
    name: "len",
    about: "length of the packet",
    size: 4,
    kind: FieldType::Unsigned,
    format: FieldFormat::Plain,
};
