//! What `ipft top` shows: packets, flows, drops and functions as they were seen so far, in bounded memory, and the
//! words for them, which are those of `-o text`. How that looks on a terminal is not known here.
//!
//! A [`Model`] takes what sinks take. [`Seen`] is what was seen, and can be copied at little cost, so that a view can
//! stand still while the model goes on; [`Words`] knows what is the same for all of the trace.

mod counts;
mod packets;

use std::sync::{Arc, Mutex, PoisonError};

pub use counts::{DropCount, FlowCount, FunctionCount};
use counts::{DropCounts, Flows};
pub use packets::Packet;
use packets::Packets;

use super::live::Live;
use super::shown::Shown;
use super::{Text, TextOptions, push_end, push_number};
use crate::advice::{Advice, Class};
use crate::event::{Batch, Event, EventKind, Function, NO_FUNCTION, Outcome, Progress, Summary, Trace, Tracer};
use crate::sink::SinkError;
use crate::text::*;

/// Events of a packet that are searched for its addresses.
const SEARCHED: usize = 64;
/// Events between looks at the memory.
const STEP: usize = 1024;

/// What was seen of a trace, and the words for it.
#[derive(Debug)]
pub struct Model {
    words: Words,
    seen: Seen,
}

/// What was seen so far. A copy shares the packets until they change.
#[derive(Clone, Debug)]
pub struct Seen {
    packets: Packets,
    flows: Flows,
    drops: DropCounts,
    functions: Vec<FunctionCount>,
    totals: Totals,
}

/// Counts of the whole trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Entries and returns.
    pub events: u64,
    /// Packets.
    pub packets: u64,
    /// Packets that ended.
    pub ended: u64,
    /// Packets that the kernel dropped, and that are lost by that.
    pub dropped: u64,
    /// Packets that are not in memory any more.
    pub forgotten: u64,
    /// Flows that are not in memory any more.
    pub forgotten_flows: u64,
    /// Drops that have no row.
    pub other_drops: u64,
    /// Events that ipft lost.
    pub lost: u64,
}

/// What is the same for all packets of a trace: names, reasons, fields.
#[derive(Debug)]
pub struct Words {
    /// Writes journeys; what it knows of functions and fields is of use elsewhere.
    text: Text,
    captured: Captured,
    /// Counts how packets ended.
    ends: super::Ends,
    functions: Vec<String>,
    filter: String,
    follow: bool,
    /// Whether returns are traced.
    graph: bool,
    has_flows: bool,
}

/// A packet in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketWords {
    /// Addresses and what else names it.
    pub heading: String,
    /// How it ended, or where it was seen last.
    pub place: String,
    /// The kernel dropped it, and it is lost by that.
    pub is_loss: bool,
    /// It has ended.
    pub ended: bool,
}

/// Drops in words.
#[derive(Clone, Debug)]
pub struct DropWords {
    /// The reason's name, or its number; empty if the kernel tells none.
    pub reason: String,
    /// The function that dropped the packets.
    pub function: String,
    /// The last packet.
    pub packet: String,
    /// Whether it matters.
    pub class: Class,
    /// What is known of the reason.
    pub advice: Option<&'static Advice>,
}

/// What the text of a journey is written to.
#[derive(Clone, Debug, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut text = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Model {
    /// Nothing was seen yet. What stands still beside it takes as much again of the memory.
    pub fn new(options: TextOptions, max_memory: u64) -> Self {
        let captured = Captured::default();
        Model {
            words: Words {
                text: Text::new(captured.clone(), options),
                captured,
                ends: super::Ends::default(),
                functions: Vec::new(),
                filter: String::new(),
                follow: false,
                graph: false,
                has_flows: false,
            },
            seen: Seen {
                packets: Packets::within(usize::try_from(max_memory / 2).unwrap_or(usize::MAX)),
                flows: Flows::default(),
                drops: DropCounts::default(),
                functions: Vec::new(),
                totals: Totals::default(),
            },
        }
    }

    /// As [`crate::sink::Sink::start`].
    pub fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let words = &mut self.words;
        words.text.printer.start(trace)?;
        words.ends = super::Ends::new(trace);
        words.filter = visible(&trace.filter).into_owned();
        words.follow = trace.follow;
        words.graph = trace.tracer == Tracer::FunctionGraph;
        words.has_flows = words.text.printer.known.has_flows();
        self.append(&trace.functions);
        Ok(())
    }

    /// As [`crate::sink::Sink::functions`].
    pub fn functions(&mut self, new: &[Function]) {
        self.words.text.printer.append(new);
        self.words.text.printer.ends.append(new);
        self.words.ends.append(new);
        self.append(new);
    }

    fn append(&mut self, new: &[Function]) {
        for function in new {
            let index = self.seen.functions.len() as u32;
            self.seen.functions.push(FunctionCount {
                function: index,
                ..FunctionCount::default()
            });
            self.words.functions.push(visible(&function.name).into_owned());
        }
    }

    /// As [`crate::sink::Sink::events`].
    pub fn events(&mut self, batch: &Batch) {
        self.words.text.printer.known.learn(&batch.names);
        for events in batch.events.chunks(STEP) {
            for event in events {
                self.take(event, batch);
            }
            self.seen.packets.shrink();
        }
        let seen = &mut self.seen;
        seen.totals.packets = seen.packets.numbered;
        seen.totals.forgotten = seen.packets.forgotten;
        seen.totals.forgotten_flows = seen.flows.forgotten;
        seen.totals.other_drops = seen.drops.others;
    }

    /// As [`crate::sink::Sink::progress`].
    pub fn progress(&mut self, progress: &Progress) {
        let counts = progress.losses.iter().map(|loss| loss.count);
        self.seen.totals.lost = counts.fold(0, u64::saturating_add);
    }

    /// Returns the last lines of `-o text`.
    pub fn summary(&self, summary: &Summary) -> Vec<u8> {
        let mut out = Vec::new();
        self.words
            .ends
            .push_summary(&mut out, self.seen.packets.numbered, summary);
        out
    }

    /// Returns what was seen so far.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Returns the words.
    pub fn words(&self) -> &Words {
        &self.words
    }

    /// Returns the text of a packet's journey, with the escapes of colours if the options ask for them. `frozen`: what
    /// was seen before, if the packet is to be as it was then. `None` if it is not in memory.
    pub fn journey(&mut self, frozen: Option<&Seen>, number: u64) -> Option<String> {
        let seen = frozen.unwrap_or(&self.seen);
        let packet = seen.packet(number)?;
        Some(self.words.journey(packet))
    }

    #[inline]
    fn take(&mut self, event: &Event, batch: &Batch) {
        if event.kind.is_call() {
            return self.call(event, batch);
        }
        match event.kind {
            EventKind::BORN => self.born(event),
            EventKind::ENDED => self.ended(event),
            EventKind::JOINED => {
                let whole = self.seen.packets.find(event.spare);
                let number = whole
                    .and_then(|place| self.seen.packets.get(place))
                    .map_or(0, Packet::number);
                if let Some(place) = self.seen.packets.find(event.packet) {
                    let other = (event.spare, number);
                    let named = Some(other).filter(|_| number != 0);
                    if let Some(packet) = self.seen.packets.push(place, event, &[], named) {
                        packet.whole = Some((number, event.spare));
                    }
                }
            }
            _ => {
                if let Some(place) = self.seen.packets.find(event.packet) {
                    self.seen.packets.push(place, event, &[], None);
                }
            }
        }
    }

    #[inline]
    fn call(&mut self, event: &Event, batch: &Batch) {
        let seen = &mut self.seen;
        seen.totals.events += 1;
        if let Some(count) = seen.functions.get_mut(event.function as usize) {
            count.add(event);
        }
        let payload = batch.payload_of(event);
        let place = seen.packets.find_or_add(event);
        let Some(packet) = seen.packets.push(place, event, payload, None) else {
            return;
        };
        if event.kind == EventKind::ENTRY {
            packet.calls += 1;
            let printer = &self.words.text.printer;
            if packet.end.is_none() && !printer.name(event.function).frees {
                packet.function = event.function;
            }
        }
        if packet.flow.is_some() || payload.is_empty() {
            return;
        }
        let known = &self.words.text.printer.known;
        if packet.len.is_none() {
            packet.len = known.len(payload);
        }
        // Ports may come later, and are worth waiting for.
        if let Some((flow, false)) = known.flow(payload) {
            count_packet(packet, &mut seen.flows, flow, event.timestamp);
        }
    }

    fn born(&mut self, event: &Event) {
        let packets = &mut self.seen.packets;
        let parent = packets.find(event.spare).filter(|_| event.spare != event.packet);
        let known = parent.and_then(|place| packets.get(place));
        let (number, flow) = known.map_or((0, None), |parent| (parent.number, parent.flow));
        let place = packets.find_or_add(event);
        let other = Some((event.spare, number)).filter(|_| number != 0);
        let Some(child) = packets.push(place, event, &[], other) else {
            return;
        };
        let other = (child.identity, child.number);
        if flow.is_some() && child.flow.is_none() {
            child.flow = flow;
            child.is_child = true;
        }
        if let Some(parent) = parent {
            packets.push(parent, event, &[], Some(other));
        }
    }

    fn ended(&mut self, event: &Event) {
        let seen = &mut self.seen;
        let Some(place) = seen.packets.find(event.packet) else {
            return;
        };
        let packet = seen.packets.push(place, event, &[], None);
        let Some(packet) = packet.filter(|packet| packet.end.is_none()) else {
            return;
        };
        let end = self.words.ends.count(event);
        packet.end = Some((end, event.function));
        seen.totals.ended += 1;
        let known = &self.words.text.printer.known;
        let mut payloads = packet
            .events
            .iter()
            .take(SEARCHED)
            .map(|event| packet.payload_of(event));
        let named = payloads.find_map(|payload| Some((payload, known.flow(payload)?.0)));
        if let Outcome::Dropped { reason } = end.outcome {
            let payload = named.map_or(&[][..], |(payload, _)| payload);
            seen.drops.count(event.function, reason, packet.number, payload);
        }
        if packet.flow.is_none()
            && let Some((_, flow)) = named
        {
            count_packet(packet, &mut seen.flows, flow, event.timestamp);
        }
        if end.is_loss {
            seen.totals.dropped += 1;
            if let Some(flow) = packet.flow {
                seen.flows.of(flow, event.timestamp).drops += 1;
            }
        }
    }
}

/// Counts a packet in its flow, which is known from now on.
fn count_packet(packet: &mut Packet, flows: &mut Flows, key: super::FlowKey, now: u64) {
    packet.flow = Some(key);
    if packet.is_child {
        return;
    }
    let flow = flows.of(key, now);
    flow.packets += 1;
    flow.bytes = flow.bytes.saturating_add(u64::from(packet.len.unwrap_or(0)));
}

impl Seen {
    /// Returns the packets in memory with their numbers, in any order.
    pub fn packets(&self) -> impl Iterator<Item = (u64, &Packet)> {
        self.packets.iter()
    }

    /// Returns the packet with this number, if it is in memory.
    pub fn packet(&self, number: u64) -> Option<&Packet> {
        let found = self.packets.iter().find(|(other, _)| *other == number);
        found.map(|(_, packet)| packet)
    }

    /// Returns the flows, in any order.
    pub fn flows(&self) -> impl Iterator<Item = &FlowCount> {
        self.flows.iter()
    }

    /// Returns the drops, in any order.
    pub fn drops(&self) -> impl Iterator<Item = &DropCount> {
        self.drops.iter()
    }

    /// Returns the functions that were entered or left.
    pub fn functions(&self) -> impl Iterator<Item = &FunctionCount> {
        self.functions.iter().filter(|count| count.count > 0 || count.time > 0)
    }

    /// Returns the counts of the whole trace.
    pub fn totals(&self) -> Totals {
        self.totals
    }
}

impl Words {
    /// Returns the packet filter of the trace.
    pub fn filter(&self) -> &str {
        &self.filter
    }

    /// Returns whether packets are followed to their end.
    pub fn follows(&self) -> bool {
        self.follow
    }

    /// Returns whether functions have times.
    pub fn has_times(&self) -> bool {
        self.graph
    }

    /// Returns whether packets have addresses.
    pub fn has_flows(&self) -> bool {
        self.has_flows
    }

    /// Returns the words for a packet.
    pub fn packet(&self, packet: &Packet) -> PacketWords {
        let printer = &self.text.printer;
        let mut heading = self.heading(
            packet
                .events
                .iter()
                .take(SEARCHED)
                .map(|event| packet.payload_of(event)),
        );
        if heading.is_empty() {
            let born = packet.events.iter().find(|event| event.kind == EventKind::BORN);
            match born.filter(|event| event.packet == packet.identity) {
                Some(born) => {
                    heading.extend_from_slice(b"made of ");
                    push_number(&mut heading, packet.number_of(born.spare), born.spare);
                }
                None => {
                    heading.extend_from_slice(b"packet ");
                    push_hex(&mut heading, packet.identity);
                }
            }
        }
        let mut place = Vec::new();
        match packet.end {
            Some((end, dropper)) => {
                let (ends, names) = (&self.ends, &printer.names);
                push_end(&mut place, ends, names, end, dropper, packet.function, packet.whole);
            }
            None if packet.function != NO_FUNCTION => {
                place.extend_from_slice(b"in ");
                printer.names.push(&mut place, packet.function);
            }
            None => {}
        }
        PacketWords {
            heading: text_of(heading),
            place: text_of(place),
            is_loss: packet.end.is_some_and(|(end, _)| end.is_loss),
            ended: packet.end.is_some(),
        }
    }

    /// Returns the words for a flow.
    pub fn flow(&self, flow: &FlowCount) -> String {
        let mut out = Vec::new();
        self.text.printer.known.push_flow(&mut out, &flow.key);
        text_of(out)
    }

    /// Returns the words for drops.
    pub fn drops(&self, drops: &DropCount) -> DropWords {
        let outcome = Outcome::Dropped { reason: drops.reason };
        let mut packet = self.heading(std::iter::once(drops.payload.as_slice()));
        if packet.is_empty() {
            push_number(&mut packet, drops.packet, 0);
        }
        let mut reason = Vec::new();
        self.ends.push_reason(&mut reason, outcome);
        DropWords {
            reason: text_of(reason),
            function: self.function(drops.function).to_owned(),
            packet: text_of(packet),
            class: self.ends.class(outcome, drops.function),
            advice: self.ends.advice(outcome, drops.function),
        }
    }

    /// Returns the name of a function.
    pub fn function(&self, index: u32) -> &str {
        self.functions.get(index as usize).map_or("?", String::as_str)
    }

    fn heading<'a>(&self, payloads: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let known = &self.text.printer.known;
        let (mut out, mut shown) = (Vec::new(), Shown::default());
        known.push_name(&mut out, &mut shown, payloads);
        if !out.is_empty() {
            known.push_len(&mut out, &shown, 0);
        }
        out
    }

    fn journey(&mut self, packet: &Packet) -> String {
        let text = &mut self.text;
        text.live = Live::new(text.printer.known.bytes());
        text.printer.calls = super::Calls::default();
        text.printer.ends.explain_again();
        for (identity, number) in &packet.numbers {
            text.live.add_numbered(*identity, *number, 0);
        }
        let own = text.live.add_numbered(packet.identity, packet.number, packet.first);
        let batch = Batch {
            events: packet.events.clone(),
            payload: packet.payload.clone(),
            ..Batch::default()
        };
        text.sort(&batch);
        if let Some((kept, bytes)) = text.live.at(own) {
            match kept.items.take() {
                // What is written is kept in memory, and cannot fail.
                Some((first, _)) => {
                    let _ = text.printer.print(kept, bytes, &text.items, first, &batch);
                }
                None => text.printer.push_heading(kept, std::iter::empty()),
            }
        }
        if packet.unkept > 0 {
            let out = &mut text.printer.output.buffer;
            push_unsigned(out, packet.unkept);
            out.extend_from_slice(b" more events are not kept\n");
        }
        let _ = text.printer.output.flush();
        text_of(self.captured.take())
    }
}

impl Packet {
    /// Returns the number of a packet that its events name; 0 if it is not known.
    fn number_of(&self, identity: u64) -> u64 {
        let known = self.numbers.iter().find(|(other, _)| *other == identity);
        known.map_or(0, |(_, number)| *number)
    }
}

fn text_of(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    }
}
