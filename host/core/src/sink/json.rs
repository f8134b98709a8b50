//! `-o json`: one object per line, as the events come, in ipftrace2's format.
//!
//! ```json
//! {"packet_id":"0x…","timestamp":N,"processor_id":N,"module":"…","function":"…","is_return":bool,"len":"2688"}
//! ```
//!
//! Fields of the payload follow as strings, under their own names, also if one is named like a key before: the shape
//! is the old tool's. Losses have no place in this shape; the JSON lines format ([`super::Jsonl`]) has one.
//!
//! Where packets are followed, the first object of a packet that was made of another one has one key more, which
//! readers of the old shape pass over: `"parent_id":"0x…"` behind `is_return`. What becomes of packets has no place
//! either.

use std::io::Write;

use super::clashes::Clashes;
use super::fields::{Fields, Style};
use super::output::Output;
use super::recent::Recent;
use super::texts::FunctionTexts;
use super::{Sink, SinkError};
use crate::event::{Batch, Event, EventKind, Function, Summary, Trace};
use crate::text::*;

/// The keys of events: the last one is only there where packets are followed.
static KEYS: [&str; 7] = [
    "packet_id",
    "timestamp",
    "processor_id",
    "module",
    "function",
    "is_return",
    "parent_id",
];

/// The end of an event's line.
const END: &[u8] = b"}\n";

/// The sink behind `-o json`.
#[derive(Debug)]
pub struct Json {
    output: Output,
    /// `,"module":"…","function":"…","is_return":false` of every function, and the end of the line if there are no
    /// fields.
    entries: FunctionTexts,
    /// The same of returns.
    returns: FunctionTexts,
    fields: Fields,
    clashes: Clashes,
    beginning: Beginning,
    /// The parents of packets that had no event yet.
    parents: Recent<u64>,
    /// The packet of the event before.
    last: u64,
}

impl Json {
    /// Writes to `writer`, once per batch.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Json {
            output: Output::new(writer),
            entries: FunctionTexts::default(),
            returns: FunctionTexts::default(),
            fields: Fields::default(),
            clashes: Clashes::default(),
            beginning: Beginning::default(),
            parents: Recent::default(),
            last: 0,
        }
    }

    /// Tells of fields that have the name of a key, each once.
    pub fn with_warnings(mut self, tell: Box<dyn FnMut(&str)>) -> Self {
        self.clashes = Clashes::new(&KEYS, tell);
        self
    }
}

/// `{"packet_id":"0x…","timestamp":N,"processor_id":N`: the text of the event before, changed where this event differs.
#[derive(Debug)]
struct Beginning {
    text: [u8; ROOM],
    len: usize,
    packet: u64,
    clock: Clock,
    cpu: u32,
    /// Scratch space.
    renewed: Vec<u8>,
}

/// Position of the packet's identity.
const PACKET: usize = 14;
/// Position of the timestamp.
const TIMESTAMP: usize = 46;
/// Room for the longest text, in whole blocks.
const ROOM: usize = 96;

const _: () = assert!(TIMESTAMP + 20 + PROCESSOR.len() + 10 <= ROOM);

const PROCESSOR: &[u8] = b",\"processor_id\":";

impl Default for Beginning {
    fn default() -> Self {
        let mut text = [0; ROOM];
        text[..TIMESTAMP].copy_from_slice(b"{\"packet_id\":\"0x0000000000000000\",\"timestamp\":");
        Beginning {
            text,
            len: 0,
            packet: 0,
            clock: Clock::default(),
            cpu: 0,
            renewed: Vec::with_capacity(2 * ROOM),
        }
    }
}

impl Beginning {
    #[inline(always)]
    fn push(&mut self, out: &mut Vec<u8>, event: &Event) {
        if event.packet != self.packet {
            self.packet = event.packet;
            self.text[PACKET..PACKET + 18].copy_from_slice(&hex_wide(event.packet));
        }
        let same = event.cpu == self.cpu && self.clock.refill(&mut self.text, TIMESTAMP, event.timestamp);
        if !same {
            self.renew(event);
        }
        let end = out.len() + self.len;
        out.extend_from_slice(&self.text);
        out.truncate(end);
    }

    /// Writes everything after the packet's identity.
    #[inline(never)]
    fn renew(&mut self, event: &Event) {
        let text = &mut self.renewed;
        text.clear();
        self.clock.push(text, event.timestamp);
        text.extend_from_slice(PROCESSOR);
        push_unsigned(text, u64::from(event.cpu));
        self.cpu = event.cpu;
        self.len = TIMESTAMP + text.len();
        self.text[TIMESTAMP..self.len].copy_from_slice(text);
    }
}

impl Sink for Json {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.fields = Fields::new(&trace.schema, Style::JsonText)?;
        if !trace.follow {
            self.clashes.set_keys(&KEYS[..KEYS.len() - 1]);
        }
        self.clashes.look_at_schema(&trace.schema);
        self.functions(&trace.functions)
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        let end: &[u8] = if self.fields.is_empty() { END } else { b"" };
        for (texts, is_return) in [(&mut self.entries, b"false".as_slice()), (&mut self.returns, b"true")] {
            texts.append(new, |out, function| {
                out.extend_from_slice(b",\"module\":");
                push_json_string(out, &function.module);
                out.extend_from_slice(b",\"function\":");
                push_json_string(out, &function.name);
                out.extend_from_slice(b",\"is_return\":");
                out.extend_from_slice(is_return);
                out.extend_from_slice(end);
            });
        }
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.fields.learn(&batch.names);
        self.clashes.look_at_names(&batch.names);
        for event in &batch.events {
            if !event.kind.is_call() {
                if event.kind == EventKind::BORN {
                    *self.parents.of(event.packet) = event.spare;
                    self.last = 0;
                }
                continue;
            }
            let out = &mut self.output.buffer;
            self.beginning.push(out, event);
            let is_return = event.kind == EventKind::RETURN;
            let functions = if is_return { &self.returns } else { &self.entries };
            functions.push(out, event.function);
            let before = std::mem::replace(&mut self.last, event.packet);
            if before != event.packet
                && !self.parents.is_empty()
                && let Some(parent) = self.parents.take(event.packet)
            {
                push_parent(out, parent, self.fields.is_empty());
            }
            if !self.fields.is_empty() {
                self.fields.push(out, batch.payload_of(event));
                out.extend_from_slice(END);
            }
            self.output.line_done()?;
        }
        self.output.flush()
    }

    fn finish(&mut self, _summary: &Summary) -> Result<(), SinkError> {
        self.output.flush()
    }
}

/// Appends the parent's identity; before the end of the line, if that is there.
#[cold]
fn push_parent(out: &mut Vec<u8>, parent: u64, is_ended: bool) {
    let end: &[u8] = if is_ended { END } else { b"" };
    out.truncate(out.len() - end.len());
    out.extend_from_slice(b",\"parent_id\":\"");
    push_hex_wide(out, parent);
    out.push(b'"');
    out.extend_from_slice(end);
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;
    use crate::event::{Field, FieldFormat, FieldType, Schema, Value};
    use crate::sink::test_support::{Shared, trace};

    /// Returns the warnings of the trace, and the output.
    fn drawn(schema: Schema, batches: &[Batch]) -> (Vec<String>, String) {
        drawn_where(false, schema, batches)
    }

    fn drawn_where(follow: bool, schema: Schema, batches: &[Batch]) -> (Vec<String>, String) {
        let (out, reported) = (Shared::default(), Rc::<RefCell<Vec<String>>>::default());
        let tell = Rc::clone(&reported);
        let mut sink = Json::new(out.clone()).with_warnings(Box::new(move |message| {
            let name = message.split('`').nth(1).unwrap_or_default();
            tell.borrow_mut().push(name.to_owned());
        }));
        let function = Function {
            name: "f".to_owned(),
            module: "vmlinux".to_owned(),
            address: 0,
        };
        sink.start(&Trace {
            functions: vec![function],
            schema,
            follow,
            ..trace()
        })
        .unwrap();
        for batch in batches {
            sink.events(batch).unwrap();
        }
        sink.finish(&Summary::default()).unwrap();
        (reported.take(), out.text())
    }

    fn batch(names: &[&str], payload: Vec<u8>) -> Batch {
        Batch {
            events: vec![Event {
                packet: 1,
                skb: 1,
                timestamp: 5,
                entry_timestamp: 0,
                function: 0,
                cpu: 0,
                kind: EventKind::ENTRY,
                thread: 1,
                payload_offset: 0,
                payload_len: payload.len() as u32,
                spare: 0,
            }],
            payload,
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Batch::default()
        }
    }

    #[test]
    fn a_field_named_like_a_key_follows_it_with_a_warning() {
        let field = |name: &str, offset| Field {
            name: name.to_owned(),
            kind: FieldType::Unsigned,
            format: FieldFormat::Plain,
            offset,
            size: 1,
            bits: None,
        };
        let schema = Schema {
            size: 2,
            fields: vec![field("len", 0), field("timestamp", 1)],
            ..Schema::default()
        };
        let (reported, text) = drawn(schema, &[batch(&[], vec![7, 8])]);
        assert_eq!(reported, ["timestamp"]);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&read["timestamp"], &read["len"]), (&"8".into(), &"7".into()));
        assert!(text.contains("\"timestamp\":5,"), "{text}");
    }

    #[test]
    fn late_names_are_reported_once() {
        let schema = Schema {
            tail: true,
            ..Schema::default()
        };
        let payload = |name| {
            let mut payload = Vec::new();
            Value::Integer(9).push(&mut payload, name);
            payload
        };
        let batches = [
            batch(&["len"], payload(0)),
            batch(&["len", "module", "modules"], payload(1)),
            batch(&["len", "module", "modules"], payload(1)),
        ];
        let (reported, text) = drawn(schema, &batches);
        assert_eq!(reported, ["module"]);
        assert_eq!(text.matches("\"module\":\"9\"").count(), 2, "{text}");
    }

    #[test]
    fn a_name_of_a_fixed_field_is_reported() {
        let field = Field {
            name: "len".to_owned(),
            kind: FieldType::Unsigned,
            format: FieldFormat::Plain,
            offset: 0,
            size: 1,
            bits: None,
        };
        let schema = Schema {
            size: 1,
            fields: vec![field],
            tail: true,
            ..Schema::default()
        };
        let mut payload = vec![5];
        Value::Integer(9).push(&mut payload, 0);
        let (reported, text) = drawn(schema, &[batch(&["len"], payload)]);
        assert_eq!(reported, ["len"]);
        assert!(text.ends_with("\"len\":\"5\",\"len\":\"9\"}\n"), "{text}");
    }

    #[test]
    fn a_beginning_may_change_in_any_part() {
        let mut beginning = Beginning::default();
        let mut random = 1_u64;
        for _ in 0..10_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let of = |values: &[u64], shift: u32| values[(random >> shift) as usize % values.len()];
            let event = Event {
                packet: of(&[0, 1, 2, u64::MAX], 10),
                timestamp: of(&[5, 7, 99_999_999, 100_000_000, 464_048_546_191_357, u64::MAX], 20) - random % 5,
                cpu: of(&[0, 0, 1, 12, 9999, 10_000, u32::MAX.into()], 30) as u32,
                ..batch(&[], Vec::new()).events[0]
            };
            let mut out = Vec::new();
            beginning.push(&mut out, &event);
            let expected = format!(
                "{{\"packet_id\":\"{:#018x}\",\"timestamp\":{},\"processor_id\":{}",
                event.packet, event.timestamp, event.cpu
            );
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn a_packets_first_event_names_its_parent() {
        let field = Field {
            name: "parent_id".to_owned(),
            kind: FieldType::Unsigned,
            format: FieldFormat::Plain,
            offset: 0,
            size: 1,
            bits: None,
        };
        let schema = |fields: &[Field]| Schema {
            size: fields.len() as u32,
            fields: fields.to_vec(),
            ..Schema::default()
        };
        for (schema, payload) in [(schema(&[]), vec![]), (schema(&[field]), vec![5])] {
            let mut batch = batch(&[], payload);
            let born = Event {
                kind: EventKind::BORN,
                spare: 0xabc,
                ..batch.events[0]
            };
            batch.events = vec![born, batch.events[0], batch.events[0]];
            let (reported, text) = drawn_where(true, schema.clone(), &[batch]);
            assert_eq!(reported.len(), schema.fields.len());
            let lines: Vec<&str> = text.lines().collect();
            let key = ",\"is_return\":false,\"parent_id\":\"0x0000000000000abc\"";
            assert_eq!(lines.len(), 2);
            assert!(lines[0].contains(key), "{text}");
            assert_eq!(lines[0].replace(&key[18..], ""), lines[1]);
        }
    }

    #[test]
    fn fields_are_compared_with_every_written_key() {
        let (reported, text) = drawn(Schema::default(), &[batch(&[], Vec::new())]);
        assert!(reported.is_empty());
        let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
        let mut keys = KEYS[..KEYS.len() - 1].to_vec();
        keys.sort_unstable();
        let mut written: Vec<&str> = read.keys().map(String::as_str).collect();
        written.sort_unstable();
        assert_eq!(written, keys);
    }
}
