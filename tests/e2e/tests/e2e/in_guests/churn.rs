//! Many followed packets at the same time, whose memory is reused, and which are cloned, fragmented, delivered and dropped:
//! no packet has another's event, each has one end, and none stays in the kernel's tables.
//!
//! `IPFT_CHURN=640000` sends so many datagrams, of which more than a million packets are made; it takes some fifteen minutes. By
//! itself the test sends four thousand.

use std::collections::{BTreeMap, HashMap};
use std::env;
use std::fs::File;
use std::path::PathBuf;

use anyhow::Result;
use ipft_core::event::{Batch, Event, EventKind, Outcome, Schema};
use ipft_core::recording::{Content, Input, Reader};
use ipft_e2e::compiler;
use ipft_e2e::guest::{self, Left, Shared};
use xtask::kernel::Kernel;
use xtask::workspace;

/// Functions that see a packet while its bytes are its own.
const FEW: &str = "^(__ip_local_out|ip_output|__dev_queue_xmit|veth_xmit|__netif_receive_skb_core.*|ip_rcv_core|\
                   ip_local_deliver|udp_rcv|skb_release_data)$";

/// The number that udpflood wrote into the datagram, and its port; nothing of later fragments.
const NUMBER: &str = r#"
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
#define SKIP __attribute__((section("__ipft_skip")))
static long (*bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)113;
struct sk_buff { unsigned char *head; __u16 network_header; } __attribute__((preserve_access_index));
struct event { __u32 number; __u32 port; } __ipft_event_struct SKIP;
struct headers { __u8 ip[20], udp[8], payload[4]; };
__attribute__((visibility("hidden"))) int module(void *ctx, struct sk_buff *skb, __u8 data[64]) {
    struct event *event = (struct event *)data;
    struct headers headers;
    unsigned char *head;
    __u16 offset;
    if (bpf_probe_read_kernel(&head, sizeof(head), &skb->head) ||
        bpf_probe_read_kernel(&offset, sizeof(offset), &skb->network_header) ||
        bpf_probe_read_kernel(&headers, sizeof(headers), head + offset))
        return 0;
    if (headers.ip[0] != 0x45 || headers.ip[9] != 17 || headers.ip[6] & 0x1f || headers.ip[7])
        return 0;
    event->number = headers.payload[0] << 24 | headers.payload[1] << 16 | headers.payload[2] << 8 | headers.payload[3];
    event->port = headers.udp[2] << 8 | headers.udp[3];
    return 0;
}
"#;

const KERNELS: [Kernel; 3] = [Kernel::V5_10, Kernel::V6_12, Kernel::V7_2];

const BURST: usize = 5_000;

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 3] = [const { Shared::new() }; 3];
    let run = KERNELS.iter().position(|each| *each == kernel);
    RUNS[run.expect("one of the kernels")].left(|| {
        // With fentry-multi, a task that is preempted in a program costs others their events.
        let backend = if kernel == Kernel::V7_2 { "-b kprobe-multi" } else { "" };
        let (rounds, burst) = match env::var("IPFT_CHURN") {
            Ok(count) => (count.parse::<usize>()?.div_ceil(2 * BURST), BURST),
            Err(_) => (2, 1_000),
        };
        let script = format!(
            "FEW='{FEW}' BACKEND='{backend}' ROUNDS={rounds} BURST={burst}\n{}",
            include_str!("../../../guest/churn.sh")
        );
        guest::run(&format!("churn-{}", kernel.series()), kernel, &[&object()?], &script)
    })
}

fn object() -> Result<PathBuf> {
    let folder = workspace::target().join("e2e/churn-objects");
    compiler::compile(&folder, "number.o", NUMBER, &["-target", "bpf", "-O2", "-g"])?;
    Ok(folder.join("number.o"))
}

/// What a datagram is: its port and its number.
type Datagram = (u32, u32);

/// What was seen of a packet.
#[derive(Debug, Default)]
struct Packet {
    datagram: Option<Datagram>,
    parent: Option<u64>,
    ends: Vec<Outcome>,
}

/// Returns what an extension said of an event, if its packet has a number.
fn datagram(schema: &Schema, batch: &Batch, event: &Event) -> Option<Datagram> {
    let payload = batch.payload_of(event);
    let word = |name: &str| {
        let field = schema.fields.iter().find(|field| field.name == name)?;
        let bytes = payload.get(field.offset as usize..)?.first_chunk()?;
        Some(u32::from_ne_bytes(*bytes))
    };
    let port = word("port")?;
    (port != 0).then_some((port, word("number")?))
}

fn packets(kernel: Kernel) -> HashMap<u64, Packet> {
    let left = left(kernel);
    assert_eq!(left.exit("churn"), 0, "{}", left.text("churn.err"));
    let mut reader = Reader::open(Input::file(File::open(left.path("churn.ipft")).unwrap()).unwrap()).unwrap();
    let schema = reader.trace().schema.clone();
    let mut packets: HashMap<u64, Packet> = HashMap::new();
    let mut batch = Batch::default();
    while let Some(content) = reader.next(|_| true).unwrap() {
        if let Content::Losses(losses) = &content {
            assert!(losses.is_empty(), "{losses:?}");
        }
        while reader.fill(&mut batch, 4096) {
            for event in &batch.events {
                let packet = packets.entry(event.packet).or_default();
                match event.kind {
                    EventKind::ENTRY => {
                        let now = datagram(&schema, &batch, event);
                        let before = packet.datagram;
                        assert!(
                            before.is_none() || now.is_none() || now == before,
                            "{before:?} is {now:?} at {event:?}"
                        );
                        packet.datagram = before.or(now);
                    }
                    EventKind::BORN => packet.parent = Some(event.spare),
                    EventKind::ENDED => packet.ends.extend(event.outcome()),
                    _ => {}
                }
            }
            batch.clear();
        }
    }
    packets
}

/// Returns how many datagrams were sent to ports with a receiver, to ports without, and in fragments.
fn sent(kernel: Kernel) -> Vec<usize> {
    let sent = left(kernel).text("sent");
    sent.lines().map(|line| line.parse().unwrap()).collect()
}

/// Which of the three a port belongs to.
fn class(port: u32) -> usize {
    (port - 10_000) as usize % 3
}

fn no_packet_has_the_event_of_another(kernel: Kernel) {
    let packets = packets(kernel);
    let mut seen = [0; 3];
    let mut datagrams = HashMap::new();
    for (id, packet) in &packets {
        let Some(parent) = packet.parent else {
            let datagram = packet.datagram.expect("the bytes of a packet that was selected");
            assert_eq!(datagrams.insert(datagram, *id), None, "{datagram:?} is several packets");
            seen[class(datagram.0)] += 1;
            continue;
        };
        let parent = packets[&parent].datagram;
        assert!(
            packet.datagram.is_none() || packet.datagram == parent,
            "{packet:?} was made of {parent:?}"
        );
    }
    assert_eq!(seen, *sent(kernel));
    // Fragments, and copies for listeners in every other round.
    assert!(
        packets.len() > datagrams.len() + datagrams.len() / 3,
        "{} packets",
        packets.len()
    );
}

fn every_packet_has_one_end(kernel: Kernel) {
    let packets = packets(kernel);
    let ends = packets.values().fold(BTreeMap::new(), |mut ends, packet| {
        *ends.entry(packet.ends.len()).or_insert(0) += 1;
        ends
    });
    assert_eq!(ends, BTreeMap::from([(1, packets.len())]));
    let said = left(kernel).text("churn.err");
    let live = format!("{} packets were followed: {0} ended, 0 live", packets.len());
    assert!(said.contains(&live), "{said}");
    assert_eq!(left(kernel).text("all.left"), "");
}

fn exactly_the_refused_packets_are_dropped(kernel: Kernel) {
    let mut dropped = [0; 3];
    for packet in packets(kernel).values() {
        if let (Some((port, _)), None, [Outcome::Dropped { .. }]) = (packet.datagram, packet.parent, &*packet.ends) {
            dropped[class(port)] += 1;
        }
    }
    let sent = sent(kernel);
    let refused: usize = left(kernel).text("refused").trim().parse().unwrap();
    assert!(refused >= sent[0] / 10 - 1, "{refused} of {sent:?}");
    // The last are dropped when they are whole again, as a packet of its own.
    assert_eq!(dropped[..2], [refused, sent[1]]);
}

ipft_e2e::on_kernels!(
    [on_5_10: V5_10, on_6_12: V6_12, on_7_2: V7_2],
    every_packet_has_one_end,
    exactly_the_refused_packets_are_dropped,
    no_packet_has_the_event_of_another,
);
