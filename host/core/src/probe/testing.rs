//! Functions for the tests of this module. Imports `kernel`.

use crate::kernel::{Candidate, PacketArgument};

/// A function of the kernel that takes a packet at this position.
pub(super) fn candidate_at(name: &str, position: u8) -> Candidate {
    Candidate {
        name: name.into(),
        module: "vmlinux".into(),
        address: 0,
        position,
        argument: PacketArgument::Pointer,
        unsure: false,
        btf_id: 1,
        arguments: 2,
        trampoline: true,
        ambiguous: false,
    }
}

/// One that takes a packet first.
pub(super) fn candidate(name: &str) -> Candidate {
    candidate_at(name, 0)
}
