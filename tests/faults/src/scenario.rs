//! Scenarios: the runs with faults, and their correct results.
//!
//! The rule is the same for all. Whatever fails, the program ends within a time limit, without a panic, with exit code
//! 0 or 1. 0 means that all of its output is there, as if nothing had failed; 1 means that it printed the reason. Files
//! are complete or absent, a recording at least up to its last whole block, and no other file is left in the folder; if
//! the replayed recording cannot be read to its end, they have its readable part. Only the allocator may abort, and the
//! standard library if a new thread finds no memory for its stacks.
//! library where a new thread finds no memory for its stacks.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, Result};
use ipft_core::event::{Batch, Capture, Event, EventKind, Function, Link, Schema, Summary, Trace, Tracer};
use ipft_core::recording::{Content, Input, Reader, Writer};

/// Events of the replayed recording: several blocks, and more than a pipe or a buffer holds.
const EVENTS: u64 = 6000;
/// Events per packet.
const EVENTS_OF_PACKET: u64 = 30;

/// A command line and its expected output.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name in the counts.
    pub name: &'static str,
    /// Arguments; `OUT` stands for the output folder, `REC` for the recording.
    words: Vec<String>,
    /// Whether every run has the same output.
    exact: bool,
    outputs: Vec<(&'static str, Output)>,
}

/// Requirement for an output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// Complete or absent.
    Whole,
    /// Readable up to its end; the files of a ring have this name as prefix.
    Recording,
}

/// Result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0, and everything as without the fault.
    Unharmed,
    /// Exit code 1, and a message with the reason.
    Failed,
    /// The allocator had no memory and aborted the program.
    Aborted,
}

/// Output of a run.
#[derive(Debug)]
pub struct Left {
    /// Exit status.
    pub status: Option<ExitStatus>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
    /// Output folder.
    pub folder: PathBuf,
}

/// Output of a run without faults.
#[derive(Debug)]
pub struct Expected {
    stdout: Vec<u8>,
    /// Names and contents of all files; for a recording, a summary of its content.
    files: Vec<(OsString, Vec<u8>)>,
}

/// Scenarios for any machine: a replay to each output, a recording and a ring of recordings, a script, a plugin.
pub fn replays(plugin: &Path) -> Vec<Scenario> {
    let replay = |name, words: &[&str], outputs: &[(&'static str, Output)]| Scenario {
        name,
        words: (["replay", "REC"].iter().chain(words))
            .map(|word| (*word).to_owned())
            .collect(),
        exact: true,
        outputs: outputs.to_vec(),
    };
    let plugin = plugin.to_string_lossy();
    vec![
        replay("aggregate", &[], &[]),
        replay("json", &["-o", "json"], &[]),
        replay("jsonl", &["-o", "jsonl"], &[]),
        replay("pcapng", &["--pcapng", "OUT/p.pcapng"], &[("p.pcapng", Output::Whole)]),
        replay("record", &["--record", "OUT/r.ipft"], &[("r.ipft", Output::Recording)]),
        replay(
            "ring",
            &[
                "--record",
                "OUT/r.ipft",
                "--record-max-size",
                "64K",
                "--record-files",
                "3",
            ],
            &[("r.", Output::Recording)],
        ),
        replay(
            "plugin",
            &["--plugin", &plugin, "--plugin-out", "OUT/plugin.txt"],
            &[("plugin.txt", Output::Whole)],
        ),
        replay(
            "all at once",
            &[
                "-o",
                "jsonl",
                "--pcapng",
                "OUT/p.pcapng",
                "--record",
                "OUT/r.ipft",
                "--plugin",
                &plugin,
                "--plugin-out",
                "OUT/plugin.txt",
            ],
            &[
                ("p.pcapng", Output::Whole),
                ("r.ipft", Output::Recording),
                ("plugin.txt", Output::Whole),
            ],
        ),
    ]
}

/// Scenarios that trace, which needs root; each run sees other packets.
pub fn traces() -> Vec<Scenario> {
    let trace = |name, words: &[&str], outputs: &[(&'static str, Output)]| Scenario {
        name,
        words: (["-m", "1", "-r", "^(ip_rcv|ip_output|udp_rcv)$", "--duration", "200ms"].iter())
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect(),
        exact: false,
        outputs: outputs.to_vec(),
    };
    vec![
        trace("trace", &["-o", "jsonl"], &[]),
        trace(
            "trace and record",
            &["-o", "jsonl", "-t", "function_graph", "--record", "OUT/r.ipft"],
            &[("r.ipft", Output::Recording)],
        ),
    ]
}

impl Scenario {
    /// Returns the command line with these paths for `REC` and `OUT`.
    pub fn words(&self, recording: &Path, out: &Path) -> Vec<OsString> {
        let word = |word: &String| match word.strip_prefix("OUT/") {
            Some(name) => out.join(name).into(),
            None if word == "REC" => recording.into(),
            None => word.into(),
        };
        self.words.iter().map(word).collect()
    }

    /// Returns the expected output, from a run without faults.
    pub fn expect(&self, left: &Left) -> Result<Expected, String> {
        if left.status.and_then(|status| status.code()) != Some(0) {
            return Err(format!("without a fault: {:?}\n{}", left.status, left.stderr));
        }
        let mut files = Vec::new();
        for path in files_in(&left.folder) {
            let name = path.file_name().unwrap_or_default().to_owned();
            let content = match self.output(&name) {
                None => return Err(format!("without a fault it leaves {}", path.display())),
                Some(Output::Whole) => fs::read(&path).map_err(|error| error.to_string())?,
                Some(Output::Recording) => content(&path)?,
            };
            files.push((name, content));
        }
        if files.len() < self.outputs.len() {
            return Err(format!("without a fault there are only {} files", files.len()));
        }
        Ok(Expected {
            stdout: left.stdout.clone(),
            files,
        })
    }

    /// Returns the output with this name.
    fn output(&self, name: &OsStr) -> Option<Output> {
        let name = name.to_string_lossy();
        let is = |known: &str| *name == *known || (known.ends_with('.') && name.starts_with(known));
        self.outputs
            .iter()
            .find(|(known, _)| is(known))
            .map(|(_, output)| *output)
    }

    /// Checks what a run left; the error says what is wrong. `memory`: the fault leaves the allocator without memory.
    pub fn judge(&self, left: &Left, expected: &Expected, memory: bool) -> Result<Outcome, String> {
        let Some(status) = left.status else {
            return Err("it had to be killed, as it did not end".to_owned());
        };
        // The standard library and wasmtime abort if a new thread finds no memory for its signal stack.
        let said = |words: &str| left.stderr.contains(words);
        let no_stack = memory && (said("alternative stack") || said("memory for sigaltstack"));
        if left.stderr.contains("panicked at") && !no_stack {
            return Err("it panicked".to_owned());
        }
        match (status.code(), status.signal()) {
            // A plugin that seems too slow because of a wrong clock misses events, which is reported.
            (Some(0), _) if said("events (could not keep up)") => {
                self.nothing_else(left)?;
                Ok(Outcome::Failed)
            }
            (Some(0), _) => {
                self.complete(left, expected)?;
                Ok(Outcome::Unharmed)
            }
            (Some(1), _) => {
                if left.stderr.trim().is_empty() {
                    return Err("exit code 1, and it said nothing".to_owned());
                }
                self.whole_or_absent(left, expected, false)?;
                Ok(Outcome::Failed)
            }
            (_, Some(libc::SIGABRT)) if memory && (no_stack || left.stderr.contains("memory allocation of")) => {
                self.whole_or_absent(left, expected, true)?;
                Ok(Outcome::Aborted)
            }
            _ => Err(format!("it ended with {status}")),
        }
    }

    fn nothing_else(&self, left: &Left) -> Result<(), String> {
        let other = files_in(&left.folder)
            .into_iter()
            .find(|path| self.output(path.file_name().unwrap_or_default()).is_none());
        other.map_or(Ok(()), |path| Err(format!("it left {}", path.display())))
    }

    fn complete(&self, left: &Left, expected: &Expected) -> Result<(), String> {
        if !self.exact {
            let last = left.stdout.rsplit(|byte| *byte == b'\n').nth(1).unwrap_or_default();
            if !last.starts_with(b"{\"type\":\"summary\"") {
                return Err("exit code 0, and the summary is missing".to_owned());
            }
            return self.whole_or_absent(left, expected, false);
        }
        if left.stdout != expected.stdout {
            return Err(format!(
                "exit code 0, and stdout has {} bytes instead of the right {}",
                left.stdout.len(),
                expected.stdout.len()
            ));
        }
        let there = files_in(&left.folder).len();
        if there != expected.files.len() {
            return Err(format!(
                "exit code 0, and there are {there} files instead of {}",
                expected.files.len()
            ));
        }
        for (name, right) in &expected.files {
            let path = left.folder.join(name);
            let is = match self.output(name) {
                Some(Output::Recording) => content(&path)?,
                _ => fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?,
            };
            if is != *right {
                return Err(format!("exit code 0, and {} is not as it should be", path.display()));
            }
        }
        Ok(())
    }

    /// `aborted`: an aborted program could not remove a recording without events.
    fn whole_or_absent(&self, left: &Left, expected: &Expected, aborted: bool) -> Result<(), String> {
        for path in files_in(&left.folder) {
            let name = path.file_name().unwrap_or_default();
            match self.output(name) {
                None => return Err(format!("it left {}", path.display())),
                Some(Output::Recording) => {
                    let has_begun = || {
                        File::open(&path)
                            .and_then(Input::file)
                            .is_ok_and(|file| Reader::open(file).is_ok())
                    };
                    if !aborted || has_begun() {
                        content(&path)?;
                    }
                }
                Some(Output::Whole) => {
                    let right = expected.files.iter().find(|(known, _)| known == name);
                    let is = fs::read(&path).map_err(|error| error.to_string())?;
                    // The readable part of the recording is drawn to its end.
                    let shorter = left.stderr.contains("trace.ipft cannot be read");
                    if right.is_none_or(|(_, right)| *right != is && !(shorter && is_finished(&is))) {
                        return Err(format!("{} is not complete", path.display()));
                    }
                }
            }
        }
        Ok(())
    }
}

/// Returns whether a packet file ends with a whole block, and any other file with a line.
fn is_finished(file: &[u8]) -> bool {
    let word = |at: usize| Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?) as usize);
    if word(0) != Some(0x0a0d_0d0a) {
        return file.ends_with(b"\n");
    }
    let mut at = 0;
    while let Some(length) = word(at + 4).filter(|length| *length >= 12) {
        at += length;
    }
    at == file.len()
}

fn files_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.sort();
    files
}

/// Summarizes a recording; an error if it cannot be read or is damaged. A cut one ends at the cut.
fn content(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| failed(&error))?;
    let input = Input::file(file).map_err(|error| failed(&error))?;
    let mut reader = Reader::open(input).map_err(|error| failed(&error))?;
    let (mut batch, mut events, mut captures, mut done) = (Batch::default(), 0, 0, false);
    while let Some(content) = reader.next(|_| true).map_err(|error| failed(&error))? {
        match content {
            Content::Events => {
                while reader.fill(&mut batch, 4096) {
                    events += batch.events.len();
                    captures += batch.captures.len();
                    batch.clear();
                }
            }
            Content::Losses(_) | Content::Functions(..) => {}
            Content::Done(_) => done = true,
        }
    }
    if !reader.seen().damage.is_empty() {
        return Err(failed(&"it is damaged"));
    }
    Ok(format!("{events} events, {captures} captures, {done}").into_bytes())
}

/// Writes the recording for the replays.
pub fn record(path: &Path) -> Result<()> {
    let trace = Trace {
        tracer: Tracer::FunctionGraph,
        backend: "kprobe-session".to_owned(),
        functions: ["ip_rcv", "ip_forward", "nf_hook_slow", "ip_output", "veth_xmit"]
            .map(|name| Function {
                name: name.to_owned(),
                module: "vmlinux".to_owned(),
                address: 0,
            })
            .to_vec(),
        schema: Schema::default(),
        clock_offset: 1_700_000_000_000_000_000,
        command_line: vec!["ipft".to_owned()],
        kernel_release: "6.12".to_owned(),
        mark: 1,
        mask: u32::MAX,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    };
    let file = File::create(path).with_context(|| format!("make {}", path.display()))?;
    let mut writer = Writer::new(file, &trace, 7).context("begin the recording")?;
    // Incompressible times and bytes, so that there are blocks.
    let mut state = 88_172_645_463_325_252u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut batch = Batch::default();
    let mut time = 1_000_000_000;
    let packets = EVENTS / EVENTS_OF_PACKET;
    for packet in 1..=packets {
        let bytes: Vec<u8> = [0x45].into_iter().chain((0..99).map(|_| random() as u8)).collect();
        batch.captures.push(Capture {
            packet,
            timestamp: time,
            link: Link::Ip,
            length: 1500,
            offset: batch.captured.len() as u32,
            captured_len: bytes.len() as u32,
        });
        batch.captured.extend(bytes);
        for number in 0..EVENTS_OF_PACKET {
            time += random() % 1_000_000;
            let leaves = number % 2 == 1;
            batch.events.push(Event {
                packet,
                skb: random(),
                timestamp: time,
                entry_timestamp: if leaves { time - 100 } else { 0 },
                function: (number / 2 % 5) as u32,
                cpu: (packet % 4) as u32,
                kind: if leaves { EventKind::RETURN } else { EventKind::ENTRY },
                thread: 0,
                payload_offset: 0,
                payload_len: 0,
                spare: 0,
            });
        }
        writer.push(&batch).context("write the recording")?;
        batch.clear();
    }
    let summary = Summary {
        events: EVENTS,
        packets,
        ..Summary::default()
    };
    writer.finish(&summary).context("end the recording")
}
