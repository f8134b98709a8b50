//! Canned traces of packets that are followed: their origins, ends and decisions. Imports the script.

use ipft_core::event::*;

use super::{Canned, Fields, Script, mapped};

/// Packets about which firewalls decide, one of which drops its packet itself, and which wait in a queue.
pub(super) fn decided() -> Canned {
    const FUNCTIONS: [(&str, &str); 8] = [
        ("__ip_local_out", "vmlinux"),
        ("nf_hook_slow", "vmlinux"),
        ("fq_codel_enqueue", "sch_fq_codel"),
        ("sch_direct_xmit", "vmlinux"),
        ("nft_do_chain", "nf_tables"),
        ("nft inet filter out hook output priority 0", "nf_tables"),
        ("iptables mangle hook postrouting priority -150", "ip_tables"),
        ("skb_release_data", "vmlinux"),
    ];
    let mut script = Script::new(Tracer::Function, &FUNCTIONS);
    script.trace.schema = Fields::schema();
    script.trace.filter = "udp".to_owned();
    script.trace.follow = true;
    (script.trace.mark, script.trace.mask) = (0, 0);
    script.trace.drop_reasons = vec![EnumMember {
        name: "NETFILTER_DROP".to_owned(),
        value: 12,
    }];
    let mut fields = Fields {
        ports: (4000, 53),
        iface: "eth1",
        ..Fields::ipv4(17, 50)
    };
    let verdict = Decision::Netfilter;
    script.at(1_000_000).cpu(1).thread(812).payload(fields.bytes());
    script.enter(1, 0);
    script.at(1_010_000).enter(1, 1);
    script.at(1_020_000).decide(1, 5, verdict(Verdict::Accept));
    script.at(1_030_000).decide(1, 6, verdict(Verdict::Queue));
    fields.len = 64;
    script.at(1_040_000).payload(fields.bytes()).enter(1, 2);
    script.end_batch();
    script.at(42_040_000).enter(1, 3);
    fields.ports = (4001, 53);
    script.at(43_000_000).payload(fields.bytes()).enter(2, 0);
    script
        .at(43_010_000)
        .end(2, 4, Outcome::Dropped { reason: 12 }.to_word());
    script.at(43_011_000).enter(2, 7);
    script.at(43_012_000).decide(2, 5, verdict(Verdict::Drop));
    // Of a packet that is not known.
    script.at(43_013_000).decide(99, 5, verdict(Verdict::Stop));
    script.can("decided")
}

/// Packets that a filter selected, with the fields of one: through a veth pair and NAT, dropped, in fragments, in a
/// tunnel, of other protocols, and with fields that no function could see.
pub(super) fn followed() -> Canned {
    const FUNCTIONS: [(&str, &str); 16] = [
        ("__ip_local_out", "vmlinux"),
        ("nf_hook_slow", "vmlinux"),
        ("veth_xmit", "veth"),
        ("skb_scrub_packet", "vmlinux"),
        ("__netif_receive_skb_core", "vmlinux"),
        ("nf_nat_manip_pkt", "nf_nat"),
        ("icmp_rcv", "vmlinux"),
        ("consume_skb", "vmlinux"),
        ("skb_release_data", "vmlinux"),
        ("nft_do_chain", "nf_tables"),
        ("ip_copy_metadata", "vmlinux"),
        ("ip_finish_output2", "vmlinux"),
        ("vxlan_xmit_one", "vxlan"),
        ("ip6_output", "vmlinux"),
        ("arp_rcv", "vmlinux"),
        ("__copy_skb_header", "vmlinux"),
    ];
    let number = |name: &str| {
        let found = FUNCTIONS.iter().position(|(function, _)| *function == name);
        found.expect("it is one of them") as u32
    };
    let mut script = Script::new(Tracer::Function, &FUNCTIONS);
    script.trace.schema = Fields::schema();
    script.trace.filter = "icmp or host 10.0.0.2".to_owned();
    script.trace.follow = true;
    (script.trace.mark, script.trace.mask) = (0, 0);
    let reason = |(name, value): (&str, u64)| EnumMember {
        name: name.to_owned(),
        value,
    };
    script.trace.drop_reasons = [("NO_SOCKET", 3), ("NETFILTER_DROP", 12)].map(reason).to_vec();

    // A ping from one namespace to another, to an address that is translated.
    let mut ping = Fields {
        icmp: (8, 0),
        echo: (7, 1),
        mark: 0x77,
        netns: 4_026_531_840,
        ..Fields::ipv4(1, 84)
    };
    script.at(7_000_000_000).cpu(1).thread(812).payload(ping.bytes());
    script.enter(1, number("__ip_local_out"));
    for time in [12_100, 12_900, 13_300] {
        script.at(7_000_000_000 + time).enter(1, number("nf_hook_slow"));
    }
    ping.iface = "va";
    ping.len = 98;
    script
        .at(7_000_031_000)
        .payload(ping.bytes())
        .enter(1, number("veth_xmit"));
    // Another packet begins on another CPU: a connection that the firewall refuses.
    let syn = Fields {
        ports: (4000, 80),
        tcp: (2, 1234, 0),
        netns: 4_026_531_840,
        ..Fields::ipv4(6, 60)
    };
    script.at(7_000_032_000).cpu(0).thread(900).payload(syn.bytes());
    script.enter(2, number("__ip_local_out"));
    ping.mark = 0;
    script.at(7_000_038_200).cpu(1).thread(812).payload(ping.bytes());
    script.enter(1, number("skb_scrub_packet"));
    script.end_batch();
    (ping.iface, ping.netns, ping.len) = ("vb", 4_026_532_200, 84);
    script.at(7_000_044_900).payload(ping.bytes());
    script.enter(1, number("__netif_receive_skb_core"));
    script.at(7_000_046_000).cpu(0).thread(900).payload(syn.bytes());
    script.enter(2, number("nft_do_chain"));
    let refused = Outcome::Dropped { reason: 12 }.to_word();
    script.at(7_000_047_000).end(2, number("nft_do_chain"), refused);
    script.at(7_000_047_500).enter(2, number("skb_release_data"));
    ping.daddr = mapped(10, 1, 0, 2);
    script.at(7_000_051_300).cpu(1).thread(812).payload(ping.bytes());
    script.enter(1, number("nf_nat_manip_pkt"));
    script.at(7_000_080_000).enter(1, number("icmp_rcv"));
    script
        .at(7_000_081_000)
        .payload(Vec::new())
        .enter(1, number("consume_skb"));
    let delivered = Outcome::Delivered.to_word();
    script.at(7_000_082_000).end(1, NO_FUNCTION, delivered);
    script.at(7_000_083_000).enter(1, number("skb_release_data"));
    script.end_batch();

    // A packet that is cut in two, of which the second part is copied. Nothing is known of the copy in this batch.
    let mut udp = Fields {
        ports: (5353, 53),
        iface: "va",
        ..Fields::ipv4(17, 2028)
    };
    script
        .at(7_001_000_000)
        .payload(udp.bytes())
        .enter(3, number("__ip_local_out"));
    udp.frag = 0x2000;
    script.at(7_001_001_000).payload(udp.bytes());
    script.enter(3, number("ip_finish_output2"));
    script.at(7_001_002_000).payload(Vec::new());
    script.born(4, 3, number("ip_copy_metadata"));
    let second = Fields {
        ports: (0, 0),
        len: 548,
        frag: 185,
        ..udp
    };
    script.at(7_001_003_000).payload(second.bytes());
    script.enter(4, number("ip_finish_output2"));
    script.at(7_001_004_000).payload(Vec::new());
    script.born(5, 4, number("__copy_skb_header"));
    script.at(7_001_005_000).end(3, NO_FUNCTION, 0);
    script.end_batch();
    script.at(7_001_006_000).enter(5, number("veth_xmit"));
    script
        .at(7_001_007_000)
        .payload(second.bytes())
        .enter(5, number("__netif_receive_skb_core"));
    script.at(7_001_008_000).join(5, 4);
    script.at(7_001_008_000).end(5, NO_FUNCTION, Outcome::Joined.to_word());
    // One that was made of a packet that is not known, and has no events.
    script.at(7_001_009_000).payload(Vec::new()).born(6, 99, NO_FUNCTION);
    // A packet that no traced function saw.
    script.at(7_001_009_500).end(98, NO_FUNCTION, 0);
    script.end_batch();

    // A packet that enters a tunnel and leaves it.
    let inner = Fields {
        icmp: (0, 0),
        echo: (7, 1),
        ..Fields::ipv4(1, 84)
    };
    let outer = Fields {
        saddr: mapped(192, 0, 2, 1),
        daddr: mapped(192, 0, 2, 2),
        ports: (43211, 4789),
        ..Fields::ipv4(17, 134)
    };
    for (time, fields) in [(0, inner), (1, outer), (2, inner)] {
        script.at(7_002_000_000 + 1000 * time).payload(fields.bytes());
        script.enter(7, number("vxlan_xmit_one"));
    }
    // Other protocols.
    let v6 = |last| [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let dhcp = Fields {
        saddr: v6(1),
        daddr: v6(2),
        ports: (546, 547),
        ethertype: 0x86dd,
        ..Fields::ipv4(17, 100)
    };
    let solicitation = Fields {
        ports: (0, 0),
        proto: 58,
        icmp: (135, 0),
        ..dhcp
    };
    let arp = Fields {
        saddr: [0; 16],
        daddr: [0; 16],
        ethertype: 0x0806,
        ..Fields::ipv4(0, 28)
    };
    let established = Fields {
        ports: (4000, 80),
        tcp: (0x18, 1235, 99),
        ..Fields::ipv4(6, 1460)
    };
    let others = [
        (dhcp, "ip6_output"),
        (solicitation, "ip6_output"),
        (arp, "arp_rcv"),
        (
            Fields {
                ethertype: 0x1234,
                ..arp
            },
            "arp_rcv",
        ),
        (Fields::ipv4(47, 100), "__ip_local_out"),
        (Fields::ipv4(253, 100), "__ip_local_out"),
        (established, "__ip_local_out"),
        (
            Fields {
                len: 60,
                ..Fields::default()
            },
            "veth_xmit",
        ),
    ];
    for (packet, (fields, function)) in (8..).zip(others) {
        script.at(7_003_000_000 + packet).payload(fields.bytes());
        script.enter(packet, number(function));
    }
    script.end_batch();
    // What had no header gets one; the part of a packet that is moved to a new one starts it anew.
    script
        .at(7_004_000_000)
        .payload(arp.bytes())
        .enter(15, number("arp_rcv"));
    script
        .at(7_004_000_500)
        .payload(Fields { frag: 0, ..established }.bytes());
    script.enter(14, number("skb_scrub_packet"));
    script
        .at(7_004_001_000)
        .payload(Vec::new())
        .end(15, NO_FUNCTION, 1 << 32);
    script.at(7_004_002_000).end(14, NO_FUNCTION, 1 << 32 | 5);
    // A drop that is no loss: the socket of `ping` has a copy.
    script
        .at(7_004_003_000)
        .payload(inner.bytes())
        .enter(16, number("icmp_rcv"));
    let discarded = Outcome::Dropped { reason: 3 }.to_word();
    script
        .at(7_004_004_000)
        .payload(Vec::new())
        .end(16, number("icmp_rcv"), discarded);
    script.can("followed")
}
