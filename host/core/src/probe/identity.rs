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
    /// A packet enters or leaves a layer, and its headers are in order: where packets are selected that are followed.
    Gate,
    /// Its first argument becomes a copy of the second.
    Copy,
    /// Its first argument becomes a fragment of the second.
    Fragment,
    /// A part of its first argument becomes the second.
    Split,
    /// Its second argument is built around the frame that is the first one, which may have been a packet.
    Rebuild,
    /// GRO makes its second argument part of the first, or refuses to.
    Gro,
    /// Likewise, with the data of packets in a socket's queue.
    Coalesce,
    /// It frees a packet whose data became part of another one.
    Partial,
    /// Its second argument, a fragment, waits in the queue that is the first one.
    Queue,
    /// Its second argument becomes the datagram of the fragments in the queue.
    Assemble,
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

/// Where packets are selected, with the position of the packet: the functions by which a packet enters or leaves a
/// layer, on all paths but those that take lists of packets. The symbols are the same in Linux 5.10 to 7.2.
const GATES: [(&str, u8); 14] = [
    // net/core/gro.c and net/core/dev.c: from a driver.
    ("dev_gro_receive", 1),
    ("netif_receive_skb", 0),
    ("__netif_receive_skb_core", 0),
    // net/ipv4 and net/ipv6: from the link layer.
    ("ip_rcv_core", 0),
    ("ip6_rcv_core", 0),
    ("arp_rcv", 0),
    // From a socket.
    ("__ip_local_out", 2),
    ("__ip6_local_out", 2),
    ("ip_output", 2),
    ("ip6_output", 2),
    ("ip_mc_output", 2),
    // net/core/dev.c: to a device.
    ("__dev_queue_xmit", 0),
    ("__dev_direct_xmit", 0),
    ("generic_xdp_tx", 0),
];

/// Functions that make a packet out of another one, or part of another one, with the position of the one that is traced
/// there.
const MAKERS: [(&str, u8, Role); 11] = [
    ("__copy_skb_header", 1, Role::Copy),
    ("ip_copy_metadata", 1, Role::Fragment),
    ("ip6_copy_metadata", 1, Role::Fragment),
    ("skb_split", 0, Role::Split),
    // net/core/xdp.c, from 5.12 on.
    ("__xdp_build_skb_from_frame", 1, Role::Rebuild),
    // net/core/skbuff.c, from 5.18 on net/core/gro.c, for lists also net/ipv4/udp_offload.c.
    ("skb_gro_receive", 0, Role::Gro),
    ("skb_gro_receive_list", 0, Role::Gro),
    ("skb_try_coalesce", 0, Role::Coalesce),
    ("kfree_skb_partial", 0, Role::Partial),
    // net/ipv4/inet_fragment.c, of IPv6 and of connection tracking, too.
    ("inet_frag_queue_insert", 1, Role::Queue),
    ("inet_frag_reasm_finish", 1, Role::Assemble),
];

/// The part that a function plays if packets are followed.
pub fn role_in_following(function: &Candidate) -> Role {
    // A compiler's suffix is not part of the name.
    let name = function.name.split('.').next().unwrap_or_default();
    let is_gate = GATES.contains(&(name, function.position));
    if function.unsure {
        // Since 6.1 the compiler has cloned __netif_receive_skb_core as .constprop.0, with the first argument where it
        // was. The program of such an argument checks what it points at.
        let is_checked = function.argument == PacketArgument::DoublePointer;
        return if is_gate && is_checked {
            Role::Gate
        } else {
            Role::Ordinary
        };
    }
    if is_gate {
        return Role::Gate;
    }
    let maker = MAKERS
        .iter()
        .find(|(maker, position, _)| *maker == name && *position == function.position);
    match maker {
        Some((_, _, role)) if function.argument == PacketArgument::Pointer => *role,
        _ => role(function),
    }
}

/// Returns the gates and makers with the positions of their packets.
#[cfg(test)]
pub(super) fn gates_and_makers() -> impl Iterator<Item = (&'static str, u8)> {
    let makers = MAKERS.into_iter().map(|(name, position, _)| (name, position));
    GATES.into_iter().chain(makers)
}

/// The part that a function plays if packets are only known by their mark.
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

/// Returns whether the table of live packets needs the function, also where the user did not select it.
pub fn is_needed(function: &Candidate, following: bool) -> bool {
    match following {
        true => !matches!(role_in_following(function), Role::Ordinary | Role::Teardown),
        false => matches!(role(function), Role::Release | Role::Free),
    }
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
    fn gates_and_makers_play_a_part_in_following_alone() {
        for (name, position, expected) in [
            ("ip_output", 2, Role::Gate),
            ("__copy_skb_header", 1, Role::Copy),
            ("ip6_copy_metadata", 1, Role::Fragment),
            ("skb_split", 0, Role::Split),
            ("__xdp_build_skb_from_frame", 1, Role::Rebuild),
            ("skb_gro_receive", 0, Role::Gro),
            ("inet_frag_reasm_finish", 1, Role::Assemble),
            ("kfree_skbmem", 0, Role::Free),
            ("ip_rcv", 0, Role::Ordinary),
        ] {
            let function = candidate_at(name, position);
            assert_eq!(role_in_following(&function), expected, "{name}");
            assert_eq!(is_needed(&function, true), expected != Role::Ordinary, "{name}");
            assert_eq!(is_needed(&function, false), expected == Role::Free, "{name}");
        }
    }

    #[test]
    fn a_clone_of_a_gate_is_one_if_it_is_checked() {
        let mut function = candidate_at("__netif_receive_skb_core.constprop.0", 0);
        function.unsure = true;
        assert_eq!(role_in_following(&function), Role::Ordinary);
        function.argument = PacketArgument::DoublePointer;
        assert_eq!(role_in_following(&function), Role::Gate);
        assert!(is_needed(&function, true));
    }

    #[test]
    fn a_role_needs_the_packet_where_the_program_reads_it() {
        assert_eq!(role(&candidate_at("napi_reuse_skb", 0)), Role::Ordinary);
        let mut unsure = candidate_at("kfree_skbmem", 0);
        unsure.unsure = true;
        assert_eq!(role(&unsure), Role::Ordinary);
    }
}
