//! `--pcapng`: the packets themselves, for Wireshark and its like, each with its journey as a comment.
//!
//! A packet's comment stands in the packet's block, so a packet is written when its journey is known: when the trace
//! has ended. Until then its events and its bytes are kept. When they take too much memory, the oldest packets are
//! written; should one of them go on after that, the rest of its journey is missing in the file. Packets are in the
//! order of their first event.
//!
//! Only packets whose first bytes were recorded can be in the file; the number of others is reported at the end.
//!
//! The readers of libpcap, tcpdump among them, stop at a second link type. So a file has one: raw IP if all of its
//! packets are IP packets, and else Ethernet, where those that were recorded from their IP header on get an Ethernet
//! header with addresses of zeros, and an interface of their own that says so. Packets that have to be written before
//! the end are framed so, too, as Ethernet frames may follow.

mod blocks;
mod comment;

use std::io::{self, Write};

use crate::seeded::Seeded;
use hashbrown::HashMap;

use super::counter::Counter;
use super::graph::Graph;
use super::journal::{Journal, Kept};
use super::output::Output;
use super::{Sink, SinkError};
use crate::event::{Batch, Event, Function, Link, Schema, Summary, Trace, Tracer};
use blocks::Packet;
use comment::Comments;

/// Bytes that are kept by default, about.
pub const LIMIT: usize = 256 << 20;
/// Events by which memory grows at a time.
const STEP: usize = 4096;
/// Events of a packet that its comment is made of, of which it shows some hundred. The rest is counted.
const MOST_EVENTS: usize = 1 << 16;
/// Approximate memory per packet besides its bytes.
const PACKET: usize = 128;
/// The part of the memory for packets of which no traced function is known.
const UNSEEN: usize = 16;

/// Link types, of the list that pcap and pcapng share.
const ETHERNET: u16 = 1;
const RAW_IP: u16 = 101;
/// Description of an interface without recorded Ethernet headers.
const MADE_UP: &str = "recorded from the IP header on; the Ethernet headers are made up";

/// Callback for warnings when the file is complete.
type Tell = Box<dyn FnMut(&str)>;

/// Callback after everything was written, so that the file appears.
type Complete<W> = fn(&mut W) -> io::Result<()>;

/// The sink behind `--pcapng`.
pub struct Pcapng {
    output: Output,
    /// Completes the file. Not a parameter of the type: the sink is compiled once, in this crate.
    complete: Box<dyn FnMut() -> io::Result<()>>,
    tell: Tell,
    counter: Option<Counter>,
    limit: usize,
    journal: Journal,
    /// The events of the packet that is being written.
    sorted: Vec<Kept>,
    graph: Option<Graph>,
    comments: Comments,
    /// The first bytes of packets that have not been written.
    captured: HashMap<u64, Captured, Seeded>,
    /// Bytes in all of `captured`.
    captured_bytes: usize,
    /// Batches that have come.
    batches: u64,
    clock_offset: i64,
    /// Whether all packets are written as Ethernet frames; `None` before the first is written.
    ethernet: Option<bool>,
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
    /// Which batch they came with.
    batch: u64,
    link: Link,
    length: u32,
    bytes: Box<[u8]>,
}

impl Pcapng {
    /// Writes to `writer`, and calls `complete` when everything is written.
    pub fn new<W: Write + Send + Clone + 'static>(mut writer: W, complete: Complete<W>, tell: Tell) -> Self {
        Pcapng {
            output: Output::new(writer.clone()),
            complete: Box::new(move || complete(&mut writer)),
            tell,
            counter: None,
            limit: LIMIT,
            journal: Journal::default(),
            sorted: Vec::new(),
            graph: None,
            comments: Comments::default(),
            captured: HashMap::default(),
            captured_bytes: 0,
            batches: 0,
            clock_offset: 0,
            ethernet: None,
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

    /// Bytes that it can come to take with these events more.
    fn memory_with(&self, events: &[Event]) -> usize {
        (self.journal.bytes_with(events)).saturating_add(self.captured.len() * PACKET + self.captured_bytes)
    }

    /// Writes the oldest packets until these events fit.
    fn make_room(&mut self, events: &[Event]) -> Result<(), SinkError> {
        while self.memory_with(events) > self.limit {
            self.ethernet.get_or_insert(true);
            if self.write_oldest()? {
                self.written_early = true;
                continue;
            }
            // Bytes whose events have not come. Those of this batch may be in it.
            let (now, before) = (self.batches, self.captured.len());
            self.captured.retain(|_, captured| captured.batch == now);
            self.captured.shrink_to_fit();
            self.captured_bytes = self.captured.values().map(|captured| captured.bytes.len()).sum();
            if self.captured.len() == before {
                break;
            }
        }
        Ok(())
    }

    /// Writes the oldest packet and forgets it; false if there is none.
    fn write_oldest(&mut self) -> Result<bool, SinkError> {
        let Some(packet) = self.journal.oldest() else {
            return Ok(false);
        };
        let mut events = std::mem::take(&mut self.sorted);
        events.clear();
        let mut all = self.journal.events_of(packet);
        events.extend(all.by_ref().take(MOST_EVENTS));
        let more = all.count();
        if !self.journal.is_sorted() {
            events.sort_by_key(|event| event.timestamp);
        }
        self.write_packet(packet, &events, more)?;
        self.sorted = events;
        self.journal.forget_oldest();
        Ok(true)
    }

    /// Writes the packet with this number in the journal and with its events, which are in order of time, and the
    /// number of those that were left out.
    fn write_packet(&mut self, packet: u32, events: &[Kept], more: usize) -> Result<(), SinkError> {
        let identity = self.journal.identity(packet);
        let Some(captured) = self.captured.remove(&identity) else {
            self.without_bytes += 1;
            return Ok(());
        };
        self.captured_bytes -= captured.bytes.len();
        let ethernet = self.ethernet.unwrap_or(true);
        let interface = self.interface(captured.link, ethernet);
        let made_up = ethernet && captured.link == Link::Ip;
        let header = ethernet_header(&captured.bytes);
        let kept = events.iter().copied();
        let first = kept.clone().next().map_or(captured.timestamp, |event| event.timestamp);
        let lines = self.graph.as_mut().map(|graph| graph.lay_out(kept.clone()));
        let mut comment = Vec::new();
        if let Some(lineage) = self.journal.lineage(packet) {
            self.comments.push_lineage(&mut comment, identity, lineage);
        }
        self.comments.push(&mut comment, kept, more, lines);
        let packet = Packet {
            interface,
            time: first.saturating_add_signed(self.clock_offset),
            // A recording may say anything.
            length: captured.length.max(captured.bytes.len() as u32),
            header: if made_up { &header } else { &[] },
            bytes: &captured.bytes,
            identity,
            comment: &comment,
        };
        blocks::packet(&mut self.output.buffer, &packet);
        self.written += 1;
        self.output.line_done()
    }

    /// The number of the interface of this link, described if it was not.
    fn interface(&mut self, link: Link, ethernet: bool) -> u32 {
        if let Some(known) = self.interfaces.iter().position(|known| *known == link) {
            return known as u32;
        }
        let (link_type, name, description) = match link {
            Link::Ethernet => (ETHERNET, "ethernet", ""),
            Link::Ip if ethernet => (ETHERNET, "ip", MADE_UP),
            Link::Ip => (RAW_IP, "ip", ""),
        };
        blocks::interface(&mut self.output.buffer, link_type, name, description);
        self.interfaces.push(link);
        (self.interfaces.len() - 1) as u32
    }
}

/// The Ethernet header of an IP packet: addresses of zeros, and the type that the packet's version stands for.
fn ethernet_header(packet: &[u8]) -> [u8; 14] {
    let mut header = [0; 14];
    let version = packet.first().map_or(4, |first| first >> 4);
    header[12..].copy_from_slice(if version == 6 { &[0x86, 0xdd] } else { &[0x08, 0x00] });
    header
}

impl Sink for Pcapng {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let graph = trace.tracer == Tracer::FunctionGraph;
        self.graph = graph.then(Graph::default);
        // Fields of an extension are not in a comment.
        self.journal = Journal::new(graph, &Schema::default());
        if trace.follow {
            self.journal = std::mem::take(&mut self.journal).with_lineages(self.limit / UNSEEN);
        }
        self.comments = Comments::new(trace);
        self.clock_offset = trace.clock_offset;
        blocks::section_header(
            &mut self.output.buffer,
            &format!("Linux {}", trace.kernel_release),
            concat!("ipft ", env!("CARGO_PKG_VERSION")),
            &trace.command_line.join(" "),
        );
        Ok(())
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        self.comments.append(new);
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.batches += 1;
        for capture in &batch.captures {
            if let hashbrown::hash_map::Entry::Vacant(place) = self.captured.entry(capture.packet) {
                let bytes: Box<[u8]> = batch.bytes_of(capture).into();
                self.captured_bytes += bytes.len();
                place.insert(Captured {
                    timestamp: capture.timestamp,
                    batch: self.batches,
                    link: capture.link,
                    length: capture.length,
                    bytes,
                });
            }
        }
        if !batch.captures.is_empty() {
            self.make_room(&[])?;
        }
        for events in batch.events.chunks(STEP) {
            self.make_room(events)?;
            for event in events {
                match event.kind.is_call() {
                    true => self.journal.push(event, batch),
                    false => self.journal.note(event),
                }
            }
        }
        if let Some(counter) = &mut self.counter {
            counter.add(batch.calls().count());
        }
        Ok(())
    }

    fn finish(&mut self, _: &Summary) -> Result<(), SinkError> {
        if let Some(counter) = &mut self.counter {
            counter.clear();
        }
        self.journal.close();
        let frames = self.captured.values().any(|captured| captured.link == Link::Ethernet);
        self.ethernet.get_or_insert(frames);
        while self.write_oldest()? {}
        if self.written == 0 && self.without_bytes > 0 {
            return Err(SinkError::NoBytes);
        }
        self.output.flush()?;
        (self.complete)()?;
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

impl std::fmt::Debug for Pcapng {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pcapng")
            .field("written", &self.written)
            .field("captured", &self.captured.len())
            .finish_non_exhaustive()
    }
}
