//! No fields: the functions that were running when a packet was dropped are an event of their own.

use super::BuiltIn;

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "stack",
    about: "functions that were running when it was dropped",
    fields: &[],
};
