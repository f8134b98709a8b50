//! Measures the cost of decoding and writing a field of an event's payload.
//!
//! ```text
//! cargo bench --bench schema --no-run
//! valgrind --tool=callgrind --toggle-collect='*::measured' TARGET/release/deps/schema-HASH json gso
//! ```
//!
//! The same events go through a sink with a payload and without one; the difference is the fields' share, which the
//! program prints as fields a second. `schema [SINK [SCHEMA [with|without]]]`; all when none is named. For callgrind
//! name all three: the difference of two runs, divided by the number of fields, is the instructions of one.

use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use ipft_core::event::*;
use ipft_core::sink::*;

/// Events per batch, as in the stream, and number of batches.
const BATCH: usize = 4096;
const BATCHES: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let wanted = |at: usize, name: &str| arguments.get(at).is_none_or(|wanted| wanted == name);
    type Make = fn() -> Box<dyn Sink>;
    let sinks: [(&str, Make); 3] = [
        ("json", || Box::new(Json::new(Nowhere))),
        ("jsonl", || Box::new(Jsonl::new(Nowhere))),
        ("aggregate", || Box::new(Aggregate::new(Nowhere))),
    ];
    for (sink, make) in sinks.into_iter().filter(|(name, _)| wanted(0, name)) {
        for (name, fields) in schemas().into_iter().filter(|(name, _)| wanted(1, name)) {
            let count = (fields.len() * BATCH * BATCHES) as f64;
            // The best of several runs: other load only makes them longer.
            let best = |fields: &[Field]| {
                (0..7)
                    .map(|_| run(make(), fields))
                    .min_by(f64::total_cmp)
                    .unwrap_or_default()
            };
            match arguments.get(2).map(String::as_str) {
                Some("with") => println!("{count} fields, {:.6} s", run(make(), &fields)),
                Some("without") => println!("{count} fields left out, {:.6} s", run(make(), &[])),
                _ => {
                    let took = best(&fields) - best(&[]);
                    println!(
                        "{sink:10} {name:10} {:2} fields each: {:6.1} million fields a second, {:5.2} ns each",
                        fields.len(),
                        count / took / 1e6,
                        took * 1e9 / count,
                    );
                }
            }
        }
    }
}

/// Returns the sink's seconds for all events.
fn run(mut sink: Box<dyn Sink>, fields: &[Field]) -> f64 {
    let size = fields.iter().map(|field| field.offset + field.size).max().unwrap_or(0);
    let trace = Trace {
        tracer: Tracer::Function,
        backend: "kprobe-multi".to_owned(),
        functions: vec![Function {
            name: "ip_rcv".to_owned(),
            module: "vmlinux".to_owned(),
            address: 0xffff_ffff_8100_0000,
        }],
        schema: Schema {
            size,
            fields: fields.to_vec(),
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
    };
    sink.start(&trace).unwrap();
    let mut batch = Batch::default();
    for index in 0..BATCH as u32 {
        batch.events.push(Event {
            packet: u64::from(index / 40 + 1),
            skb: 0xffff_8da1_f50b_7f00,
            timestamp: 464_048_546_191_357 + 1_733 * u64::from(index),
            entry_timestamp: 0,
            function: 0,
            cpu: index % 4,
            kind: EventKind::ENTRY,
            thread: 0,
            payload_offset: index * size,
            payload_len: size,
            spare: 0,
        });
        // Numbers as in packets: small, of changing length.
        let start = batch.payload.len();
        batch.payload.resize(start + size as usize, 0);
        for field in fields {
            let at = start + field.offset as usize;
            let value = (u64::from(index) * 37 % 2800).to_ne_bytes();
            let bytes = (field.size as usize).min(2);
            batch.payload[at..at + bytes].copy_from_slice(&value[..bytes]);
        }
    }
    let took = measured(|| (0..BATCHES).for_each(|_| sink.events(&batch).unwrap()));
    // The aggregate prints at the end.
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

/// The two examples of the manual, and one of each kind of field.
fn schemas() -> [(&'static str, Vec<Field>); 3] {
    let names = |names: &[&str]| {
        let member = |(bit, name): (u32, &&str)| EnumMember {
            name: (*name).to_owned(),
            value: 1 << bit,
        };
        (0..).zip(names).map(member).collect::<Vec<_>>()
    };
    let flags = names(&[
        "tcpv4",
        "dodgy",
        "tcp_ecn",
        "tcp_fixedid",
        "tcpv6",
        "fcoe",
        "gre",
        "gre_csum",
    ]);
    let states = names(&["established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2"]);
    let lay_out = |list: &[(&str, u32, FieldType, FieldFormat)]| {
        let mut offset = 0;
        let field = |(name, size, kind, format): &(&str, u32, FieldType, FieldFormat)| {
            offset += size;
            Field {
                name: (*name).to_owned(),
                offset: offset - size,
                size: *size,
                bits: None,
                kind: *kind,
                format: format.clone(),
            }
        };
        list.iter().map(field).collect::<Vec<_>>()
    };
    use FieldFormat as Format;
    use FieldType::{Bytes, Char, Pointer, Signed, Unsigned};
    let gso = lay_out(&[
        ("len", 4, Unsigned, Format::Plain),
        ("gso_size", 2, Unsigned, Format::Plain),
        ("gso_segs", 2, Unsigned, Format::Plain),
        ("gso_type", 4, Unsigned, Format::Flags(flags)),
    ]);
    let owner = lay_out(&[
        ("uid", 4, Unsigned, Format::Plain),
        ("cgroup", 8, Unsigned, Format::Plain),
    ]);
    let mut mixed = lay_out(&[
        ("len", 4, Unsigned, Format::Plain),
        ("delta", 4, Signed, Format::Plain),
        ("mark", 4, Unsigned, Format::Hex),
        ("state", 1, Unsigned, Format::Enum(states)),
        ("dev.name", 8, Char, Format::Plain),
        ("saddr", 4, Unsigned, Format::Ipv4),
        ("sport", 2, Unsigned, Format::Be16),
        ("source", 6, Bytes, Format::Mac),
        ("sk", 8, Pointer, Format::Plain),
        ("cloned", 1, FieldType::Bool, Format::Plain),
        ("tstamp", 8, Signed, Format::Ktime),
        ("nohdr", 1, Unsigned, Format::Plain),
    ]);
    mixed[11].bits = Some(Bits { offset: 2, width: 3 });
    [("gso", gso), ("owner", owner), ("mixed", mixed)]
}
