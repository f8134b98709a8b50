//! Packets on a time line: Chrome's trace-event JSON, which ui.perfetto.dev opens.
//!
//! A packet is shown as a process, and each context that handled it (a thread, or a CPU for the idle task) as a track
//! of it: calls of one context nest, those of two may overlap. A call is a slice, written at its return, so that only
//! open calls and the list of packets are stored. Events without a duration are instants: entries of a trace without
//! returns, entries without a return, and returns without an entry.

mod writer;

use std::collections::hash_map::Entry;
use std::io::Write;

use ipft_plugin::{Batch, End, Error, Event, Headings, Options, Output, Plugin, Summary, Trace, plugin, text};
use rustc_hash::FxHashMap;

use writer::{Call, Place, Writer};

/// Limit of open calls per context. The kernel's stack ends far earlier: calls beyond it lost their return.
const DEEPEST: usize = 512;

/// Limit of packets that are followed at once.
const MOST_PACKETS: i64 = 10_000_000;

/// A time line that is being written.
#[derive(Debug, Default)]
pub struct Timeline {
    writer: Writer,
    /// Followed packets, by identity.
    packets: FxHashMap<u64, Packet>,
    headings: Headings,
    /// What packets were made of that have no process yet: the other packet, and the function. All are dropped when
    /// there are too many.
    births: FxHashMap<u64, (u64, u32)>,
    /// Limit of followed packets.
    limit: usize,
    /// Number of processes and tracks so far.
    processes: u64,
    tracks: u64,
    /// Latest timestamp so far.
    latest: u64,
    /// Missed events that are not yet on the time line.
    missed: u64,
}

/// A followed packet.
#[derive(Debug)]
struct Packet {
    process: u64,
    /// What it was made of, in words; empty if nothing is known.
    origin: String,
    /// Whether its addresses are in its name.
    is_named: bool,
    /// Time of its last event.
    latest: u64,
    /// Its contexts: few, usually one.
    tracks: Vec<Track>,
}

/// A context of a packet.
#[derive(Debug)]
struct Track {
    context: u64,
    place: Place,
    /// Open calls.
    open: Vec<Call>,
}

plugin! {
    Timeline,
    about: "Packets on a time line, as JSON that ui.perfetto.dev opens",
    options: [
        packets: integer = 100000, "Packets that are followed at once; beyond, those that were quiet for longest are taken to be over";
    ]
}

impl Plugin for Timeline {
    fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), Error> {
        self.headings = Headings::new(trace);
        self.limit = options.integer_in("packets", 1..=MOST_PACKETS)? as usize;
        Ok(())
    }

    fn events(&mut self, batch: &Batch, out: &mut Output) -> Result<(), Error> {
        self.show_missed(out)?;
        for event in batch.events {
            match event.kind {
                Event::ENTRY | Event::RETURN => self.event(batch, event, out)?,
                Event::BORN => self.born(event),
                Event::JOINED | Event::ENDED => self.note(batch.trace, event, out)?,
                // Kinds of later versions.
                _ => {}
            }
        }
        Ok(())
    }

    fn missed(&mut self, events: u64) {
        self.missed = self.missed.saturating_add(events);
    }

    fn finish(&mut self, trace: &Trace, summary: &Summary, out: &mut Output) -> Result<(), Error> {
        self.show_missed(out)?;
        let left = std::mem::take(&mut self.packets);
        self.end(trace, out, left.into_values().collect())?;
        self.writer.begin(out)?;
        write!(out, "\n],\n\"displayTimeUnit\":\"ns\",\n\"otherData\":{{")?;
        write!(out, "\"tool\":\"ipft\",\"tracer\":{},", text::json(&trace.tracer))?;
        write!(out, "\"backend\":{},", text::json(&trace.backend))?;
        write!(out, "\"kernel\":{},", text::json(&trace.kernel_release))?;
        write!(out, "\"command\":{},", text::json(&trace.command_line.join(" ")))?;
        // Strings, because readers keep 53 bits of a number.
        if let Some(zero) = self.writer.zero {
            let since_1970 = i128::from(zero) + i128::from(trace.clock_offset);
            write!(
                out,
                "\"zero_ns_since_1970\":\"{since_1970}\",\"zero_ns_monotonic\":\"{zero}\","
            )?;
        }
        write!(
            out,
            "\"events\":\"{}\",\"packets\":\"{}\",",
            summary.events, summary.packets
        )?;
        write!(out, "\"lost\":\"{}\",\"missed\":\"{}\"", summary.lost(), summary.missed)?;
        for loss in &summary.losses {
            let place = loss.cpu.map_or(String::new(), |cpu| format!(" on CPU {cpu}"));
            write!(
                out,
                ",{}:\"{}\"",
                text::json(&format!("lost: {}{place}", loss.kind)),
                loss.count
            )?;
        }
        writeln!(out, "}}\n}}")?;
        Ok(())
    }
}

impl Timeline {
    fn event(&mut self, batch: &Batch, event: &Event, out: &mut Output) -> Result<(), Error> {
        self.writer.see(event.timestamp);
        self.latest = self.latest.max(event.timestamp);
        if self.packets.len() >= self.limit && !self.packets.contains_key(&event.packet) {
            self.forget(batch.trace, out)?;
        }
        let trace = batch.trace;
        let origin = match self.births.is_empty() {
            true => String::new(),
            false => self.origin(trace, event.packet),
        };
        let writer = &mut self.writer;
        let heading = |headings: &Headings| headings.of(trace, batch.payload_of(event));
        let packet = match self.packets.entry(event.packet) {
            Entry::Occupied(known) => {
                let packet = known.into_mut();
                if !packet.is_named
                    && self.headings.are_there()
                    && let Some(heading) = heading(&self.headings)
                {
                    packet.rename(writer, event, &heading, out)?;
                }
                packet
            }
            Entry::Vacant(new) => {
                self.processes += 1;
                let heading = heading(&self.headings);
                let packet = Packet::new(writer, self.processes, event, heading.as_deref(), origin, out)?;
                new.insert(packet)
            }
        };
        packet.latest = event.timestamp;
        let Track { place, open, .. } = packet.track(writer, &mut self.tracks, event, out)?;
        if event.is_entry() && !trace.has_returns() {
            return writer.instant(trace, out, *place, &Call::new(batch, event), "");
        }
        if event.is_entry() {
            open.push(Call::new(batch, event));
            if open.len() > DEEPEST {
                writer.instant(trace, out, *place, &open.remove(0), " (no return)")?;
            }
            return Ok(());
        }
        let is_entry = |call: &Call| call.function == event.function && call.timestamp == event.entry_timestamp;
        let Some(depth) = open.iter().rposition(is_entry) else {
            return writer.instant(trace, out, *place, &Call::new(batch, event), " (return only)");
        };
        // Open calls inside lost their return.
        for lost in open.drain(depth + 1..) {
            writer.instant(trace, out, *place, &lost, " (no return)")?;
        }
        match open.pop() {
            Some(call) => writer.slice(batch, out, *place, &call, event),
            None => Ok(()),
        }
    }

    /// Keeps what a packet was made of, until it has a process.
    fn born(&mut self, event: &Event) {
        if self.births.len() >= self.limit {
            self.births.clear();
        }
        self.births.insert(event.packet, (event.spare, event.function));
    }

    /// Returns what a packet was made of, in words, and forgets it.
    fn origin(&mut self, trace: &Trace, packet: u64) -> String {
        let Some((parent, function)) = self.births.remove(&packet) else {
            return String::new();
        };
        let mut origin = format!(", made of {}", self.called(parent));
        if let Some(function) = trace.functions.get(function as usize) {
            origin.push_str(&format!(" by {}", text::visible(&function.name)));
        }
        origin
    }

    /// Returns the number of a packet, or its identity if it has none.
    fn called(&self, packet: u64) -> String {
        match self.packets.get(&packet) {
            Some(packet) => format!("packet {}", packet.process),
            None => format!("packet {}", text::hex(packet)),
        }
    }

    /// Writes that a packet ended, or became part of another one.
    fn note(&mut self, trace: &Trace, event: &Event, out: &mut Output) -> Result<(), Error> {
        let name = match End::of(event) {
            Some(end) => end.words(trace),
            None => format!("part of {}", self.called(event.spare)),
        };
        let Some(packet) = self.packets.get(&event.packet) else {
            return Ok(());
        };
        let known = packet.tracks.iter().find(|track| track.context == event.context());
        let place = known.or(packet.tracks.first()).map(|track| track.place);
        match place {
            Some(place) => self.writer.note(out, place, &name, event.timestamp),
            None => Ok(()),
        }
    }

    /// Stops following the half of the packets that was quiet for longest. One that comes back is a new process.
    fn forget(&mut self, trace: &Trace, out: &mut Output) -> Result<(), Error> {
        let age = |packet: &Packet| (packet.latest, packet.process);
        let mut ages: Vec<(u64, u64)> = self.packets.values().map(age).collect();
        let middle = ages.len() / 2;
        let (_, youngest_to_go, _) = ages.select_nth_unstable(middle);
        let gone = self.packets.extract_if(|_, packet| age(packet) <= *youngest_to_go);
        let gone = gone.map(|(_, packet)| packet).collect();
        self.end(trace, out, gone)
    }

    /// Writes the open calls of these packets.
    fn end(&mut self, trace: &Trace, out: &mut Output, mut packets: Vec<Packet>) -> Result<(), Error> {
        // Sorted, so that a trace always gives the same file.
        packets.sort_unstable_by_key(|packet| packet.process);
        for track in packets.into_iter().flat_map(|packet| packet.tracks) {
            for call in track.open {
                self.writer.instant(trace, out, track.place, &call, " (no return)")?;
            }
        }
        Ok(())
    }

    /// Writes a mark where events are missing.
    fn show_missed(&mut self, out: &mut Output) -> Result<(), Error> {
        match std::mem::take(&mut self.missed) {
            0 => Ok(()),
            missed => {
                let name = format!("{missed} events are missing here: the plugin was too slow");
                self.writer.mark(out, &name, self.latest)
            }
        }
    }
}

impl Packet {
    /// Begins a process, named by the packet's heading if it has one, and by what it was made of.
    fn new(
        writer: &mut Writer,
        process: u64,
        event: &Event,
        heading: Option<&str>,
        origin: String,
        out: &mut Output,
    ) -> Result<Self, Error> {
        let packet = Packet {
            process,
            origin,
            is_named: heading.is_some(),
            latest: event.timestamp,
            tracks: Vec::new(),
        };
        let name = packet.name(event, heading.unwrap_or_default());
        writer.name(out, "process", Place { process, track: 0 }, &name, process)?;
        Ok(packet)
    }

    fn name(&self, event: &Event, heading: &str) -> String {
        let (process, origin) = (self.process, &self.origin);
        let separator = if heading.is_empty() { "" } else { ", " };
        format!(
            "packet {process}{separator}{heading}{origin}, {}",
            text::hex(event.packet)
        )
    }

    /// Writes the name again, with a heading: readers take the last one.
    fn rename(&mut self, writer: &mut Writer, event: &Event, heading: &str, out: &mut Output) -> Result<(), Error> {
        self.is_named = true;
        let place = Place {
            process: self.process,
            track: 0,
        };
        let name = self.name(event, heading);
        writer.rename(out, "process", place, &name)
    }

    /// Returns the track of the event's context. `tracks` counts those of all packets.
    fn track(
        &mut self,
        writer: &mut Writer,
        tracks: &mut u64,
        event: &Event,
        out: &mut Output,
    ) -> Result<&mut Track, Error> {
        let context = event.context();
        let known = self.tracks.iter().position(|track| track.context == context);
        let position = match known {
            Some(position) => position,
            None => {
                *tracks += 1;
                let place = Place {
                    process: self.process,
                    track: *tracks,
                };
                let name = match event.thread {
                    0 => format!("idle task of CPU {}", event.cpu),
                    thread => format!("thread {thread}"),
                };
                writer.name(out, "thread", place, &name, place.track)?;
                self.tracks.push(Track {
                    context,
                    place,
                    open: Vec::new(),
                });
                self.tracks.len() - 1
            }
        };
        Ok(&mut self.tracks[position])
    }
}
