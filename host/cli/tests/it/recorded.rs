//! Runs the built `ipft replay` on generated recordings.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ipft_core::event::*;
use ipft_core::recording::{Content, Input, Reader, Writer};
use ipft_core::sink::{Record, Ring, Sink};

use support::canned::{Canned, Script};

/// Returns an `ipft replay` command with these arguments.
pub(crate) fn ipft<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipft"));
    command.arg("replay").args(arguments);
    command
}

/// Result of a run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) said: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("output is UTF-8"),
            said: String::from_utf8(output.stderr).expect("messages are UTF-8"),
        }
    }
}

/// Runs `ipft replay`, and waits for its end.
pub(crate) fn replay<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Ran {
    ipft(arguments).output().expect("ipft runs").into()
}

/// Replays a file with options, and requires success.
pub(crate) fn drawn(file: &Path, options: &[&str]) -> String {
    let arguments = [file.as_os_str()].into_iter().chain(options.iter().map(OsStr::new));
    let ran = replay(arguments);
    assert_eq!(ran.code, Some(0), "{options:?}: {}", ran.said);
    ran.out
}

/// Writes a recording, and returns the ends of its blocks: the first one describes the trace.
pub(crate) fn record(canned: &Canned, path: &Path) -> Vec<u64> {
    let file = fs::File::create(path).expect("the file can be made");
    let mut writer = Writer::new(file, &canned.trace, 7).expect("it can be written");
    let mut ends = vec![writer.whole()];
    for batch in &canned.batches {
        writer.push(batch).expect("it can be written");
        ends.push(writer.whole());
    }
    writer.close_block().expect("it can be written");
    ends.push(writer.whole());
    writer.finish(&canned.summary).expect("it can be written");
    ends.dedup();
    ends
}

/// Records into a ring, and returns its files, the oldest first.
pub(crate) fn record_ring(canned: &Canned, path: &Path, max_size: u64, files: u32) -> Vec<PathBuf> {
    let mut sink = Record::create(path, Some(Ring { max_size, files })).expect("it can be written");
    sink.start(&canned.trace).expect("it starts");
    for batch in &canned.batches {
        sink.events(batch).expect("it takes events");
    }
    sink.finish(&canned.summary).expect("it ends");
    let mut found = files_in(path.parent().expect("a folder"));
    found.retain(|file| file != path);
    found
}

/// Lists a folder, sorted.
pub(crate) fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// Returns the number of events in a file.
pub(crate) fn events_in(path: &Path) -> usize {
    let file = fs::File::open(path).expect("it is there");
    let mut reader = Reader::open(Input::file(file).expect("it can be read")).expect("it has a beginning");
    let mut batch = Batch::default();
    let mut events = 0;
    while let Some(content) = reader.next(|_| true).expect("it can be read") {
        if matches!(content, Content::Events) {
            while reader.fill(&mut batch, 4096) {
                events += batch.events.len();
                batch.clear();
            }
        }
    }
    events
}

/// Packets of a router, one after the other, each through the same functions: one event every quarter of a
/// millisecond, so that a block has two thousand of them.
pub(crate) fn long(events: usize) -> Canned {
    const CALLS: [(&str, &str); 5] = [
        ("ip_rcv", "vmlinux"),
        ("ip_forward", "vmlinux"),
        ("nf_nat_ipv4_pre_routing", "nf_nat"),
        ("ip_output", "vmlinux"),
        ("veth_xmit", "veth"),
    ];
    let mut script = Script::new(Tracer::FunctionGraph, &CALLS);
    // Regular times would compress to nothing.
    let mut random = Random(5);
    for event in 0..events {
        let step = event % (2 * CALLS.len());
        let packet = 0xffff_8800_0000_1000 + (event / (2 * CALLS.len())) as u64 * 0x100;
        script
            .at(5_000_000_000 + event as u64 * 250_000 + random.below(200_000))
            .cpu((packet >> 8) as u32 % 4);
        match step < CALLS.len() {
            true => script.enter(packet, step as u32),
            false => script.leave(packet, (2 * CALLS.len() - 1 - step) as u32),
        }
        if event % 500 == 499 {
            script.end_batch();
        }
    }
    script.can("long")
}

/// Returns the trace with only the events that meet a condition, and their counts.
pub(crate) fn only(canned: &Canned, mut wanted: impl FnMut(&Event) -> bool) -> Canned {
    let mut batches = canned.batches.clone();
    let mut packets = std::collections::BTreeSet::new();
    let mut summary = canned.summary.clone();
    summary.events = 0;
    for batch in &mut batches {
        batch.events.retain(&mut wanted);
        summary.events += batch.events.len() as u64;
        packets.extend(batch.events.iter().map(|event| event.packet));
    }
    summary.packets = packets.len() as u64;
    Canned {
        name: canned.name,
        trace: canned.trace.clone(),
        batches,
        summary,
    }
}

/// Returns the last line of JSON lines: the counts of events and packets.
pub(crate) fn counts(jsonl: &str) -> (u64, u64) {
    let last = jsonl.lines().last().expect("a line");
    let summary: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(summary["type"], "summary", "{last}");
    let count = |key: &str| summary[key].as_u64().unwrap_or_else(|| panic!("no {key} in {last}"));
    (count("events"), count("packets"))
}

/// Generates the same pseudo-random numbers in every run (xorshift64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
