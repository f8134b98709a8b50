//! What decides about a packet is shown as the kernel decided it, on every kernel.

use ipft_e2e::fields::{self, Fields};
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Outcome, Recording};
use ipft_e2e::on_three_kernels;
use xtask::kernel::Kernel;

const FEW: &str = "^(__ip_local_out|ip_output|__dev_queue_xmit|ip_rcv|nf_nat_manip_pkt|udp_rcv|tcp_v4_rcv|icmp_rcv)$";

pub(super) fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/decisions.sh"));
        guest::run(
            &format!("decisions-{}", kernel.series()),
            kernel,
            &[&super::scenarios::xdp()?],
            &script,
        )
    })
}

/// Returns the fields of all packets in a function, as far as they are chosen.
fn at(kernel: Kernel, run: &str, function: &str, is_chosen: impl Fn(&Fields) -> bool) -> Vec<Fields> {
    let left = left(kernel);
    assert_eq!(left.exit(run), 0, "{run}: {}", left.text(&format!("{run}.err")));
    let picture =
        fields::of("jsonl", &left.path(&format!("{run}.out"))).unwrap_or_else(|error| panic!("{run}: {error:#}"));
    let all: Vec<Fields> = (picture.into_iter().flatten())
        .filter(|(name, _)| name == function)
        .map(|(_, fields)| fields)
        .collect();
    let chosen: Vec<Fields> = all.iter().filter(|fields| is_chosen(fields)).cloned().collect();
    assert!(!chosen.is_empty(), "{run}: none of these in {function}: {all:#?}");
    chosen
}

/// Returns the fields of the datagram to a port in a function.
fn datagram(kernel: Kernel, function: &str, port: &str) -> Fields {
    at(kernel, "ct", function, |fields| {
        fields["proto"] == "udp" && fields["dport"] == port
    })
    .remove(0)
}

fn say(fields: &Fields, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(fields[*name], *value, "{name}: {fields:#?}");
    }
}

fn has_status(fields: &Fields, expected: &[&str], others: &[&str]) {
    let bits: Vec<&str> = fields["ct_status"].split('|').collect();
    assert!(expected.iter().all(|bit| bits.contains(bit)), "{fields:#?}");
    assert!(!others.iter().any(|bit| bits.contains(bit)), "{fields:#?}");
}

fn a_translated_packet_has_both_tuples(kernel: Kernel) {
    // Before connection tracking has seen it.
    let none = [("ct_state", "none"), ("ct_status", "<none>"), ("ct_sport", "0")];
    say(&datagram(kernel, "__ip_local_out", "4010"), &none);
    let sent = datagram(kernel, "__dev_queue_xmit", "4010");
    let connection = [
        ("ct_state", "new"),
        ("ct_proto", "udp"),
        ("ct_saddr", "10.0.0.1"),
        ("ct_sport", "4000"),
        ("ct_daddr", "10.0.0.2"),
        ("ct_dport", "4010"),
        ("ct_nat_saddr", "10.0.0.1"),
        ("ct_nat_sport", "5000"),
        ("ct_nat_daddr", "10.0.0.2"),
        ("ct_nat_dport", "4010"),
        ("ct_mark", "0x0"),
        ("ct_zone", "0"),
        ("sport", "5000"),
    ];
    say(&sent, &connection);
    has_status(&sent, &["confirmed", "snat"], &["dnat", "assured", "seen_reply"]);
    // The other namespace has a connection of its own.
    say(&datagram(kernel, "ip_rcv", "4010"), &none);
    let received = datagram(kernel, "udp_rcv", "4011");
    let connection = [
        ("ct_state", "new"),
        ("ct_sport", "5000"),
        ("ct_dport", "4010"),
        ("ct_nat_sport", "5000"),
        ("ct_nat_dport", "4011"),
        ("ct_mark", "0x2a"),
    ];
    say(&received, &connection);
    has_status(&received, &["confirmed", "dnat"], &["snat"]);
}

fn zones_and_untracked_packets_are_shown(kernel: Kernel) {
    let untracked = [("ct_state", "untracked"), ("ct_proto", "none"), ("ct_dport", "0")];
    say(&datagram(kernel, "udp_rcv", "4012"), &untracked);
    let zoned = datagram(kernel, "udp_rcv", "4013");
    let connection = [("ct_state", "new"), ("ct_zone", "7"), ("ct_dport", "4013")];
    say(&zoned, &connection);
    // Without NAT, there is no second tuple.
    say(&zoned, &[("ct_nat_saddr", "::"), ("ct_nat_dport", "0")]);
}

fn an_icmp_error_is_related_to_its_connection(kernel: Kernel) {
    let errors = at(kernel, "ct", "icmp_rcv", |fields| fields["ct_state"] == "related_reply");
    let about = errors.iter().find(|fields| fields["ct_dport"] == "4010");
    let about = about.unwrap_or_else(|| panic!("{errors:#?}"));
    say(about, &[("proto", "icmp"), ("ct_proto", "udp"), ("ct_sport", "4000")]);
}

fn a_connection_is_established_by_its_reply(kernel: Kernel) {
    let received =
        |state: &'static str| at(kernel, "tcp", "tcp_v4_rcv", move |fields| fields["ct_state"] == state).remove(0);
    let first = received("new");
    assert_eq!(first["tcp_flags"], "syn");
    say(&first, &[("ct_daddr", "10.0.0.2"), ("ct_dport", "8000")]);
    has_status(&first, &["confirmed"], &["seen_reply", "assured"]);
    let reply = received("reply");
    has_status(&reply, &["seen_reply"], &[]);
    // The tuple is that of the first direction.
    say(
        &reply,
        &[("saddr", "10.0.0.2"), ("sport", "8000"), ("ct_dport", "8000")],
    );
    assert_eq!(reply["ct_sport"], first["ct_sport"]);
    has_status(&received("established"), &["seen_reply", "confirmed"], &["dying"]);
    let all = at(kernel, "tcp", "tcp_v4_rcv", |fields| {
        fields["ct_status"].contains("assured")
    });
    assert!(!all.is_empty());
}

fn connections_and_nat_are_shown_in_words(kernel: Kernel) {
    let text = left(kernel).text("ct.text");
    let has = |words: &str| assert!(text.lines().any(|line| line.contains(words)), "{words}: {text}");
    has("  ct new");
    has("SNAT 10.0.0.1:4000 > 10.0.0.1:5000");
    has("DNAT 10.0.0.2:4010 > 10.0.0.2:4011");
    has("ct new confirmed");
    has("ct mark 0x2a");
    has("ct zone 7");
    has("ct untracked");
    has("ct related_reply");
    has(" to 10.0.0.1:4000 > 10.0.0.2:4010 udp");
    assert!(!text.contains("ct_"), "{text}");
}

fn the_perf_buffer_leaves_connections_out(kernel: Kernel) {
    let left = left(kernel);
    assert_eq!(left.exit("perf"), 0);
    let said = left.text("perf.err");
    assert!(said.contains("The field `ct` is left out"), "{said}");
    assert_eq!(left.text("all.left"), "");
}

/// Returns the verdicts about the datagram to a port, in order, and how it ended.
fn verdicts(kernel: Kernel, run: &str, port: u64) -> (Vec<String>, Option<Outcome>) {
    let left = left(kernel);
    assert_eq!(left.exit(run), 0, "{run}: {}", left.text(&format!("{run}.err")));
    let recording =
        Recording::read(&left.path(&format!("{run}.out"))).unwrap_or_else(|error| panic!("{run}: {error:#}"));
    let packets = &recording.events;
    let packet = packets.iter().find(|event| event.fields["dport"] == port);
    let packet = packet.unwrap_or_else(|| panic!("{packets:#?}")).packet;
    let decisions = recording.decisions.iter().filter(|decided| decided.packet == packet);
    let verdicts = decisions.map(|decided| format!("{}: {}", decided.function, decided.decision));
    let end = recording.ends.iter().find(|end| end.packet == packet);
    (verdicts.collect(), end.map(|end| end.outcome.clone()))
}

/// What the chains of nf_tables say of what comes to b.
const ACCEPTED: [&str; 4] = [
    "nft ip translate post hook postrouting priority 100: accept",
    "nft ip translate early hook prerouting priority -300: accept",
    "nft ip translate pre hook prerouting priority -100: accept",
    "nft ip translate in hook input priority 0: accept",
];

fn each_verdict_names_its_chain_or_table(kernel: Kernel) {
    // Its BTF does not know the types of modules.
    if kernel == Kernel::V5_10 {
        let said = left(kernel).text("netfilter.err");
        for module in ["nf_tables", "ip_tables"] {
            let expected = format!("Cannot show verdicts of {module}: this kernel does not describe the types");
            assert!(said.contains(&expected), "{said}");
        }
        return;
    }
    let by_nft = "nft inet firewall in hook input priority 10: drop";
    let accepted_by_iptables = "iptables filter hook input priority 0: accept";
    for run in ["netfilter", "perf"] {
        let (verdicts, end) = verdicts(kernel, run, 4014);
        assert!(matches!(end, Some(Outcome::Dropped { .. })), "{end:?}");
        let (last, others) = verdicts.split_last().expect("there are some");
        assert_eq!(last, by_nft);
        let of_nft: Vec<&String> = others
            .iter()
            .filter(|verdict| *verdict != accepted_by_iptables)
            .collect();
        assert_eq!(of_nft, ACCEPTED, "{run}");
        assert_eq!(others.len(), ACCEPTED.len() + 1, "{run}: {others:#?}");
    }
    let (by_iptables, end) = verdicts(kernel, "netfilter", 4015);
    assert!(matches!(end, Some(Outcome::Dropped { .. })), "{end:?}");
    assert_eq!(
        by_iptables.last().unwrap(),
        "iptables filter hook input priority 0: drop"
    );
    let (accepted, _) = verdicts(kernel, "netfilter", 4016);
    assert!(
        accepted.iter().all(|verdict| verdict.ends_with(": accept")),
        "{accepted:#?}"
    );
    assert_eq!(accepted.len(), ACCEPTED.len() + 2, "{accepted:#?}");
    let text = left(kernel).text("netfilter.text");
    for (words, count) in [(by_nft, 1), (accepted_by_iptables, 2), (ACCEPTED[0], 3)] {
        let lines = text.lines().filter(|line| line.ends_with(words));
        assert_eq!(lines.count(), count, "{words}: {text}");
    }
}

/// Returns a verdict without the identifier of the program.
fn without_id(verdict: &str) -> String {
    let words = verdict.split(' ').map(|word| match word.parse::<u32>() {
        Ok(_) => "N",
        Err(_) => word,
    });
    words.collect::<Vec<_>>().join(" ")
}

fn verdicts_of_tc_and_xdp_name_what_decided(kernel: Kernel) {
    let pass = "xdp let_pass id N on vb: pass";
    for (port, expected) in [
        (
            4021,
            [
                "tc htb on va: unspec",
                pass,
                "tc action gact on vb ingress: shot",
                "tc clsact on vb ingress: shot",
            ],
        ),
        (
            4022,
            [
                "tc htb on va class 1:20: ok",
                pass,
                "tc action gact on vb ingress: ok",
                "tc clsact on vb ingress: ok",
            ],
        ),
    ] {
        let (verdicts, end) = verdicts(kernel, "judged", port);
        let verdicts: Vec<String> = verdicts.iter().map(|verdict| without_id(verdict)).collect();
        assert_eq!(verdicts, expected, "{port}");
        // No socket takes what tc lets pass.
        assert!(matches!(end, Some(Outcome::Dropped { .. })), "{end:?}");
    }
    let text = left(kernel).text("judged.text");
    let has = |words: &str| assert!(text.lines().any(|line| line.ends_with(words)), "{words}: {text}");
    has("  tc action gact on vb ingress: shot");
    has(" on vb: pass");
    let (verdicts, end) = verdicts(kernel, "xdp", 4023);
    let verdicts: Vec<String> = verdicts.iter().map(|verdict| without_id(verdict)).collect();
    assert_eq!(verdicts.last().map(String::as_str), Some("xdp refuse id N on vb: drop"));
    assert!(matches!(end, Some(Outcome::Dropped { .. })), "{end:?}");
}

fn verdicts_are_shown_where_packets_are_followed(kernel: Kernel) {
    let left = left(kernel);
    assert_eq!(left.exit("marked"), 0);
    let said = left.text("marked.err");
    assert!(said.contains("Verdicts of netfilter are left out"), "{said}");
}

fn waits_for_an_address_and_in_a_qdisc_are_shown(kernel: Kernel) {
    let left = left(kernel);
    assert_eq!(left.exit("queue"), 0);
    let text = left.text("queue.out");
    let waits: Vec<(&str, &str)> = (text.lines())
        .filter_map(|line| line.split_once("waited ")?.1.split_once(' '))
        .collect();
    let places: Vec<&str> = waits.iter().map(|(_, place)| *place).collect();
    assert_eq!(
        places,
        ["ms for the next host's address on va", "ms in netem on va"],
        "{text}"
    );
    // netem lets no packet out earlier, nor a request of ARP.
    for (duration, _) in waits {
        assert!(duration.parse::<f64>().is_ok_and(|waited| waited >= 39.0), "{text}");
    }
    let lines = left.text("queue.jsonl");
    let waits: Vec<&str> = lines
        .lines()
        .filter_map(|line| Some(line.split_once(r#","waited":"#)?.1))
        .collect();
    assert_eq!(waits.len(), 2, "{lines}");
    for (wait, queue) in waits.iter().zip([r#""queue":"neighbour""#, r#""queue":"netem""#]) {
        let (nanoseconds, rest) = wait.split_once(',').unwrap_or_else(|| panic!("{wait}"));
        assert!(
            nanoseconds.parse::<u64>().is_ok_and(|waited| waited >= 39_000_000),
            "{wait}"
        );
        assert!(rest.starts_with(queue), "{wait}");
    }
}

on_three_kernels!(
    waits_for_an_address_and_in_a_qdisc_are_shown,
    each_verdict_names_its_chain_or_table,
    verdicts_of_tc_and_xdp_name_what_decided,
    verdicts_are_shown_where_packets_are_followed,
    a_translated_packet_has_both_tuples,
    zones_and_untracked_packets_are_shown,
    an_icmp_error_is_related_to_its_connection,
    a_connection_is_established_by_its_reply,
    connections_and_nat_are_shown_in_words,
    the_perf_buffer_leaves_connections_out,
);
