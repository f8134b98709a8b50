//! What becomes of packets on many ways: their children, the functions at which they arrive, and how they end, on every
//! kernel.

use std::collections::BTreeMap;

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Event, Outcome, Recording};
use ipft_e2e::on_every_kernel;
use xtask::kernel::Kernel;

const FEW: &str = "^(__ip_local_out|ip_forward|ip_rcv_core|icmp_rcv|br_flood|nf_nat_manip_pkt|__copy_skb_header|ip_copy_metadata|\
                   skb_release_head_state)$";

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/scenarios.sh"));
        guest::run(&format!("scenarios-{}", kernel.series()), kernel, &[], &script)
    })
}

/// A packet that was selected, and what came of it.
struct Family<'a> {
    recording: &'a Recording,
    packet: u64,
}

impl Family<'_> {
    fn functions(&self) -> Vec<&str> {
        let events = self.recording.events.iter();
        events
            .filter(|event| event.packet == self.packet)
            .map(|event| event.function.as_str())
            .collect()
    }

    /// Returns how many packets each function made of it, and of what was made of it.
    fn made(&self) -> BTreeMap<&str, usize> {
        let mut members = vec![self.packet];
        let mut made = BTreeMap::new();
        for birth in &self.recording.births {
            if members.contains(&birth.parent) {
                members.push(birth.packet);
                *made.entry(self.recording.maker(birth).unwrap_or("?")).or_default() += 1;
            }
        }
        made
    }

    fn outcome(&self) -> &Outcome {
        let mut ends = self.recording.ends.iter().filter(|end| end.packet == self.packet);
        let end = ends.next().unwrap_or_else(|| panic!("no end: {:?}", self.functions()));
        assert!(ends.next().is_none(), "two ends");
        &end.outcome
    }

    fn is_released(&self) {
        assert_eq!(self.outcome(), &Outcome::Released, "{:?}", self.functions());
    }

    /// Linux 5.10 has no reasons.
    fn is_dropped(&self, kernel: Kernel, expected: &str) {
        match self.outcome() {
            Outcome::Dropped { reason: None, .. } if kernel == Kernel::V5_10 => {}
            Outcome::Dropped {
                reason: Some(reason), ..
            } => assert_eq!(reason, expected),
            other => panic!("{other:?}: {:?}", self.functions()),
        }
    }

    fn arrives(&self, function: &str, times: usize) {
        let functions = self.functions();
        let count = functions.iter().filter(|name| **name == function).count();
        assert_eq!(count, times, "{function}: {functions:?}");
    }
}

/// Passes the family of a scenario: of the ping with this number.
fn with(kernel: Kernel, number: u64, check: impl FnOnce(&Family<'_>)) {
    let left = left(kernel);
    assert_eq!(left.exit("scenarios"), 0, "{}", left.text("scenarios.err"));
    let recording = Recording::read(&left.path("scenarios.out")).unwrap();
    // Headers of ICMP and IP come before the bytes of the ping.
    let length = 100 + number + 28;
    let is_request = |event: &&Event| event.function == "__ip_local_out" && event.fields["len"] == length;
    let found: Vec<&Event> = recording.events.iter().filter(is_request).collect();
    let [first] = found.as_slice() else {
        panic!("scenario {number}: {found:#?}");
    };
    check(&Family {
        recording: &recording,
        packet: first.packet,
    });
}

fn copies(count: usize) -> BTreeMap<&'static str, usize> {
    match count {
        0 => BTreeMap::new(),
        count => BTreeMap::from([("__copy_skb_header", count)]),
    }
}

fn a_delivered_packet_has_no_children(kernel: Kernel) {
    // Plain; with a listener at the receiving device; through VXLAN, GRE and NAT.
    for number in [1, 2, 9, 10, 11] {
        with(kernel, number, |family| {
            assert_eq!(family.made(), copies(0), "{number}");
            family.arrives("icmp_rcv", 1);
            family.is_released();
        });
    }
    with(kernel, 11, |family| family.arrives("ip_forward", 1));
}

fn listeners_duplicates_and_mirrors_are_copies(kernel: Kernel) {
    // A listener at the sending device, netem, mirred.
    for number in [3, 4, 5] {
        with(kernel, number, |family| {
            assert_eq!(family.made(), copies(1), "{number}");
            family.arrives("icmp_rcv", 1);
            family.is_released();
        });
    }
}

fn a_redirected_packet_ends_at_the_other_device(kernel: Kernel) {
    with(kernel, 6, |family| {
        assert_eq!(family.made(), copies(0));
        family.arrives("ip_forward", 0);
        family.is_released();
    });
}

fn a_bridge_copies_what_it_floods(kernel: Kernel) {
    with(kernel, 8, |family| {
        assert_eq!(family.made(), copies(1));
        family.arrives("icmp_rcv", 0);
    });
}

fn dropped_packets_have_their_reasons(kernel: Kernel) {
    for (number, reason) in [
        (7, "TC_INGRESS"),
        (12, "IP_RPFILTER"),
        (13, "IP_INHDR"),
        (15, "NETFILTER_DROP"),
        (900, "PKT_TOO_BIG"),
    ] {
        with(kernel, number, |family| {
            family.arrives("icmp_rcv", 0);
            family.is_dropped(kernel, reason);
        });
    }
    with(kernel, 14, |family| {
        assert!(
            matches!(family.outcome(), Outcome::Dropped { .. }),
            "{:?}",
            family.outcome()
        );
    });
}

fn a_router_makes_fragments(kernel: Kernel) {
    with(kernel, 1300, |family| {
        // 1,428 bytes by 576 at most.
        assert_eq!(family.made()["ip_copy_metadata"], 3, "{:?}", family.made());
        family.is_released();
    });
}

on_every_kernel!(
    a_delivered_packet_has_no_children,
    listeners_duplicates_and_mirrors_are_copies,
    a_redirected_packet_ends_at_the_other_device,
    a_bridge_copies_what_it_floods,
    dropped_packets_have_their_reasons,
    a_router_makes_fragments,
);
