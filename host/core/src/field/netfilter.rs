//! No fields: the verdicts of netfilter about a packet are events of their own.

use super::BuiltIn;

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "netfilter",
    about: "verdicts of firewalls about it",
    fields: &[],
};
