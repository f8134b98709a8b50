//! What becomes of packets on many ways: their children, the functions at which they arrive, and how they end, on every
//! kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use ipft_e2e::compiler;
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Birth, Event, Outcome, Recording};
use ipft_e2e::on_three_kernels;
use ipft_plugin::testing;
use xtask::kernel::Kernel;
use xtask::workspace;

const FEW: &str = "^(__ip_local_out|__ip6_local_out|ip6_copy_metadata|icmpv6_rcv|ip_forward|ip_rcv_core|icmp_rcv|udp_rcv|tcp_v4_rcv|udp_queue_rcv_skb|br_flood|nf_nat_manip_pkt|generic_xdp_tx|dev_hard_start_xmit|__netif_receive_skb_core.*|__copy_skb_header|ip_copy_metadata|\
                   skb_release_head_state)$";

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/scenarios.sh"));
        guest::run(&format!("scenarios-{}", kernel.series()), kernel, &[&xdp()?], &script)
    })
}

/// Programs of XDP.
const XDP: &str = r#"
#define SECTION(name) __attribute__((section(name), used))
SECTION("pass") int let_pass(void *ctx) { return 2; }
SECTION("drop") int refuse(void *ctx) { return 1; }
SECTION("tx") int send_back(void *ctx) { return 3; }
"#;

pub(super) fn xdp() -> Result<PathBuf> {
    let folder = workspace::target().join("e2e/scenarios-objects");
    compiler::compile(&folder, "xdp.o", XDP, &["-target", "bpf", "-O2", "-g"])
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

    /// Returns the births of what was made of it, and of what was made of that.
    fn births(&self) -> Vec<&Birth> {
        let mut births: Vec<&Birth> = Vec::new();
        for birth in &self.recording.births {
            if birth.parent == self.packet || births.iter().any(|known| known.packet == birth.parent) {
                births.push(birth);
            }
        }
        births
    }

    /// Returns how many packets each function made.
    fn made(&self) -> BTreeMap<&str, usize> {
        let mut made = BTreeMap::new();
        for birth in self.births() {
            *made.entry(self.recording.maker(birth).unwrap_or("?")).or_default() += 1;
        }
        made
    }

    /// Returns the only packet that was made of it.
    fn child(&self) -> Family<'_> {
        let births = self.births();
        let [birth] = births.as_slice() else {
            panic!("{births:?}");
        };
        Family {
            packet: birth.packet,
            ..*self
        }
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

    fn is_delivered(&self) {
        assert_eq!(self.outcome(), &Outcome::Delivered, "{:?}", self.functions());
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

fn recording(kernel: Kernel) -> Recording {
    let left = left(kernel);
    assert_eq!(left.exit("scenarios"), 0, "{}", left.text("scenarios.err"));
    Recording::read(&left.path("scenarios.out")).unwrap()
}

/// Passes the family of a scenario: of the ping with this number.
fn with(kernel: Kernel, number: u64, check: impl FnOnce(&Family<'_>)) {
    let recording = recording(kernel);
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
    // Plain; with a listener at the receiving device; through VXLAN, GRE and NAT; to a macvlan; past a queue without a
    // reader, and through one with a reader; through WireGuard.
    for number in [1, 2, 9, 10, 11, 29, 32, 33, 45] {
        with(kernel, number, |family| {
            assert_eq!(family.made(), copies(0), "{number}");
            family.arrives("icmp_rcv", 1);
            family.is_delivered();
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
            family.is_delivered();
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
        (16, "OTHERHOST"),
        (17, "NEIGH_FAILED"),
        (18, "QDISC_DROP"),
        (19, "IP_INNOROUTES"),
        // XDP: do_xdp_generic() gives no reason.
        (20, "NOT_SPECIFIED"),
        (24, "NO_SOCKET"),
        (25, "SOCKET_RCVBUFF"),
        (30, "NETFILTER_DROP"),
        (31, "NETFILTER_DROP"),
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

fn what_xdp_lets_pass_arrives(kernel: Kernel) {
    with(kernel, 21, |family| {
        assert_eq!(family.made(), copies(0));
        family.arrives("icmp_rcv", 1);
        family.is_delivered();
    });
}

/// veth copies a packet whose bytes are shared with a socket, for a program that may write into them.
fn xdp_of_veth_judges_a_copy(kernel: Kernel) {
    for number in [22, 23] {
        with(kernel, number, |family| {
            family.arrives("icmp_rcv", 0);
            family.is_released();
            let copy = family.child();
            copy.arrives("icmp_rcv", usize::from(number == 22));
            match number {
                22 => copy.is_delivered(),
                _ => copy.is_dropped(kernel, "NOT_SPECIFIED"),
            }
        });
    }
}

/// A program's packet goes on as a frame, of which another packet is built. Linux 5.10 does that in a function without
/// packets.
fn xdp_of_veth_sends_back_what_is_built_again(kernel: Kernel) {
    with(kernel, 27, |family| {
        family.is_released();
        let mut expected = copies(1);
        if kernel != Kernel::V5_10 {
            // The function is not traced.
            expected.insert("?", 1);
        }
        assert_eq!(family.made(), expected);
        let births = family.births();
        for (birth, parent) in births.iter().zip([family.packet, births[0].packet]) {
            assert_eq!(birth.parent, parent, "{births:?}");
        }
        if let Some(birth) = births.get(1) {
            let rebuilt = Family {
                packet: birth.packet,
                ..*family
            };
            rebuilt.arrives("ip_rcv_core", 1);
            // It is addressed to the other end.
            rebuilt.is_dropped(kernel, "OTHERHOST");
        }
    });
    with(kernel, 28, |family| {
        assert_eq!(family.made(), copies(0));
        family.arrives("generic_xdp_tx", 1);
        family.is_dropped(kernel, "OTHERHOST");
    });
}

fn what_tcp_sends_again_is_of_the_same_family(kernel: Kernel) {
    let recording = recording(kernel);
    // Headers of IP and TCP with time stamps, and two bytes.
    let is_data = |event: &&Event| event.function == "__ip_local_out" && event.fields["len"] == 20 + 32 + 2;
    let sent: Vec<u64> = (recording.events.iter().filter(is_data))
        .map(|event| event.packet)
        .collect();
    let [first, again @ ..] = sent.as_slice() else {
        panic!("nothing was sent");
    };
    let family = |packet| Family {
        recording: &recording,
        packet,
    };
    family(*first).is_dropped(kernel, "TC_INGRESS");
    family(*first).arrives("tcp_v4_rcv", 0);
    let queued = (recording.births.iter())
        .find(|birth| birth.parent == *first)
        .expect("the packet in the queue is followed");
    assert_eq!(recording.maker(queued), Some("__ip_local_out"));
    for packet in again {
        let birth = recording.births.iter().find(|birth| birth.packet == *packet);
        let birth = birth.unwrap_or_else(|| panic!("{packet:#x} has no parent"));
        assert_eq!(
            (birth.parent, recording.maker(birth)),
            (queued.packet, Some("__copy_skb_header"))
        );
    }
    let last = again.last().expect("it was sent again");
    family(*last).arrives("tcp_v4_rcv", 1);
    // It is acknowledged.
    family(queued.packet).is_released();
}

/// The receiver's socket wants datagrams, or the device does.
fn udp_is_segmented_late(kernel: Kernel) {
    with(kernel, 240, |family| {
        // 340 bytes by 150.
        assert_eq!(family.made(), copies(3));
    });
}

/// Only the first part of a datagram has a port, by which it is selected. What is assembled is a copy of it.
fn first_fragment_selects_the_datagram(kernel: Kernel) {
    let recording = recording(kernel);
    let first = recording.events.iter().find(|event| event.fields["sport"] == 9999);
    let first = Family {
        recording: &recording,
        packet: first.expect("a fragment with this port").packet,
    };
    assert_eq!(first.made(), copies(1));
    first.is_released();
    let whole = first.child();
    whole.arrives("udp_rcv", 1);
    // What would tell that it is delivered is not traced.
    whole.is_released();
}

/// GRO makes a list of datagrams without a tunnel or a socket that wants them merged, and UDP takes it apart.
fn listed_datagrams_are_separated_again(kernel: Kernel) {
    with(kernel, 250, |family| {
        // 350 bytes by 150. veth of Linux 5.10 does no GRO without XDP. The function that joins is inlined in 6.1.
        let (made, joined) = match kernel {
            Kernel::V5_10 => (3, 0),
            Kernel::V6_1 => (5, 0),
            _ => (5, 2),
        };
        assert_eq!(family.made(), copies(made));
        let births = family.births();
        let of_family = |packet| births.iter().any(|birth| birth.packet == packet);
        let joins = family.recording.joins.iter().filter(|join| of_family(join.packet));
        assert_eq!(joins.count(), joined);
    });
}

fn fragments_of_ipv6_are_children(kernel: Kernel) {
    let recording = recording(kernel);
    let is_request = |event: &&Event| event.function == "__ip6_local_out";
    let requests: Vec<&Event> = recording.events.iter().filter(is_request).collect();
    let [request] = requests.as_slice() else {
        panic!("{requests:#?}");
    };
    let family = Family {
        recording: &recording,
        packet: request.packet,
    };
    // The head of the datagram is a copy of the first fragment, which takes its place.
    let expected = BTreeMap::from([("ip6_copy_metadata", 1), ("__copy_skb_header", 2)]);
    assert_eq!(family.made(), expected);
}

/// Returns the packets of a stream to this port as they were sent, and all that was made of them.
fn streamed(recording: &Recording, port: u64) -> (Vec<u64>, Vec<u64>) {
    let is_sent = |event: &&Event| event.function == "__ip_local_out" && event.fields["dport"] == port;
    let mut sent: Vec<u64> = (recording.events.iter().filter(is_sent))
        .map(|event| event.packet)
        .collect();
    sent.sort_unstable();
    let made = sent.iter().flat_map(|packet| {
        let family = Family {
            recording,
            packet: *packet,
        };
        let births = family.births().into_iter();
        let copies = births.filter(|birth| recording.maker(birth) == Some("__copy_skb_header"));
        copies.map(|birth| birth.packet).collect::<Vec<u64>>()
    });
    let mut made: Vec<u64> = made.filter(|packet| sent.binary_search(packet).is_err()).collect();
    made.sort_unstable();
    made.dedup();
    (sent, made)
}

fn segments_are_children_and_gro_joins_them(kernel: Kernel) {
    // There the features of a veth cannot be changed.
    if kernel == Kernel::V5_10 {
        return;
    }
    let recording = recording(kernel);
    for port in [8006, 8007] {
        let (sent, segments) = streamed(&recording, port);
        // 60,000 bytes by 1,448; the smallest packets are sent as they are.
        assert!((30..60).contains(&segments.len()), "{port}: {}", segments.len());
        assert!(sent.len() < segments.len(), "{port}: {}", sent.len());
        let events = recording.events.iter();
        let arrived = events.filter(|event| event.function == "tcp_v4_rcv" && segments.contains(&event.packet));
        match (port, arrived.count()) {
            (8007, count) => {
                // How many arrive together depends on how fast the machine is.
                assert!(
                    (1..segments.len() * 3 / 4).contains(&count),
                    "{count} of {}",
                    segments.len()
                );
                let ends = recording.ends.iter().filter(|end| segments.contains(&end.packet));
                let joined = ends.filter(|end| end.outcome == Outcome::Joined).count();
                assert!(joined >= segments.len() - count, "{joined} of {}", segments.len());
            }
            (_, count) => assert_eq!(count, segments.len(), "{port}"),
        }
    }
}

fn the_search_for_a_neighbour_takes_a_copy(kernel: Kernel) {
    with(kernel, 17, |family| assert_eq!(family.made(), copies(1)));
}

fn sockets_of_one_group_get_copies(kernel: Kernel) {
    with(kernel, 26, |family| {
        assert_eq!(family.made(), copies(2));
        // New kernels free what a program has read in batches, so its end may come after the trace's.
        family.arrives("udp_queue_rcv_skb", 1);
    });
}

fn a_router_makes_fragments(kernel: Kernel) {
    with(kernel, 1300, |family| {
        // 1,428 bytes by 576 at most.
        assert_eq!(family.made()["ip_copy_metadata"], 3, "{:?}", family.made());
        family.is_released();
    });
}

/// The scenarios with a golden story, by the bytes of their ping.
const WITH_STORY: [u64; 12] = [129, 135, 137, 138, 139, 140, 141, 143, 145, 146, 147, 148];

/// Returns a story without what differs from run to run: numbers of packets, pings and namespaces, and the compiler's
/// suffixes.
fn without_numbers(story: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut before = "";
    for word in story.split(' ') {
        let end = word
            .find([',', ':', '.'])
            .filter(|_| matches!(before, "id" | "namespace"));
        words.push(match before {
            "id" | "namespace" => format!("N{}", &word[end.unwrap_or(word.len())..]),
            // The port that a tunnel is sent from.
            "now" if word.contains(':') => word.split(':').next().unwrap_or(word).to_owned(),
            "in" => word.split('.').next().unwrap_or(word).to_owned(),
            _ if word.starts_with('#') => "#N".to_owned(),
            _ => word.to_owned(),
        });
        before = word;
    }
    words.join(" ")
}

fn stories_are_as_in_their_file(kernel: Kernel) {
    let left = left(kernel);
    assert_eq!(left.exit("scenarios"), 0, "{}", left.text("scenarios.err"));
    let recording = testing::Recording::read(left.path("scenarios.out")).unwrap();
    let options = [("each", "true"), ("top", "0"), ("wait", "3600000000")];
    let ran = testing::run(story::Story::default(), &recording, &options).unwrap();
    let mut stories = String::new();
    for length in WITH_STORY {
        let first = format!(", {length} B: sent");
        let mut lines = ran.text().lines().skip_while(|line| !line.contains(&first));
        let line = lines.next().unwrap_or_else(|| panic!("{length}: {}", ran.text()));
        stories += &format!("{}\n", without_numbers(line));
        // What it means.
        if let Some(line) = lines.next().filter(|line| !line.is_empty()) {
            stories += &format!("{line}\n");
        }
    }
    let golden = format!("tests/golden/stories-{}.txt", kernel.series());
    testing::golden(workspace::root().join(golden), stories.as_bytes());
}

on_three_kernels!(
    a_bridge_copies_what_it_floods,
    a_delivered_packet_has_no_children,
    the_search_for_a_neighbour_takes_a_copy,
    a_redirected_packet_ends_at_the_other_device,
    a_router_makes_fragments,
    dropped_packets_have_their_reasons,
    first_fragment_selects_the_datagram,
    fragments_of_ipv6_are_children,
    listed_datagrams_are_separated_again,
    listeners_duplicates_and_mirrors_are_copies,
    segments_are_children_and_gro_joins_them,
    stories_are_as_in_their_file,
    sockets_of_one_group_get_copies,
    udp_is_segmented_late,
    what_tcp_sends_again_is_of_the_same_family,
    what_xdp_lets_pass_arrives,
    xdp_of_veth_judges_a_copy,
    xdp_of_veth_sends_back_what_is_built_again,
);
