//! No fields: the verdicts of traffic control and of XDP about a packet are events of their own.

use super::BuiltIn;

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "tc",
    about: "verdicts of tc and XDP about it",
    fields: &[],
};
