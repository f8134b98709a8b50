//! Reads the output of `ipft -o jsonl` (`docs/jsonl.schema.json`) into a plugin's input.
//!
//! Three things are not in a recording: invalid UTF-8 has become U+FFFD, which is read as one invalid byte, a script's
//! infinite numbers have become text, and the kernel's reasons to drop packets are known only where one was dropped for
//! them. Everything else is restored; otherwise reading fails and names the line.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value as Json;

use super::symbols::{Symbols, hexadecimal};
use super::{Chunk, Recording};
use crate::event::{Event, VERDICTS};
use crate::trace::{Field, Format, Function, Kind, Loss, Member, Skipped, Summary, Trace};

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

/// One line.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Trace(Box<TraceLine>),
    Functions(FunctionsLine),
    Event(EventLine),
    Born(LifeLine),
    Joined(LifeLine),
    Ended(LifeLine),
    Decided(LifeLine),
    Lost(LossLine),
    Summary(SummaryLine),
    /// A line of a later version.
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct TraceLine {
    version: u32,
    kernel: String,
    tracer: String,
    backend: String,
    mark: u32,
    mask: u32,
    filter: Option<String>,
    #[serde(default)]
    follow: bool,
    clock_offset: ClockOffset,
    command_line: Vec<String>,
    functions: Vec<FunctionLine>,
    schema: Schema,
}

#[derive(Deserialize)]
struct ClockOffset {
    seconds: i64,
    nanoseconds: i64,
}

#[derive(Deserialize)]
struct FunctionLine {
    name: String,
    module: String,
    address: Option<String>,
}

#[derive(Deserialize)]
struct Schema {
    size: u32,
    fields: Vec<FieldLine>,
    #[serde(default)]
    tagged: bool,
}

#[derive(Deserialize)]
struct FieldLine {
    name: String,
    offset: u32,
    size: u32,
    bits: Option<BitsLine>,
    #[serde(rename = "type")]
    kind: String,
    format: String,
    #[serde(default)]
    members: Vec<MemberLine>,
}

#[derive(Deserialize)]
struct BitsLine {
    offset: u32,
    width: u32,
}

#[derive(Deserialize)]
struct MemberLine {
    name: String,
    value: serde_json::Number,
}

#[derive(Deserialize)]
struct EventLine {
    packet: String,
    skb: Option<String>,
    timestamp: u64,
    cpu: u32,
    thread: u32,
    function_index: u32,
    kind: String,
    duration: Option<u64>,
    fields: Option<Fields>,
}

/// Functions that were added during the trace.
#[derive(Deserialize)]
struct FunctionsLine {
    functions: Vec<FunctionLine>,
}

/// The birth or the end of a packet.
#[derive(Clone, Deserialize)]
struct LifeLine {
    packet: String,
    parent: Option<String>,
    into: Option<String>,
    kind: Option<String>,
    decision: Option<String>,
    skb: Option<String>,
    timestamp: u64,
    cpu: u32,
    thread: u32,
    function_index: Option<u32>,
    outcome: Option<String>,
    reason_number: Option<u32>,
    reason: Option<String>,
    class: Option<String>,
    why: Option<String>,
    remedy: Option<String>,
    stack: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct LossLine {
    kind: String,
    cpu: Option<u32>,
    count: u64,
}

#[derive(Deserialize)]
struct SummaryLine {
    events: u64,
    packets: u64,
    attached: u32,
    skipped: Vec<SkippedLine>,
}

#[derive(Deserialize)]
struct SkippedLine {
    name: String,
    module: String,
    reason: String,
}

/// Names and values in order. A script may give two values the same name, which a map would merge.
struct Fields(Vec<(String, Json)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Fields(pairs))
            }
        }

        deserializer.deserialize_map(Pairs)
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

fn field(line: FieldLine) -> Result<Field, String> {
    let bits = line.bits.unwrap_or(BitsLine { offset: 0, width: 0 });
    let member = |member: MemberLine| {
        let value = &member.value;
        let value = value.as_u64().or_else(|| value.as_i64().map(|value| value as u64));
        Ok(Member {
            value: value.ok_or_else(|| format!("the value {} of a member", member.value))?,
            name: member.name,
        })
    };
    let members: Result<Vec<Member>, String> = line.members.into_iter().map(member).collect();
    Ok(Field {
        name: line.name,
        offset: line.offset,
        size: line.size,
        bit_offset: bits.offset,
        bit_width: bits.width,
        kind: Kind::named(&line.kind),
        format: Format::named(&line.format),
        members: members?,
    })
}

/// Returns the bytes of a JSON value in memory order; a number has eight bytes.
fn bytes_of(field: &Field, value: &Json, symbols: &mut Symbols) -> Option<Vec<u8>> {
    let named = |name: &str| field.members.iter().find(|member| member.name == name);
    let number = match (field.format, field.kind, value) {
        (Format::Be16 | Format::Be32, _, _) => {
            let bytes = value.as_u64()?.to_be_bytes();
            return bytes
                .get(8_usize.checked_sub(field.size as usize)?..)
                .map(<[u8]>::to_vec);
        }
        (Format::Ipv4, _, _) => return Some(value.as_str()?.parse::<Ipv4Addr>().ok()?.octets().to_vec()),
        (Format::Ipv6, _, _) => return Some(value.as_str()?.parse::<Ipv6Addr>().ok()?.octets().to_vec()),
        (Format::Ip, _, _) => {
            let octets = match value.as_str()?.parse().ok()? {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            return Some(octets.to_vec());
        }
        (Format::Mac, _, _) => return hex_bytes(&value.as_str()?.replace(':', "")),
        (Format::Plain, Kind::Bytes, _) | (Format::Hex, Kind::Bytes | Kind::Char, _) => {
            return hex_bytes(value.as_str()?);
        }
        (Format::Plain, Kind::Char, _) => return Some(text_bytes(value.as_str()?)),
        (Format::Plain, Kind::Bool, _) => value.as_bool()?.into(),
        (Format::Enum, _, Json::String(name)) => named(name)?.value,
        (Format::Flags, _, Json::Array(names)) => names.iter().try_fold(0, |flags, name| {
            let name = name.as_str()?;
            let value = named(name).map(|member| member.value);
            Some(flags | value.or_else(|| hexadecimal(name))?)
        })?,
        (Format::Symbol, _, Json::String(text)) => symbols.address(text)?,
        (_, _, Json::String(text)) => hexadecimal(text)?,
        (_, _, value) => value.as_u64().or_else(|| value.as_i64().map(|value| value as u64))?,
    };
    Some(number.to_le_bytes().to_vec())
}

/// Returns text, with replacement characters as invalid bytes.
fn text_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for (index, part) in text.split('\u{fffd}').enumerate() {
        if index > 0 {
            bytes.push(0xff);
        }
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

fn hex_bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let digit = |index: usize| char::from(*pair.get(index)?).to_digit(16);
            Some((digit(0)? << 4 | digit(1)?) as u8)
        })
        .collect()
}

/// Writes a field's bytes into the payload.
fn put(field: &Field, bytes: &[u8], payload: &mut [u8]) -> Option<()> {
    let start = field.offset as usize;
    let place = payload.get_mut(start..start.checked_add(field.size as usize)?)?;
    if field.bit_width == 0 {
        // Drops the upper bytes of a number.
        let length = bytes.len().min(place.len());
        place[..length].copy_from_slice(&bytes[..length]);
        return Some(());
    }
    if place.len() > 9 || field.bit_offset >= 8 || field.bit_width > 64 {
        return None;
    }
    let value = u64::from_le_bytes(bytes.try_into().ok()?) & field.mask();
    let shifted = u128::from(value) << field.bit_offset;
    for (byte, bits) in place.iter_mut().zip(shifted.to_le_bytes()) {
        *byte |= bits;
    }
    Some(())
}

/// Parses `0x` and up to 16 digits.
fn identity(text: &str) -> Result<u64, String> {
    hexadecimal(text).ok_or_else(|| format!("`{text}` is no identity or address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = r#"{"type":"trace","version":1,"kernel":"6.12","tracer":"function","backend":"kprobe","mark":1,"mask":1,"clock_offset":{"seconds":-1,"nanoseconds":5},"command_line":[],"functions":[{"name":"f","module":"m","address":null}],"schema":{"size":4,"fields":[{"name":"a","offset":0,"size":4,"type":"unsigned","format":"plain"}]}}"#;
    const EVENT: &str = r#"{"type":"event","packet":"0x01","skb":null,"timestamp":9,"cpu":0,"thread":0,"function":"f","module":"m","function_index":0,"kind":"entry","fields":{"a":7}}"#;
    const SUMMARY: &str = r#"{"type":"summary","events":1,"packets":1,"lost":0,"attached":1,"skipped":[]}"#;

    fn read(lines: &[&str]) -> Result<Recording, String> {
        Recording::from_jsonl(lines.join("\n").as_bytes()).map_err(|error| error.to_string())
    }

    const ORPHAN: &str =
        r#"{"type":"born","packet":"0x03","skb":"0x02","timestamp":5,"cpu":0,"thread":7,"function_index":null}"#;

    #[test]
    fn births_and_ends_are_events() {
        let born = ORPHAN.replace(r#""skb""#, r#""parent":"0x09","skb""#);
        let ended = ORPHAN.replace("born", "ended");
        let released = ended.replace("null}", r#"null,"outcome":"released"}"#);
        let dropped = ended.replace(
            "null}",
            r#"0,"outcome":"dropped","reason_number":12,"reason":"NETFILTER_DROP","class":"unwanted","why":"A rule.","remedy":"nft"}"#,
        );
        let of = |outcome| released.replace("released", outcome);
        let ends = ["delivered", "sent", "forwarded", "joined", "of a later version"].map(of);
        let joined = ORPHAN
            .replace("born", "joined")
            .replace(r#""skb""#, r#""into":"0x08","skb""#);
        let mut lines = vec![TRACE, &born, &released, &dropped, &joined];
        lines.extend(ends.iter().map(String::as_str));
        lines.push(SUMMARY);
        let recording = read(&lines).unwrap();
        assert_eq!(recording.trace.drop_reason(12), Some("NETFILTER_DROP"));
        assert_eq!(recording.trace.fact("drop-classes"), Some("NETFILTER_DROP@f=unwanted"));
        let advice = recording.trace.fact("drop-advice");
        assert_eq!(advice, Some("NETFILTER_DROP@f\tA rule.\tnft\n"));
        assert!(!recording.trace.is_followed());
        let follows = TRACE.replace(r#""mask":1"#, r#""mask":1,"filter":"icmp","follow":true"#);
        let followed = read(&[&follows, SUMMARY]).unwrap().trace;
        assert_eq!((followed.is_followed(), followed.fact("filter")), (true, Some("icmp")));
        let events = recording.chunks.iter().flat_map(|chunk| &chunk.events);
        let events: Vec<_> = events.map(|event| (event.kind, event.function, event.spare)).collect();
        let none = u32::MAX;
        assert_eq!(
            events,
            [
                (Event::BORN, none, 9),
                (Event::ENDED, none, 0),
                (Event::ENDED, 0, 1 << 32 | 12),
                (Event::JOINED, none, 8),
                (Event::ENDED, none, Event::DELIVERED),
                (Event::ENDED, none, Event::SENT),
                (Event::ENDED, none, Event::FORWARDED),
                (Event::ENDED, none, Event::BECAME_PART),
                (Event::ENDED, none, 0)
            ]
        );
    }

    #[test]
    fn a_verdict_is_a_decision_of_its_function() {
        let decided = |kind: &str, decision: &str| {
            format!(
                r#"{{"type":"decided","packet":"0x7","timestamp":5,"cpu":0,"thread":1,"function":"nft ip t c","module":"nf_tables","function_index":0,"kind":"{kind}","decision":"{decision}"}}"#
            )
        };
        let lines = [
            decided("netfilter", "drop"),
            decided("netfilter", "accept"),
            decided("route", "drop"),
            decided("netfilter", "else"),
            decided("xdp", "redirect"),
            decided("tc", "goto_chain"),
        ];
        let mut all = vec![TRACE];
        all.extend(lines.iter().map(String::as_str));
        all.push(SUMMARY);
        let recording = read(&all).unwrap();
        let events = recording.chunks.iter().flat_map(|chunk| &chunk.events);
        let verdicts: Vec<_> = events
            .map(|event| (event.packet, event.function, event.verdict()))
            .collect();
        let expected = ["drop", "accept", "redirect", "goto_chain"].map(|verdict| (7, 0, Some(verdict)));
        assert_eq!(verdicts, expected);
    }

    #[test]
    fn what_is_of_a_later_version_is_passed_over() {
        let later = EVENT.replace(r#""entry""#, r#""decided""#);
        let recording = read(&[TRACE, r#"{"type":"other"}"#, &later, EVENT, SUMMARY]).unwrap();
        let events: usize = recording.chunks.iter().map(|chunk| chunk.events.len()).sum();
        assert_eq!(events, 1);
    }

    #[test]
    fn errors_name_their_line() {
        assert_eq!(read(&[TRACE, EVENT, SUMMARY]).unwrap().trace.clock_offset, -999_999_995);
        for (lines, expected) in [
            (&[][..], "it ends after 0 lines"),
            (&[TRACE, EVENT], "it ends after 2 lines"),
            (&[EVENT], "line 1: the first line is no `trace`"),
            (&[TRACE, TRACE], "line 2: it is a second `trace`"),
            (&[TRACE, SUMMARY, EVENT], "line 3: it comes after the summary"),
            (&[TRACE, "{"], "line 2: EOF"),
            (&[TRACE, ORPHAN], "line 2: a packet that is born has no parent"),
        ] {
            let error = read(lines).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        for (from, to, expected) in [
            (r#""a":7"#, r#""b":7"#, "other fields than the schema"),
            (r#""a":7"#, r#""a":"x\u001b""#, "of the field `a`"),
            (r#""0x01""#, r#""1\u001b""#, r"`1\x1b` is no identity"),
            (r#""entry""#, r#""return","duration":10"#, "longer than the time"),
        ] {
            let error = read(&[TRACE, &EVENT.replace(from, to), SUMMARY]).unwrap_err();
            assert!(error.starts_with("line 2: ") && error.contains(expected), "{error}");
        }
        for (from, to, expected) in [
            (r#""version":1"#, r#""version":2"#, "version 2"),
            (
                r#""size":4,"fields""#,
                r#""size":4000000000,"fields""#,
                "more than 4096 bytes",
            ),
            ("-1,", "9223372036854775807,", "more than 64 bits"),
        ] {
            let error = read(&[&TRACE.replace(from, to)]).unwrap_err();
            assert!(error.starts_with("line 1: ") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_damaged_recording_is_read_or_refused_safely() {
        let whole = [TRACE, EVENT, SUMMARY].join("\n");
        for length in 0..whole.len() {
            assert!(Recording::from_jsonl(&whole.as_bytes()[..length]).is_err());
        }
        for position in 0..whole.len() {
            for byte in [b'0', b'9', b'"', b'-', 0xff] {
                let mut changed = whole.clone().into_bytes();
                changed[position] = byte;
                let _ = Recording::from_jsonl(&changed[..]);
            }
        }
    }
}
