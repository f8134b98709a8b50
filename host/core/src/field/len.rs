//! `len`: the packet's length in bytes.

use super::{BuiltIn, Capability};
use crate::event::{FieldFormat, FieldType};

pub(super) static FIELD: BuiltIn = BuiltIn {
    name: "len",
    about: "bytes of the packet from where its data begins, which is behind the headers that were taken off",
    size: 4,
    kind: FieldType::Unsigned,
    format: FieldFormat::Plain,
    capability: Capability::EveryKernel,
};
