//! `-o jsonl`: everything about a trace, typed, one JSON object per line, for programs.
//!
//! The first line is the `trace`, then come `event`s as they happen, where packets are followed with `born`, `joined`
//! and `ended` lines between them, with a `functions` line before the first event of functions that were added during
//! the trace, and at the end a `lost` line for every way and CPU that lost some, and the `summary`.
//! `docs/jsonl.schema.json` describes each; [`VERSION`] changes when a key is removed or means something else, and not
//! when one is added.
//!
//! Identities and addresses are strings of hexadecimal digits: they are compared, never reckoned with, and many readers
//! of JSON keep 53 bits of a number. Timestamps and durations are numbers, since they are reckoned with; a timestamp
//! passes 53 bits after 104 days of uptime, and a reader that keeps no more is then wrong by a nanosecond or two.
//! The offset to wall time is far larger than that, and is split into seconds and nanoseconds.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::fields::{Fields, Style};
use super::output::Output;
use super::reasons::Reasons;
use super::texts::FunctionTexts;
use super::waits::{Place, Waiting};
use super::{Sink, SinkError};
use crate::advice;
use crate::event::{
    Batch, Decision, EnumMember, Event, EventKind, Field, FieldFormat, FieldType, Function, Outcome, Summary, Trace,
    stack,
};
use crate::text::*;

/// The version of the format, in the `trace` line.
pub const VERSION: u32 = 1;

const NANOSECONDS: i64 = 1_000_000_000;

/// The sink behind `-o jsonl`.
#[derive(Debug)]
pub struct Jsonl {
    output: Output,
    /// `,"function":"…","module":"…","function_index":N,"kind":` of every function.
    functions: FunctionTexts,
    fields: Fields,
    clock: Clock,
    reasons: Reasons,
    waiting: Waiting,
    /// The reasons ([`Event::spare`]) and functions of drops whose advice was written.
    explained: BTreeSet<(u64, u32)>,
    /// The names of what is no code, as stacks are, by the function's index.
    names: BTreeMap<u32, String>,
    /// The packet that is about to end, and the stack in which it was dropped.
    stack: Option<(u64, u32)>,
    /// The packet and sk_buff of the event before, and how an event of them begins.
    packet: (u64, u64),
    beginning: Vec<u8>,
}

impl Jsonl {
    /// Writes to `writer`, once per batch.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Jsonl {
            output: Output::new(writer),
            functions: FunctionTexts::default(),
            fields: Fields::default(),
            clock: Clock::default(),
            reasons: Reasons::default(),
            waiting: Waiting::default(),
            explained: BTreeSet::new(),
            names: BTreeMap::new(),
            stack: None,
            packet: (0, 0),
            beginning: Vec::new(),
        }
    }

    fn append(&mut self, functions: &[Function]) {
        self.waiting.append(functions);
        let first = self.functions.len() as u32;
        let others = (first..).zip(functions).filter(|(_, function)| function.address == 0);
        self.names
            .extend(others.map(|(index, function)| (index, function.name.clone())));
        // The index is part of the text, and the closure sees the functions in their order.
        let index = std::cell::Cell::new(self.functions.len() as u64);
        self.functions.append(functions, |out, function| {
            out.extend_from_slice(b",\"function\":");
            push_json_string(out, &function.name);
            out.extend_from_slice(b",\"module\":");
            push_json_string(out, &function.module);
            out.extend_from_slice(b",\"function_index\":");
            push_unsigned(out, index.replace(index.get() + 1));
            out.extend_from_slice(b",\"kind\":");
        });
    }

    /// `{"type":"event","packet":"0x…","skb":"0x…","timestamp":`
    #[inline]
    fn push_beginning(&mut self, event: &Event) {
        if self.packet != (event.packet, event.skb) || self.beginning.is_empty() {
            self.packet = (event.packet, event.skb);
            self.beginning.clear();
            let out = &mut self.beginning;
            out.extend_from_slice(b"{\"type\":\"event\",\"packet\":");
            push_quoted_hex(out, event.packet);
            out.extend_from_slice(b",\"skb\":");
            match event.skb {
                0 => out.extend_from_slice(b"null"),
                skb => push_quoted_hex(out, skb),
            }
            out.extend_from_slice(b",\"timestamp\":");
        }
        self.output.buffer.extend_from_slice(&self.beginning);
    }
}

impl Sink for Jsonl {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.fields = Fields::new(&trace.schema, Style::JsonTyped)?;
        self.append(&trace.functions);
        self.reasons = Reasons::new(trace);
        push_trace(&mut self.output.buffer, trace);
        self.output.flush()
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        let out = &mut self.output.buffer;
        out.extend_from_slice(b"{\"type\":\"functions\"");
        push_number(out, "first", self.functions.len() as u64);
        push_key(out, "functions");
        push_list(out, new, push_function);
        out.extend_from_slice(b"}\n");
        self.append(new);
        self.reasons.append(new);
        self.output.flush()
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.fields.learn(&batch.names);
        for event in &batch.events {
            if !event.kind.is_call() {
                let function = Some(event.function).filter(|index| (*index as usize) < self.functions.len());
                let out = &mut self.output.buffer;
                if event.kind == EventKind::BORN {
                    push_relation(out, event, "born", "parent", function);
                } else if event.kind == EventKind::JOINED {
                    push_relation(out, event, "joined", "into", function);
                } else if let Some(decision) = event.decision() {
                    push_decided(out, event, decision, &self.functions);
                } else if let Some(outcome) = event.outcome() {
                    let stack = self.stack.take().filter(|(packet, _)| *packet == event.packet);
                    let stack = stack.and_then(|(_, stack)| self.names.get(&stack));
                    push_ended(
                        out,
                        event,
                        outcome,
                        &self.reasons,
                        &mut self.explained,
                        (function, stack),
                    );
                } else {
                    if event.kind == EventKind::STACK {
                        self.stack = Some((event.packet, event.function));
                    }
                    continue;
                }
                self.output.line_done()?;
                continue;
            }
            self.push_beginning(event);
            let out = &mut self.output.buffer;
            self.clock.push(out, event.timestamp);
            out.extend_from_slice(b",\"cpu\":");
            push_unsigned(out, u64::from(event.cpu));
            out.extend_from_slice(b",\"thread\":");
            push_unsigned(out, u64::from(event.thread));
            self.functions.push(out, event.function);
            match event.duration() {
                _ if event.kind == EventKind::ENTRY => out.extend_from_slice(b"\"entry\""),
                Some(duration) => {
                    out.extend_from_slice(b"\"return\",\"duration\":");
                    push_unsigned(out, duration);
                }
                None => out.extend_from_slice(b"\"return\",\"duration\":null"),
            }
            if let Some((waited, place)) = self.waiting.note(event) {
                push_number(out, "waited", waited);
                let queue = match place {
                    Place::Qdisc(qdisc) => qdisc,
                    Place::Socket => "socket",
                    Place::Neighbour => "neighbour",
                };
                push_string(out, "queue", queue);
            }
            self.fields.push(out, batch.payload_of(event));
            out.extend_from_slice(b"}\n");
            self.output.line_done()?;
        }
        self.output.flush()
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), SinkError> {
        push_summary(&mut self.output.buffer, summary);
        self.output.flush()
    }
}

/// `function`: its index, if it is one of the trace.
fn push_relation(out: &mut Vec<u8>, event: &Event, kind: &str, other: &str, function: Option<u32>) {
    out.extend_from_slice(b"{\"type\":");
    push_json_string(out, kind);
    push_key(out, "packet");
    push_quoted_hex(out, event.packet);
    push_key(out, other);
    push_quoted_hex(out, event.spare);
    push_happening(out, event, function);
    out.extend_from_slice(b"}\n");
}

/// What lines of packets' beginnings and ends have in common.
fn push_happening(out: &mut Vec<u8>, event: &Event, function: Option<u32>) {
    push_key(out, "skb");
    push_quoted_hex(out, event.skb);
    push_number(out, "timestamp", event.timestamp);
    push_number(out, "cpu", u64::from(event.cpu));
    push_number(out, "thread", u64::from(event.thread));
    push_key(out, "function_index");
    match function {
        Some(index) => push_unsigned(out, u64::from(index)),
        None => out.extend_from_slice(b"null"),
    }
}

/// `functions` have the texts of what decided, and end with the key of the kind.
fn push_decided(out: &mut Vec<u8>, event: &Event, decision: Decision, functions: &FunctionTexts) {
    out.extend_from_slice(b"{\"type\":\"decided\",\"packet\":");
    push_quoted_hex(out, event.packet);
    push_number(out, "timestamp", event.timestamp);
    push_number(out, "cpu", u64::from(event.cpu));
    push_number(out, "thread", u64::from(event.thread));
    functions.push(out, event.function);
    push_json_string(out, decision.kind());
    push_string(out, "decision", decision.name());
    out.extend_from_slice(b"}\n");
}

/// Takes the advice that earlier lines have given, and adds to it. `by`: the index of the function, if it is one of the
/// trace, and the name of the stack, if there is one.
fn push_ended(
    out: &mut Vec<u8>,
    event: &Event,
    outcome: Outcome,
    reasons: &Reasons,
    explained: &mut BTreeSet<(u64, u32)>,
    (function, stack): (Option<u32>, Option<&String>),
) {
    out.extend_from_slice(b"{\"type\":\"ended\",\"packet\":");
    push_quoted_hex(out, event.packet);
    push_happening(out, event, function);
    push_string(out, "outcome", outcome.name());
    if let Outcome::Dropped { reason: number } = outcome {
        push_number(out, "reason_number", u64::from(number));
        push_key(out, "reason");
        match reasons.name(outcome) {
            Some(name) => push_json_string(out, name),
            None => out.extend_from_slice(b"null"),
        }
    }
    if let Some(class) = reasons.class(outcome, event.function) {
        push_string(out, "class", class.name());
    }
    if let Some(stack) = stack {
        push_key(out, "stack");
        let frames: Vec<&str> = stack::frames(stack).collect();
        push_list(out, &frames, |out, frame| push_json_string(out, frame));
    }
    if let Some(index) = reasons.advice(outcome, event.function)
        && explained.insert((event.spare, event.function))
    {
        let advice = &advice::all()[index];
        push_string(out, "why", advice.why);
        if !advice.remedy.is_empty() {
            push_string(out, "remedy", advice.remedy);
        }
    }
    out.extend_from_slice(b"}\n");
}

fn push_trace(out: &mut Vec<u8>, trace: &Trace) {
    out.extend_from_slice(b"{\"type\":\"trace\",\"version\":");
    push_unsigned(out, u64::from(VERSION));
    push_string(out, "kernel", &trace.kernel_release);
    push_string(out, "tracer", trace.tracer.name());
    push_string(out, "backend", &trace.backend);
    push_number(out, "mark", u64::from(trace.mark));
    push_number(out, "mask", u64::from(trace.mask));
    if trace.follow {
        push_string(out, "filter", &trace.filter);
        push_key(out, "follow");
        out.extend_from_slice(b"true");
    }
    push_key(out, "clock_offset");
    out.extend_from_slice(b"{\"seconds\":");
    push_signed(out, trace.clock_offset.div_euclid(NANOSECONDS));
    push_number(out, "nanoseconds", trace.clock_offset.rem_euclid(NANOSECONDS) as u64);
    out.push(b'}');
    push_key(out, "command_line");
    push_list(out, &trace.command_line, |out, argument| {
        push_json_string(out, argument)
    });
    push_key(out, "functions");
    push_list(out, &trace.functions, push_function);
    push_key(out, "schema");
    out.extend_from_slice(b"{\"size\":");
    push_unsigned(out, u64::from(trace.schema.size));
    push_key(out, "fields");
    push_list(out, &trace.schema.fields, push_field);
    if trace.schema.tail {
        push_key(out, "tagged");
        out.extend_from_slice(b"true");
    }
    out.extend_from_slice(b"}}\n");
}

fn push_function(out: &mut Vec<u8>, function: &Function) {
    out.extend_from_slice(b"{\"name\":");
    push_json_string(out, &function.name);
    push_string(out, "module", &function.module);
    push_key(out, "address");
    match function.address {
        0 => out.extend_from_slice(b"null"),
        address => push_quoted_hex(out, address),
    }
    out.push(b'}');
}

fn push_field(out: &mut Vec<u8>, field: &Field) {
    out.extend_from_slice(b"{\"name\":");
    push_json_string(out, &field.name);
    push_number(out, "offset", u64::from(field.offset));
    push_number(out, "size", u64::from(field.size));
    if let Some(bits) = field.bits {
        push_key(out, "bits");
        out.extend_from_slice(b"{\"offset\":");
        push_unsigned(out, u64::from(bits.offset));
        push_number(out, "width", u64::from(bits.width));
        out.push(b'}');
    }
    push_string(out, "type", field.kind.name());
    push_string(out, "format", field.format.name());
    // The symbols of the format of that name are the kernel's, some hundred thousand, and no part of the schema.
    if let FieldFormat::Enum(members) | FieldFormat::Flags(members) = &field.format {
        push_key(out, "members");
        push_list(out, members, |out, member: &EnumMember| {
            out.extend_from_slice(b"{\"name\":");
            push_json_string(out, &member.name);
            push_key(out, "value");
            match field.kind {
                FieldType::Signed => push_signed(out, member.value as i64),
                _ => push_unsigned(out, member.value),
            }
            out.push(b'}');
        });
    }
    out.push(b'}');
}

fn push_summary(out: &mut Vec<u8>, summary: &Summary) {
    for loss in &summary.losses {
        out.extend_from_slice(b"{\"type\":\"lost\"");
        push_string(out, "kind", loss.kind.name());
        push_key(out, "cpu");
        match loss.cpu {
            Some(cpu) => push_unsigned(out, u64::from(cpu)),
            None => out.extend_from_slice(b"null"),
        }
        push_number(out, "count", loss.count);
        out.extend_from_slice(b"}\n");
    }
    out.extend_from_slice(b"{\"type\":\"summary\"");
    push_number(out, "events", summary.events);
    push_number(out, "packets", summary.packets);
    push_number(out, "lost", summary.lost());
    push_number(out, "attached", u64::from(summary.attached));
    push_key(out, "skipped");
    push_list(out, &summary.skipped, |out, skipped| {
        out.extend_from_slice(b"{\"name\":");
        push_json_string(out, &skipped.name);
        push_string(out, "module", &skipped.module);
        push_string(out, "reason", &skipped.reason);
        out.push(b'}');
    });
    out.extend_from_slice(b"}\n");
}

/// `,"key":`
fn push_key(out: &mut Vec<u8>, key: &str) {
    out.push(b',');
    push_json_string(out, key);
    out.push(b':');
}

/// `,"key":"value"`
fn push_string(out: &mut Vec<u8>, key: &str, value: &str) {
    push_key(out, key);
    push_json_string(out, value);
}

/// `,"key":1`
fn push_number(out: &mut Vec<u8>, key: &str, value: u64) {
    push_key(out, key);
    push_unsigned(out, value);
}

/// `"0x0123456789abcdef"`
fn push_quoted_hex(out: &mut Vec<u8>, value: u64) {
    out.push(b'"');
    push_hex_wide(out, value);
    out.push(b'"');
}

/// `[…,…]`
fn push_list<T>(out: &mut Vec<u8>, items: &[T], push: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push(out, item);
    }
    out.push(b']');
}
