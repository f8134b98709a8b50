//! Reads the output of `ipft -o jsonl` (`docs/jsonl.schema.json`) into a plugin's input.
//!
//! Three things are not in a recording: invalid UTF-8 has become U+FFFD, which is read as one invalid byte, a script's
//! infinite numbers have become text, and the kernel's reasons to drop packets are known only where one was dropped for
//! them. Everything else is restored; otherwise reading fails and names the line.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde_json::Value as Json;

use super::line::{ClockOffset, EventLine, Fields, FunctionLine, LifeLine, Line, SkippedLine, TraceLine};
use super::symbols::{Symbols, hexadecimal};
use super::value::{bytes_of, field, put, text_bytes};
use super::{Chunk, Recording};
use crate::event::{Event, VERDICTS};
use crate::trace::{Field, Format, Function, Loss, Skipped, Summary, Trace};

/// Maximum bytes of a line; the first one lists all functions.
const MAX_LINE: u64 = 64 << 20;

/// Maximum bytes of a payload. The kernel side fills far fewer.
const MAX_PAYLOAD: u32 = 4096;

/// Events, or bytes of payload, per chunk.
const CHUNK: usize = 1024;
const CHUNK_BYTES: usize = 16 << 20;

/// Why a recording cannot be read.
#[derive(Debug)]
pub enum RecordingError {
    /// The file cannot be read.
    Io(std::io::Error),
    /// A line is malformed.
    Line {
        /// Counted from 1.
        line: u64,
        /// The reason.
        reason: String,
    },
    /// The summary is missing: the trace was interrupted, or the file was cut.
    Cut {
        /// Number of lines.
        lines: u64,
    },
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordingError::Io(error) => error.fmt(f),
            RecordingError::Line { line, reason } => write!(f, "line {line}: {}", crate::text::visible(reason)),
            RecordingError::Cut { lines } => write!(
                f,
                "it ends after {lines} lines without a summary: the trace did not end in order, or the file was cut"
            ),
        }
    }
}

impl std::error::Error for RecordingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            RecordingError::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<std::io::Error> for RecordingError {
    fn from(error: std::io::Error) -> Self {
        RecordingError::Io(error)
    }
}

impl Recording {
    /// Reads a file written by `ipft -o jsonl`. All of it is kept, at less than its size.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let mut recording = Recording::from_jsonl(BufReader::new(File::open(path)?))?;
        recording.name = path
            .file_stem()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(recording)
    }

    /// Reads the output of `ipft -o jsonl`.
    pub fn from_jsonl(mut reader: impl BufRead) -> Result<Self, RecordingError> {
        let mut state = Reading::default();
        let mut bytes = Vec::new();
        let mut line = 0;
        loop {
            bytes.clear();
            let length = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut bytes)?;
            if length == 0 {
                break;
            }
            line += 1;
            let wrong = |reason| RecordingError::Line { line, reason };
            if length as u64 == MAX_LINE && bytes.last() != Some(&b'\n') {
                return Err(wrong(format!("it has more than {MAX_LINE} bytes")));
            }
            let parsed: Line = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
            state.take(parsed).map_err(wrong)?;
        }
        state.finish().ok_or(RecordingError::Cut { lines: line })
    }
}

/// State of reading.
#[derive(Default)]
struct Reading {
    recording: Recording,
    started: bool,
    finished: bool,
    chunk: Chunk,
    /// The indices of functions by their names, of several the last.
    functions: HashMap<String, u32>,
    /// The number of functions.
    learned: u32,
    names: HashMap<String, u32>,
    symbols: Symbols,
    losses: Vec<Loss>,
    /// The kernel's reasons, by number.
    reasons: BTreeMap<u32, String>,
    /// The classes of drops, by reason and function.
    classes: BTreeMap<(String, Option<u32>), String>,
    /// What they mean and what to do, likewise.
    advice: BTreeMap<(String, Option<u32>), (String, String)>,
}

impl Reading {
    fn take(&mut self, line: Line) -> Result<(), String> {
        match (line, self.started) {
            _ if self.finished => Err("it comes after the summary".to_owned()),
            (Line::Trace(line), false) => self.start(*line),
            (Line::Trace(_), true) => Err("it is a second `trace`".to_owned()),
            (_, false) => Err("the first line is no `trace`".to_owned()),
            (Line::Functions(line), _) => self.functions(line.functions),
            (Line::Event(line), _) => self.event(line),
            (Line::Born(line), _) => {
                let parent = line.parent.as_deref().ok_or("a packet that is born has no parent")?;
                self.life(&line, Event::BORN, identity(parent)?)
            }
            (Line::Joined(line), _) => {
                let into = line.into.as_deref().ok_or("a packet that is joined has no `into`")?;
                self.life(&line, Event::JOINED, identity(into)?)
            }
            (Line::Ended(mut line), _) => {
                let reason = line.reason.take();
                let drop = || {
                    let name = reason.as_deref().unwrap_or("NOT_SPECIFIED").to_owned();
                    (name, line.function_index)
                };
                if let Some(class) = &line.class {
                    self.classes.insert(drop(), class.clone());
                }
                if let Some(why) = &line.why {
                    let remedy = line.remedy.clone().unwrap_or_default();
                    self.advice.insert(drop(), (why.clone(), remedy));
                }
                if let (Some(number), Some(reason)) = (line.reason_number, reason) {
                    self.reasons.insert(number, reason);
                }
                let spare = match line.outcome.as_deref() {
                    Some("dropped") => Event::DROPPED | u64::from(line.reason_number.unwrap_or(0)),
                    Some("delivered") => Event::DELIVERED,
                    Some("sent") => Event::SENT,
                    Some("forwarded") => Event::FORWARDED,
                    Some("joined") => Event::BECAME_PART,
                    _ => 0,
                };
                if let Some(stack) = &line.stack {
                    let stack = LifeLine {
                        function_index: self.functions.get(&stack.join(" < ")).copied(),
                        ..line.clone()
                    };
                    self.life(&stack, Event::STACK, 0)?;
                }
                self.life(&line, Event::ENDED, spare)
            }
            (Line::Decided(line), _) => {
                let known = VERDICTS.iter().zip(1_u64..);
                let mut known = known.filter(|((kind, _), _)| Some(*kind) == line.kind.as_deref());
                let spare = known.next().and_then(|((_, verdicts), kind)| {
                    let verdict = verdicts
                        .iter()
                        .position(|verdict| Some(*verdict) == line.decision.as_deref());
                    Some(kind << 32 | verdict? as u64)
                });
                match spare {
                    Some(spare) => self.life(&line, Event::DECIDED, spare),
                    // A decision of a later version.
                    None => Ok(()),
                }
            }
            (Line::Other, _) => Ok(()),
            (Line::Lost(line), _) => {
                self.losses.push(Loss {
                    kind: line.kind,
                    cpu: line.cpu,
                    count: line.count,
                });
                Ok(())
            }
            (Line::Summary(line), _) => {
                self.finished = true;
                let skipped = |skipped: SkippedLine| Skipped {
                    name: skipped.name,
                    module: skipped.module,
                    reason: skipped.reason,
                };
                self.recording.summary = Summary {
                    events: line.events,
                    packets: line.packets,
                    losses: std::mem::take(&mut self.losses),
                    attached: line.attached,
                    skipped: line.skipped.into_iter().map(skipped).collect(),
                    ..Summary::default()
                };
                Ok(())
            }
        }
    }

    fn finish(mut self) -> Option<Recording> {
        self.next_chunk();
        if !self.reasons.is_empty() {
            let reasons = self.reasons.iter().map(|(number, name)| format!("{number}={name}"));
            let reasons = reasons.collect::<Vec<_>>().join(",");
            self.recording.trace.more.push(("drop-reasons".to_owned(), reasons));
        }
        self.push_classes();
        let members = self.symbols.into_members();
        for field in &mut self.recording.trace.fields {
            if field.format == Format::Symbol {
                field.members.clone_from(&members);
            }
        }
        self.finished.then_some(self.recording)
    }

    /// Restores the classes of drops and the advice on them, as far as they occurred.
    fn push_classes(&mut self) {
        let chunks = self.recording.chunks.iter();
        let functions: Vec<&str> = chunks
            .flat_map(|chunk| &chunk.functions)
            .map(|function| function.name.as_str())
            .collect();
        let name = |(reason, function): &(String, Option<u32>)| match function
            .and_then(|index| functions.get(index as usize))
        {
            Some(function) => format!("{reason}@{}", function.split('.').next().unwrap_or(function)),
            None => reason.clone(),
        };
        let classes = self
            .classes
            .iter()
            .map(|(drop, class)| format!("{}={class}", name(drop)));
        let classes = classes.collect::<Vec<_>>().join(",");
        let advice = self.advice.iter();
        let advice = advice.map(|(drop, (why, remedy))| format!("{}\t{why}\t{remedy}\n", name(drop)));
        let advice: String = advice.collect();
        for (fact, value) in [("drop-classes", classes), ("drop-advice", advice)] {
            if !value.is_empty() {
                self.recording.trace.more.push((fact.to_owned(), value));
            }
        }
    }

    fn start(&mut self, line: TraceLine) -> Result<(), String> {
        if line.version != 1 {
            return Err(format!(
                "the recording's format has version {}, and 1 is known",
                line.version
            ));
        }
        if line.schema.size > MAX_PAYLOAD {
            return Err(format!("payloads have more than {MAX_PAYLOAD} bytes"));
        }
        let ClockOffset { seconds, nanoseconds } = line.clock_offset;
        let clock_offset = seconds.checked_mul(1_000_000_000);
        let clock_offset = clock_offset.and_then(|offset| offset.checked_add(nanoseconds));
        let fields: Result<Vec<Field>, String> = line.schema.fields.into_iter().map(field).collect();
        self.recording.trace = Trace {
            tracer: line.tracer,
            backend: line.backend,
            fields: fields?,
            payload_size: line.schema.size,
            tail: line.schema.tagged,
            clock_offset: clock_offset.ok_or("the offset of the clock has more than 64 bits")?,
            command_line: line.command_line,
            kernel_release: line.kernel,
            mark: line.mark,
            mask: line.mask,
            more: match line.follow {
                true => vec![
                    ("filter".to_owned(), line.filter.unwrap_or_default()),
                    ("follow".to_owned(), "true".to_owned()),
                ],
                false => Vec::new(),
            },
            ..Trace::default()
        };
        self.started = true;
        self.functions(line.functions)
    }

    fn functions(&mut self, functions: Vec<FunctionLine>) -> Result<(), String> {
        for function in functions {
            let address = match function.address {
                Some(address) => identity(&address)?,
                None => 0,
            };
            self.functions.insert(function.name.clone(), self.learned);
            self.learned += 1;
            self.chunk.functions.push(Function {
                name: function.name,
                module: function.module,
                address,
            });
        }
        Ok(())
    }

    /// Appends an event of a kind that is no call.
    fn life(&mut self, line: &LifeLine, kind: u32, spare: u64) -> Result<(), String> {
        self.chunk.events.push(Event {
            packet: identity(&line.packet)?,
            skb: line.skb.as_deref().map_or(Ok(0), identity)?,
            timestamp: line.timestamp,
            entry_timestamp: 0,
            function: line.function_index.unwrap_or(u32::MAX),
            cpu: line.cpu,
            kind,
            thread: line.thread,
            payload_offset: self.chunk.payload.len() as u32,
            payload_len: 0,
            spare,
        });
        if self.chunk.events.len() == CHUNK {
            self.next_chunk();
        }
        Ok(())
    }

    fn event(&mut self, line: EventLine) -> Result<(), String> {
        let kind = match line.kind.as_str() {
            "entry" => Event::ENTRY,
            "return" => Event::RETURN,
            // A line of a later version.
            _ => return Ok(()),
        };
        let offset = self.chunk.payload.len();
        if let Some(Fields(mut values)) = line.fields {
            let trace = &self.recording.trace;
            // The values after the fixed fields.
            let fixed = trace.fields.len();
            let behind = match trace.tail && values.len() > fixed {
                true => values.split_off(fixed),
                false => Vec::new(),
            };
            self.fixed(values)?;
            self.tagged(behind)?;
        }
        let entry_timestamp = match line.duration {
            Some(duration) => line.timestamp.checked_sub(duration),
            None => Some(0),
        };
        self.chunk.events.push(Event {
            packet: identity(&line.packet)?,
            skb: match line.skb {
                Some(skb) => identity(&skb)?,
                None => 0,
            },
            timestamp: line.timestamp,
            entry_timestamp: entry_timestamp.ok_or("a call that is longer than the time until its end")?,
            function: line.function_index,
            cpu: line.cpu,
            kind,
            thread: line.thread,
            payload_offset: offset as u32,
            payload_len: (self.chunk.payload.len() - offset) as u32,
            spare: 0,
        });
        if self.chunk.events.len() == CHUNK || self.chunk.payload.len() > CHUNK_BYTES {
            self.next_chunk();
        }
        Ok(())
    }

    fn next_chunk(&mut self) {
        let chunk = std::mem::take(&mut self.chunk);
        if chunk != Chunk::default() {
            self.recording.chunks.push(chunk);
        }
    }

    /// Appends the values that may follow the trace's fields.
    fn tagged(&mut self, values: Vec<(String, Json)>) -> Result<(), String> {
        for (name, value) in values {
            let next = self.names.len() as u32;
            let index = *self.names.entry(name).or_insert_with_key(|name| {
                self.chunk.names.push(name.clone());
                next
            });
            let out = &mut self.chunk.payload;
            out.extend_from_slice(&index.to_le_bytes());
            match value {
                Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                    (Some(value), _) => {
                        out.push(0);
                        out.extend_from_slice(&value.to_le_bytes());
                    }
                    (None, Some(value)) => {
                        out.push(1);
                        out.extend_from_slice(&value.to_le_bytes());
                    }
                    (None, None) => return Err(format!("the number {number}")),
                },
                Json::String(text) => {
                    let text = text_bytes(&text);
                    out.push(2);
                    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
                    out.extend_from_slice(&text);
                }
                _ => return Err("a value that is neither a number nor a string".to_owned()),
            }
        }
        Ok(())
    }

    /// Builds the part of a payload with the trace's fields.
    fn fixed(&mut self, values: Vec<(String, Json)>) -> Result<(), String> {
        let trace = &self.recording.trace;
        let start = self.chunk.payload.len();
        self.chunk.payload.resize(start + trace.payload_size as usize, 0);
        let payload = &mut self.chunk.payload[start..];
        let names = values.iter().map(|(name, _)| name);
        if !names.eq(trace.fields.iter().map(|field| &field.name)) {
            return Err("an event that has other fields than the schema".to_owned());
        }
        for (field, (_, value)) in trace.fields.iter().zip(&values) {
            let put = bytes_of(field, value, &mut self.symbols).and_then(|bytes| put(field, &bytes, payload));
            put.ok_or_else(|| format!("the value {value} of the field `{}`", field.name))?;
        }
        Ok(())
    }
}

/// Parses `0x` and up to 16 digits.
fn identity(text: &str) -> Result<u64, String> {
    hexadecimal(text).ok_or_else(|| format!("`{text}` is no identity or address"))
}

#[cfg(test)]
mod tests;
