//! How packets end that are followed: each has one end, and one that the kernel drops has its reason, on every kernel.

use std::collections::BTreeSet;

use ipft_core::advice;
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Ended, Outcome, Recording};
use ipft_e2e::on_three_kernels;
use xtask::kernel::Kernel;

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let script = include_str!("../../../guest/outcome.sh");
        guest::run(&format!("outcome-{}", kernel.series()), kernel, &[], script)
    })
}

fn recording(kernel: Kernel, name: &str) -> Recording {
    let left = left(kernel);
    assert_eq!(left.exit(name), 0, "{}", left.text(&format!("{name}.err")));
    Recording::read(&left.path(&format!("{name}.out"))).unwrap()
}

/// Returns the outcome of a drop: Linux 5.10 has no reasons.
fn dropped(kernel: Kernel, reason: &str) -> Option<&str> {
    (kernel != Kernel::V5_10).then_some(reason)
}

/// Checks that a packet was dropped for this reason, and returns the function that did it.
fn dropper<'a>(recording: &'a Recording, end: &Ended, expected: Option<&str>) -> &'a str {
    let Outcome::Dropped {
        reason,
        reason_number,
        class,
    } = &end.outcome
    else {
        panic!("{end:?}");
    };
    assert_eq!(class, "lost");
    assert_eq!(reason.as_deref(), expected);
    assert_eq!(*reason_number == 0, expected.is_none());
    recording.dropper(end).unwrap_or_else(|| panic!("{end:?}"))
}

fn a_delivered_ping_leaves_released_fragments(kernel: Kernel) {
    let recording = recording(kernel, "delivered");
    // Two fragments, and a clone and a copy on their way into one packet again.
    assert_eq!((recording.births.len(), recording.ends.len()), (4, 5));
    let (delivered, others): (Vec<&Ended>, Vec<&Ended>) =
        recording.ends.iter().partition(|end| end.outcome == Outcome::Delivered);
    let [whole] = delivered.as_slice() else {
        panic!("{:#?}", recording.ends);
    };
    let arrived = recording.events.iter().find(|event| event.function == "icmp_rcv");
    assert_eq!(arrived.map(|event| event.packet), Some(whole.packet));
    // The second fragment, and a copy of the third, are parts of what the first one becomes.
    let (parts, released): (Vec<&Ended>, Vec<&Ended>) =
        others.into_iter().partition(|end| end.outcome == Outcome::Joined);
    assert!(
        released.iter().all(|end| end.outcome == Outcome::Released),
        "{released:#?}"
    );
    assert_eq!((parts.len(), released.len()), (2, 2), "{:#?}", recording.ends);
    let joins: Vec<(u64, u64)> = recording.joins.iter().map(|join| (join.packet, join.into)).collect();
    let expected: Vec<(u64, u64)> = parts.iter().map(|end| (end.packet, whole.packet)).collect();
    assert_eq!(joins, expected);
}

fn a_rule_of_the_firewall_drops_a_ping(kernel: Kernel) {
    for name in ["firewall", "perf"] {
        let recording = recording(kernel, name);
        let [end] = recording.ends.as_slice() else {
            panic!("{:#?}", recording.ends);
        };
        let function = dropper(&recording, end, dropped(kernel, "NETFILTER_DROP"));
        assert!(["nf_hook_slow", "nft_do_chain"].contains(&function), "{function}");
        assert_eq!(recording.packets().into_keys().collect::<Vec<u64>>(), [end.packet]);
    }
}

fn a_datagram_to_a_closed_port_has_no_socket(kernel: Kernel) {
    let recording = recording(kernel, "closed");
    let [end] = recording.ends.as_slice() else {
        panic!("{:#?}", recording.ends);
    };
    let function = dropper(&recording, end, dropped(kernel, "NO_SOCKET"));
    assert!(function.contains("udp"), "{function}");
}

fn segments_that_wait_to_be_read_join_the_first(kernel: Kernel) {
    let recording = recording(kernel, "merged");
    let into: BTreeSet<u64> = recording.joins.iter().map(|join| join.into).collect();
    let joined: Vec<u64> = recording.joins.iter().map(|join| join.packet).collect();
    // The second and the third line, and, unless it was later, the empty segment that ends the connection.
    assert_eq!(into.len(), 1, "{:#?}", recording.joins);
    assert!((2..=3).contains(&joined.len()), "{:#?}", recording.joins);
    let outcome = |packet| {
        let mut ends = recording.ends.iter().filter(|end| end.packet == packet);
        ends.next().map(|end| &end.outcome)
    };
    assert!(joined.iter().all(|packet| outcome(*packet) == Some(&Outcome::Joined)));
    // What TCP drops is not known on 5.10, whose tcp_drop() cannot be traced.
    let expected = match kernel {
        Kernel::V5_10 => Outcome::Released,
        _ => Outcome::Delivered,
    };
    // The kernel may put off the release of what was read, until its CPU receives something again.
    let whole = into.first().and_then(|packet| outcome(*packet));
    assert!(whole.is_none_or(|outcome| *outcome == expected), "{whole:?}");
}

fn every_packet_has_one_end_or_is_still_there(kernel: Kernel) {
    let recording = recording(kernel, "many");
    let ended: BTreeSet<u64> = recording.ends.iter().map(|end| end.packet).collect();
    assert!(ended.len() >= 70 && ended.len() == recording.ends.len());
    let said = left(kernel).text("many.err");
    let packets = recording.summary.packets;
    let live = packets - ended.len() as u64;
    let expected = format!("{packets} packets were followed: {} ended, {live} live", ended.len());
    assert!(said.contains(&expected), "{expected}\n{said}");
    // The last of a connection may wait for a timer.
    assert!(live <= 2, "{live}");
    let known = recording.packets();
    assert!(known.keys().filter(|packet| !ended.contains(packet)).count() <= 2);
}

fn the_aggregate_says_that_a_packet_was_dropped(kernel: Kernel) {
    let text = left(kernel).text("heading.out");
    let headings: Vec<&str> = text.lines().filter(|line| line.starts_with("===")).collect();
    let [heading] = headings.as_slice() else {
        panic!("{text}");
    };
    let reason = dropped(kernel, " NETFILTER_DROP").unwrap_or_default();
    assert!(heading.contains(&format!(" dropped{reason} in nf")), "{heading}");
}

fn nothing_of_it_stays_attached(kernel: Kernel) {
    assert_eq!(left(kernel).text("all.left"), "");
}

/// Returns the names of the kernel's reasons, as ipft shows them. Names of limits and masks are no reasons.
fn reasons(kernel: Kernel) -> BTreeSet<String> {
    let names = left(kernel).text("reasons");
    let names = names
        .lines()
        .map(|name| name.strip_prefix("SKB_DROP_REASON_").unwrap_or(name));
    let is_reason = |name: &&str| !(name.starts_with('_') || name.ends_with("MAX") || name.starts_with("SUBSYS_"));
    names.filter(is_reason).map(str::to_owned).collect()
}

fn every_reason_is_explained(kernel: Kernel) {
    let reasons = reasons(kernel);
    assert_eq!(reasons.len() > 60, kernel != Kernel::V5_10, "{reasons:?}");
    let unexplained: Vec<&String> = reasons.iter().filter(|name| advice::find(name, "").is_none()).collect();
    assert!(
        unexplained.is_empty(),
        "add to host/core/src/advice/drops.txt: {unexplained:?}"
    );
}

#[test]
#[ignore = "cargo xtask test --every-kernel"]
fn every_explained_reason_is_one_of_a_kernel() {
    let reasons: BTreeSet<String> = Kernel::ALL.into_iter().flat_map(reasons).collect();
    let unknown: Vec<&str> = (advice::all().iter())
        .map(|advice| advice.reason)
        .filter(|reason| !reasons.contains(*reason))
        .collect();
    assert!(unknown.is_empty(), "no kernel has {unknown:?}");
}

on_three_kernels!(
    every_reason_is_explained,
    a_delivered_ping_leaves_released_fragments,
    a_rule_of_the_firewall_drops_a_ping,
    a_datagram_to_a_closed_port_has_no_socket,
    segments_that_wait_to_be_read_join_the_first,
    every_packet_has_one_end_or_is_still_there,
    the_aggregate_says_that_a_packet_was_dropped,
    nothing_of_it_stays_attached,
);
