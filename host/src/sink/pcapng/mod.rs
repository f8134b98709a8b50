//! `--pcapng`: the packets themselves, for Wireshark and its like, each with its journey as a comment.
//!
//! A packet's comment stands in the packet's block, so a packet is written when its journey is known: when the trace has
//! ended. Until then its events and its bytes are kept. When they take too much memory, the half of the packets that have
//! been quiet for longest are written; should one of them go on after that, the rest of its journey is missing in the
//! file. Packets are in order of their first event, among those that are written at one time.
//!
//! Only packets whose first bytes were recorded can be in the file; how many were not is told at the end.

mod blocks;
mod comment;

use std::io::{self, Write};

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::counter::Counter;
use super::graph::Graph;
use super::journal::Journal;
use super::output::Output;
use super::{Sink, SinkError};
use crate::event::{Batch, Event, Link, Schema, Summary, Trace, Tracer};
use blocks::Packet;
use comment::Comments;

/// Bytes that are kept by default, about.
const LIMIT: usize = 256 << 20;
/// What an event takes in the journal, and what a packet takes besides its bytes, about.
const EVENT: usize = 32;
const PACKET: usize = 128;

/// What is called with what the user should know when the file is complete.
type Tell = Box<dyn FnMut(&str)>;

/// What is called when everything has been written, so that the file appears.
type Complete<W> = fn(&mut W) -> io::Result<()>;

/// The sink behind `--pcapng`.
pub struct Pcapng<W> {
    output: Output<W>,
    complete: Complete<W>,
    tell: Tell,
    counter: Option<Counter>,
    limit: usize,
    journal: Journal,
    graph: Option<Graph>,
    comments: Comments,
    /// The first bytes of packets that have not been written.
    captured: HashMap<u64, Captured, FxBuildHasher>,
    /// Bytes in all of `captured`.
    captured_bytes: usize,
    clock_offset: i64,
    /// The links that were described as interfaces, in their order.
    interfaces: Vec<Link>,
    written: u64,
    /// Packets that had events and no bytes.
    without_bytes: u64,
    /// Packets were written before the end, so some of those may be the rest of one.
    written_early: bool,
}

/// The first bytes of a packet.
#[derive(Debug)]
struct Captured {
    timestamp: u64,
    link: Link,
    length: u32,
    bytes: Box<[u8]>,
}

/// Which packets are to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    /// Those whose last event was at this time or before.
    QuietSince(u64),
}

impl<W: Write> Pcapng<W> {
    /// Writes to `writer`, and calls `complete` when everything is written.
    pub fn new(writer: W, complete: Complete<W>, tell: Tell) -> Self {
        Pcapng {
            output: Output::new(writer),
            complete,
            tell,
            counter: None,
            limit: LIMIT,
            journal: Journal::default(),
            graph: None,
            comments: Comments::default(),
            captured: HashMap::default(),
            captured_bytes: 0,
            clock_offset: 0,
            interfaces: Vec::new(),
            written: 0,
            without_bytes: 0,
            written_early: false,
        }
    }

    /// Shows how many events there are so far.
    pub fn with_counter(mut self, counter: Option<Counter>) -> Self {
        self.counter = counter;
        self
    }

    /// Keeps about so many bytes at most.
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    fn memory(&self) -> usize {
        self.journal.len() * EVENT + self.captured.len() * PACKET + self.captured_bytes
    }

    /// Writes the half of the packets that have been quiet for longest.
    #[cold]
    fn make_room(&mut self) -> Result<(), SinkError> {
        let mut times: Vec<u64> = (0..self.journal.packets())
            .map(|packet| self.last_event(packet))
            .collect();
        // Bytes whose events have not come, or were not wanted.
        let seen: HashMap<u64, (), FxBuildHasher> = (0..self.journal.packets())
            .map(|packet| (self.journal.identity(packet), ()))
            .collect();
        let alone = self.captured.iter().filter(|(packet, _)| !seen.contains_key(*packet));
        times.extend(alone.map(|(_, captured)| captured.timestamp));
        if times.is_empty() {
            return Ok(());
        }
        let middle = (times.len() - 1) / 2;
        let (_, &mut middle, _) = times.select_nth_unstable(middle);
        self.written_early = true;
        self.write(Which::QuietSince(middle))?;
        self.captured
            .retain(|packet, captured| seen.contains_key(packet) || captured.timestamp > middle);
        self.captured_bytes = self.captured.values().map(|captured| captured.bytes.len()).sum();
        // Few packets that go on for ever would else be gone through again and again.
        if self.memory() > self.limit / 2 {
            self.write(Which::All)?;
        }
        self.output.flush()
    }

    fn last_event(&self, packet: u32) -> u64 {
        let times = self
            .journal
            .events_of(packet)
            .map(|event| self.journal.timestamp(event));
        times.max().unwrap_or(0)
    }

    /// Writes packets, forgets them, and keeps the others.
    fn write(&mut self, which: Which) -> Result<(), SinkError> {
        let journal = std::mem::replace(
            &mut self.journal,
            Journal::new(self.graph.is_some(), &Schema::default()),
        );
        let mut kept = Vec::new();
        let mut order = Vec::new();
        for packet in 0..journal.packets() {
            let times = journal.events_of(packet).map(|event| journal.timestamp(event));
            let (first, last) = times.fold((u64::MAX, 0), |(first, last), time| (first.min(time), last.max(time)));
            match which {
                Which::QuietSince(time) if last > time => kept.push(packet),
                _ => order.push((first, packet)),
            }
        }
        order.sort_unstable();
        let mut events = Vec::new();
        for (_, packet) in order {
            events.clear();
            events.extend(journal.events_of(packet));
            if !journal.is_sorted() {
                events.sort_by_key(|event| journal.timestamp(*event));
            }
            self.write_packet(&journal, journal.identity(packet), &events)?;
        }
        for packet in kept {
            for event in journal.events_of(packet).map(|event| journal.event(event)) {
                let event = Event {
                    packet: journal.identity(packet),
                    skb: 0,
                    timestamp: event.timestamp,
                    entry_timestamp: event.entry_timestamp,
                    function: event.function,
                    cpu: event.cpu,
                    kind: event.kind,
                    thread: event.thread,
                    payload_offset: 0,
                    payload_len: 0,
                    spare: 0,
                };
                // There was room for it, and for more.
                let _ = self.journal.push(&event, &[]);
            }
        }
        Ok(())
    }

    /// Writes a packet with its events, which are in order of time.
    fn write_packet(&mut self, journal: &Journal, identity: u64, events: &[u32]) -> Result<(), SinkError> {
        let Some(captured) = self.captured.remove(&identity) else {
            self.without_bytes += 1;
            return Ok(());
        };
        self.captured_bytes -= captured.bytes.len();
        let interface = self.interface(captured.link);
        let kept = events.iter().map(|event| journal.event(*event));
        let first = kept.clone().next().map_or(captured.timestamp, |event| event.timestamp);
        let lines = self.graph.as_mut().map(|graph| graph.lay_out(kept.clone()));
        let mut comment = Vec::new();
        self.comments.push(&mut comment, kept, lines);
        let packet = Packet {
            interface,
            time: first.saturating_add_signed(self.clock_offset),
            // A recording may say anything.
            length: captured.length.max(captured.bytes.len() as u32),
            bytes: &captured.bytes,
            identity,
            comment: &comment,
        };
        blocks::packet(&mut self.output.buffer, &packet);
        self.written += 1;
        self.output.line_done()
    }

    /// The number of the interface of this link, described if it was not.
    fn interface(&mut self, link: Link) -> u32 {
        if let Some(known) = self.interfaces.iter().position(|known| *known == link) {
            return known as u32;
        }
        // From the list of link types that pcap and pcapng share.
        let (link_type, name) = match link {
            Link::Ethernet => (1, "ethernet"),
            Link::Ip => (101, "ip"),
        };
        blocks::interface(&mut self.output.buffer, link_type, name);
        self.interfaces.push(link);
        (self.interfaces.len() - 1) as u32
    }
}

impl<W: Write> Sink for Pcapng<W> {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let graph = trace.tracer == Tracer::FunctionGraph;
        self.graph = graph.then(Graph::default);
        // Fields of an extension are not in a comment.
        self.journal = Journal::new(graph, &Schema::default());
        self.comments = Comments::new(&trace.functions);
        self.clock_offset = trace.clock_offset;
        blocks::section_header(
            &mut self.output.buffer,
            &format!("Linux {}", trace.kernel_release),
            concat!("ipft ", env!("CARGO_PKG_VERSION")),
            &trace.command_line.join(" "),
        );
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        for capture in &batch.captures {
            if let hashbrown::hash_map::Entry::Vacant(place) = self.captured.entry(capture.packet) {
                let bytes: Box<[u8]> = batch.bytes_of(capture).into();
                self.captured_bytes += bytes.len();
                place.insert(Captured {
                    timestamp: capture.timestamp,
                    link: capture.link,
                    length: capture.length,
                    bytes,
                });
            }
        }
        for event in &batch.events {
            if !self.journal.push(event, &[]) {
                self.make_room()?;
                // Half of what filled it is gone.
                let _ = self.journal.push(event, &[]);
            }
        }
        if let Some(counter) = &mut self.counter {
            counter.add(batch.events.len());
        }
        if self.memory() > self.limit {
            self.make_room()?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &Summary) -> Result<(), SinkError> {
        if let Some(counter) = &mut self.counter {
            counter.clear();
        }
        self.write(Which::All)?;
        if self.written == 0 && self.without_bytes > 0 {
            return Err(SinkError::NoBytes);
        }
        self.output.flush()?;
        (self.complete)(self.output.writer())?;
        if self.without_bytes > 0 {
            let early = match self.written_early {
                true => "; memory was short, so this may be the rest of packets that had been written already",
                false => "",
            };
            let packets = match self.without_bytes {
                1 => "1 packet is".to_owned(),
                many => format!("{many} packets are"),
            };
            (self.tell)(&format!("{packets} not in the file, for want of recorded bytes{early}"));
        }
        Ok(())
    }
}

impl<W> std::fmt::Debug for Pcapng<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pcapng")
            .field("written", &self.written)
            .field("captured", &self.captured.len())
            .finish_non_exhaustive()
    }
}
