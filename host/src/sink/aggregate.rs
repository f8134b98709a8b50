//! `-o aggregate`: every packet's journey on its own, printed when the trace ends.
//!
//! ```text
//! Timestamp            CPU                   Module                         Function
//! ===
//! 464048546191357      005             nf_conntrack                ipv4_conntrack_in
//! ```
//!
//! Packets come in the order of their first event, each after a line `===`; a packet's events come in order of time.
//! With the function graph the last column is the call, indented by two spaces a level:
//!
//! ```text
//! 75681559993          000                  vmlinux ip_output() {
//! 75681561000          000                  vmlinux   nf_hook_slow() {
//! 75681562139          000                  vmlinux   } /* 1.139 us */
//! 75681562500          000                  vmlinux } /* 2.507 us */
//! ```
//!
//! Durations are in microseconds, whatever their length. `} /* name */` is a return whose entry was lost, and a brace
//! that is never closed an entry whose return was. Nothing is cut: what is wider than its column moves the rest.
//! Losses are no rows; the session reports them on stderr.

use std::io::Write;

use super::counter::Counter;
use super::fields::Fields;
use super::graph::{Graph, Line};
use super::journal::{Journal, Kept, LIMIT};
use super::output::Output;
use super::text::*;
use super::{Sink, SinkError};
use crate::event::{Batch, EventKind, Function, Summary, Trace, Tracer};

/// Columns of the call in the function graph.
const CALL_WIDTH: usize = 64;

/// The sink behind `-o aggregate`.
#[derive(Debug)]
pub struct Aggregate<W> {
    output: Output<W>,
    journal: Journal,
    fields: Fields,
    functions: Vec<Function>,
    graph: bool,
    counter: Option<Counter>,
}

impl<W: Write> Aggregate<W> {
    /// Writes to `writer` when the trace has ended.
    pub fn new(writer: W) -> Self {
        Aggregate {
            output: Output::new(writer),
            journal: Journal::default(),
            fields: Fields::default(),
            functions: Vec::new(),
            graph: false,
            counter: None,
        }
    }

    /// Shows how many events there are so far.
    pub fn with_counter(mut self, counter: Option<Counter>) -> Self {
        self.counter = counter;
        self
    }

    /// Prints all packets, row by row.
    fn print(&mut self) -> Result<(), SinkError> {
        let out = &mut self.output.buffer;
        out.extend_from_slice(b"Timestamp            CPU                   Module                         Function\n");
        let rows = Rows::new(&self.functions, self.graph);
        let mut graph = Graph::default();
        let mut events = Vec::new();
        let mut payload = Vec::new();
        for packet in 0..self.journal.packets() {
            self.output.buffer.extend_from_slice(b"===\n");
            self.journal.events_of(packet, &mut events);
            if !events.is_sorted_by_key(|event| self.journal.timestamp(*event)) {
                events.sort_by_key(|event| self.journal.timestamp(*event));
            }
            let mut lines: &[Line] = &[];
            if self.graph {
                lines = graph.lay_out(events.iter().map(|event| self.journal.event(*event)));
            }
            for (position, event) in events.iter().enumerate() {
                let kept = self.journal.event(*event);
                let out = &mut self.output.buffer;
                rows.push(out, &kept, lines.get(position));
                if !self.fields.is_empty() {
                    self.journal.payload(*event, &mut payload);
                    self.fields.push_text(out, &payload);
                }
                out.push(b'\n');
                self.output.line_done()?;
            }
        }
        self.output.flush()
    }
}

impl<W: Write> Sink for Aggregate<W> {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.fields = Fields::new(&trace.schema)?;
        self.functions.clone_from(&trace.functions);
        self.graph = trace.tracer == Tracer::FunctionGraph;
        self.journal = Journal::new(self.graph, trace.schema.size as usize);
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        for event in &batch.events {
            if !self.journal.push(event, batch.payload_of(event)) {
                return Err(SinkError::Full { limit: LIMIT as u64 });
            }
        }
        if let Some(counter) = &mut self.counter {
            counter.add(batch.events.len());
        }
        Ok(())
    }

    fn finish(&mut self, _summary: &Summary) -> Result<(), SinkError> {
        if let Some(counter) = &mut self.counter {
            counter.clear();
        }
        self.print()
    }
}

/// What rows are made of: the texts of all functions, ready to be copied.
struct Rows {
    /// The module's column and what is before the call; without the graph the function's column too.
    columns: FunctionTexts,
    /// The function's name alone.
    names: FunctionTexts,
}

impl Rows {
    fn new(functions: &[Function], graph: bool) -> Self {
        let columns = FunctionTexts::new(functions, |out, function| {
            out.push(b' ');
            push_right_aligned(out, &function.module, 24);
            out.push(b' ');
            if !graph {
                push_right_aligned(out, &function.name, 32);
            }
        });
        let names = FunctionTexts::new(functions, |out, function| push_visible(out, &function.name));
        Rows { columns, names }
    }

    /// The event's row, up to the fields. `line` is its place in the graph, if there is one.
    fn push(&self, out: &mut Vec<u8>, event: &Kept, line: Option<&Line>) {
        push_left_aligned(out, event.timestamp);
        out.push(b' ');
        push_zero_padded(out, u64::from(event.cpu), 3);
        out.extend_from_slice(self.columns.of(event.function));
        if let Some(line) = line {
            let start = out.len();
            push_spaces(out, 2 * line.level as usize);
            match (event.kind, line.paired) {
                (EventKind::Entry, _) => {
                    out.extend_from_slice(self.names.of(event.function));
                    out.extend_from_slice(b"() {");
                }
                (EventKind::Return, true) => {
                    out.extend_from_slice(b"} /* ");
                    push_microseconds(out, event.timestamp.saturating_sub(event.entry_timestamp));
                    out.extend_from_slice(b" us */");
                }
                (EventKind::Return, false) => {
                    out.extend_from_slice(b"} /* ");
                    out.extend_from_slice(self.names.of(event.function));
                    out.extend_from_slice(b" */");
                }
            }
            let used = out.len() - start;
            push_spaces(out, CALL_WIDTH.saturating_sub(used));
        }
    }
}

/// `%-20`: no timestamp is wider.
fn push_left_aligned(out: &mut Vec<u8>, value: u64) {
    let start = out.len();
    push_unsigned(out, value);
    push_spaces(out, (start + 20).saturating_sub(out.len()));
}

/// A name, made visible, with spaces in front up to the width in characters.
fn push_right_aligned(out: &mut Vec<u8>, name: &str, width: usize) {
    let mut visible = Vec::with_capacity(name.len());
    push_visible(&mut visible, name);
    let characters = visible.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    push_spaces(out, width.saturating_sub(characters));
    out.extend_from_slice(&visible);
}

/// Nanoseconds as microseconds with three decimals.
fn push_microseconds(out: &mut Vec<u8>, nanoseconds: u64) {
    push_unsigned(out, nanoseconds / 1000);
    out.push(b'.');
    push_zero_padded(out, nanoseconds % 1000, 3);
}
