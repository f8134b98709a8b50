//! The kernel's own functions that nearly every packet passes. It is worth more to attach to these in the way that costs
//! a packet least than to start quickly.

use super::{Candidate, PacketArgument};

/// The names, in order: of a UDP datagram and a TCP segment that are sent, forwarded and received, with and without GRO,
/// as `ipft -o jsonl` shows them on 6.12. A name that the running kernel lacks, or has inlined, does no harm.
const HOT: [&str; 89] = [
    "__consume_stateless_skb",
    "__dev_forward_skb",
    "__dev_forward_skb2",
    "__dev_queue_xmit",
    "__ip_finish_output",
    "__ip_local_out",
    "__ip_queue_xmit",
    "__netif_receive_skb",
    "__netif_receive_skb_one_core",
    "__skb_datagram_iter",
    "__skb_flow_dissect",
    "__tcp_transmit_skb",
    "__udp4_lib_rcv",
    "__udp_enqueue_schedule_skb",
    "apparmor_ip_postroute",
    "apparmor_socket_sock_rcv_skb",
    "bpf_lsm_socket_sock_rcv_skb",
    "dev_gro_receive",
    "dev_hard_start_xmit",
    "enqueue_to_backlog",
    "eth_type_trans",
    "fib_validate_source",
    "inet_gro_receive",
    "inet_lookup_reuseport",
    "ip_finish_output",
    "ip_finish_output2",
    "ip_forward",
    "ip_forward_finish",
    "ip_local_deliver",
    "ip_local_deliver_finish",
    "ip_output",
    "ip_protocol_deliver_rcu",
    "ip_queue_xmit",
    "ip_rcv",
    "ip_rcv_core",
    "ip_rcv_finish",
    "ip_rcv_finish_core",
    "ip_route_input_noref",
    "ip_route_input_slow",
    "ip_send_skb",
    "ipv4_pktinfo_prepare",
    "kfree_skbmem",
    "napi_consume_skb",
    "napi_gro_receive",
    "neigh_resolve_output",
    "netdev_core_pick_tx",
    "netif_rx_internal",
    "netif_skb_features",
    "nf_hook_slow",
    "passthru_features_check",
    "raw_local_deliver",
    "sch_direct_xmit",
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
    "tc_run",
    "tcp4_gro_receive",
    "tcp_ack",
    "tcp_data_queue",
    "tcp_inbound_hash",
    "tcp_queue_rcv",
    "tcp_rcv_established",
    "tcp_v4_do_rcv",
    "tcp_v4_early_demux",
    "tcp_v4_fill_cb",
    "tcp_v4_rcv",
    "tcp_v4_send_check",
    "tcp_wfree",
    "udp4_gro_receive",
    "udp4_hwcsum",
    "udp_queue_rcv_one_skb",
    "udp_queue_rcv_skb",
    "udp_rcv",
    "udp_send_skb",
    "udp_unicast_rcv_skb",
    "udp_v4_early_demux",
    "validate_xmit_skb",
    "validate_xmit_skb_list",
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
