//! Measures the cost of an event in user space, in instructions and in memory.
//!
//! `bench-sinks SCENARIO [EVENTS]` runs synthetic events through one step and prints its time and the process' peak
//! memory. Under valgrind, with `--tool=callgrind --toggle-collect='*::measured'`, only the instructions of that step
//! are counted, which is exactly repeatable. `cargo xtask bench sinks` does both and prints a table. Without a scenario
//! each runs in its own process, since a process has one peak.
//!
//! It is a separate package because it is built without the dependencies of tests, and because a test runs it: fifty
//! million events are too many for an unoptimised build.

use std::fs::File;
use std::hint::black_box;
use std::io::{Cursor, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::{Command, ExitCode};
use std::time::Instant;

use ipft_bpf::wire;
use ipft_core::event::*;
use ipft_core::extension::Extension;
use ipft_core::field::Show;
use ipft_core::limit::Limit;
use ipft_core::recording::{Content, Input, Reader, Writer};
use ipft_core::run;
use ipft_core::run::clock::monotonic;
use ipft_core::signals::Signals;
use ipft_core::sink::*;
use ipft_core::stream::{self, Recorded, RingBuffer, RingBuffers};

/// Events per batch, as in the stream.
const BATCH: usize = 4096;

/// Default number of events.
const EVENTS: usize = 1_000_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let events = match arguments.get(1) {
        Some(number) => number.replace('_', "").parse(),
        None => Ok(EVENTS),
    };
    let (Ok(events), 0..=2) = (events, arguments.len()) else {
        return usage();
    };
    let Some(wanted) = arguments.first() else {
        return each();
    };
    let Some((name, run)) = SCENARIOS.iter().find(|(name, _)| name == wanted) else {
        return usage();
    };
    let before = resident();
    let took = run(events);
    let peak = peak().saturating_sub(before);
    println!(
        "{name:26} {events} events, {:6.1} ns each, peak of {:5.1} bytes each, {peak} in all",
        took * 1e9 / events as f64,
        peak as f64 / events as f64,
    );
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: bench-sinks [SCENARIO [EVENTS]]; the scenarios are:");
    SCENARIOS.iter().for_each(|(name, _)| eprintln!("  {name}"));
    ExitCode::from(2)
}

/// All scenarios.
fn each() -> ExitCode {
    let own = std::env::current_exe().expect("the program knows where it is");
    let run = |name: &str| Command::new(&own).arg(name).status().expect("it can be run again");
    match SCENARIOS.iter().all(|(name, _)| run(name).success()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// A name, and a function that runs the scenario and returns the seconds of the measured step.
type Scenario = (&'static str, fn(usize) -> f64);

const SCENARIOS: &[Scenario] = &[
    ("json", |events| {
        stream(Json::new(Nowhere), Tracer::FunctionGraph, 0, events)
    }),
    ("json-fields", |events| {
        stream(Json::new(Nowhere), Tracer::FunctionGraph, 4, events)
    }),
    ("jsonl", |events| {
        stream(Jsonl::new(Nowhere), Tracer::FunctionGraph, 0, events)
    }),
    ("jsonl-fields", |events| {
        stream(Jsonl::new(Nowhere), Tracer::FunctionGraph, 4, events)
    }),
    ("text", |events| {
        let sink = Text::new(Nowhere, TextOptions::default());
        stream(sink, Tracer::Function, 0, events)
    }),
    ("text-graph", |events| {
        let sink = Text::new(Nowhere, TextOptions::default());
        stream(sink, Tracer::FunctionGraph, 0, events)
    }),
    ("text-followed", |events| {
        let sink = Text::new(Nowhere, TextOptions::default());
        collect(sink, Source::followed(), events)
    }),
    ("aggregate-collect", |events| {
        stream(Aggregate::new(Nowhere), Tracer::Function, 0, events)
    }),
    ("aggregate-print", |events| {
        print(Aggregate::new(Nowhere), Tracer::Function, 0, events)
    }),
    ("aggregate-short-collect", |events| {
        let mut source = Source::new(Tracer::Function, 0);
        source.length = 1;
        collect(Aggregate::new(Nowhere), source, events)
    }),
    ("graph-collect", |events| {
        stream(Aggregate::new(Nowhere), Tracer::FunctionGraph, 0, events)
    }),
    ("graph-print", |events| {
        print(Aggregate::new(Nowhere), Tracer::FunctionGraph, 0, events)
    }),
    ("aggregate-fields-collect", |events| {
        stream(Aggregate::new(Nowhere), Tracer::Function, 4, events)
    }),
    ("aggregate-fields-print", |events| {
        print(Aggregate::new(Nowhere), Tracer::Function, 4, events)
    }),
    ("record", |events| record(Tracer::Function, events)),
    ("record-graph", |events| record(Tracer::FunctionGraph, events)),
    ("replay", |events| replay(Tracer::Function, events)),
    ("replay-graph", |events| replay(Tracer::FunctionGraph, events)),
    ("aggregate-bounded", |events| {
        bounded(Source::new(Tracer::FunctionGraph, 0), events)
    }),
    ("aggregate-short-bounded", |events| {
        let mut source = Source::new(Tracer::Function, 0);
        source.length = 1;
        bounded(source, events)
    }),
    ("ring-json", |events| {
        live(Json::new(Nowhere), Tracer::Function, 1, events)
    }),
    ("ring-aggregate", |events| {
        live(Aggregate::new(Nowhere), Tracer::Function, 1, events)
    }),
    ("ring-graph", |events| {
        live(Aggregate::new(Nowhere), Tracer::FunctionGraph, 1, events)
    }),
    ("rings-json", |events| {
        live(Json::new(Nowhere), Tracer::Function, 2, events)
    }),
    ("file-json", |events| {
        replayed(Json::new(Nowhere), Tracer::Function, events)
    }),
    ("file-aggregate", |events| {
        replayed(Aggregate::new(Nowhere), Tracer::Function, events)
    }),
    ("file-graph", |events| {
        replayed(Aggregate::new(Nowhere), Tracer::FunctionGraph, events)
    }),
    ("pair", |events| {
        let mut source = Source::new(Tracer::FunctionGraph, 0);
        let mut calls = OpenCalls::default();
        let mut took = 0.0;
        source.run(events, |batch| took += measured(|| calls.pair(&mut batch.events)));
        took
    }),
];

/// Measures the events through a sink, without the end.
fn stream(sink: impl Sink, tracer: Tracer, fields: u32, events: usize) -> f64 {
    collect(sink, Source::new(tracer, fields), events)
}

/// Measures as [`stream()`], with a given source.
fn collect(mut sink: impl Sink, mut source: Source, events: usize) -> f64 {
    sink.start(&source.trace).unwrap();
    let mut took = 0.0;
    source.run(events, |batch| took += measured(|| sink.events(batch).unwrap()));
    took
}

/// Measures only the end of a trace.
fn print(mut sink: impl Sink, tracer: Tracer, fields: u32, events: usize) -> f64 {
    let mut source = Source::new(tracer, fields);
    sink.start(&source.trace).unwrap();
    source.run(events, |batch| sink.events(batch).unwrap());
    measured(|| sink.finish(&Summary::default()).unwrap())
}

/// Measures writing a recording to a null writer.
fn record(tracer: Tracer, events: usize) -> f64 {
    let mut source = Source::new(tracer, 0);
    let mut writer = Writer::new(Nowhere, &source.trace, 1).unwrap();
    let empty = writer.position();
    let mut took = 0.0;
    source.run(events, |batch| took += measured(|| writer.push(batch).unwrap()));
    took += measured(|| writer.close_block().unwrap());
    let size = (writer.position() - empty) as f64 / events as f64;
    println!("{size:.2} bytes an event on disk");
    took
}

/// Measures reading a recording from memory into a sink that ignores it.
fn replay(tracer: Tracer, events: usize) -> f64 {
    let mut source = Source::new(tracer, 0);
    let mut file = Vec::new();
    let mut writer = Writer::new(&mut file, &source.trace, 1).unwrap();
    source.run(events, |batch| writer.push(batch).unwrap());
    writer.finish(&Summary::default()).unwrap();
    drop(writer);
    let mut reader = Reader::open(Input::Stream(Box::new(Cursor::new(file)))).unwrap();
    let mut batch = Batch::default();
    let mut count = 0;
    let took = measured(|| {
        while let Some(content) = reader.next(|_| true).unwrap() {
            while matches!(content, Content::Events) && reader.fill(&mut batch, BATCH) {
                count += black_box(&batch).events.len();
                batch.clear();
            }
        }
    });
    assert_eq!(count, events);
    took
}

/// Measures the whole way of a live trace: from records in a ring or in several, through the loop that reads them, into
/// a sink. The sink's end is not included.
fn live(sink: impl Sink + 'static, tracer: Tracer, rings: usize, events: usize) -> f64 {
    let mut source = Source::new(tracer, 0);
    let size = (events * RECORD).next_power_of_two().max(PAGE);
    let files = fill_rings(&mut source, events, rings, size);
    let size = u32::try_from(size).expect("so many events fit a ring");
    let mut rings: Vec<RingBuffer<'_>> = files
        .iter()
        .map(|file| RingBuffer::new(file.as_fd(), size).unwrap())
        .collect();
    let buffer: Box<dyn stream::Source + '_> = match rings.len() {
        1 => Box::new(rings.remove(0)),
        _ => Box::new(RingBuffers::new(rings, || u64::MAX)),
    };
    let mut extension = Extension::default();
    let mut reader = run::Reader::with_source(buffer, &source.trace, &mut extension);
    let signals = Signals::install().unwrap();
    let mut limit = Limit::new(None, None, monotonic());
    let mut sinks = Sinks::new(Box::new(|name, error| panic!("{name}: {error}")));
    sinks.add("sink", Destination::Elsewhere, Box::new(Until { sink, left: events }));
    assert_eq!(sinks.start(&source.trace), Flow::Continue);
    let took = measured(|| {
        let reached = reader.run(&signals, &mut limit, &mut sinks, &mut Vec::new, None);
        assert_eq!(reached.unwrap(), None);
    });
    assert_eq!((reader.events, reader.losses().len()), (events as u64, 0));
    took
}

/// Measures the whole way of a replay: from a recording on disk into a sink, without the sink's end.
fn replayed(mut sink: impl Sink, tracer: Tracer, events: usize) -> f64 {
    let mut source = Source::new(tracer, 0);
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut writer = Writer::new(file.as_file(), &source.trace, 1).unwrap();
    source.run(events, |batch| writer.push(batch).unwrap());
    writer.finish(&Summary::default()).unwrap();
    drop(writer);
    let mut recorded = Recorded::open(&[file.path().to_owned()], None).unwrap();
    sink.start(recorded.trace()).unwrap();
    let mut batch = Batch::default();
    let mut count = 0;
    let took = measured(|| {
        while recorded.read(&mut batch, |_| true).unwrap() {
            count += batch.events.len();
            sink.events(&batch).unwrap();
        }
    });
    assert_eq!(count, events);
    took
}

/// Bytes of an event's record in a ring, with its header.
const RECORD: usize = 8 + wire::EVENT_SIZE;

/// Size of a page on x86-64.
const PAGE: usize = 4096;

/// Files laid out as the kernel maps BPF ring buffers, with the records of these events, by CPU: a page with the
/// reader's position, a page with the writers', and the data. In the kernel a copy of the data follows; no record here
/// needs it.
fn fill_rings(source: &mut Source, events: usize, count: usize, size: usize) -> Vec<File> {
    let rings: Vec<File> = (0..count).map(|_| tempfile::tempfile().unwrap()).collect();
    let mut ends = vec![0; count];
    for ring in &rings {
        ring.set_len((2 * PAGE + 2 * size) as u64).unwrap();
    }
    let mut records = vec![Vec::new(); count];
    let addresses: Vec<u64> = source.trace.functions.iter().map(|function| function.address).collect();
    source.run(events, |batch| {
        for event in &batch.events {
            let records = &mut records[event.cpu as usize % count];
            let is_return = event.kind == EventKind::RETURN;
            records.extend((wire::EVENT_SIZE as u64).to_ne_bytes());
            for word in [
                event.packet,
                if is_return { 0 } else { event.skb },
                event.timestamp,
                addresses[event.function as usize],
            ] {
                records.extend(word.to_ne_bytes());
            }
            let kind = if is_return { wire::RETURN } else { 0 };
            records.extend((event.cpu | kind).to_ne_bytes());
            records.extend(event.thread.to_ne_bytes());
        }
        for ((ring, end), records) in rings.iter().zip(&mut ends).zip(&mut records) {
            ring.write_all_at(records, (2 * PAGE + *end) as u64).unwrap();
            *end += records.len();
            records.clear();
        }
    });
    for (ring, end) in rings.iter().zip(ends) {
        ring.write_all_at(&(end as u64).to_ne_bytes(), PAGE as u64).unwrap();
    }
    rings
}

/// A sink that closes after so many events, which ends the loop that reads them.
struct Until<S> {
    sink: S,
    left: usize,
}

impl<S: Sink> Sink for Until<S> {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.sink.start(trace)
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        self.sink.functions(new)
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.sink.events(batch)?;
        self.left -= batch.events.len();
        if self.left == 0 { Err(SinkError::Closed) } else { Ok(()) }
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), SinkError> {
        self.sink.finish(summary)
    }
}

/// Memory limit of `bounded`, in bytes.
const MAX_MEMORY: u64 = 64 << 20;

/// Measures an aggregate with a memory limit, with the end.
fn bounded(mut source: Source, events: usize) -> f64 {
    let mut sink = Aggregate::new(Nowhere).with_max_memory(MAX_MEMORY, Box::new(|_| {}));
    sink.start(&source.trace).unwrap();
    let mut took = 0.0;
    source.run(events, |batch| took += measured(|| sink.events(batch).unwrap()));
    took + measured(|| sink.finish(&Summary::default()).unwrap())
}

/// The frame that callgrind looks for.
#[inline(never)]
fn measured(step: impl FnOnce()) -> f64 {
    let start = Instant::now();
    step();
    start.elapsed().as_secs_f64()
}

/// A null writer, so that only the sink is measured.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(black_box(bytes).len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Packets of forty events each, in the graph eight deep, two of them in flight at a time.
struct Source {
    /// Events per packet.
    length: u32,
    /// The built-in fields of each event, if it has any; the first number is the length.
    builtin: Vec<u8>,
    trace: Trace,
    batch: Batch,
    clock: u64,
    /// xorshift64: the same in every run.
    random: u64,
    packets: [Journey; 2],
    next: u64,
}

struct Journey {
    packet: u64,
    step: u32,
    stack: Vec<(u32, u64)>,
}

impl Source {
    fn new(tracer: Tracer, fields: u32) -> Self {
        let names = [
            "ip_rcv",
            "nf_hook_slow",
            "__dev_queue_xmit",
            "skb_csum_hwoffload_help",
            "kfree_skb_reason",
        ];
        let functions = (0..1800).map(|index| Function {
            name: format!("{}_{index}", names[index % names.len()]),
            module: if index % 7 == 0 { "nf_conntrack" } else { "vmlinux" }.to_owned(),
            address: 0xffff_ffff_8100_0000 + 64 * index as u64,
        });
        let fields = (0..fields).map(|index| Field {
            name: ["len", "gso_size", "gso_segs", "hash"][index as usize % 4].to_owned(),
            offset: 4 * index,
            size: 4,
            bits: None,
            kind: FieldType::Unsigned,
            format: FieldFormat::Plain,
        });
        let fields: Vec<Field> = fields.collect();
        Source {
            length: 40,
            builtin: Vec::new(),
            trace: Trace {
                tracer,
                backend: "kprobe-multi".to_owned(),
                functions: functions.collect(),
                schema: Schema {
                    size: 4 * fields.len() as u32,
                    fields,
                    ..Schema::default()
                },
                clock_offset: 0,
                command_line: vec!["ipft".to_owned()],
                kernel_release: "6.12.0".to_owned(),
                mark: 1,
                mask: u32::MAX,
                filter: String::new(),
                follow: false,
                drop_reasons: Vec::new(),
            },
            batch: Batch::default(),
            clock: 464_048_546_191_357,
            random: 1,
            packets: [1, 2].map(|packet| Journey {
                packet,
                step: 0,
                stack: Vec::new(),
            }),
            next: 3,
        }
    }

    /// Packets of UDP with all built-in fields, whose length changes at every fourth function.
    fn followed() -> Self {
        let mut source = Source::new(Tracer::Function, 0);
        let schema = Show::of_filter().schema(&Schema::default());
        let mut builtin = vec![0; schema.size as usize];
        let address = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1];
        for (name, value) in [
            ("saddr", &address[..]),
            ("daddr", &address),
            ("sport", &443_u16.to_be_bytes()),
            ("dport", &443_u16.to_be_bytes()),
            ("ethertype", &0x0800_u16.to_ne_bytes()),
            ("proto", &[17]),
            ("iface", b"eth0"),
            ("netns", &4_026_531_840_u32.to_ne_bytes()),
        ] {
            let field = schema.fields.iter().find(|field| field.name == name);
            let start = field.expect("there is such a field").offset as usize;
            builtin[start..start + value.len()].copy_from_slice(value);
        }
        source.trace.schema = schema;
        source.trace.follow = true;
        source.builtin = builtin;
        source
    }

    /// Generates events and passes them on in batches.
    fn run(&mut self, events: usize, mut take: impl FnMut(&mut Batch)) {
        let mut left = events;
        while left > 0 {
            self.batch.clear();
            for index in 0..left.min(BATCH) {
                self.event(index / 16 % 2);
            }
            left -= self.batch.events.len();
            take(&mut self.batch);
        }
    }

    fn event(&mut self, which: usize) {
        // Functions have different durations: an evenly ticking clock would compress to nothing.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.clock += 200 + (self.random % 64) * (self.random >> 8 & 63);
        let graph = self.trace.tracer == Tracer::FunctionGraph;
        let journey = &mut self.packets[which];
        let over = journey.step >= self.length;
        let deep = journey.stack.len() >= 8 || (journey.step % 3 == 2 && !journey.stack.is_empty());
        let (kind, function, entry_timestamp) = match graph && (over || deep) {
            true => match journey.stack.pop() {
                Some((function, entered)) => (EventKind::RETURN, function, entered),
                None => unreachable!("a journey that is over and has no open call begins anew"),
            },
            false => {
                let function = (journey.step * 37 + which as u32) % 1800;
                journey.stack.push((function, self.clock));
                (EventKind::ENTRY, function, 0)
            }
        };
        journey.step += 1;
        self.batch.events.push(Event {
            packet: journey.packet,
            skb: 0xffff_8da1_f50b_7f00 + 256 * which as u64,
            timestamp: self.clock,
            entry_timestamp,
            function,
            cpu: which as u32,
            kind,
            thread: 0,
            payload_offset: self.batch.payload.len() as u32,
            payload_len: self.trace.schema.size,
            spare: 0,
        });
        if !self.builtin.is_empty() {
            let len = 1400 + journey.step / 4;
            self.batch.payload.extend_from_slice(&len.to_ne_bytes());
            self.batch.payload.extend_from_slice(&self.builtin[4..]);
        }
        let extension = self.trace.schema.fields.iter().filter(|_| self.builtin.is_empty());
        for field in 0..extension.count() as u32 {
            self.batch.payload.extend_from_slice(&(1400 + field).to_ne_bytes());
        }
        if journey.step >= self.length && (!graph || journey.stack.is_empty()) {
            journey.packet = self.next;
            self.next += 1;
            journey.step = 0;
            journey.stack.clear();
        }
    }
}

/// Returns the current memory of the process in bytes.
fn resident() -> u64 {
    status("VmRSS:")
}

/// Returns the peak memory of the process in bytes.
fn peak() -> u64 {
    status("VmHWM:")
}

fn status(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|text| text.strip_prefix(line))
        .and_then(|text| text.trim().strip_suffix(" kB"))
        .and_then(|text| text.parse::<u64>().ok());
    kibibytes.unwrap_or_default() * 1024
}
