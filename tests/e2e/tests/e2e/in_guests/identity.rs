//! A packet keeps one identity for its lifetime, and no two packets have the same, although the kernel reuses the
//! memory of freed packets.

use std::collections::BTreeSet;

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Event, Kind, Recording, entries};
use xtask::kernel::Kernel;

/// Stages of a datagram: created, received, data released, memory freed.
const LIFE: &str = "^(ip_send_skb|ip_rcv|udp_rcv|skb_release_data|kfree_skbmem|napi_skb_cache_put)$";

/// For a kernel that attaches one function after the other.
const STAGES: &str = "^(ip_send_skb|__ip_queue_xmit|ip_output|dev_hard_start_xmit|veth_xmit|skb_clone|ip_rcv|udp_rcv|\
                      tcp_v4_rcv|tcp_rcv_.*|tcp_queue_rcv|tcp_try_coalesce|skb_try_coalesce|napi_.*|dev_gro_.*|\
                      skb_gro_receive|sock_wfree|sock_rfree|skb_release_.*|kfree_skb.*|__kfree_skb|consume_skb)$";

/// After one of them nothing is seen of a packet (`net/core/skbuff.c`).
const FREES: [&str; 2] = ["kfree_skbmem", "napi_skb_cache_put"];

/// Kernels with each kind of backend that is selected by default.
const KERNELS: [Kernel; 3] = [Kernel::V5_10, Kernel::V6_12, Kernel::V7_2];

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 3] = [const { Shared::new() }; 3];
    let run = KERNELS.iter().position(|each| *each == kernel);
    RUNS[run.expect("one of the kernels")].left(|| {
        let everything = if kernel == Kernel::V5_10 { STAGES } else { "" };
        let script = format!(
            "LIFE='{LIFE}'\nEVERYTHING='{everything}'\n{}",
            include_str!("../../../guest/identity.sh")
        );
        guest::run(&format!("identity-{}", kernel.series()), kernel, &[], &script)
    })
}

/// Returns the trace. The kernel skips a program that it caught running, and counts that; a flood may have such losses, one
/// in 200 events. With any other loss the checks would prove nothing.
fn recording(kernel: Kernel, name: &str) -> Recording {
    let left = left(kernel);
    assert_eq!(left.exit(name), 0);
    let recording = Recording::read(&left.path(&format!("{name}.out"))).unwrap();
    let lost = recording.summary.lost;
    let bearable = if name == "flood" {
        recording.summary.events / 200
    } else {
        0
    };
    assert!(
        lost == recording.lost("recursion") && lost <= bearable,
        "{:?} of {} events",
        recording.lost,
        recording.summary.events
    );
    recording
}

/// Returns the functions that a packet did not enter. Entering one twice fails: that means two packets.
fn not_entered(packet: u64, events: &[&Event], functions: &[&'static str]) -> Vec<&'static str> {
    let mut missing = Vec::new();
    for function in functions {
        match entries(events, function) {
            0 => missing.push(*function),
            1 => {}
            more => panic!("{packet:#x} entered {function} {more} times: {events:#?}"),
        }
    }
    missing
}

/// Checks that all sent datagrams were received, each with its own identity. New kernels free packets in batches, so
/// the trace sees the ends of a few that were sent before it began, and misses a few.
fn check_datagrams(recording: &Recording, count: usize) -> BTreeSet<Option<u64>> {
    let (mut journeys, mut ended, mut lacking, mut places) = (0, 0, 0, BTreeSet::new());
    for (packet, events) in recording.packets() {
        let missing = not_entered(packet, &events, &["ip_send_skb", "ip_rcv", "udp_rcv"]);
        let end = not_entered(packet, &events, &["skb_release_data"]);
        if missing.len() == 3 {
            assert!(end.is_empty(), "{packet:#x} is a part of another packet: {events:#?}");
            continue;
        }
        journeys += 1;
        lacking += missing.len() as u64;
        ended += usize::from(end.is_empty());
        places.insert(events[0].skb);
    }
    assert!(
        lacking <= recording.summary.lost,
        "{lacking} events are missing, {} were lost",
        recording.summary.lost
    );
    assert_eq!(journeys, count);
    assert!(ended * 2 > count, "only {ended} of {count} were seen to end");
    places
}

fn ten_thousand_packets_have_ten_thousand_identities(kernel: Kernel) {
    // They used the same few addresses.
    let places = check_datagrams(&recording(kernel, "flood"), 10_000);
    assert!(places.len() < 10_000, "no sk_buff was used twice, so nothing was shown");
}

fn first_free(events: &[&Event]) -> Option<usize> {
    events
        .iter()
        .position(|event| event.kind == Kind::Entry && FREES.contains(&event.function.as_str()))
}

/// Checks each packet that crosses the pair: one life, without events after its end, and one journey.
fn check_lives(recording: &Recording) {
    let (mut ended, mut lacking) = (0, 0);
    for (packet, events) in recording.packets() {
        not_entered(
            packet,
            &events,
            &["ip_send_skb", "__ip_queue_xmit", "tcp_v4_rcv", "udp_rcv"],
        );
        let on_the_way = not_entered(packet, &events, &["ip_output", "ip_rcv"]);
        // Received and never sent: on the sender's side it has another identity.
        lacking += u64::from(on_the_way == ["ip_output"]);
        if let Some(free) = first_free(&events) {
            ended += 1;
            let later = events[free + 1..].iter().find(|event| event.kind == Kind::Entry);
            assert!(later.is_none(), "{packet:#x} was freed, then {later:?}");
        }
    }
    assert!(
        lacking <= recording.summary.lost,
        "{lacking} packets were not seen to be sent"
    );
    let packets = recording.packets().len();
    assert!(
        ended * 10 > packets,
        "only {ended} of {packets} packets were seen to end"
    );
}

fn nothing_is_seen_of_a_datagram_after_its_end(kernel: Kernel) {
    let recording = recording(kernel, "datagrams");
    check_lives(&recording);
    check_datagrams(&recording, 200);
}

fn clones_and_merged_packets_have_identities_of_their_own(kernel: Kernel) {
    let recording = recording(kernel, "tcp");
    check_lives(&recording);
    let entered = |function: &str| {
        let mut events = recording.events.iter();
        events.any(|event| event.function == function)
    };
    assert!(entered("skb_clone") || entered("tcp_v4_rcv"), "no TCP");
    // 300,000 bytes in segments of at most 64 KiB.
    let received = recording
        .packets()
        .values()
        .filter(|events| entries(events, "tcp_v4_rcv") == 1)
        .count();
    assert!(received >= 5, "{received}");
}

ipft_e2e::on_kernels!(
    [on_5_10: V5_10, on_6_12: V6_12, on_7_2: V7_2],
    clones_and_merged_packets_have_identities_of_their_own,
    nothing_is_seen_of_a_datagram_after_its_end,
    ten_thousand_packets_have_ten_thousand_identities,
);
