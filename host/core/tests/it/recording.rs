//! Tests of recordings: input equals output, for whole, cut and damaged files.

use std::io::Cursor;
use std::path::Path;

use ipft_core::event::*;
use ipft_core::recording::layout::{BLOCK_HEADER, FILE_HEADER, INDEX_ENTRY, TRAILER};
use ipft_core::recording::{Content, End, Input, Reader, RecordingError, Writer};
use ipft_core::sink::{Aggregate, Json, Jsonl, Sink};
use support::canned::{Canned, Script, draw, golden};

/// Returns the bytes of a recording of the trace.
fn record(canned: &Canned) -> Vec<u8> {
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, &canned.trace, 7).unwrap();
    for batch in &canned.batches {
        writer.push(batch).unwrap();
    }
    writer.finish(&canned.summary).unwrap();
    drop(writer);
    file
}

/// Content of a file.
#[derive(Debug, Default)]
struct Read {
    batches: Vec<Batch>,
    /// Appended functions: number of earlier batches, index of the first, and their names.
    functions: Vec<(usize, u32, Vec<String>)>,
    losses: Vec<Vec<Loss>>,
    summary: Option<Summary>,
    end: Option<End>,
    damage: u64,
}

impl Read {
    fn events(&self) -> Vec<(Event, Vec<u8>)> {
        let events = |batch: &Batch| -> Vec<_> {
            let plain = |event: &Event| Event {
                payload_offset: 0,
                payload_len: 0,
                ..*event
            };
            let events = batch.events.iter();
            events
                .map(|event| (plain(event), batch.payload_of(event).to_vec()))
                .collect()
        };
        self.batches.iter().flat_map(events).collect()
    }
}

fn read(file: Vec<u8>, most: usize) -> Result<(Trace, Read), RecordingError> {
    let mut reader = Reader::open(Input::Stream(Box::new(Cursor::new(file))))?;
    let mut read = Read::default();
    while let Some(content) = reader.next(|_| true).expect("memory can be read") {
        match content {
            Content::Events => loop {
                let mut batch = Batch::default();
                if !reader.fill(&mut batch, most) {
                    break;
                }
                read.batches.push(batch);
            },
            Content::Functions(first, functions) => {
                let names = functions.into_iter().map(|function| function.name).collect();
                read.functions.push((read.batches.len(), first, names));
            }
            Content::Losses(losses) => read.losses.push(losses),
            Content::Done(summary) => read.summary = Some(summary),
        }
    }
    read.end = reader.seen().end;
    read.damage = reader.seen().damaged.0;
    Ok((reader.trace().clone(), read))
}

/// Converts the recording back to a canned trace.
fn replay(canned: &Canned, most: usize) -> Canned {
    let (trace, read) = read(record(canned), most).unwrap();
    assert_eq!(read.end, Some(End::Whole), "{}", canned.name);
    Canned {
        name: canned.name,
        trace,
        batches: read.batches,
        summary: read.summary.expect("a whole recording has a summary"),
    }
}

#[test]
fn every_sink_draws_a_recording_as_it_drew_the_trace() {
    for canned in support::canned::all() {
        for most in [1, 3, 4096] {
            let replayed = replay(&canned, most);
            let name = canned.name;
            assert_eq!(draw(&replayed, Aggregate::new), draw(&canned, Aggregate::new), "{name}");
            assert_eq!(draw(&replayed, Json::new), draw(&canned, Json::new), "{name}");
            assert_eq!(draw(&replayed, Jsonl::new), draw(&canned, Jsonl::new), "{name}");
        }
    }
}

#[test]
fn recordings_of_released_versions_are_drawn_as_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/recording-1.0");
    for canned in support::canned::all() {
        let name = canned.name;
        let path = folder.join(format!("{name}.ipft"));
        // A trace that is new gets its recording; one that is there stays.
        if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, record(&canned)).unwrap();
        }
        let file = std::fs::read(path).unwrap();
        let (trace, read) = read(file, 4096).unwrap();
        let fixture = Canned {
            name,
            trace,
            batches: read.batches,
            summary: read.summary.unwrap(),
        };
        golden(&format!("{name}.txt"), &draw(&fixture, Aggregate::new));
        golden(&format!("{name}.json"), &draw(&fixture, Json::new));
        golden(&format!("{name}.jsonl"), &draw(&fixture, Jsonl::new));
    }
}

#[test]
fn events_of_unknown_kinds_are_kept() {
    for canned in support::canned::all() {
        let canned = support::canned::with_other_kinds(&canned);
        for most in [1, 4096] {
            let replayed = replay(&canned, most);
            assert_eq!(
                draw(&replayed, Jsonl::new),
                draw(&canned, Jsonl::new),
                "{}",
                canned.name
            );
            let events = |canned: &Canned| -> Vec<Event> {
                let events = canned.batches.iter().flat_map(|batch| &batch.events);
                let place = |event: &Event| Event {
                    // No kernel has more; one trace says so.
                    function: event.function.min(u32::MAX >> 3),
                    payload_offset: 0,
                    payload_len: 0,
                    ..*event
                };
                events.map(place).collect()
            };
            assert_eq!(events(&replayed), events(&canned), "{}", canned.name);
        }
    }
}

#[test]
fn a_trace_that_follows_keeps_its_reasons() {
    let mut canned = support::canned::all().remove(0);
    let reason = |(name, value): (&str, u64)| EnumMember {
        name: name.to_owned(),
        value,
    };
    let reasons = [("NO_SOCKET", 3), ("QDISC_DROP_OVERLIMIT", 0x5_0001)];
    canned.trace.drop_reasons = reasons.map(reason).to_vec();
    let trace = replay(&canned, 1).trace;
    assert_eq!(trace.drop_reasons, canned.trace.drop_reasons);
    let names = [0, 3, 4, 0x5_0001, u32::MAX].map(|reason| trace.drop_reason(reason));
    assert_eq!(
        names,
        [None, Some("NO_SOCKET"), None, Some("QDISC_DROP_OVERLIMIT"), None]
    );
}

/// Generates the same pseudo-random numbers in every run (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Returns a trace with everything that an event can have, unordered.
fn wild(seed: u64, events: usize, functions: u32) -> Canned {
    let mut random = Random(seed);
    let mut script = Script::new(Tracer::FunctionGraph, &[("ip_rcv", "vmlinux")]);
    script.enter(1, 0);
    let mut canned = script.can("wild");
    canned.trace.schema.size = 8;
    canned.trace.functions = (0..functions)
        .map(|index| Function {
            name: format!("f{index}"),
            module: "vmlinux".to_owned(),
            address: u64::from(index) << 4 | 0xffff_ffff_8000_0000,
        })
        .collect();
    canned.batches.clear();
    let mut batch = Batch::default();
    for index in 0..events {
        let timestamp = match random.below(10) {
            0 => random.next(),
            _ => index as u64 * 1000,
        };
        let payload_len = [0, 8][random.below(2) as usize];
        let kind = EventKind([0, 1, 0, 1, 2, 77][random.below(6) as usize]);
        let entry_timestamp = match random.below(3) {
            _ if kind == EventKind::ENTRY => 0,
            0 => 0,
            1 => timestamp.saturating_sub(random.below(100_000)),
            _ => 1 + random.below(u64::MAX - 1),
        };
        batch.events.push(Event {
            packet: 1 + random.below(700),
            skb: random.below(3) << 60,
            timestamp,
            entry_timestamp,
            function: random.below(functions.into()) as u32,
            cpu: random.below(3) as u32 * 0x7fff_ffff,
            kind,
            thread: random.next() as u32 >> 28,
            payload_offset: batch.payload.len() as u32,
            payload_len: payload_len as u32,
            spare: if kind.is_call() { 0 } else { random.next() },
        });
        batch
            .payload
            .extend_from_slice(&random.next().to_le_bytes()[..payload_len]);
        if random.below(1000) == 0 {
            let bytes = random.below(64) as usize;
            batch.captures.push(Capture {
                packet: 1 + random.below(700),
                timestamp,
                link: [Link::Ethernet, Link::Ip][random.below(2) as usize],
                length: random.next() as u32,
                offset: batch.captured.len() as u32,
                captured_len: bytes as u32,
            });
            batch.captured.extend((0..bytes).map(|_| random.next() as u8));
        }
        if random.below(5000) == 0 {
            canned.batches.push(std::mem::take(&mut batch));
        }
    }
    canned.batches.push(batch);
    canned
}

#[test]
fn all_numbers_of_events_are_restored() {
    for (seed, events, functions) in [(1, 100_000, 9000), (2, 50_000, 12), (3, 1, 1)] {
        let canned = wild(seed, events, functions);
        let (trace, back) = read(record(&canned), 4096).unwrap();
        assert_eq!(trace.functions, canned.trace.functions);
        let expected = Read {
            batches: canned.batches.clone(),
            ..Read::default()
        };
        assert!(back.events() == expected.events());
        let captures = |batches: &[Batch]| -> Vec<_> {
            let of = |batch: &Batch| -> Vec<_> {
                let captures = batch.captures.iter();
                captures
                    .map(|capture| (Capture { offset: 0, ..*capture }, batch.bytes_of(capture).to_vec()))
                    .collect()
            };
            batches.iter().flat_map(of).collect()
        };
        assert_eq!(captures(&back.batches), captures(&canned.batches));
    }
}

/// Returns a recording of some blocks: two of events, one of losses between them.
fn several_blocks() -> (Vec<u8>, Vec<usize>) {
    let canned = wild(5, 40, 3);
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, &canned.trace, 7).unwrap();
    let mut ends = vec![writer.position() as usize];
    let losses = |count| Progress {
        timestamp: 5,
        losses: vec![Loss {
            kind: LossKind::BufferFull,
            cpu: Some(1),
            count,
        }],
    };
    for count in 1..=2 {
        for batch in &canned.batches {
            writer.push(batch).unwrap();
        }
        writer.close_block().unwrap();
        ends.push(writer.position() as usize);
        writer.progress(&losses(count)).unwrap();
        ends.push(writer.position() as usize);
        // Nothing is new, so nothing is written.
        writer.progress(&losses(count)).unwrap();
        assert_eq!(writer.position() as usize, ends[ends.len() - 1]);
    }
    writer.finish(&canned.summary).unwrap();
    drop(writer);
    (file, ends)
}

#[test]
fn a_cut_file_gives_its_whole_blocks_and_the_offset() {
    let (file, ends) = several_blocks();
    let (_, whole) = read(file.clone(), 4096).unwrap();
    assert_eq!(
        (whole.end, whole.events().len(), whole.losses.len()),
        (Some(End::Whole), 80, 2)
    );
    for length in 0..file.len() {
        let cut = match read(file[..length].to_vec(), 4096) {
            Ok((_, cut)) => cut,
            Err(error) => {
                assert!(length < ends[0], "{length}: {error}");
                let empty = matches!(error, RecordingError::Empty);
                assert!(empty == (length == 0) && (empty || matches!(error, RecordingError::Beginning(_))));
                continue;
            }
        };
        let blocks = ends.iter().filter(|end| **end <= length).count() - 1;
        let events = blocks.div_ceil(2) * 40;
        assert_eq!(cut.events().len(), events, "{length}");
        assert_eq!(cut.events()[..], whole.events()[..events]);
        assert_eq!(cut.losses.len(), blocks / 2);
        let Some(End::Cut { offset, done }) = cut.end else {
            panic!("{length}: {:?}", cut.end);
        };
        assert_eq!(done, cut.summary.is_some());
        assert!(offset as usize <= length);
        if !done {
            assert_eq!(offset as usize, *ends.iter().rfind(|end| **end <= length).unwrap());
        }
        assert_eq!(cut.damage, 0, "a cut is no damage");
    }
}

#[test]
fn a_flipped_bit_costs_at_most_its_block() {
    let (file, ends) = several_blocks();
    let (_, whole) = read(file.clone(), 4096).unwrap();
    let whole = whole.events();
    for position in 0..file.len() * 8 {
        let mut file = file.clone();
        file[position / 8] ^= 1 << (position % 8);
        let place = position / 8;
        let flipped = match read(file, 4096) {
            Ok((_, flipped)) => flipped,
            Err(_) => {
                assert!(place < ends[0], "{place}");
                continue;
            }
        };
        assert!(place >= ends[0], "{place}: nothing of the beginning can be wrong");
        let noticed = flipped.damage > 0 || flipped.end != Some(End::Whole);
        assert!(noticed, "{place}");
        // The block of events that contains it, if any.
        let block = ends.windows(2).position(|ends| (ends[0]..ends[1]).contains(&place));
        let expected = match block {
            Some(0) => &whole[40..],
            Some(2) => &whole[..40],
            _ => &whole[..],
        };
        assert!(flipped.events() == expected, "{place}");
    }
}

#[test]
fn bytes_that_were_overwritten_at_random_are_survived() {
    let (file, ends) = several_blocks();
    let mut random = Random(99);
    for _ in 0..3000 {
        let mut file = file.clone();
        for _ in 0..1 + random.below(40) {
            let place = random.below(file.len() as u64) as usize;
            file[place] = random.next() as u8;
        }
        if random.below(4) == 0 {
            let place = ends[0] + random.below((file.len() - ends[0]) as u64) as usize;
            let length = random.below(200) as usize;
            file.splice(place..place, (0..length).map(|index| index as u8));
        }
        if let Ok((_, read)) = read(file, 4096) {
            assert!(read.events().len() <= 80);
        }
    }
}

#[test]
fn other_files_and_newer_versions_are_refused() {
    let says = |file: &[u8]| read(file.to_vec(), 1).unwrap_err().to_string();
    assert_eq!(says(b""), "is empty: the trace did not begin, or nothing was recorded");
    for foreign in [
        &b"{\"type\":\"trace\"}"[..],
        b"\x7fELF",
        b"\x89PNG\r\n\x1a\n and more than thirty bytes",
    ] {
        assert_eq!(
            says(foreign),
            "is no recording: it does not begin as what 'ipft --record' writes does"
        );
    }
    let mut file = several_blocks().0;
    file[8] = 2;
    assert_eq!(
        says(&file),
        "is of version 2.1 of the format, and this ipft knows 1; a newer ipft reads it"
    );
}

#[test]
fn blocks_of_a_kind_that_is_not_known_are_passed_over() {
    let (file, ends) = several_blocks();
    let header = ipft_core::recording::layout::BlockHeader {
        kind: ipft_core::recording::layout::Kind(*b"NEWS"),
        stored: 100,
        length: 1 << 31,
        events: 1000,
        first: 0,
        last: 0,
        captures: 0,
        checksum: 0,
    };
    let mut news = file.clone();
    let bytes = header.to_bytes().into_iter().chain(std::iter::repeat_n(b'x', 100));
    news.splice(ends[1]..ends[1], bytes);
    let (_, read) = read(news, 4096).unwrap();
    assert_eq!((read.events().len(), read.damage), (80, 0));
}

#[test]
fn the_sizes_are_those_of_the_book() {
    let book = include_str!("../../../../docs/src/recording.md");
    for (what, size) in [
        ("File header", FILE_HEADER),
        ("Block header", BLOCK_HEADER),
        ("Index entry", INDEX_ENTRY),
        ("Trailer", TRAILER),
    ] {
        let line = format!("### {what}: {size} bytes");
        assert!(book.contains(&line), "{line}");
    }
}

#[test]
fn a_recording_is_small() {
    let mut random = Random(3);
    let mut canned = wild(1, 1, 3000);
    canned.trace.schema = Schema::default();
    canned.batches.clear();
    let mut timestamp = 464_048_546_191_357;
    // Packets that pass the same two hundred functions, each with its own times.
    for packet in 0..500_u64 {
        let mut batch = Batch::default();
        let identity = timestamp << 10;
        for step in 0..200 {
            timestamp += 300 + random.below(4000);
            batch.events.push(Event {
                packet: identity,
                skb: 0xffff_8da1_f50b_0000 | (packet % 16) << 8,
                timestamp,
                entry_timestamp: if step % 2 == 1 {
                    timestamp - random.below(5000)
                } else {
                    0
                },
                function: step * 7919 % 3000,
                cpu: packet as u32 % 4,
                kind: [EventKind::ENTRY, EventKind::RETURN][step as usize % 2],
                thread: 0,
                payload_offset: 0,
                payload_len: 0,
                spare: 0,
            });
        }
        canned.batches.push(batch);
    }
    let empty = {
        let batches = std::mem::take(&mut canned.batches);
        let empty = record(&canned).len();
        canned.batches = batches;
        empty
    };
    let each = (record(&canned).len() - empty) as f64 / 100_000.0;
    assert!(each <= 8.0, "{each} bytes an event");
}

#[test]
fn a_sink_records_what_another_sink_draws() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let canned = support::canned::all()
        .into_iter()
        .find(|canned| canned.name == "graph")
        .unwrap();
    let mut sink = ipft_core::sink::Record::create(&path, None).unwrap();
    sink.start(&canned.trace).unwrap();
    for batch in &canned.batches {
        sink.events(batch).unwrap();
    }
    sink.finish(&canned.summary).unwrap();
    assert_eq!(std::fs::read(&path).unwrap().len(), record(&canned).len());
}

#[test]
fn functions_of_later_modules_are_in_every_later_part() {
    let canned = support::canned::all()
        .into_iter()
        .find(|canned| canned.batches.first().is_some_and(|batch| !batch.events.is_empty()))
        .unwrap();
    let known = canned.trace.functions.len() as u32;
    let new = |name: &str| Function {
        name: name.to_owned(),
        module: "late".to_owned(),
        address: 0,
    };
    let mut writer = Writer::new(Vec::new(), &canned.trace, 7).unwrap();
    writer.push(&canned.batches[0]).unwrap();
    writer.functions(&[new("one"), new("two")]).unwrap();
    writer.functions(&[new("three")]).unwrap();
    writer.push(&canned.batches[0]).unwrap();
    let first = std::mem::take(writer.get_mut());
    assert!(!first.is_empty());
    writer.next_part(Vec::new(), 1).unwrap();
    writer.finish(&canned.summary).unwrap();
    let second = std::mem::take(writer.get_mut());

    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (_, read) = read(first, 4096).unwrap();
    assert_eq!(
        read.functions,
        [(1, known, names(&["one", "two"])), (1, known + 2, names(&["three"]))]
    );
    let (trace, read) = self::read(second, 4096).unwrap();
    assert_eq!(trace.functions.len() as u32, known);
    assert_eq!(read.functions, [(0, known, names(&["one", "two", "three"]))]);
}
