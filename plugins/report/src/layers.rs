//! Tables of names: the network layer of a function, functions that drop packets, fields that locate a packet. The
//! README lists them.

/// Layers, named as the page's lanes, from the application to the wire.
pub(crate) const LAYERS: [&str; 8] = [
    "socket",
    "transport",
    "IP",
    "netfilter",
    "link and qdisc",
    "device",
    "skb memory",
    "other",
];

const SOCKET: u32 = 0;
const TRANSPORT: u32 = 1;
const IP: u32 = 2;
const NETFILTER: u32 = 3;
const LINK: u32 = 4;
const DEVICE: u32 = 5;
const MEMORY: u32 = 6;
const OTHER: u32 = 7;

/// Prefixes of function names, without leading underscores. The longest match wins.
#[rustfmt::skip]
const FUNCTIONS: &[(u32, &[&str])] = &[
    (SOCKET, &[
        "sock_", "sk_", "skb_recv_", "skb_copy_datagram", "skb_copy_and_csum_datagram", "skb_datagram", "skb_free_datagram",
        "datagram_", "inet_sendmsg", "inet_recvmsg", "unix_", "netlink_", "packet_rcv", "packet_snd", "packet_sendmsg",
        "packet_recvmsg", "tpacket_", "fanout_", "cgroup_bpf_run_filter", "security_sock", "apparmor_socket",
        "bpf_lsm_socket", "selinux_socket", "smack_socket", "zerocopy_", "msg_zerocopy",
    ]),
    (TRANSPORT, &[
        "tcp_", "tcp4_", "tcp6_", "tcpv6_", "udp_", "udp4_", "udp6_", "udpv6_", "udplite", "icmp_", "icmpv6_", "icmp6_",
        "sctp_", "dccp_", "raw_", "raw4_", "raw6_", "rawv6_", "ping_", "pingv6_", "igmp_", "mld_", "mptcp_", "subflow_",
        "inet_csk", "inet_conn", "inet_reqsk", "inet_lookup", "inet6_lookup", "inet_lhash2", "inet6_lhash2",
        "inet_sk_rx_dst", "inet_ehash", "reuseport_", "cookie_v4", "cookie_v6", "skb_consume_udp", "consume_stateless",
        "bictcp", "cubictcp", "bbr_", "dctcp_", "tls_", "espintcp", "l2tp_", "security_inet_conn", "apparmor_inet_conn",
        "bpf_lsm_inet_conn", "selinux_inet_conn", "bpf_skops",
    ]),
    (IP, &[
        "ip_", "ip4_", "ip6_", "ipv4_", "ipv6_", "inet_", "inet6_", "fib_", "fib4_", "fib6_", "rt_", "rt6_", "rt_dst",
        "dst_", "ipmr_", "ip_mr", "ipip_", "ip6_tnl", "sit_", "gre_", "ipgre_", "mpls_", "lwtunnel_", "seg6_", "xfrm_",
        "xfrm4_", "xfrm6_", "esp_", "esp4_", "esp6_", "ah_", "ah4_", "ah6_", "validate_xmit_xfrm", "security_xfrm",
        "bpf_lsm_xfrm", "selinux_xfrm", "skb_flow_dissect", "skb_get_hash", "security_skb_classify_flow",
    ]),
    (NETFILTER, &[
        "nf_", "nft_", "nfnl", "nfqnl", "nfulnl", "ipt_", "ip6t_", "arpt_", "ebt_", "xt_", "iptable_", "ip6table_",
        "br_nf_", "ip_vs_", "ip_set_", "ipv4_conntrack", "ipv6_conntrack", "ipv4_confirm", "ip_sabotage", "synproxy_",
        "icmp_pkt_to_tuple", "icmpv6_pkt_to_tuple", "apparmor_ip_", "selinux_ip_", "selinux_ipv4_", "selinux_ipv6_",
        "smack_ip",
    ]),
    (LINK, &[
        "dev_", "netif_", "netdev_", "net_rx_", "net_tx_", "eth_", "napi_", "gro_", "skb_gro", "enqueue_to_backlog",
        "process_backlog", "get_rps_cpu", "rps_", "validate_xmit", "harmonize_features", "passthru_features",
        "skb_network_protocol", "skb_csum_hwoffload", "skb_mac_gso", "skb_udp_tunnel_segment", "skb_vlan", "skb_clone_tx_timestamp",
        "skb_defer_rx_timestamp", "sch_", "qdisc_", "pfifo_", "bfifo_", "fq_", "codel_", "tbf_", "htb_", "hfsc_", "sfq_",
        "red_", "prio_", "cake_", "netem_", "mqprio_", "taprio_", "etf_", "ingress_", "clsact_", "tc_", "tcf_", "tcx_",
        "cls_", "fl_", "u32_", "act_", "vlan_", "br_", "bond_", "team_", "macvlan_", "ipvlan_", "macsec_", "hsr_",
        "neigh_", "arp_", "ndisc_", "llc_", "lldp", "xdp_", "do_xdp_generic", "generic_xdp", "bpf_prog_run_generic_xdp",
        "ovs_",
    ]),
    (DEVICE, &[
        "veth_", "tun_", "tap_", "loopback_", "virtnet_", "vxlan_", "geneve_", "wg_", "dummy_", "ifb_", "e1000", "igb_",
        "igc_", "ixgbe_", "i40e_", "iavf_", "ice_", "mlx4_", "mlx5", "bnxt_", "ena_", "gve_", "vmxnet3_", "xennet_",
        "netvsc_", "rtl8169_", "rtl_", "r8152_", "usbnet_", "cdc_", "ieee80211_", "ath9k_", "ath10k_", "ath11k_", "iwl_", "nsim_", "stmmac_",
    ]),
    (MEMORY, &[
        "skb_", "pskb_", "kfree_skb", "kfree_skbmem", "sk_skb_reason_drop", "consume_skb", "napi_consume_skb",
        "dev_kfree_skb", "dev_consume_skb", "alloc_skb", "napi_alloc_skb", "netdev_alloc_skb", "build_skb",
        "napi_build_skb", "copy_skb", "slab_build_skb", "security_skb", "sock_wfree", "sock_rfree", "sock_efree",
        "sock_ofree", "sock_edemux", "sock_pfree",
    ]),
];

/// Prefixes of module names, for functions whose own name does not match.
#[rustfmt::skip]
const MODULES: &[(u32, &[&str])] = &[
    (SOCKET, &["unix", "af_packet", "vsock", "can"]),
    (TRANSPORT, &["tcp_", "udp_", "sctp", "dccp", "mptcp", "tls", "l2tp"]),
    (IP, &["esp", "ah4", "ah6", "xfrm", "ipip", "sit", "ip_gre", "ip6_", "ip_tunnel", "tunnel", "mpls", "ipv6", "gre"]),
    (NETFILTER, &["nf_", "nft_", "nfnetlink", "xt_", "ip_tables", "ip6_tables", "iptable_", "ip6table_", "arp_tables",
        "ebtable", "ebt_", "ip_set", "ip_vs", "br_netfilter", "ipt_", "ip6t_"]),
    (LINK, &["sch_", "cls_", "act_", "em_", "bridge", "bonding", "team", "8021q", "macvlan", "ipvlan", "openvswitch",
        "macsec", "llc", "stp"]),
];

/// Returns the layer of a function, as an index into [`LAYERS`].
///
/// A module without a match is a driver.
pub(crate) fn layer(function: &str, module: &str) -> u32 {
    let by_name = longest(FUNCTIONS, function.trim_start_matches('_'));
    by_name.or_else(|| longest(MODULES, module)).unwrap_or(match module {
        "vmlinux" | "" | "?" => OTHER,
        _ => DEVICE,
    })
}

fn longest(table: &[(u32, &[&str])], name: &str) -> Option<u32> {
    let rows = table.iter();
    let fits = rows.flat_map(|(layer, prefixes)| {
        let fitting = prefixes.iter().filter(|prefix| name.starts_with(**prefix));
        fitting.map(|prefix| (prefix.len(), *layer))
    });
    fits.max().map(|(_, layer)| layer)
}

/// Functions that free a packet because it is dropped.
///
/// Not `kfree_skbmem` and `kfree_skb_partial`: they also free the memory of consumed packets.
const DROPS: [&str; 8] = [
    "kfree_skb",
    "kfree_skb_reason",
    "kfree_skb_list",
    "kfree_skb_list_reason",
    "sk_skb_reason_drop",
    "tcp_drop",
    "tcp_drop_reason",
    "tcf_kfree_skb_list",
];

/// Returns whether the function drops the packet.
pub(crate) fn drops(function: &str) -> bool {
    // The compiler appends `.part.0` and the like.
    let name = function.split('.').next().unwrap_or_default();
    DROPS.contains(&name.trim_start_matches('_')) && name != "__kfree_skb"
}

/// Names of fields with the network namespace, best first.
const NAMESPACES: [&str; 7] = ["netns", "net_ns", "netns_inum", "netns_id", "nsid", "ns", "net"];

/// Names of fields with the device, best first.
const DEVICES: [&str; 12] = [
    "ifname",
    "dev_name",
    "devname",
    "dev",
    "device",
    "netdev",
    "iface",
    "interface",
    "nic",
    "ifindex",
    "iif",
    "skb_iif",
];

/// Returns the indices of the fields that locate a packet: namespace, then device.
///
/// A dotted name is matched by its last part (`skb.dev`), or by the one before if the last names a property of the
/// device (`dev.name`, `net.ns.inum`).
pub(crate) fn places<'a>(fields: impl Iterator<Item = &'a str>) -> Vec<u32> {
    let names: Vec<String> = fields.map(place_name).collect();
    let find = |wanted: &[&str]| {
        let best = wanted
            .iter()
            .find_map(|wanted| names.iter().position(|name| name == wanted));
        best.map(|position| position as u32)
    };
    [find(&NAMESPACES), find(&DEVICES)].into_iter().flatten().collect()
}

fn place_name(field: &str) -> String {
    let mut parts = field.rsplit('.');
    let mut last = parts.next().unwrap_or_default();
    if matches!(last, "name" | "ifindex" | "inum" | "id") {
        last = parts.next().unwrap_or(last);
    }
    last.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer_of(function: &str, module: &str) -> &'static str {
        LAYERS[layer(function, module) as usize]
    }

    #[test]
    fn the_longest_matching_prefix_decides_the_layer() {
        assert_eq!(layer_of("ip_rcv", "vmlinux"), "IP");
        assert_eq!(layer_of("ip_vs_in", "ip_vs"), "netfilter");
        assert_eq!(
            layer_of("__netif_receive_skb_core.constprop.0", "vmlinux"),
            "link and qdisc"
        );
        assert_eq!(layer_of("tcp_v4_rcv", "vmlinux"), "transport");
        assert_eq!(layer_of("sk_filter_trim_cap", "vmlinux"), "socket");
        assert_eq!(layer_of("sk_skb_reason_drop", "vmlinux"), "skb memory");
        assert_eq!(layer_of("skb_release_data", "vmlinux"), "skb memory");
        assert_eq!(layer_of("skb_consume_udp", "vmlinux"), "transport");
        assert_eq!(layer_of("veth_xmit", "veth"), "device");
    }

    #[test]
    fn the_module_decides_if_no_function_name_matches() {
        assert_eq!(layer_of("mark_tg", "xt_mark"), "netfilter");
        assert_eq!(layer_of("fancy_start_xmit", "fancy_nic"), "device");
        assert_eq!(layer_of("something", "vmlinux"), "other");
        assert_eq!(layer_of("?", "?"), "other");
        assert_eq!(layer_of("", ""), "other");
    }

    #[test]
    fn no_prefix_is_in_the_table_twice() {
        for table in [FUNCTIONS, MODULES] {
            let mut all: Vec<&str> = table
                .iter()
                .flat_map(|(_, prefixes)| prefixes.iter().copied())
                .collect();
            all.sort_unstable();
            assert_eq!(all.windows(2).find(|pair| pair[0] == pair[1]), None);
            assert_eq!(
                all.iter().find(|prefix| prefix.starts_with('_')),
                None,
                "names lose their underscores"
            );
        }
    }

    #[test]
    fn freeing_a_consumed_packet_is_not_a_drop() {
        for drop in [
            "kfree_skb",
            "kfree_skb_reason.part.0",
            "__kfree_skb_list",
            "sk_skb_reason_drop",
            "tcp_drop_reason",
        ] {
            assert!(drops(drop), "{drop}");
        }
        for other in [
            "kfree_skbmem",
            "kfree_skb_partial",
            "__kfree_skb",
            "consume_skb",
            "skb_release_data",
            "",
        ] {
            assert!(!drops(other), "{other}");
        }
    }

    #[test]
    fn field_names_decide_device_and_namespace() {
        assert_eq!(places(["len", "dev.name", "mark", "net.ns.inum"].into_iter()), [3, 1]);
        assert_eq!(places(["skb.dev.ifindex", "ifname"].into_iter()), [1]);
        assert_eq!(places(["ifindex"].into_iter()), [0]);
        assert_eq!(places(["device_count", "len"].into_iter()), [0; 0]);
        assert_eq!(places(std::iter::empty()), [0; 0]);
    }
}
