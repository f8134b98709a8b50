//! A part of a recording has the first bytes of its packets, wherever they are, and no others.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::recorded::*;
use ipft_core::event::*;
use ipft_core::recording::{Input, Reader};
use ipft_e2e::pcapng;
use support::canned::{Canned, Script};

const SECOND: u64 = 1_000_000_000;

/// Packets 1 to `packets`: each enters `ip_rcv` at once, when its bytes are taken, and `ip_output` a second later, in
/// another block.
fn late(packets: u64, bytes: usize) -> Canned {
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux"), ("ip_output", "vmlinux")]);
    for function in 0..2 {
        for packet in 1..=packets {
            let at = SECOND + u64::from(function) * SECOND + packet;
            script.at(at).enter(packet, function);
            if packet % 64 == 0 {
                script.end_batch();
            }
        }
        script.end_batch();
    }
    let mut canned = script.can("late");
    for batch in &mut canned.batches {
        let events: Vec<Event> = batch
            .events
            .iter()
            .filter(|event| event.function == 0)
            .copied()
            .collect();
        for event in events {
            batch.captures.push(Capture {
                packet: event.packet,
                timestamp: event.timestamp,
                link: Link::Ip,
                length: bytes as u32,
                offset: batch.captured.len() as u32,
                captured_len: bytes as u32,
            });
            batch.captured.extend((0..bytes).map(|_| 0x45));
        }
    }
    canned
}

/// Returns the packets of the events and of the captures in a file.
fn packets(path: &Path) -> (BTreeSet<u64>, BTreeSet<u64>) {
    let mut reader = Reader::open(Input::file(fs::File::open(path).unwrap()).unwrap()).unwrap();
    let (mut events, mut captures) = (BTreeSet::new(), BTreeSet::new());
    let mut batch = Batch::default();
    while reader.next(|_| true).unwrap().is_some() {
        while reader.fill(&mut batch, 4096) {
            events.extend(batch.events.iter().map(|event| event.packet));
            captures.extend(batch.captures.iter().map(|capture| capture.packet));
            batch.clear();
        }
    }
    (events, captures)
}

#[test]
fn first_bytes_follow_the_selected_events_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    record(&late(9, 40), &path);
    let all: BTreeSet<u64> = (1..=9).collect();
    let some = |packets: &[u64]| packets.iter().copied().collect::<BTreeSet<u64>>();
    for (filter, expected) in [
        (&["--from", "+0.5s"][..], all.clone()),
        (&["--to", "+0.5s"], all.clone()),
        (&["-r", "ip_output"], all.clone()),
        (&["-r", "nothing"], some(&[])),
        (&["--limit", "2"], some(&[1, 2])),
        (&["--from", "+0.5s", "--limit", "3"], some(&[1, 2, 3])),
        (&["--packet", "4", "--packet", "7", "-r", "ip_output"], some(&[4, 7])),
    ] {
        let part = folder.path().join("part.ipft");
        let ran = replay([&[path.to_str().unwrap(), "--record", part.to_str().unwrap()], filter].concat());
        let said = match expected.is_empty() {
            true => "Nothing is selected: no function of the recording matches -r 'nothing'\n",
            false => "",
        };
        assert_eq!((ran.code, ran.said.as_str()), (Some(0), said), "{filter:?}");
        assert_eq!(packets(&part), (expected.clone(), expected.clone()), "{filter:?}");
        if expected.is_empty() {
            continue;
        }
        let file = folder.path().join("part.pcapng");
        let ran = replay([&[path.to_str().unwrap(), "--pcapng", file.to_str().unwrap()], filter].concat());
        assert_eq!((ran.code, ran.said.as_str()), (Some(0), ""), "{filter:?}");
        let written = pcapng::Capture::parse(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(written.packets.len(), expected.len(), "{filter:?}");
    }
}
