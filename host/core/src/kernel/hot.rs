//! The kernel's own functions that nearly every packet passes. For these it is worth more to cost a packet little than to
//! be attached quickly.

use super::{Candidate, PacketArgument};

/// The names, in order: of a UDP datagram over a veth pair from socket to socket, of its way through a router, and the
/// busiest of TCP, as `ipft -o jsonl` shows them on 6.12. Each costs some 13 ms at the start. A name that the running
/// kernel lacks, or has inlined, does no harm. A test counts how often a datagram passes other functions.
const HOT: [&str; 65] = [
    "__consume_stateless_skb",
    "__dev_forward_skb",
    "__dev_forward_skb2",
    "__dev_queue_xmit",
    "__ip_finish_output",
    "__ip_local_out",
    "__ip_queue_xmit",
    "__netif_receive_skb_one_core",
    "__tcp_transmit_skb",
    "__udp4_lib_rcv",
    "__udp_enqueue_schedule_skb",
    "apparmor_socket_sock_rcv_skb",
    "bpf_lsm_socket_sock_rcv_skb",
    "dev_hard_start_xmit",
    "enqueue_to_backlog",
    "eth_type_trans",
    "fib_validate_source",
    "inet_lookup_reuseport",
    "ip_finish_output",
    "ip_finish_output2",
    "ip_forward",
    "ip_local_deliver",
    "ip_local_deliver_finish",
    "ip_output",
    "ip_protocol_deliver_rcu",
    "ip_rcv",
    "ip_rcv_core",
    "ip_rcv_finish",
    "ip_route_input_noref",
    "ip_route_input_slow",
    "ip_send_skb",
    "ipv4_pktinfo_prepare",
    "kfree_skbmem",
    "netdev_core_pick_tx",
    "netif_rx_internal",
    "netif_skb_features",
    "nf_hook_slow",
    "passthru_features_check",
    "raw_local_deliver",
    "security_sock_rcv_skb",
    "sk_filter_trim_cap",
    "skb_clone_tx_timestamp",
    "skb_consume_udp",
    "skb_copy_datagram_iter",
    "skb_csum_hwoffload_help",
    "skb_free_head",
    "skb_network_protocol",
    "skb_release_data",
    "skb_release_head_state",
    "skb_scrub_packet",
    "skb_set_owner_w",
    "sock_wfree",
    "tcp_ack",
    "tcp_rcv_established",
    "tcp_v4_do_rcv",
    "tcp_v4_rcv",
    "udp4_hwcsum",
    "udp_queue_rcv_one_skb",
    "udp_queue_rcv_skb",
    "udp_rcv",
    "udp_send_skb",
    "udp_unicast_rcv_skb",
    "udp_v4_early_demux",
    "validate_xmit_skb",
    "validate_xmit_xfrm",
];

/// Returns whether nearly every packet passes the function. Modules are excluded: they can only be unloaded when nothing
/// is attached to them.
pub fn is_hot(function: &Candidate) -> bool {
    let known = function.argument == PacketArgument::Pointer && !function.unsure && !function.ambiguous;
    known && function.module == "vmlinux" && HOT.binary_search(&function.name.as_str()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_functions_are_in_order() {
        assert!(HOT.is_sorted_by(|one, next| one < next));
    }
}
