//! Functions that are entered with an sk_buff that is not a packet, or not yet.
//!
//! The memory of a new sk_buff has the content of its previous owner, including its mark and the address of freed
//! bytes, until it is filled. The same holds for output variables until there is a result. Data read through such a
//! pointer at the function's entry belongs to no packet, so this is the list of these arguments: if another argument is
//! a packet, it is used instead, otherwise the function is not traced.
//!
//! The list was made from the BTF of Linux 5.10 to 7.2 and of their network modules: of all functions that take two
//! packets, and of all that make an sk_buff, queue on one or return one. Sources are under `net/` where not given.

/// Functions whose first sk_buff is not a packet.
const FIRST_IS_UNFILLED: [&str; 14] = [
    // The copy is filled here, core/skbuff.c: packet is what it is copied from.
    "__copy_skb_header",
    "__skb_clone",
    "skb_copy_header",
    // The sk_buff of a fragment becomes another packet: the packet is what it becomes, core/skbuff.c.
    "skb_morph",
    // A fragment gets what its datagram has, ipv4/ip_output.c and ipv6/ip6_output.c.
    "ip_copy_metadata",
    "ip6_copy_metadata",
    // The first that sees a new sk_buff, core/skbuff.c and core/xdp.c.
    "__build_skb_around",
    "build_skb_around",
    "kmalloc_reserve",
    "__xdp_build_skb_from_frame",
    // Results, core/datagram.c, and in kernel/taskstats.c.
    "__skb_try_recv_datagram",
    "__skb_try_recv_from_queue",
    "prepare_reply",
    // The last of a queue, which may have been freed, or the queue itself: only compared, core/datagram.c.
    "__skb_wait_for_more_packets",
];

/// Returns whether the first sk_buff among the arguments of the function is no packet. A compiler's suffix is not part
/// of the name.
pub(super) fn first_is_unfilled(function: &str) -> bool {
    FIRST_IS_UNFILLED.contains(&function)
}
