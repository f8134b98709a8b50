//! Tests of early output of the aggregate, at its memory limit.

use std::cell::Cell;
use std::rc::Rc;

use ipft_core::event::*;
use ipft_core::sink::*;
use support::canned::{Canned, Script, draw, golden};

/// Returns the output of an aggregate with this limit, and its count of packets printed early.
fn draw_with(canned: &Canned, max_memory: u64) -> (String, u64) {
    let early = Rc::new(Cell::new(0));
    let reported = early.clone();
    let output = draw(canned, |writer| {
        Aggregate::new(writer).with_max_memory(
            max_memory,
            Box::new(move |packets| {
                assert!(packets > 0);
                assert_eq!(reported.replace(packets), 0, "it is reported once");
            }),
        )
    });
    (output, early.get())
}

/// Returns the sections below the header.
fn sections(output: &str) -> Vec<Vec<&str>> {
    let mut sections = output.split("===\n");
    let header = sections.next().expect("there is a header");
    assert_eq!(header.lines().count(), 1, "{header}");
    assert!(!sections.clone().any(|section| section.contains("Timestamp")));
    sections.map(|section| section.lines().collect()).collect()
}

/// Short-lived packets beside one, the first, that lives as long as the trace.
fn long() -> Canned {
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux"), ("ip_output", "vmlinux")]);
    for step in 0..100_000 {
        let (packet, function) = match step % 100 {
            0 => (1, 0),
            other => (2 + step / 100 * 10 + other % 10, 1),
        };
        script.at(1_000_000_000 + step).enter(packet, function);
        if step % 5000 == 4999 {
            script.end_batch();
        }
    }
    script.can("long")
}

#[test]
fn nothing_is_printed_early_while_there_is_room() {
    for canned in support::canned::all() {
        for max_memory in [u64::MAX, 4 << 20] {
            let expected = (draw(&canned, Aggregate::new), 0);
            assert_eq!(draw_with(&canned, max_memory), expected, "{}", canned.name);
        }
    }
}

#[test]
fn early_packets_keep_their_order() {
    let canned = long();
    let whole = draw(&canned, Aggregate::new);
    let whole = sections(&whole);
    let (output, early) = draw_with(&canned, 3 << 19);
    let parts = sections(&output);
    assert!(early > 1000, "{early}");
    let is_first = |section: &&Vec<&str>| section[0].ends_with("ip_rcv");
    // The packet that continued is split into parts.
    let split: Vec<_> = parts.iter().filter(is_first).collect();
    assert!((2..20).contains(&split.len()), "{} parts", split.len());
    let joined: Vec<&str> = split.into_iter().flatten().copied().collect();
    assert_eq!(joined, whole[0]);
    // Of the others, only those at a limit of early output may be split.
    let joined: Vec<&str> = parts.iter().filter(|part| !is_first(part)).flatten().copied().collect();
    let expected: Vec<&str> = whole.iter().skip(1).flatten().copied().collect();
    assert_eq!(joined.len(), expected.len());
    let mut sorted = joined;
    sorted.sort_unstable();
    let mut expected_sorted = expected;
    expected_sorted.sort_unstable();
    assert_eq!(sorted, expected_sorted);
    let whole_ones = parts.iter().filter(|part| whole.contains(part)).count();
    assert!(whole_ones > whole.len() * 9 / 10, "{whole_ones} of {}", whole.len());
    // Sections are in the order of their first event.
    let times: Vec<&str> = parts.iter().map(|part| &part[0][..10]).collect();
    assert!(times.is_sorted());
}

#[test]
fn without_memory_each_batch_is_printed_at_the_next() {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[
            ("ip_rcv", "vmlinux"),
            ("nf_hook_slow", "vmlinux"),
            ("ip_forward", "vmlinux"),
        ],
    );
    script.at(1_000_000_000).enter(1, 0);
    script.at(1_000_000_100).enter(1, 1);
    script.at(1_000_000_200).leave(1, 1);
    script.at(1_000_000_250).enter(2, 0);
    script.at(1_000_000_260).leave(2, 0);
    script.end_batch();
    script.at(1_000_000_300).enter(1, 2);
    script.at(1_000_000_400).leave(1, 2);
    script.at(1_000_000_500).leave(1, 0);
    script.at(1_000_000_600).enter(3, 0);
    let (output, early) = draw_with(&script.can("early"), 0);
    assert_eq!(early, 2);
    golden("early.txt", &output);
}

#[test]
fn a_failing_output_is_reported_at_early_writes() {
    struct Full;
    impl std::io::Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let canned = long();
    let mut sink = Aggregate::new(Full).with_max_memory(1 << 20, Box::new(|_| panic!("it did not end")));
    sink.start(&canned.trace).unwrap();
    let failed = canned.batches.iter().find_map(|batch| sink.events(batch).err());
    assert!(matches!(failed, Some(SinkError::Write(_))), "{failed:?}");
}

#[test]
fn packets_printed_early_have_their_lineages() {
    const PACKETS: u64 = 200_000;
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux"), ("skb_clone", "vmlinux")]);
    script.trace.follow = true;
    for packet in 1..=PACKETS {
        script.at(1_000_000_000 + 10 * packet);
        script.born(packet, packet + 1, 1);
        // Of some, no function is traced.
        if packet % 4 != 0 {
            script.enter(packet, 0);
        }
        script.end(packet, NO_FUNCTION, Outcome::Delivered.to_word());
        if packet % 2000 == 0 {
            script.end_batch();
        }
    }
    let (output, early) = draw_with(&script.can("lineages"), 4 << 20);
    assert!(early > PACKETS / 2, "{early}");
    let headings = output.lines().filter(|line| line.starts_with("==="));
    let mut expected = (1..=PACKETS).filter(|packet| packet % 4 != 0);
    for heading in headings {
        let packet = expected.next().expect("there is such a packet");
        let parent = packet + 1;
        assert_eq!(
            heading,
            format!("=== {packet:#x} made of {parent:#x} by skb_clone delivered")
        );
    }
    assert_eq!(expected.next(), None);
}
