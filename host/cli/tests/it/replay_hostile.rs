//! Tests of malicious recordings: impossible numbers, packets with colliding hashes, blocks with false sizes. Each ends
//! in an error that names the problem, or in bounded time and memory.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use ipft_core::recording::layout::{BLOCK_HEADER, BlockHeader, FILE_HEADER, FileHeader, Kind, MAJOR, MINOR};
use serde_json::{Value, json};

/// A file that is built block by block.
struct Recording(Vec<u8>);

impl Recording {
    /// Creates one with this trace.
    fn new(trace: &Value) -> Self {
        let header = FileHeader {
            major: MAJOR,
            minor: MINOR,
            part: 0,
            trace: 1,
        };
        let mut recording = Recording(header.to_bytes().to_vec());
        recording.block(Kind::TRACE, trace.to_string().as_bytes(), 0, 0);
        recording
    }

    fn block(&mut self, kind: Kind, content: &[u8], events: u32, captures: u32) {
        let stored = zstd::bulk::compress(content, 1).unwrap();
        let header = BlockHeader {
            kind,
            stored: stored.len() as u32,
            length: content.len() as u32,
            events,
            first: 0,
            last: 1 << 40,
            captures,
            checksum: crc32fast::hash(&stored),
        };
        self.0.extend(header.to_bytes());
        self.0.extend(stored);
    }

    /// Adds events of these packets, one each, with a payload of four bytes each if there is one.
    fn events(&mut self, packets: &[u64], payload: Option<u32>) {
        let events = packets.len() as u32;
        let bytes = if payload.is_some() { 4 * events } else { 0 };
        let mut content = head([events, events, 2, 4, 0, 0, 0, 0, bytes, 0, 0, 0, 0]);
        content.extend(packets.iter().flat_map(|packet| packet.to_le_bytes()));
        content.resize(content.len() + 16 * packets.len(), 0);
        let step: u16 = if payload.is_some() { 4 } else { 0 };
        content.extend(packets.iter().flat_map(|_| step.to_le_bytes()));
        content.extend((0..events).flat_map(u32::to_le_bytes));
        content.resize(content.len() + 2 * packets.len(), 0);
        if let Some(value) = payload {
            content.extend(packets.iter().flat_map(|_| value.to_le_bytes()));
        }
        self.block(Kind::EVENTS, &content, events, 0);
    }

    /// First bytes of these packets, and no events.
    fn captures(&mut self, packets: &[u64], bytes: u32) {
        let captures = packets.len() as u32;
        let mut content = head([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, captures, captures * bytes]);
        for packet in packets {
            content.extend(packet.to_le_bytes());
            content.extend(1_u64.to_le_bytes());
            content.extend([1, bytes, bytes].iter().flat_map(|word: &u32| word.to_le_bytes()));
        }
        content.resize(content.len() + (captures * bytes) as usize, 0x45);
        self.block(Kind::EVENTS, &content, 0, captures);
    }

    fn done(&mut self) {
        let done = json!({"events": 0, "packets": 0, "losses": [], "attached": 1, "skipped": []});
        self.block(Kind::DONE, done.to_string().as_bytes(), 0, 0);
    }

    fn write(&self, folder: &Path) -> PathBuf {
        let path = folder.join("hostile.ipft");
        fs::write(&path, &self.0).unwrap();
        path
    }
}

/// The thirteen numbers of a block of events.
fn head(numbers: [u32; 13]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// The trace of one function.
fn trace() -> Value {
    json!({
        "kernel": "6.12.0", "tracer": "function", "backend": "kprobe-multi", "mark": 1, "mask": 1, "clock_offset": 0,
        "command_line": ["ipft"], "functions": [{"name": "ip_rcv", "module": "vmlinux", "address": 1}],
        "schema": {"size": 0, "tagged": false, "fields": []},
    })
}

/// What became of a run.
struct Ran {
    status: ExitStatus,
    said: String,
}

/// MiB of addresses that a run needs beside what `--max-memory` says: for the program, and for a block that is read.
const BESIDE: u32 = 192;

/// Runs `ipft replay` with no more than this many seconds of a processor and MiB of memory. A signal ends it if it takes
/// more.
fn replay(folder: &Path, path: &Path, options: &[&str], seconds: u32, memory: u32) -> Ran {
    let said = folder.join("said");
    let memory = memory << 10;
    let limits = format!("ulimit -c 0; ulimit -t {seconds}; ulimit -v {memory}; exec \"$@\"");
    let status = Command::new("sh")
        .args(["-c", &limits, "sh", env!("CARGO_BIN_EXE_ipft"), "replay"])
        .arg(path)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(&said).unwrap())
        .status()
        .unwrap();
    let said = fs::read_to_string(&said).unwrap();
    assert_eq!(status.signal(), None, "{options:?}: {said}");
    Ran { status, said }
}

#[test]
fn a_trace_with_too_large_numbers_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let field = |offset: u32, size: u32| {
        json!({"size": 8, "tagged": false, "fields":
            [{"name": "a", "offset": offset, "size": size, "type": "unsigned", "format": "plain"}]})
    };
    let function = json!({"name": "f", "module": "m", "address": 0});
    let member = json!({"name": "", "value": 1});
    let flags = json!({"size": 8, "tagged": false, "fields":
        [{"name": "a", "offset": 0, "size": 8, "type": "unsigned", "format": "enum_flags", "members": vec![member; 5000]}]});
    for (key, value, named) in [
        (
            "schema",
            json!({"size": u32::MAX, "tagged": false, "fields": []}),
            "`schema.size` is 4294967295, and can be at most 256",
        ),
        (
            "schema",
            json!({"size": 257, "tagged": true, "fields": []}),
            "`schema.size` is 257",
        ),
        (
            "schema",
            field(9, 1),
            "`schema.fields.offset` is 9, and can be at most 8",
        ),
        (
            "schema",
            field(4, u32::MAX),
            "`schema.fields.size` is 4294967295, and can be at most 4",
        ),
        (
            "schema",
            flags,
            "`schema.fields.members` is 5000, and can be at most 4096",
        ),
        (
            "functions",
            Value::Array(vec![function; 65_537]),
            "`functions` can have at most 65536 entries",
        ),
        (
            "kernel",
            json!("x".repeat(5000)),
            "a text has 5000 bytes, and can have at most 4096",
        ),
        (
            "command_line",
            json!(vec![""; 70_000]),
            "`command_line` can have at most 65536 entries",
        ),
        ("mark", json!(u64::MAX), "invalid value"),
    ] {
        let mut trace = trace();
        trace[key] = value;
        let path = Recording::new(&trace).write(folder.path());
        for options in [&["-o", "aggregate"][..], &["-o", "jsonl"], &["--info"]] {
            let ran = replay(folder.path(), &path, options, 20, BESIDE);
            assert_eq!(ran.status.code(), Some(1), "{named}: {}", ran.said);
            assert!(ran.said.contains(named), "{named}: {}", ran.said);
            assert!(ran.said.contains("in the block at byte 32"), "{named}: {}", ran.said);
        }
    }
}

#[test]
fn a_block_with_too_large_numbers_is_skipped_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        (
            head([u32::MAX, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            "`events` is 4294967295",
        ),
        (
            head([0, 0, 2, 0, 0, 0, 0, 0, 0, 1 << 31, 0, 0, 0]),
            "`names` is 2147483648",
        ),
        (
            head([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1 << 30, 0]),
            "`captures` is 1073741824",
        ),
        (
            head([0, 0, 2, 0, 0, 0, 0, 0, u32::MAX, 0, 0, 0, 0]),
            "`bytes of all payloads` is 4294967295",
        ),
    ];
    for (content, named) in cases {
        let mut recording = Recording::new(&trace());
        let offset = recording.0.len();
        recording.block(Kind::EVENTS, &content, 1, 0);
        recording.events(&[1, 2, 3], None);
        recording.done();
        let path = recording.write(folder.path());
        let ran = replay(folder.path(), &path, &["-o", "json"], 20, BESIDE);
        assert_eq!(ran.status.code(), Some(1), "{named}: {}", ran.said);
        let place = format!("the first at byte {offset} ({named}");
        assert!(ran.said.contains(&place), "{place}: {}", ran.said);
    }
}

#[test]
fn a_block_with_false_sizes_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut recording = Recording::new(&trace());
    let offset = recording.0.len();
    let mut promise = BlockHeader {
        kind: Kind::EVENTS,
        stored: 30 << 20,
        length: 30 << 20,
        events: u32::MAX,
        first: 0,
        last: 0,
        captures: 0,
        checksum: 0,
    };
    recording.0.extend(promise.to_bytes());
    let path = recording.write(folder.path());
    let ran = replay(folder.path(), &path, &["-o", "json"], 20, BESIDE);
    assert!(
        ran.said.contains(&format!("what follows byte {offset}")),
        "{}",
        ran.said
    );
    // What no block has is not even looked for.
    promise.length = u32::MAX;
    let length = recording.0.len();
    recording.0[length - BLOCK_HEADER..].copy_from_slice(&promise.to_bytes());
    let path = recording.write(folder.path());
    let ran = replay(folder.path(), &path, &["-o", "json"], 20, BESIDE);
    let named = "(`bytes of the content, decompressed` is 4294967295, and can be at most 33554432)";
    assert!(ran.said.contains(named), "{}", ran.said);
}

#[test]
fn packets_whose_fixed_hashes_are_alike_take_no_time() {
    // The inverse of the factor of rustc-hash, which rotates the product by 26 bits.
    let factor = 0xf135_7aea_2e62_a9c5_u64;
    let inverse = (0..6).fold(1_u64, |inverse, _| {
        inverse.wrapping_mul(2_u64.wrapping_sub(factor.wrapping_mul(inverse)))
    });
    let packet = |number: u64| ((number + 1) << 32 | 0x12345).rotate_right(26).wrapping_mul(inverse);
    let packets: Vec<u64> = (0..100_000).map(packet).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut recording = Recording::new(&trace());
    for some in packets.chunks(1 << 14) {
        recording.events(some, None);
    }
    let path = recording.write(folder.path());
    let written = folder.path().join("written");
    let written = written.to_str().unwrap();
    for options in [
        &["-o", "aggregate"][..],
        &["--record", written],
        &["-o", "json", "--limit", "100000"],
    ] {
        // 20,000 of them took a second of an optimised build, and time grows with the square.
        replay(folder.path(), &path, options, 15, 2 * BESIDE);
    }
}

#[test]
fn a_large_enum_is_not_searched_for_each_event() {
    let folder = tempfile::tempdir().unwrap();
    let mut trace = trace();
    let members: Vec<Value> = (0..60_000).map(|value| json!({"name": "m", "value": value})).collect();
    trace["schema"] = json!({"size": 4, "tagged": false, "fields":
        [{"name": "a", "offset": 0, "size": 4, "type": "unsigned", "format": "enum", "members": members}]});
    let mut recording = Recording::new(&trace);
    for _ in 0..8 {
        recording.events(&vec![7; 1 << 14], Some(59_999));
    }
    let path = recording.write(folder.path());
    // One search after the other looks at eight thousand million members.
    replay(folder.path(), &path, &["-o", "json"], 15, BESIDE);
}

#[test]
fn what_grows_with_the_file_is_within_max_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut recording = Recording::new(&trace());
    for block in 0..100 {
        let packets: Vec<u64> = (1..=4096).map(|packet| block << 20 | packet).collect();
        recording.captures(&packets, 1024);
    }
    recording.events(&[1], None);
    let path = recording.write(folder.path());
    assert!(fs::metadata(&path).unwrap().len() < 2 << 20);
    let written = folder.path().join("written.pcapng");
    let written = written.to_str().unwrap();
    // All of them have 400 MiB.
    for options in [
        &["--pcapng", written, "--max-memory", "16M"][..],
        &["--pcapng", written, "--max-memory", "16M", "-o", "aggregate"],
        &["-o", "json", "--max-memory", "16M", "--from", "+1ns"],
    ] {
        replay(folder.path(), &path, options, 60, 16 + BESIDE / 2);
    }
}

#[test]
fn one_large_packet_of_a_graph_is_within_max_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut trace = trace();
    trace["tracer"] = json!("function_graph");
    let mut recording = Recording::new(&trace);
    for _ in 0..100 {
        recording.events(&vec![7; 1 << 14], None);
    }
    let path = recording.write(folder.path());
    // The events alone have 50 MiB, and laying them out took as much again.
    replay(
        folder.path(),
        &path,
        &["-o", "aggregate", "--max-memory", "16M"],
        60,
        16 + BESIDE / 3,
    );
}

#[test]
fn payloads_of_any_size_are_within_max_memory() {
    let folder = tempfile::tempdir().unwrap();
    let mut trace = trace();
    trace["schema"] = json!({"size": 256, "tagged": false, "fields": []});
    let recording = Recording::new(&trace);
    let path = recording.write(folder.path());
    assert!(recording.0.len() < 700 && recording.0.len() > FILE_HEADER);
    replay(
        folder.path(),
        &path,
        &["-o", "aggregate", "--max-memory", "64M"],
        20,
        64 + BESIDE / 2,
    );
}
