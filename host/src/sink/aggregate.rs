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
use super::fields::{Fields, Style};
use super::graph::Graph;
use super::journal::{Journal, LIMIT};
use super::output::Output;
use super::rows::Rows;
use super::{Sink, SinkError};
use crate::event::{Batch, Function, Summary, Trace, Tracer};

/// The sink behind `-o aggregate`.
#[derive(Debug)]
pub struct Aggregate {
    output: Output,
    journal: Journal,
    fields: Fields,
    functions: Vec<Function>,
    graph: bool,
    counter: Option<Counter>,
}

impl Aggregate {
    /// Writes to `writer` when the trace has ended.
    pub fn new(writer: impl Write + 'static) -> Self {
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
        let mut printer = Printer {
            output: &mut self.output,
            journal: &self.journal,
            fields: &self.fields,
            rows: Rows::new(&self.functions, self.graph),
            graph: self.graph.then(Graph::default),
        };
        let mut sorted = Vec::new();
        for packet in 0..self.journal.packets() {
            let events = self.journal.events_of(packet);
            if self.journal.is_sorted() {
                printer.print(events)?;
            } else {
                sorted.clear();
                sorted.extend(events);
                sorted.sort_by_key(|event| self.journal.timestamp(*event));
                printer.print(sorted.iter().copied())?;
            }
        }
        self.output.flush()
    }
}

/// What it takes to print a packet.
struct Printer<'a> {
    output: &'a mut Output,
    journal: &'a Journal,
    fields: &'a Fields,
    rows: Rows,
    graph: Option<Graph>,
}

impl Printer<'_> {
    /// Prints one packet's events, which are in order of time.
    #[inline]
    fn print(&mut self, events: impl Iterator<Item = u32> + Clone) -> Result<(), SinkError> {
        self.output.buffer.extend_from_slice(b"===\n");
        let lines = match &mut self.graph {
            Some(graph) => graph.lay_out(events.clone().map(|event| self.journal.event(event))),
            None => &[],
        };
        let mut lines = lines.iter();
        for event in events {
            let out = &mut self.output.buffer;
            self.rows.push(out, &self.journal.event(event), lines.next());
            if !self.fields.is_empty() {
                self.fields.push(out, self.journal.payload(event));
            }
            out.push(b'\n');
            self.output.line_done()?;
        }
        Ok(())
    }
}

impl Sink for Aggregate {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.fields = Fields::new(&trace.schema, Style::Text)?;
        self.functions.clone_from(&trace.functions);
        self.graph = trace.tracer == Tracer::FunctionGraph;
        self.journal = Journal::new(self.graph, &trace.schema);
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.fields.learn(&batch.names);
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
