//! Packets that a filter selects are followed to their end, with all that is made of them, on every kernel.

use std::collections::{BTreeMap, BTreeSet};

use ipft_e2e::calls;
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Event, Kind, Recording, entries, follows};
use ipft_e2e::on_three_kernels;
use xtask::kernel::Kernel;

/// Functions that tell a packet's way, its makers and its end.
const STAGES: &str = "^(__ip_local_out|ip_output|__dev_queue_xmit|dev_hard_start_xmit|veth_xmit|__netif_receive_skb_core.*|\
                      ip_rcv(_core)?|icmp_rcv|tcp_v4_rcv|__copy_skb_header|ip_copy_metadata|skb_split|skb_release_.*|\
                      kfree_skbmem|napi_skb_cache_put)$";

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let slow = matches!(kernel, Kernel::V5_10 | Kernel::V6_1);
        let everything = if slow { STAGES } else { "" };
        let script = format!(
            "EVERYTHING='{everything}' STAGES='{STAGES}'\n{}",
            include_str!("../../../guest/follow.sh")
        );
        guest::run(&format!("follow-{}", kernel.series()), kernel, &[], &script)
    })
}

fn recording(kernel: Kernel, name: &str) -> Recording {
    let left = left(kernel);
    assert_eq!(left.exit(name), 0, "{}", left.text(&format!("{name}.err")));
    Recording::read(&left.path(&format!("{name}.out"))).unwrap()
}

/// Returns the packets that were selected themselves, in order of time.
fn selected(recording: &Recording) -> Vec<Vec<&Event>> {
    let born: BTreeSet<u64> = recording.births.iter().map(|birth| birth.packet).collect();
    let packets = recording.packets().into_iter();
    let mut selected: Vec<Vec<&Event>> = packets
        .filter(|(packet, _)| !born.contains(packet))
        .map(|(_, events)| events)
        .collect();
    selected.sort_by_key(|events| events[0].timestamp);
    selected
}

/// Returns how many packets each function made.
fn made(recording: &Recording) -> BTreeMap<&str, usize> {
    let mut made = BTreeMap::new();
    for birth in &recording.births {
        *made.entry(recording.maker(birth).unwrap_or("?")).or_default() += 1;
    }
    made
}

const SENT: [&str; 3] = ["__ip_local_out", "__dev_queue_xmit", "veth:veth_xmit"];
const RECEIVED: [&str; 2] = ["ip_rcv_core", "icmp_rcv"];

/// The functions on the way of a ping. The modules of 5.10 have no types, so some backends do not see theirs.
fn way(kernel: Kernel) -> Vec<&'static str> {
    let seen = |step: &&str| kernel != Kernel::V5_10 || !step.contains(':');
    SENT.into_iter().chain(RECEIVED).filter(seen).collect()
}

fn a_ping_is_followed_through_the_pair(kernel: Kernel) {
    let recording = recording(kernel, "icmp");
    let selected = selected(&recording);
    assert_eq!(selected.len(), 2, "{selected:#?}");
    for packet in &selected {
        follows(packet, &way(kernel)).unwrap();
        assert_eq!(entries(packet, "skb_release_head_state"), 1);
    }
    // The socket of ping gets a copy of the reply.
    let reply = selected[1][0].packet;
    let parents: BTreeSet<u64> = recording.births.iter().map(|birth| birth.parent).collect();
    assert!(parents.is_empty() || parents == BTreeSet::from([reply]), "{parents:x?}");
}

fn fragments_are_made_of_the_packet(kernel: Kernel) {
    let recording = recording(kernel, "fragments");
    let selected = selected(&recording);
    assert_eq!(selected.len(), 1, "{selected:#?}");
    let expected = BTreeMap::from([("ip_copy_metadata", 2), ("__copy_skb_header", 2)]);
    assert_eq!(made(&recording), expected);
    // The second fragment is made of the first one, and each parent is known by then.
    let mut known = BTreeSet::from([selected[0][0].packet]);
    for birth in &recording.births {
        assert!(known.contains(&birth.parent), "{birth:?}");
        assert!(known.insert(birth.packet), "{birth:?}");
    }
}

fn only_the_connection_of_the_filter_is_seen(kernel: Kernel) {
    let recording = recording(kernel, "tcp");
    let selected = selected(&recording);
    // SYN, SYN-ACK, ACK, data, ACK and the end of both sides, which may join.
    assert!((6..=12).contains(&selected.len()), "{}", selected.len());
    for packet in &selected {
        follows(packet, &["__ip_local_out", "ip_rcv_core", "tcp_v4_rcv"]).unwrap();
    }
}

fn a_marked_packet_is_followed_without_its_mark(kernel: Kernel) {
    let recording = recording(kernel, "marked");
    let selected = selected(&recording);
    assert_eq!(selected.len(), 1, "{selected:#?}");
    follows(&selected[0], &way(kernel)).unwrap();
}

fn functions_that_are_not_traced_select_and_end(kernel: Kernel) {
    let recording = recording(kernel, "silent");
    let names: Vec<&str> = recording.events.iter().map(|event| event.function.as_str()).collect();
    assert_eq!(names, ["ip_rcv", "icmp_rcv", "ip_rcv", "icmp_rcv"]);
    assert_eq!(recording.packets().len(), 2);
    let other = self::recording(kernel, "other");
    assert_eq!((other.events.len(), other.summary.packets), (0, 0));
    let said = left(kernel).text("other.err");
    assert!(said.contains("No packet that matches 'udp'"), "{said}");
}

fn the_aggregate_names_parents(kernel: Kernel) {
    let text = left(kernel).text("heading.out");
    let headings: Vec<Vec<&str>> = (text.lines())
        .filter(|line| line.starts_with("==="))
        .map(|line| {
            let heading = line.split_once(": ").map_or(line, |(heading, _)| heading);
            let mut words: Vec<&str> = heading.split(' ').collect();
            // The fragments become one packet, and that is delivered.
            words.retain(|word| !["delivered", "released"].contains(word));
            words
        })
        .collect();
    let mut known = BTreeSet::new();
    let mut wholes = BTreeSet::new();
    for heading in &headings {
        let heading = match heading.as_slice() {
            [made @ .., "joined", whole] => {
                wholes.insert(*whole);
                made
            }
            all => all,
        };
        match heading {
            ["===", packet] => known.insert(*packet),
            [
                "===",
                packet,
                "made",
                "of",
                parent,
                "by",
                "ip_copy_metadata" | "__copy_skb_header",
            ] => {
                assert!(known.contains(parent), "{headings:#?}");
                known.insert(*packet)
            }
            other => panic!("{other:?}"),
        };
    }
    assert_eq!(known.len(), 5, "{headings:#?}");
    assert_eq!(wholes.len(), 1, "{headings:#?}");
    assert!(wholes.is_subset(&known), "{headings:#?}");
}

fn packets_that_cannot_be_judged_are_reported(kernel: Kernel) {
    let said = left(kernel).text("deep.err");
    assert!(said.contains("The filter could not judge a packet"), "{said}");
}

fn packets_are_selected_where_they_are_wanted(kernel: Kernel) {
    let recording = recording(kernel, "placed");
    let selected = selected(&recording);
    // The request is seen from its arrival on, the reply wherever it goes.
    let names = |packet: &[&Event]| -> Vec<String> { packet.iter().map(|event| event.function.clone()).collect() };
    assert_eq!(selected.len(), 2, "{selected:#?}");
    let request = names(&selected[0]);
    assert!(request.ends_with(&["icmp_rcv".to_owned()]), "{request:?}");
    assert!(!request.contains(&"ip_output".to_owned()), "{request:?}");
    // At its first gates the reply has no device.
    assert_eq!(names(&selected[1]), ["ip_rcv", "icmp_rcv"]);

    let sampled = self::recording(kernel, "sampled");
    assert_eq!((sampled.events.len(), sampled.summary.packets), (0, 0));
    let said = left(kernel).text("sampled.err");
    assert!(said.contains("--sample rejected packets"), "{said}");
    assert!(said.contains("in network namespace a"), "{said}");
    let said = left(kernel).text("unknown.err");
    assert_eq!(left(kernel).exit("unknown"), 1);
    assert!(said.contains("/run/netns/nowhere"), "{said}");
}

fn without_following_each_function_selects(kernel: Kernel) {
    let recording = recording(kernel, "unfollowed");
    let names: Vec<&str> = recording.events.iter().map(|event| event.function.as_str()).collect();
    // In the other namespace, packets are not shown: the request before its arrival, the reply behind its departure.
    assert_eq!(names, ["ip_rcv", "icmp_rcv", "dev_hard_start_xmit"]);
    assert_eq!(recording.packets().len(), 2);

    let apart = self::recording(kernel, "apart");
    assert_eq!((apart.packets().len(), apart.births.len()), (3, 0));
}

fn calls_are_followed_whatever_is_recorded(kernel: Kernel) {
    for name in ["graph", "graph-perf"] {
        let recording = recording(kernel, name);
        calls::check(&recording).unwrap();
        let selected = selected(&recording);
        assert_eq!(selected.len(), 2, "{name}: {selected:#?}");
        for packet in &selected {
            follows(packet, &way(kernel)).unwrap();
            assert!(packet.iter().any(|event| event.kind == Kind::Return), "{name}");
        }
    }
}

fn so_many_packets_are_selected_per_second(kernel: Kernel) {
    let recording = recording(kernel, "limited");
    let times = left(kernel).text("limited.times");
    let times: Vec<u64> = times.split_whitespace().map(|time| time.parse().unwrap()).collect();
    let windows = (times[1] - times[0]) / 1_000_000_000 + 1;
    let packets = recording.packets();
    assert!(
        (3..=3 * windows as usize).contains(&packets.len()),
        "{}: {times:?}",
        packets.len()
    );
    assert!(packets.len() < 20, "{times:?}: slower than the limit");
    follows(&selected(&recording)[0], &["__dev_queue_xmit", "ip_rcv"]).unwrap();
    let said = left(kernel).text("limited.err");
    assert!(said.contains("--max-packets-per-second rejected packets"), "{said}");
}

fn wrong_filters_are_usage_errors(kernel: Kernel) {
    let left = left(kernel);
    for (name, words) in [("wrong", "column 5"), ("never", "no packet can match")] {
        assert_eq!(left.exit(name), 2);
        let said = left.text(&format!("{name}.err"));
        assert!(said.contains(words), "{said}");
    }
}

on_three_kernels!(
    a_ping_is_followed_through_the_pair,
    fragments_are_made_of_the_packet,
    only_the_connection_of_the_filter_is_seen,
    a_marked_packet_is_followed_without_its_mark,
    functions_that_are_not_traced_select_and_end,
    the_aggregate_names_parents,
    packets_that_cannot_be_judged_are_reported,
    packets_are_selected_where_they_are_wanted,
    without_following_each_function_selects,
    calls_are_followed_whatever_is_recorded,
    so_many_packets_are_selected_per_second,
    wrong_filters_are_usage_errors,
);
