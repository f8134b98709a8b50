//! What it means that a packet enters a kernel function, for those that mean something to people. Imports nothing.

/// What a function does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It comes from a device.
    Receive,
    /// A program or a protocol of this host sends it.
    Send,
    /// It is routed from one device to another.
    Forward,
    /// A bridge passes it on.
    Bridge,
    /// A device's driver gets it.
    Transmit,
}

/// By name. The names are those of Linux 5.10 to 7.2 (net/core/dev.c, net/ipv4, net/ipv6, net/bridge).
const MEANINGS: [(&str, Meaning); 36] = [
    ("__br_forward", Meaning::Bridge),
    ("__dev_direct_xmit", Meaning::Send),
    ("__ip6_local_out", Meaning::Send),
    ("__ip_local_out", Meaning::Send),
    ("__ip_queue_xmit", Meaning::Send),
    ("__netif_receive_skb", Meaning::Receive),
    ("__netif_receive_skb_core", Meaning::Receive),
    ("__netif_receive_skb_one_core", Meaning::Receive),
    ("__netif_rx", Meaning::Receive),
    ("arp_rcv", Meaning::Receive),
    ("arp_xmit", Meaning::Send),
    ("br_forward", Meaning::Bridge),
    ("dev_hard_start_xmit", Meaning::Transmit),
    ("icmp_push_reply", Meaning::Send),
    ("ip6_forward", Meaning::Forward),
    ("ip6_local_out", Meaning::Send),
    ("ip6_rcv_core", Meaning::Receive),
    ("ip6_send_skb", Meaning::Send),
    ("ip6_xmit", Meaning::Send),
    ("ip_build_and_send_pkt", Meaning::Send),
    ("ip_forward", Meaning::Forward),
    ("ip_local_out", Meaning::Send),
    ("ip_queue_xmit", Meaning::Send),
    ("ip_rcv", Meaning::Receive),
    ("ip_rcv_core", Meaning::Receive),
    ("ip_send_skb", Meaning::Send),
    ("ip_list_rcv", Meaning::Receive),
    ("ipv6_rcv", Meaning::Receive),
    ("napi_gro_receive", Meaning::Receive),
    ("gro_receive_skb", Meaning::Receive),
    ("netif_receive_skb", Meaning::Receive),
    ("netif_receive_skb_internal", Meaning::Receive),
    ("netif_rx", Meaning::Receive),
    ("netif_rx_internal", Meaning::Receive),
    ("tcp_transmit_skb", Meaning::Send),
    ("__tcp_transmit_skb", Meaning::Send),
];

/// Returns a name without the suffix that a compiler gives a copy (`.isra.0`, `.constprop.0`).
fn base(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

impl Meaning {
    /// Returns what it means to enter a function of this name.
    pub(crate) fn of(name: &str) -> Option<Meaning> {
        let name = base(name);
        let found = MEANINGS.iter().find(|(known, _)| *known == name);
        found.map(|(_, meaning)| *meaning)
    }
}

/// Where a packet waits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Queue {
    /// In a queueing discipline of a device, by its name.
    Qdisc(String),
    /// For the address of the next host.
    Neighbour,
    /// For its other fragments.
    Fragments,
    /// For a program behind NFQUEUE.
    Program,
    /// In the backlog of a CPU.
    Backlog,
    /// For a program to read its socket.
    Socket,
    /// Elsewhere, after this function.
    After(String),
}

impl Queue {
    /// Returns where a packet waited that the kernel drops for a reason, if the reason says it.
    pub(crate) fn before(reason: &str) -> Option<Queue> {
        match reason {
            "FRAG_REASM_TIMEOUT" => Some(Queue::Fragments),
            "NEIGH_FAILED" => Some(Queue::Neighbour),
            _ => None,
        }
    }

    /// Returns where a packet waits if nothing happens to it for long after it has entered a function.
    pub(crate) fn behind(name: &str) -> Queue {
        let name = base(name);
        if let Some(qdisc) = name.strip_suffix("_enqueue") {
            // codel_qdisc_enqueue, pie_qdisc_enqueue.
            return Queue::Qdisc(qdisc.strip_suffix("_qdisc").unwrap_or(qdisc).to_owned());
        }
        match name {
            "neigh_resolve_output" | "__neigh_event_send" | "ip_finish_output2" | "ip6_finish_output2" => {
                Queue::Neighbour
            }
            "ip_defrag" | "ip_frag_queue" | "ipv6_frag_rcv" | "nf_ct_frag6_gather" | "ip6_frag_queue" => {
                Queue::Fragments
            }
            "nf_queue" | "__nf_queue" | "nfqnl_enqueue_packet" | "__nfqnl_enqueue_packet" => Queue::Program,
            "enqueue_to_backlog" | "netif_rx" | "__netif_rx" | "netif_rx_internal" => Queue::Backlog,
            "__sock_queue_rcv_skb"
            | "__udp_enqueue_schedule_skb"
            | "sock_def_readable"
            | "sock_queue_rcv_skb_reason"
            | "sock_queue_rcv_skb"
            | "raw_rcv"
            | "tcp_data_queue"
            | "tcp_data_queue_ofo"
            | "tcp_queue_rcv"
            | "tcp_rcv_established"
            | "udp_queue_rcv_one_skb"
            | "udp_queue_rcv_skb"
            | "udpv6_queue_rcv_one_skb"
            | "udpv6_queue_rcv_skb" => Queue::Socket,
            other => Queue::After(other.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_by_the_compiler_means_the_same() {
        assert_eq!(Meaning::of("ip_forward"), Some(Meaning::Forward));
        assert_eq!(Meaning::of("netif_receive_skb_internal.part.0"), Some(Meaning::Receive));
        assert_eq!(Meaning::of("ip_forward_finish"), None);
        assert_eq!(Meaning::of(""), None);
    }

    #[test]
    fn the_last_function_says_which_queue_it_is() {
        let qdisc = |name: &str| Queue::Qdisc(name.to_owned());
        assert_eq!(Queue::behind("fq_codel_enqueue"), qdisc("fq_codel"));
        assert_eq!(Queue::behind("pie_qdisc_enqueue.isra.0"), qdisc("pie"));
        assert_eq!(Queue::behind("tcp_data_queue"), Queue::Socket);
        assert_eq!(Queue::behind("ip_rcv"), Queue::After("ip_rcv".to_owned()));
    }
}
