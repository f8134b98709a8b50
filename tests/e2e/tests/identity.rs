//! A packet has one identity for as long as it lives, and no two packets have the same, although the kernel gives the
//! next packet the memory of the last.

use std::collections::BTreeMap;

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Event, Kind, Recording, entries};
use xtask::kernel::Kernel;

/// Of the datagram's life: made, received, its data released, its memory given back.
const LIFE: &str = "^(ip_send_skb|ip_rcv|udp_rcv|skb_release_data|kfree_skbmem|napi_skb_cache_put)$";

/// For a kernel that attaches one function after the other.
const STAGES: &str = "^(ip_send_skb|__ip_queue_xmit|ip_output|dev_hard_start_xmit|veth_xmit|skb_clone|ip_rcv|udp_rcv|\
                      tcp_v4_rcv|tcp_rcv_.*|tcp_queue_rcv|tcp_try_coalesce|skb_try_coalesce|napi_.*|dev_gro_.*|\
                      skb_gro_receive|sock_wfree|sock_rfree|skb_release_.*|kfree_skb.*|__kfree_skb|consume_skb)$";

/// After one of them nothing is seen of a packet (`net/core/skbuff.c`).
const FREES: [&str; 2] = ["kfree_skbmem", "napi_skb_cache_put"];

/// Kernels with each kind of backend that is chosen by itself.
const KERNELS: [Kernel; 3] = [Kernel::V5_10, Kernel::V6_12, Kernel::V7_2];

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 3] = [const { Shared::new() }; 3];
    let run = KERNELS.iter().position(|each| *each == kernel);
    RUNS[run.expect("one of the kernels")].left(|| {
        let everything = if kernel == Kernel::V5_10 { STAGES } else { "" };
        let script = format!(
            "LIFE='{LIFE}'\nEVERYTHING='{everything}'\n{}",
            include_str!("../guest/identity.sh")
        );
        guest::run(&format!("identity-{}", kernel.series()), kernel, &[], &script)
    })
}

fn recording(kernel: Kernel, name: &str) -> Recording {
    let left = left(kernel);
    assert_eq!(left.exit(name), 0);
    let recording = Recording::read(&left.path(&format!("{name}.out"))).unwrap();
    // With a loss, what follows would prove nothing.
    assert!(recording.lost.is_empty(), "{:?}", recording.lost);
    recording
}

fn ten_thousand_packets_have_ten_thousand_identities(kernel: Kernel) {
    let recording = recording(kernel, "flood");
    let packets = recording.packets();
    for (packet, events) in &packets {
        for once in ["ip_send_skb", "ip_rcv", "udp_rcv", "skb_release_data"] {
            assert_eq!(entries(events, once), 1, "{once} of {packet:#x}: {events:#?}");
        }
    }
    assert_eq!(packets.len(), 10_000);
    assert_eq!(recording.summary.packets, 10_000);
    // They lived in the same few places.
    let mut places: BTreeMap<Option<u64>, usize> = BTreeMap::new();
    for events in packets.values() {
        *places.entry(events[0].skb).or_default() += 1;
    }
    assert!(places.len() < 10_000, "no sk_buff was used twice, so nothing was shown");
}

fn first_free(events: &[&Event]) -> Option<usize> {
    events
        .iter()
        .position(|event| event.kind == Kind::Entry && FREES.contains(&event.function.as_str()))
}

/// What holds for each packet that goes from one end of the pair to the other: one life, of which nothing is seen after
/// its end, and one journey.
fn check_lives(recording: &Recording) {
    let mut ended = 0;
    for (packet, events) in recording.packets() {
        for once in [
            "ip_send_skb",
            "__ip_queue_xmit",
            "ip_output",
            "ip_rcv",
            "tcp_v4_rcv",
            "udp_rcv",
        ] {
            assert!(entries(&events, once) <= 1, "{once} of {packet:#x}: {events:#?}");
        }
        if entries(&events, "ip_rcv") == 1 {
            assert_eq!(
                entries(&events, "ip_output"),
                1,
                "{packet:#x} has another identity on the sender's side: {events:#?}"
            );
        }
        if let Some(free) = first_free(&events) {
            ended += 1;
            let later = events[free + 1..].iter().find(|event| event.kind == Kind::Entry);
            assert!(later.is_none(), "{packet:#x} was freed, then {later:?}");
        }
    }
    let packets = recording.packets().len();
    assert!(
        ended * 10 > packets,
        "only {ended} of {packets} packets were seen to end"
    );
}

fn nothing_is_seen_of_a_datagram_after_its_end(kernel: Kernel) {
    let recording = recording(kernel, "datagrams");
    check_lives(&recording);
    let packets = recording.packets();
    assert_eq!(packets.len(), 200);
    assert!(packets.values().all(|events| entries(events, "udp_rcv") == 1));
}

fn clones_and_merged_packets_have_identities_of_their_own(kernel: Kernel) {
    let recording = recording(kernel, "tcp");
    check_lives(&recording);
    let entered = |function: &str| {
        let mut events = recording.events.iter();
        events.any(|event| event.function == function)
    };
    assert!(entered("skb_clone") || entered("tcp_v4_rcv"), "no TCP");
    // 1,000,000 bytes in segments of at most 64 KiB.
    let received = recording
        .packets()
        .values()
        .filter(|events| entries(events, "tcp_v4_rcv") == 1)
        .count();
    assert!(received >= 16, "{received}");
}

macro_rules! on_each_kernel {
    ($($property:ident),+ $(,)?) => {
        $(mod $property {
            use xtask::kernel::Kernel;

            #[test]
            fn on_5_10() {
                super::$property(Kernel::V5_10);
            }

            #[test]
            fn on_6_12() {
                super::$property(Kernel::V6_12);
            }

            #[test]
            fn on_7_2() {
                super::$property(Kernel::V7_2);
            }
        })+
    };
}

on_each_kernel!(
    clones_and_merged_packets_have_identities_of_their_own,
    nothing_is_seen_of_a_datagram_after_its_end,
    ten_thousand_packets_have_ten_thousand_identities,
);
