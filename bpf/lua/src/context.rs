//! Fields of the context that a socket's program gets (`struct __sk_buff`, include/uapi/linux/bpf.h). Imports nothing.
//!
//! Those that the verifier refuses to such programs are left out.

/// Names, and bytes from the start. All have 32 bits without sign.
const FIELDS: [(&str, i16); 14] = [
    ("len", 0),
    ("pkt_type", 4),
    ("mark", 8),
    ("queue_mapping", 12),
    ("protocol", 16),
    ("vlan_present", 20),
    ("vlan_tci", 24),
    ("vlan_proto", 28),
    ("priority", 32),
    ("ingress_ifindex", 36),
    ("ifindex", 40),
    ("tc_index", 44),
    ("hash", 68),
    ("napi_id", 84),
];

/// Bytes of a field.
pub(crate) const BYTES: u8 = 4;

/// Returns where a field is.
pub(crate) fn field(name: &str) -> Option<i16> {
    FIELDS
        .iter()
        .find(|(found, _)| *found == name)
        .map(|(_, offset)| *offset)
}

/// Returns the names of the fields.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|(name, _)| *name)
}
