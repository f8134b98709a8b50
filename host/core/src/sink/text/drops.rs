//! The output of `ipft drops`, for people: a line for each packet that the kernel drops, and a table at the end.
//!
//! ```text
//! 12:00:00.000000Z  NETFILTER_DROP in nft_do_chain  10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1, 84 B   dev vb
//!                   A rule of the firewall, or the policy of a chain, refused it.
//!                   nft list ruleset, or iptables-save -c
//!
//! count  reason          in            device  last packet
//!     3  NETFILTER_DROP  nft_do_chain  vb      10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 3, 84 B
//! 3 packets were dropped.
//! ```
//!
//! On a terminal the table is below the lines, too, and is written again at least once a second.
//!
//! Each packet of the trace is an entry and an end, which follow each other. Drops that are no loss, by their class,
//! are counted, and shown only if all are to be. The counts of the table are those of the kernel's side, as it sends
//! only so many packets of each place.

use std::collections::BTreeMap;
use std::io::Write;

use super::super::output::Output;
use super::super::reasons::Reasons;
use super::super::texts::FunctionTexts;
use super::super::tuple::builtin;
use super::super::{Sink, SinkError};
use super::shown::{Known, Shown};
use super::table::{self, Counted, Screen, Sums};
use super::times::Times;

use super::{DIM, PLAIN, RED, TextOptions, TextTime};
use crate::advice::{self, Class};
use crate::event::{Batch, DropTotals, Event, EventKind, Function, Outcome, Progress, Schema, Summary, Trace};
use crate::text::*;

/// Bytes of a device's or a thread's name.
const NAME: usize = 16;
/// Rows of the table that are remembered with their last packet.
const MOST_ROWS: usize = 4096;

/// The options of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropsOptions {
    /// How it looks.
    pub text: TextOptions,
    /// Show drops that are no loss, too.
    pub all: bool,
}

/// The sink behind `ipft drops`.
#[derive(Debug)]
pub struct Drops {
    output: Output,
    options: DropsOptions,
    totals: DropTotals,
    names: FunctionTexts,
    /// The functions' names, for the table.
    functions: Vec<String>,
    reasons: Reasons,
    /// By the index of the advice: whether it was shown.
    explained: Vec<bool>,
    known: Known,
    iface: Option<usize>,
    comm: Option<usize>,
    pid: Option<usize>,
    times: Times,
    rows: BTreeMap<(u32, u32), Row>,
    /// Packets with a line.
    lines: u64,
    standing: Option<Standing>,
}

/// What is remembered of a function and a reason.
#[derive(Debug, Default)]
struct Row {
    /// Packets that were sent.
    sent: u64,
    device: Vec<u8>,
    /// The last packet, in words.
    packet: Vec<u8>,
}

/// The table that is on the terminal, below the lines.
struct Standing {
    /// Returns the size of the terminal, if it is known.
    screen: Box<dyn Fn() -> Option<Screen>>,
    /// Lines of the table on the screen.
    lines: usize,
}

impl std::fmt::Debug for Standing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Standing")
            .field("lines", &self.lines)
            .finish_non_exhaustive()
    }
}

impl Drops {
    /// Writes to `writer`, once per batch. `totals` are those of the trace.
    pub fn new(writer: impl Write + Send + 'static, options: DropsOptions, totals: DropTotals) -> Self {
        Drops {
            output: Output::new(writer),
            options,
            totals,
            names: FunctionTexts::default(),
            functions: Vec::new(),
            reasons: Reasons::default(),
            explained: vec![false; advice::all().len()],
            known: Known::default(),
            iface: None,
            comm: None,
            pid: None,
            times: Times::new(TextTime::Absolute),
            rows: BTreeMap::new(),
            lines: 0,
            standing: None,
        }
    }

    /// Keeps the table on the terminal, which has this size at the moment.
    pub fn with_table(mut self, screen: Box<dyn Fn() -> Option<Screen>>) -> Self {
        self.standing = Some(Standing { screen, lines: 0 });
        self
    }

    fn append(&mut self, new: &[Function]) {
        self.names
            .append(new, |out, function| push_visible(out, &function.name));
        self.functions
            .extend(new.iter().map(|function| visible(&function.name).into_owned()));
    }

    /// Returns the name of a reason, or its number; empty where the kernel tells none.
    fn reason(&self, reason: u32) -> String {
        match self.reasons.name(Outcome::Dropped { reason }) {
            // Its name says that a packet is not dropped; ipft's own counts have it where the reasons are several.
            _ if reason == 0 => String::new(),
            Some(name) => visible(name).into_owned(),
            None => reason.to_string(),
        }
    }

    fn class(&self, reason: u32, function: u32) -> Class {
        let class = self.reasons.class(Outcome::Dropped { reason }, function);
        class.unwrap_or(Class::Lost)
    }

    /// Appends the line of a packet. `stack`: the functions that were running, if they are known.
    fn print(&mut self, entry: &Event, stack: Option<u32>, reason: u32, batch: &Batch) {
        let payload = batch.payload_of(entry);
        let mut shown = Shown::default();
        let mut packet = Vec::new();
        if !self.known.push_name(&mut packet, &mut shown, std::iter::once(payload)) {
            packet.extend_from_slice(b"packet");
        }
        self.known.push_len(&mut packet, &shown, 0);

        let class = self.class(reason, entry.function);
        let key = (entry.function, reason);
        if self.rows.len() < MOST_ROWS || self.rows.contains_key(&key) {
            let device = text_at(payload, self.iface);
            let row = self.rows.entry(key).or_default();
            row.sent += 1;
            row.device.clear();
            push_visible_bytes(&mut row.device, device);
            row.packet.clone_from(&packet);
        }
        if class != Class::Lost && !self.options.all {
            return;
        }
        self.lines += 1;
        self.erase_table();
        self.color(DIM);
        self.times.push(&mut self.output.buffer, entry.timestamp, 0, 0, false);
        self.color(PLAIN);
        self.output.buffer.extend_from_slice(b"  ");
        if class == Class::Lost {
            self.color(RED);
        }
        let name = self.reason(reason);
        let out = &mut self.output.buffer;
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(if name.is_empty() { b"in " } else { b" in " });
        self.names.push(out, entry.function);
        self.color(PLAIN);
        let out = &mut self.output.buffer;
        out.extend_from_slice(b"  ");
        out.extend_from_slice(&packet);
        if let Some(split) = self.known.split(payload) {
            let mut bytes = vec![0; self.known.bytes()];
            let mut separator = b"   ".as_slice();
            let next = |out: &mut Vec<u8>| out.extend_from_slice(std::mem::replace(&mut separator, b", "));
            self.known.push_changes(out, &mut shown, &mut bytes, split, next);
        }
        self.known.push_netns(out, &shown);
        let pid = self.pid.and_then(|at| payload.get(at..)?.first_chunk()).copied();
        if let Some(pid) = pid.map(u32::from_ne_bytes).filter(|pid| *pid != 0) {
            out.extend_from_slice(b"   ");
            push_visible_bytes(out, text_at(payload, self.comm));
            out.push(b'[');
            push_unsigned(out, u64::from(pid));
            out.push(b']');
        }
        out.push(b'\n');
        if let Some(stack) = stack.filter(|_| self.options.text.stack) {
            let column = self.times.width() + 2;
            self.color(DIM);
            push_spaces(&mut self.output.buffer, column);
            self.names.push(&mut self.output.buffer, stack);
            self.output.buffer.push(b'\n');
            self.color(PLAIN);
        }
        self.explain(reason, entry.function);
    }

    /// Appends what the reason means, the first time.
    fn explain(&mut self, reason: u32, function: u32) {
        let Some(index) = self.reasons.advice(Outcome::Dropped { reason }, function) else {
            return;
        };
        if std::mem::replace(&mut self.explained[index], true) {
            return;
        }
        let advice = &advice::all()[index];
        let column = self.times.width() + 2;
        self.color(DIM);
        for line in [advice.why, advice.remedy].into_iter().filter(|line| !line.is_empty()) {
            let out = &mut self.output.buffer;
            push_spaces(out, column);
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        self.color(PLAIN);
    }

    /// Takes the table off the terminal. The cursor is below it.
    fn erase_table(&mut self) {
        if let Some(standing) = &mut self.standing
            && standing.lines > 0
        {
            let out = &mut self.output.buffer;
            out.extend_from_slice(b"\r\x1b[");
            push_unsigned(out, standing.lines as u64);
            out.extend_from_slice(b"A\x1b[J");
            standing.lines = 0;
        }
    }

    /// Writes the table to the terminal if it is not there, cut to its size.
    fn stand_table(&mut self) {
        let Some(standing) = self.standing.as_ref().filter(|standing| standing.lines == 0) else {
            return;
        };
        let screen = (standing.screen)().unwrap_or_default();
        let lines = self.push_table(Some(screen));
        if let Some(standing) = &mut self.standing {
            standing.lines = lines;
        }
    }

    /// Appends the table, and what is not in it. Returns the number of lines.
    fn push_table(&mut self, screen: Option<Screen>) -> usize {
        let totals = self.totals.get();
        let mut sums = Sums {
            lines: self.lines,
            all: self.options.all,
            ..Sums::default()
        };
        let mut counted = Vec::new();
        let reasons: Vec<String> = totals.iter().map(|total| self.reason(total.reason)).collect();
        for (total, reason) in totals.iter().zip(&reasons) {
            let class = match total.function {
                None => Class::Internal,
                Some(function) => self.class(total.reason, function),
            };
            if total.function.is_none() || class != Class::Lost && !self.options.all {
                let count = sums.hidden.entry(class.name()).or_default();
                *count = count.saturating_add(total.count);
                continue;
            }
            sums.dropped = sums.dropped.saturating_add(total.count);
            let function = total.function.unwrap_or_default();
            let row = self.rows.get(&(function, total.reason));
            counted.push(Counted {
                count: total.count,
                reason,
                function: self.functions.get(function as usize).map_or("?", String::as_str),
                device: row.map_or(&[], |row| &row.device),
                packet: row.map_or(&[], |row| &row.packet),
            });
        }
        counted.sort_by(|one, other| {
            (other.count, one.reason, one.function).cmp(&(one.count, other.reason, other.function))
        });
        table::push(&mut self.output.buffer, &counted, &sums, screen)
    }

    fn color(&mut self, escape: &[u8]) {
        if self.options.text.color {
            self.output.buffer.extend_from_slice(escape);
        }
    }
}

impl Sink for Drops {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.known = Known::new(&without_process(&trace.schema))?;
        self.iface = builtin(&trace.schema, "iface", NAME as u32);
        self.comm = builtin(&trace.schema, "comm", NAME as u32);
        self.pid = builtin(&trace.schema, "pid", 4);
        self.times.start(trace.clock_offset);
        self.reasons = Reasons::new(trace);
        self.append(&trace.functions);
        Ok(())
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        self.reasons.append(new);
        self.append(new);
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.known.learn(&batch.names);
        let (mut entry, mut stack) = (None, None);
        for event in &batch.events {
            let is_of = |entry: &&Event| entry.packet == event.packet;
            match event.kind {
                EventKind::ENTRY => (entry, stack) = (Some(event), None),
                EventKind::STACK => stack = entry.filter(is_of).map(|_| event.function),
                _ => {
                    if let Some(Outcome::Dropped { reason }) = event.outcome()
                        && let Some(entry) = entry.filter(is_of)
                    {
                        self.print(entry, stack, reason, batch);
                        self.output.line_done()?;
                    }
                    entry = None;
                }
            }
        }
        self.stand_table();
        self.output.flush()
    }

    fn progress(&mut self, _progress: &Progress) -> Result<(), SinkError> {
        self.erase_table();
        self.stand_table();
        self.output.flush()
    }

    fn finish(&mut self, _summary: &Summary) -> Result<(), SinkError> {
        self.erase_table();
        self.push_table(None);
        self.output.flush()
    }
}

/// The schema without the process, which is shown in its own way.
fn without_process(schema: &Schema) -> Schema {
    let is_process = |name: &str, size| builtin(schema, name, size);
    let places = [is_process("comm", NAME as u32), is_process("pid", 4)];
    let mut schema = schema.clone();
    (schema.fields).retain(|field| {
        let is_named = field.name == "comm" || field.name == "pid";
        !(is_named && places.contains(&Some(field.offset as usize)))
    });
    schema
}

/// The text at a place of a payload, up to its NUL.
fn text_at(payload: &[u8], at: Option<usize>) -> &[u8] {
    let bytes = at.and_then(|at| payload.get(at..at + NAME)).unwrap_or_default();
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
