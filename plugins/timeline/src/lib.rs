//! Packets on a time line: Chrome's trace-event JSON, which ui.perfetto.dev opens.
//!
//! A packet is shown as a process, and each context that handled it (a thread, or a CPU for the idle task) as a track
//! of it: calls of one context nest, those of two may overlap. A call is a slice, written at its return, so that only
//! open calls and the list of packets are stored. Events without a duration are instants: entries of a trace without
//! returns, entries without a return, and returns without an entry.

mod writer;

use std::collections::hash_map::Entry;
use std::io::Write;

use ipft_plugin::{Batch, Error, Event, Options, Output, Plugin, Summary, Trace, plugin, text};
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
    fn start(&mut self, _trace: &Trace, options: &Options) -> Result<(), Error> {
        self.limit = options.integer_in("packets", 1..=MOST_PACKETS)? as usize;
        Ok(())
    }

    fn events(&mut self, batch: &Batch, out: &mut Output) -> Result<(), Error> {
        self.show_missed(out)?;
        for event in batch.events {
            // Ignore kinds of later versions.
            if event.is_entry() || event.is_return() {
                self.event(batch, event, out)?;
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
        let writer = &mut self.writer;
        let packet = match self.packets.entry(event.packet) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                self.processes += 1;
                new.insert(Packet::new(writer, self.processes, event, out)?)
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
    fn new(writer: &mut Writer, process: u64, event: &Event, out: &mut Output) -> Result<Self, Error> {
        let name = format!("packet {process}, {}", text::hex(event.packet));
        writer.name(out, "process", Place { process, track: 0 }, &name, process)?;
        Ok(Packet {
            process,
            latest: event.timestamp,
            tracks: Vec::new(),
        })
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
