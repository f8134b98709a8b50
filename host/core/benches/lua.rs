//! Measures the cost of a Lua decoder per event.
//!
//! ```text
//! cargo bench --bench lua --no-run
//! valgrind --tool=callgrind --toggle-collect='*::measured' TARGET/release/deps/lua-HASH three
//! ```
//!
//! Each scenario decodes the same events from memory, in batches as the stream makes them. Callgrind counts what
//! decoding alone executes (`measured`), Lua's part included; the time is this thread's on a processor. `lua SCENARIO [EVENTS]`; all scenarios when none is
//! named.

use ipft_core::event::*;
use ipft_core::extension::decode::Decode;
use ipft_core::extension::lua::{Print, Script};
use rustix::time::{ClockId, clock_gettime};

/// Events per batch, as in the stream.
const BATCH: usize = 4096;

/// A name, and the decoder's code.
const SCENARIOS: &[(&str, &str)] = &[
    // The cost of calling Lua at all.
    ("nothing", "function decode(data) end"),
    (
        "three",
        "function decode(data)
           local len, size, segs = string.unpack('=I4I2I2', data)
           return {len = len, gso_size = size, gso_segs = segs}
         end",
    ),
    // As scripts are written: the variables are globals.
    (
        "three-globals",
        "function decode(data)
           len, size, segs = string.unpack('=I4I2I2', data)
           return {len = len, gso_size = size, gso_segs = segs}
         end",
    ),
    (
        "text",
        "function decode(data)
           local len, kind = string.unpack('=I4I1', data)
           return {len = len, kind = kind == 1 and 'tcp' or 'other'}
         end",
    ),
    // The table's keys differ from event to event.
    (
        "two-shapes",
        "function decode(data)
           local len, size, segs = string.unpack('=I4I2I2', data)
           if len % 2 == 0 then return {len = len, size = size, segs = segs} end
           return {len = len, odd = size, other = segs}
         end",
    ),
    ("failing", "function decode(data) error('no') end"),
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let scenario = arguments.next();
    let events = arguments.next().map_or(2_000_000, |number| {
        number.replace('_', "").parse().expect("the number of events")
    });
    for (name, decode) in SCENARIOS {
        if scenario.as_deref().is_none_or(|wanted| wanted == *name) {
            let took = run(decode, events);
            println!(
                "{name:16} {events} events, {:6.1} ns each, {:.2} million a second",
                took * 1e9 / events as f64,
                events as f64 / took / 1e6
            );
        }
    }
}

/// Decodes the events and returns the seconds.
fn run(decode: &str, events: usize) -> f64 {
    let path = std::env::temp_dir().join(format!("ipft-bench-{}.lua", std::process::id()));
    std::fs::write(&path, format!("api_version = 1\n{decode}\n")).expect("the script can be written");
    let script = Script::load(&path, Print::Stdout, None, Box::new(|_| ()));
    let _ = std::fs::remove_file(&path);
    let mut script = script.expect("the script loads");
    let mut batch = Batch::default();
    let mut took = 0.0;
    let mut left = events;
    while left > 0 {
        let count = left.min(BATCH);
        fill(&mut batch, count);
        took += measured(|| script.decode(&mut batch));
        left -= count;
    }
    took
}

/// The frame that callgrind looks for.
#[inline(never)]
fn measured(step: impl FnOnce()) -> f64 {
    let start = processor_time();
    step();
    processor_time() - start
}

/// CPU time of this thread in seconds, independent of other load.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn fill(batch: &mut Batch, count: usize) {
    batch.clear();
    for index in 0..count as u32 {
        batch.events.push(Event {
            packet: 1,
            skb: 0xffff_8da1_f50b_7f00,
            timestamp: u64::from(index),
            entry_timestamp: 0,
            function: 0,
            cpu: 0,
            kind: EventKind::ENTRY,
            thread: 0,
            payload_offset: 64 * index,
            payload_len: 64,
            spare: 0,
        });
        let mut data = [0; 64];
        data[..4].copy_from_slice(&(1400 + index).to_ne_bytes());
        data[4..8].copy_from_slice(&[1, 2, 3, 4]);
        batch.payload.extend_from_slice(&data);
    }
}
