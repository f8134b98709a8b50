//! No sink allocates per event, the aggregate stores an event in at most 48 bytes, and stays within its limit: checked
//! by a counting allocator.
//!
//! One test in its own process, because the counts are per process.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ipft_core::event::*;
use ipft_core::recording::{Input, Reader, Writer};
use ipft_core::sink::*;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);
/// Allocated bytes now, and at the peak.
static BYTES: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grown(by: usize) {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    let bytes = BYTES.fetch_add(by, Ordering::Relaxed) + by;
    PEAK.fetch_max(bytes, Ordering::Relaxed);
}

// SAFETY: every call is passed to the system's allocator with its arguments; counting touches no memory that it
// manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the pointer came from `System`, through `alloc` or `realloc` here.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may exist at once.
        grown(size);
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as in `dealloc`, and the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const BATCH: u64 = 4096;

fn trace() -> Trace {
    let field = |name: &str, offset, size, kind, format| Field {
        name: name.to_owned(),
        offset,
        size,
        bits: None,
        kind,
        format,
    };
    let members = vec![EnumMember {
        name: "A".to_owned(),
        value: 1,
    }];
    Trace {
        tracer: Tracer::FunctionGraph,
        backend: "kprobe".to_owned(),
        functions: vec![Function {
            name: "ip_rcv".to_owned(),
            module: "vmlinux".to_owned(),
            address: 0,
        }],
        schema: Schema {
            size: 16,
            fields: vec![
                field("len", 0, 4, FieldType::Unsigned, FieldFormat::Plain),
                field("flags", 4, 4, FieldType::Unsigned, FieldFormat::Flags(members)),
                field("address6", 0, 16, FieldType::Bytes, FieldFormat::Ipv6),
                field("text", 8, 8, FieldType::Char, FieldFormat::Plain),
                field("time", 8, 8, FieldType::Signed, FieldFormat::Ktime),
            ],
            ..Schema::default()
        },
        clock_offset: 0,
        command_line: Vec::new(),
        kernel_release: "6.12.0".to_owned(),
        mark: 1,
        mask: 1,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    }
}

/// As [`trace`], for events with their own list of fields.
fn tagged() -> Trace {
    Trace {
        schema: Schema {
            tail: true,
            ..Schema::default()
        },
        ..trace()
    }
}

/// Replaces the batch's payloads by values of every type, longer ones in every other event.
fn tag(batch: &mut Batch) -> &Batch {
    if batch.names.is_empty() {
        batch.names = ["len", "ratio", "text"].map(str::to_owned).to_vec();
    }
    batch.payload.clear();
    for (index, event) in batch.events.iter_mut().enumerate() {
        event.payload_offset = batch.payload.len() as u32;
        Value::Integer(index as i64).push(&mut batch.payload, 0);
        if index % 2 == 0 {
            Value::Float(index as f64 / 3.0).push(&mut batch.payload, 1);
            Value::Text(b"text\x1b\"\xff").push(&mut batch.payload, 2);
        }
        event.payload_len = batch.payload.len() as u32 - event.payload_offset;
    }
    batch
}

/// Returns the batch with this number: calls with a return each, a new packet every 8 events.
fn fill(batch: &mut Batch, number: u64) {
    batch.clear();
    for index in number * BATCH..(number + 1) * BATCH {
        let packet = index / 8 + 1;
        batch.events.push(Event {
            packet,
            skb: 0xffff_8880_0000_0000 + packet,
            timestamp: 1_000_000_000 + 1000 * index,
            entry_timestamp: 0,
            function: 0,
            cpu: index as u32 / 8 % 4,
            kind: [EventKind::ENTRY, EventKind::RETURN][index as usize % 2],
            thread: index as u32 / 8 % 3,
            payload_offset: batch.payload.len() as u32,
            payload_len: 16,
            spare: 0,
        });
        batch.payload.extend_from_slice(&(index as u32).to_ne_bytes());
        batch.payload.extend_from_slice(&(index as u32).to_be_bytes());
        batch.payload.extend_from_slice(b"text\x1b\"\xff\0");
    }
}

/// Batches before the count begins. A table whose entries come and go grows once more if they happen to leave many gaps, which
/// depends on the process's random hash.
const WARM: u64 = 200;

/// Counts the allocations in `batches` batches, after the first ones, in which everything gets its size.
fn count(take: impl FnMut(&mut Batch), batches: u64) -> usize {
    count_after(WARM, take, batches)
}

/// As [`count`], for what has no table.
fn count_without_table(take: impl FnMut(&mut Batch), batches: u64) -> usize {
    count_after(4, take, batches)
}

fn count_after(warm: u64, mut take: impl FnMut(&mut Batch), batches: u64) -> usize {
    let mut batch = Batch::default();
    for number in 0..warm {
        fill(&mut batch, number);
        take(&mut batch);
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for number in warm..warm + batches {
        fill(&mut batch, number);
        take(&mut batch);
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn nothing_is_allocated_per_event() {
    const BATCHES: u64 = 64;
    let trace = trace();

    let mut calls = OpenCalls::default();
    assert_eq!(count(|batch| calls.pair(&mut batch.events), BATCHES), 0, "pairing");
    assert_eq!(calls.pairing().paired, (WARM + BATCHES) * BATCH / 2);

    let mut json = Json::new(Nowhere);
    json.start(&trace).unwrap();
    assert_eq!(
        count_without_table(|batch| json.events(batch).unwrap(), BATCHES),
        0,
        "json"
    );

    let mut jsonl = Jsonl::new(Nowhere);
    jsonl.start(&trace).unwrap();
    assert_eq!(
        count_without_table(|batch| jsonl.events(batch).unwrap(), BATCHES),
        0,
        "jsonl"
    );

    // Without limit, until the oldest packets are forgotten.
    let mut text = Text::new(Nowhere, TextOptions::default());
    text.start(&trace).unwrap();
    let mut batch = Batch::default();
    for number in 0..(1 << 16) * 8 / BATCH + 8 {
        fill(&mut batch, number);
        text.events(&batch).unwrap();
    }
    let printing = count(|batch| text.events(batch).unwrap(), BATCHES);
    assert_eq!(printing, 0, "text");

    let mut text = Text::new(Nowhere, TextOptions::default());
    text.start(&tagged()).unwrap();
    // The table and what packets remember double once.
    let printing = count(|batch| text.events(tag(batch)).unwrap(), BATCHES);
    assert!(printing < 5, "text, tagged: {printing}");
    drop(text);

    // All packets that fit are there, and later ones use the memory of those that are forgotten.
    let mut model = top::Model::new(TextOptions::default(), u64::MAX);
    model.start(&trace).unwrap();
    assert_eq!(count(|batch| model.events(batch), BATCHES), 0, "top");
    assert!(model.seen().totals().forgotten > 50_000);
    drop(model);
    remembered(&trace);

    // The events are in some blocks of 32,768 or less, each of which makes the index longer; payloads make blocks, too.
    let mut file = Vec::with_capacity(64 << 20);
    let mut writer = Writer::new(&mut file, &trace, 1).unwrap();
    let writing = count(|batch| writer.push(batch).unwrap(), BATCHES);
    assert!(writing < 30, "recording: {writing}");
    writer.finish(&Summary::default()).unwrap();
    drop(writer);

    // Reading also gets its buffers within the first block.
    let mut reader = Reader::open(Input::Stream(Box::new(std::io::Cursor::new(file)))).unwrap();
    let mut batch = Batch::default();
    let mut events = 0;
    let mut blocks = 0;
    let mut before = 0;
    while reader.next(|_| true).unwrap().is_some() {
        while reader.fill(&mut batch, 4096) {
            events += batch.events.len();
            batch.clear();
        }
        blocks += 1;
        if blocks == 2 {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
    }
    let reading = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(events > 60_000 && blocks > 2, "{events} events in {blocks} blocks");
    assert!(reading < 200, "reading: {reading}");
    drop(reader);

    // 262,144 events are sixteen chunks of three vectors each; the rest are the lists of chunks, the packets, and
    // their table as it doubles.
    let mut aggregate = Aggregate::new(Nowhere);
    aggregate.start(&trace).unwrap();
    let collecting = count(|batch| aggregate.events(batch).unwrap(), BATCHES);
    assert!((48..70).contains(&collecting), "collecting: {collecting}");

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    aggregate.finish(&Summary::default()).unwrap();
    let printing = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(printing < 100, "printing: {printing}");
    drop(aggregate);

    let mut json = Json::new(Nowhere);
    json.start(&tagged()).unwrap();
    let tagged_json = |batch: &mut Batch| json.events(tag(batch)).unwrap();
    assert_eq!(count_without_table(tagged_json, BATCHES), 0, "json, tagged");

    let mut jsonl = Jsonl::new(Nowhere);
    jsonl.start(&tagged()).unwrap();
    let tagged_jsonl = |batch: &mut Batch| jsonl.events(tag(batch)).unwrap();
    assert_eq!(count_without_table(tagged_jsonl, BATCHES), 0, "jsonl, tagged");

    // As before, with a fourth vector in every chunk. The payloads get the room that those before them took, which is
    // given back as far as it was too much.
    let mut aggregate = Aggregate::new(Nowhere);
    aggregate.start(&tagged()).unwrap();
    let collecting = count(|batch| aggregate.events(tag(batch)).unwrap(), BATCHES);
    assert!((64..110).contains(&collecting), "collecting, tagged: {collecting}");

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    aggregate.finish(&Summary::default()).unwrap();
    let printing = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(printing < 100, "printing, tagged: {printing}");
    drop(aggregate);

    // Just after the table of packets has doubled, which it does when seven eighths of a power of two are in it.
    memory(Tracer::Function, (7 << 18) + 1, 1);
    memory(Tracer::FunctionGraph, 2 * ((7 << 16) + 1), 2);
    memory(Tracer::FunctionGraph, 300_000, 64);

    bounded(&trace, 32);
    bounded(&trace, 1);
    bounded(&tagged(), 32);
}

/// Fills the model of the view with short and long packets, and checks the memory that it takes.
fn remembered(trace: &Trace) {
    const MAX_MEMORY: usize = 8 << 20;
    // Of functions, fields, and tables whose size does not depend on the limit.
    const OTHERS: usize = 2 << 20;
    let mut model = top::Model::new(TextOptions::default(), MAX_MEMORY as u64);
    let before = BYTES.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    model.start(trace).unwrap();
    let mut batch = Batch::default();
    for number in 0..400 {
        fill(&mut batch, number);
        if number % 4 == 3 {
            batch
                .events
                .iter_mut()
                .for_each(|event| event.packet = u64::MAX - number);
        }
        model.events(&batch);
    }
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert!(peak <= MAX_MEMORY / 2 + OTHERS, "{peak} bytes");
    assert!(peak > MAX_MEMORY / 4, "{peak} bytes");
}

/// Collects four times the limit, and checks the peak memory.
fn bounded(trace: &Trace, per_packet: u64) {
    const MAX_MEMORY: usize = 3 << 20;
    // Of functions and fields.
    const TEXTS: usize = 16 << 10;
    let early = Arc::new(AtomicUsize::new(0));
    let reported = early.clone();
    let mut aggregate = Aggregate::new(Nowhere).with_max_memory(
        MAX_MEMORY as u64,
        Box::new(move |packets| reported.store(packets as usize, Ordering::Relaxed)),
    );
    let mut batch = Batch::default();
    fill(&mut batch, 0);
    if trace.schema.tail {
        tag(&mut batch);
    }
    let before = BYTES.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    aggregate.start(trace).unwrap();
    let mut take = |number| {
        fill(&mut batch, number);
        for (event, index) in batch.events.iter_mut().zip(number * BATCH..) {
            event.packet = 1 + index / per_packet;
        }
        if trace.schema.tail {
            tag(&mut batch);
        }
        aggregate.events(&batch).unwrap();
    };
    let batches = 4 * MAX_MEMORY as u64 / 48 / BATCH;
    (0..batches).for_each(&mut take);
    aggregate.finish(&Summary::default()).unwrap();
    let peak = PEAK.load(Ordering::Relaxed) - before;
    assert!(peak <= MAX_MEMORY + TEXTS, "{peak} bytes, {per_packet} events a packet");
    assert!(peak > MAX_MEMORY / 2, "{peak} bytes, {per_packet} events a packet");
    let packets = (batches * BATCH).div_ceil(per_packet) as usize;
    let early = early.load(Ordering::Relaxed);
    assert!((packets / 2..packets).contains(&early), "{early} of {packets}");
}

/// Collects this many events and checks the peak memory.
fn memory(tracer: Tracer, events: u64, per_packet: u64) {
    let mut trace = trace();
    trace.tracer = tracer;
    trace.schema = Schema::default();
    let mut aggregate = Aggregate::new(Nowhere);
    aggregate.start(&trace).unwrap();
    let mut batch = Batch::default();
    fill(&mut batch, 0);
    batch.events.truncate(1);
    let before = BYTES.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    for index in 0..events {
        batch.events[0].packet = 1 + index / per_packet;
        batch.events[0].timestamp += 1;
        aggregate.events(&batch).unwrap();
    }
    let each = (PEAK.load(Ordering::Relaxed) - before) as f64 / events as f64;
    assert!(each <= 48.0, "{each} bytes an event, {per_packet} events a packet");
}
