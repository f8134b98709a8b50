//! Reads the output of `--pcapng` with an independent parser of the format.
//!
//! The expected packets are in `tests/golden/*.pcapng.txt`; `UPDATE_GOLDEN=1 cargo test -p ipft-core --test it pcapng`
//! updates them.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use ipft_core::event::*;
use ipft_core::sink::*;
use ipft_e2e::pcapng::{Capture as File, Packet};
use support::canned::{Canned, Script, golden};

/// A sink's output, whether it is complete, and the messages for the user.
#[derive(Clone, Debug, Default)]
struct Written {
    bytes: Arc<Mutex<Vec<u8>>>,
    complete: Arc<Mutex<bool>>,
    reported: Arc<Mutex<Vec<String>>>,
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!*self.complete.lock().unwrap(), "it writes after the end");
        self.bytes.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn sink(&self) -> Pcapng {
        let reported = self.reported.clone();
        let complete = |written: &mut Written| {
            *written.complete.lock().unwrap() = true;
            Ok(())
        };
        Pcapng::new(
            self.clone(),
            complete,
            Box::new(move |message| reported.lock().unwrap().push(message.to_owned())),
        )
    }

    fn file(&self) -> File {
        assert!(*self.complete.lock().unwrap(), "the file is not complete");
        File::parse(&self.bytes.lock().unwrap()).expect("a file of packets")
    }
}

fn draw(canned: &Canned, sink: &mut Pcapng) -> Result<(), SinkError> {
    sink.start(&canned.trace)?;
    for batch in &canned.batches {
        sink.events(batch)?;
    }
    sink.finish(&canned.summary)
}

/// Adds a capture of this many bytes of a packet to the batch.
fn capture(batch: &mut Batch, packet: u64, link: Link, length: u32, bytes: &[u8]) {
    batch.captures.push(Capture {
        packet,
        timestamp: 1,
        link,
        length,
        offset: batch.captured.len() as u32,
        captured_len: bytes.len() as u32,
    });
    batch.captured.extend_from_slice(bytes);
}

/// Returns the trace with first bytes of each packet: an IP packet for odd ones, an Ethernet frame for even ones.
fn with_bytes(mut canned: Canned) -> Canned {
    let mut seen = BTreeSet::new();
    for batch in &mut canned.batches {
        let packets: Vec<u64> = batch.events.iter().map(|event| event.packet).collect();
        for packet in packets {
            if seen.insert(packet) {
                let (link, length) = [(Link::Ethernet, 1514), (Link::Ip, 7)][packet as usize % 2];
                capture(
                    batch,
                    packet,
                    link,
                    length,
                    &[0x45, 0, 0, 0x54, 0xff, 0xfe, packet as u8],
                );
            }
        }
    }
    canned
}

fn dump(file: &File) -> String {
    let mut text = format!("{}\n{}\n{}\n", file.application, file.os, file.command_line);
    for packet in &file.packets {
        let Packet {
            link_type,
            time,
            length,
            bytes,
            identity,
            comments,
        } = packet;
        writeln!(
            text,
            "\npacket {identity:#x} at {time}, link type {link_type}, {length} bytes: {bytes:02x?}"
        )
        .unwrap();
        for comment in comments {
            writeln!(text, "  {comment}").unwrap();
        }
    }
    text
}

#[test]
fn every_trace_matches_its_golden_file() {
    for canned in support::canned::all() {
        let canned = with_bytes(canned);
        let written = Written::default();
        draw(&canned, &mut written.sink()).unwrap();
        let dump = dump(&written.file()).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        golden(&format!("{}.pcapng.txt", canned.name), &dump);
        assert!(written.reported.lock().unwrap().is_empty(), "{}", canned.name);
        let control = dump.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(control, None, "{}", canned.name);
        // Events of kinds that it does not know change nothing.
        let more = Written::default();
        draw(&support::canned::with_other_kinds(&canned), &mut more.sink()).unwrap();
        let more = self::dump(&more.file()).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        assert_eq!(more, dump, "{}", canned.name);
    }
}

/// Returns a trace in which packets 1 to `packets` come one after the other, each through two functions.
fn one_after_the_other(packets: u64) -> Canned {
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux"), ("kfree_skb", "vmlinux")]);
    for packet in 1..=packets {
        script.at(packet * 1000).enter(packet, 0);
        script.at(packet * 1000 + 5).enter(packet, 1);
        if packet % 10 == 0 {
            script.end_batch();
        }
    }
    script.can("one after the other")
}

/// Returns three packets: two of IP, of versions 4 and 6, and between them a frame of ARP.
fn ip_and_arp() -> Canned {
    let mut canned = one_after_the_other(3);
    capture(&mut canned.batches[0], 1, Link::Ip, 84, b"\x45\0\0\x54");
    capture(
        &mut canned.batches[0],
        2,
        Link::Ethernet,
        42,
        b"\xff\xff\xff\xff\xff\xff\x02\0\0\0\0\x0a\x08\x06\0\x01",
    );
    capture(&mut canned.batches[0], 3, Link::Ip, 104, b"\x60\0\0\0\0\x40");
    canned
}

#[test]
fn ip_beside_another_protocol_gets_ethernet_headers() {
    let written = Written::default();
    draw(&ip_and_arp(), &mut written.sink()).unwrap();
    let packets = written.file().packets;
    let shown: Vec<_> = packets
        .iter()
        .map(|packet| (packet.link_type, packet.length, &packet.bytes[12..]))
        .collect();
    assert_eq!(
        shown,
        [
            (1, 98, &b"\x08\0\x45\0\0\x54"[..]),
            (1, 42, b"\x08\x06\0\x01"),
            (1, 118, b"\x86\xdd\x60\0\0\0\0\x40"),
        ]
    );
    assert_eq!(packets[0].bytes[..12], [0; 12]);
    assert_eq!(packets[1].bytes[..6], [0xff; 6]);
}

#[test]
fn frames_after_an_early_write_keep_the_link_type() {
    let mut canned = one_after_the_other(50_000);
    for batch in &mut canned.batches {
        let packets: BTreeSet<u64> = batch.events.iter().map(|event| event.packet).collect();
        for packet in packets {
            let link = if packet == 50_000 { Link::Ethernet } else { Link::Ip };
            capture(batch, packet, link, 100, &[0x45; 60]);
        }
    }
    let written = Written::default();
    draw(&canned, &mut written.sink().with_limit(4_000_000)).unwrap();
    let packets = written.file().packets;
    assert_eq!(packets.len(), 50_000);
    assert!(packets.iter().all(|packet| packet.link_type == 1));
    assert_eq!((packets[0].length, packets[49_999].length), (114, 100));
}

#[test]
fn early_writes_bound_memory_and_lose_no_packet() {
    // Memory for events and packets grows by some hundred kilobytes at a time.
    let canned = with_bytes(one_after_the_other(50_000));
    let written = Written::default();
    let mut sink = written.sink().with_limit(4_000_000);
    sink.start(&canned.trace).unwrap();
    let mut early = 0;
    for batch in &canned.batches {
        sink.events(batch).unwrap();
        early = early.max(written.bytes.lock().unwrap().len());
    }
    assert!(early > 100_000, "only {early} bytes were written before the end");
    sink.finish(&canned.summary).unwrap();
    let file = written.file();
    let identities: Vec<u64> = file.packets.iter().map(|packet| packet.identity).collect();
    assert!(
        identities.iter().copied().eq(1..=50_000),
        "{} packets",
        identities.len()
    );
    assert!(file.packets.iter().all(|packet| packet.comments.len() == 2));
    assert!(written.reported.lock().unwrap().is_empty());
}

#[test]
fn an_endless_packet_is_written_and_its_rest_counted() {
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]);
    for time in 1..=40_000 {
        script.at(time).enter(1, 0);
        if time % 100 == 0 {
            script.end_batch();
        }
    }
    let canned = with_bytes(script.can("for ever"));
    let written = Written::default();
    draw(&canned, &mut written.sink().with_limit(900_000)).unwrap();
    assert_eq!(written.file().packets.len(), 1);
    let reported = written.reported.lock().unwrap().join("\n");
    assert!(
        reported.contains("not in the file") && reported.contains("the rest of packets"),
        "{reported}"
    );
}

#[test]
fn a_trace_without_bytes_creates_no_file() {
    let written = Written::default();
    let error = draw(&one_after_the_other(3), &mut written.sink()).unwrap_err();
    assert!(error.to_string().contains("--record-bytes"), "{error}");
    assert!(!*written.complete.lock().unwrap());
}

#[test]
fn packets_without_bytes_are_counted() {
    let mut canned = one_after_the_other(3);
    capture(&mut canned.batches[0], 2, Link::Ip, 4, b"\x45abc");
    // The first one counts.
    capture(&mut canned.batches[0], 2, Link::Ethernet, 2, b"no");
    capture(&mut canned.batches[0], 77, Link::Ip, 4, b"\x45abc");
    let written = Written::default();
    draw(&canned, &mut written.sink()).unwrap();
    let file = written.file();
    assert_eq!(file.packets.len(), 1);
    assert_eq!(
        (file.packets[0].link_type, &file.packets[0].bytes[..]),
        (101, &b"\x45abc"[..])
    );
    let reported = written.reported.lock().unwrap().join("\n");
    assert!(reported.starts_with("2 packets are not in the file"), "{reported}");
}

#[test]
fn a_broken_recording_gives_a_readable_file() {
    let mut canned = one_after_the_other(1);
    canned.trace.clock_offset = i64::MIN;
    canned.trace.command_line = vec!["é".repeat(100_000), "\0\n".to_owned()];
    canned.trace.functions[0].name = "\u{202e}\n".repeat(40_000);
    let event = canned.batches[0].events[0];
    for function in [0, 5, u32::MAX] {
        canned.batches[0].events.push(Event {
            timestamp: u64::MAX,
            function,
            cpu: u32::MAX,
            ..event
        });
    }
    // Fewer bytes than announced, and a range outside the data.
    capture(&mut canned.batches[0], 1, Link::Ip, 0, b"abcde");
    capture(&mut canned.batches[0], 2, Link::Ip, 0, b"");
    canned.batches[0].captures[1].captured_len = u32::MAX;
    canned.batches[0].events.push(Event { packet: 2, ..event });
    let written = Written::default();
    draw(&canned, &mut written.sink()).unwrap();
    let file = written.file();
    assert!(file.command_line.starts_with("éé") && file.command_line.len() <= 65_535);
    let [first, second] = &file.packets[..] else {
        panic!("{} packets", file.packets.len());
    };
    assert_eq!((first.time, first.length, first.bytes.len()), (0, 5, 5));
    assert_eq!((second.length, second.bytes.len()), (0, 0));
    assert_eq!(first.comments, ["... and 5 more events"]);
}

#[test]
fn bytes_without_events_take_bounded_memory() {
    let written = Written::default();
    let mut sink = written.sink().with_limit(1 << 20);
    let mut canned = one_after_the_other(1);
    let packet = canned.batches[0].events[0].packet;
    sink.start(&canned.trace).unwrap();
    for number in 0..1000 {
        let mut batch = Batch::default();
        for other in 0..100 {
            capture(
                &mut batch,
                1_000_000 + 100 * number + other,
                Link::Ip,
                100,
                &[0x45; 100],
            );
        }
        sink.events(&batch).unwrap();
        let shown = format!("{sink:?}");
        let kept = shown.split_once("captured: ").unwrap().1;
        let kept: u64 = kept
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert!(kept < 6000, "{kept} captures after {number} batches");
    }
    let batch = &mut canned.batches[0];
    for other in 0..100 {
        capture(batch, 2_000_000 + other, Link::Ip, 9000, &[0x45; 9000]);
    }
    capture(batch, packet, Link::Ip, 100, &[0x45; 100]);
    for batch in &canned.batches {
        sink.events(batch).unwrap();
    }
    sink.finish(&canned.summary).unwrap();
    assert_eq!(written.file().packets.len(), 1);
}
