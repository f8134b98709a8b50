//! `-o aggregate`: every packet's journey on its own, printed when the trace ends.
//!
//! ```text
//! Timestamp            CPU                   Module                         Function
//! ===
//! 464048546191357      005             nf_conntrack                ipv4_conntrack_in
//! ```
//!
//! Where packets are followed, the line names the packet, and the one that it was made of:
//!
//! ```text
//! === 0x6ad8e5c24f7001 made of 0x6ad8e5a1be3001 by __copy_skb_header
//! ```
//!
//! and how the packet ended, if that is known, and the function that dropped it:
//!
//! ```text
//! === 0x6ad8e5c24f7001 dropped NETFILTER_DROP in nft_do_chain
//! ```
//!
//! A drop that is no loss, by its class, is called `discarded`. If the built-in fields have the packet's addresses, the
//! line ends with them:
//!
//! ```text
//! === 0x6ad8e5c24f7001 delivered: 10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1, 84 B
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
//!
//! Events are kept in memory, up to a limit. When it is reached the oldest packets are printed early, as many as it
//! takes to make room and no more, so that the trace never stands still for long. The packets' order stays the same.
//! One that goes on after that comes again further down, as if it were new.

use std::io::Write;

use super::counter::Counter;
use super::fields::{Fields, Style};
use super::graph::Graph;
use super::heading::Headings;
use super::journal::{Journal, Kept};
use super::output::Output;
use super::reasons::Reasons;
use super::rows::Rows;
use super::{Sink, SinkError};
use crate::event::{Batch, Event, Function, Summary, Trace, Tracer};
use crate::text::push_hex;

/// Number of events between checks of the memory.
const STEP: usize = 4096;
/// The part of the memory for packets of which no traced function is known.
const UNSEEN: usize = 16;

/// Callback at the end with the number of packets that were printed before it.
pub type Reported = Box<dyn FnMut(u64)>;

/// The sink behind `-o aggregate`.
pub struct Aggregate {
    journal: Journal,
    printer: Printer,
    counter: Option<Counter>,
    /// Bytes of memory that the journal may take.
    max_memory: usize,
    /// Packets that were printed early.
    early: u64,
    reported: Option<Reported>,
}

impl Aggregate {
    /// Writes to `writer` when the trace has ended, and keeps everything until then.
    pub fn new(writer: impl Write + Send + 'static) -> Self {
        Aggregate {
            journal: Journal::default(),
            printer: Printer::new(Output::new(writer)),
            counter: None,
            max_memory: usize::MAX,
            early: 0,
            reported: None,
        }
    }

    /// Shows how many events there are so far.
    pub fn with_counter(mut self, counter: Option<Counter>) -> Self {
        self.counter = counter;
        self
    }

    /// Limits the bytes of buffered events; above it, the oldest packets are printed early. `reported` is called at the
    /// end if any were.
    pub fn with_max_memory(mut self, bytes: u64, reported: Reported) -> Self {
        self.max_memory = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.reported = Some(reported);
        self
    }

    /// Prints the oldest packets until these events fit. If they never do, because the limit is less than the least
    /// that the journal can take, nothing else is left in it then.
    fn make_room(&mut self, events: &[Event]) -> Result<(), SinkError> {
        let limit = self.journal_limit();
        if self.journal.bytes_with(events) <= limit {
            return Ok(());
        }
        if let Some(counter) = &mut self.counter {
            counter.clear();
        }
        while self.journal.bytes_with(events) > limit && self.print_oldest()? {
            self.early += 1;
        }
        Ok(())
    }

    /// Returns the journal's share of the memory limit. All events may belong to one packet, and printing it takes 32
    /// bytes per event in the graph, and 6 if they must be sorted, in addition to the 32 or 20 of the journal.
    fn journal_limit(&self) -> usize {
        let eighths = match (self.printer.graph.is_some(), self.journal.is_sorted()) {
            (false, true) => return self.max_memory,
            (false, false) => 6,
            (true, true) => 4,
            (true, false) => 3,
        };
        self.max_memory / 8 * eighths
    }

    /// Prints the oldest packet and forgets it; false if there is none.
    fn print_oldest(&mut self) -> Result<bool, SinkError> {
        let Some(packet) = self.journal.oldest() else {
            return Ok(false);
        };
        self.printer.print(&self.journal, packet)?;
        self.journal.forget_oldest();
        Ok(true)
    }
}

impl Sink for Aggregate {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let graph = trace.tracer == Tracer::FunctionGraph;
        self.journal = Journal::new(graph, &trace.schema);
        if trace.follow {
            self.journal = std::mem::take(&mut self.journal).with_lineages(self.max_memory / UNSEEN);
        }
        self.printer.start(trace, graph)
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        self.printer.rows.append_functions(new);
        self.printer.reasons.append(new);
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.printer.fields.learn(&batch.names);
        for events in batch.events.chunks(STEP) {
            self.make_room(events)?;
            for event in events {
                if event.kind.is_call() {
                    self.journal.push(event, batch);
                } else {
                    self.journal.note(event);
                }
            }
        }
        if let Some(counter) = &mut self.counter {
            counter.add(batch.calls().count());
        }
        Ok(())
    }

    fn finish(&mut self, _summary: &Summary) -> Result<(), SinkError> {
        if let Some(counter) = &mut self.counter {
            counter.clear();
        }
        self.journal.close();
        while self.print_oldest()? {}
        self.printer.finish()?;
        if let Some(reported) = self.reported.as_mut().filter(|_| self.early > 0) {
            reported(self.early);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Aggregate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Aggregate")
            .field("max_memory", &self.max_memory)
            .field("early", &self.early)
            .finish_non_exhaustive()
    }
}

/// Buffers for printing packets.
#[derive(Debug)]
struct Printer {
    output: Output,
    /// The line above all rows is written.
    begun: bool,
    fields: Fields,
    rows: Rows,
    graph: Option<Graph>,
    /// A packet's events in order of time, where they did not come so.
    sorted: Vec<u32>,
    reasons: Reasons,
    headings: Headings,
}

impl Printer {
    fn new(output: Output) -> Self {
        Printer {
            output,
            begun: false,
            fields: Fields::default(),
            rows: Rows::new(&[], false),
            graph: None,
            sorted: Vec::new(),
            reasons: Reasons::default(),
            headings: Headings::default(),
        }
    }

    fn start(&mut self, trace: &Trace, graph: bool) -> Result<(), SinkError> {
        self.fields = Fields::new(&trace.schema, Style::Text)?;
        self.rows = Rows::new(&trace.functions, graph);
        self.graph = graph.then(Graph::default);
        self.reasons = Reasons::new(trace);
        self.headings = Headings::new(&trace.schema)?;
        Ok(())
    }

    fn begin(&mut self) {
        if !std::mem::replace(&mut self.begun, true) {
            self.output.buffer.extend_from_slice(
                b"Timestamp            CPU                   Module                         Function\n",
            );
        }
    }

    /// Prints the packet with this number.
    fn print(&mut self, journal: &Journal, packet: u32) -> Result<(), SinkError> {
        self.begin();
        self.push_heading(journal, packet);
        if journal.is_sorted() {
            return self.print_events(journal, journal.events_of(packet));
        }
        let mut sorted = std::mem::take(&mut self.sorted);
        sorted.clear();
        sorted.extend(journal.events_of(packet).map(|event| event.index));
        sorted.sort_by_key(|event| journal.event(*event).timestamp);
        let printed = self.print_events(journal, sorted.iter().map(|event| journal.event(*event)));
        self.sorted = sorted;
        printed
    }

    /// Where packets are followed, the heading names the packet, the one that it was made of, and its end; and the
    /// packet in words, if its fields give any.
    fn push_heading(&mut self, journal: &Journal, packet: u32) {
        let out = &mut self.output.buffer;
        out.extend_from_slice(b"===");
        if let Some(lineage) = journal.lineage(packet) {
            out.push(b' ');
            push_hex(out, journal.identity(packet));
            lineage.push(out, b" ", &self.reasons, self.rows.names());
            let events = journal.events_of(packet);
            self.headings
                .push(out, b": ", events.map(|event| journal.payload(event.index)));
        }
        out.push(b'\n');
    }

    /// Prints one packet's events, which are in order of time.
    #[inline]
    fn print_events(&mut self, journal: &Journal, events: impl Iterator<Item = Kept> + Clone) -> Result<(), SinkError> {
        let lines = match &mut self.graph {
            Some(graph) => graph.lay_out(events.clone()),
            None => &[],
        };
        let mut lines = lines.iter();
        for event in events {
            let out = &mut self.output.buffer;
            self.rows.push(out, &event, lines.next());
            if !self.fields.is_empty() {
                self.fields.push(out, journal.payload(event.index));
            }
            out.push(b'\n');
            self.output.line_done()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.begin();
        self.output.flush()
    }
}
