//! The functions that begin and end a packet's life.
//!
//! The kernel reuses an sk_buff's memory as soon as it is freed, so an address is not an identity. The programs keep a
//! table of live packets (`bpf/src/core/identity.h`); this file says which functions play a part in it. They are
//! probed in every trace, whatever the user's filter says.

use crate::kernel::{Candidate, PacketArgument};

/// The part that a function plays in a packet's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// None: a packet that it sees lives.
    Ordinary,
    /// It may run on a packet that is being torn down.
    Teardown,
    /// The packet is dying once this is entered.
    Release,
    /// The packet's memory is given back.
    Free,
}

/// Functions that give an sk_buff's memory back, and whose end is the end of it (`net/core/skbuff.c`).
const FREE: [&str; 2] = ["kfree_skbmem", "napi_skb_cache_put"];

/// Functions after which an sk_buff is only torn down, with the position of the packet. Every way of freeing passes
/// the first, but for stolen heads; `napi_reuse_skb` keeps the memory for the next packet without freeing it.
const RELEASE: [(&str, u8); 3] = [
    ("skb_release_head_state", 0),
    ("napi_skb_free_stolen_head", 0),
    ("napi_reuse_skb", 1),
];

/// Functions that run between release and free: the data's release, and destructors (`skb->destructor`) that do not
/// say so in their name.
const TEARDOWN: [&str; 5] = [
    "skb_release_data",
    "skb_free_head",
    "sock_ofree",
    "sock_pfree",
    "__consume_stateless_skb",
];

/// Parts of names that destructors and zero-copy notifications have all over the kernel.
const TEARDOWN_PARTS: [&str; 7] = [
    "_wfree",
    "_rfree",
    "_efree",
    "edemux",
    "destruct",
    "zerocopy",
    "release_owner",
];

/// The part that a function plays.
pub fn role(function: &Candidate) -> Role {
    if function.argument != PacketArgument::Pointer || function.unsure {
        return Role::Ordinary;
    }
    let name = function.name.as_str();
    if function.position == 0 && FREE.contains(&name) {
        Role::Free
    } else if RELEASE.contains(&(name, function.position)) {
        Role::Release
    } else if function.position == 0
        && (TEARDOWN.contains(&name) || TEARDOWN_PARTS.iter().any(|part| name.contains(part)))
    {
        Role::Teardown
    } else {
        Role::Ordinary
    }
}

/// Returns whether the table of live packets needs the function.
pub fn is_needed(function: &Candidate) -> bool {
    matches!(role(function), Role::Release | Role::Free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::testing::candidate_at;

    #[test]
    fn the_functions_of_an_sk_buffs_end_have_their_roles() {
        assert_eq!(role(&candidate_at("kfree_skbmem", 0)), Role::Free);
        assert_eq!(role(&candidate_at("skb_release_head_state", 0)), Role::Release);
        assert_eq!(role(&candidate_at("napi_reuse_skb", 1)), Role::Release);
        assert_eq!(role(&candidate_at("sock_wfree", 0)), Role::Teardown);
        assert_eq!(role(&candidate_at("ip_rcv", 0)), Role::Ordinary);
    }

    #[test]
    fn a_role_needs_the_packet_where_the_program_reads_it() {
        assert_eq!(role(&candidate_at("napi_reuse_skb", 0)), Role::Ordinary);
        let mut unsure = candidate_at("kfree_skbmem", 0);
        unsure.unsure = true;
        assert_eq!(role(&unsure), Role::Ordinary);
    }
}
