//! Packets on a time line: Chrome's trace-event JSON, which ui.perfetto.dev opens.
//!
//! A packet is a process there, and each context that handled it (a thread, or for the idle task a CPU) is a track of
//! it: the calls of one context nest, those of two may overlap. A call is a slice, written when it returns, so that
//! nothing is kept but what is open. What has no duration is an instant: entries of a trace without returns, entries
//! whose return was not seen, and returns whose entry was not.

use std::io::Write;

use ipft_plugin::{Batch, Error, Event, Options, Output, Plugin, Summary, Trace, plugin, text};
use rustc_hash::FxHashMap;

/// Calls that may be open in a context at once. The kernel's stack ends far earlier: what is open beyond lost its return.
const DEEPEST: usize = 512;

/// Nanoseconds before the first event at which the time line begins, as other CPUs' events may be a little older.
const BEFORE: u64 = 1_000_000_000;

/// A time line in the making.
#[derive(Debug, Default)]
pub struct Timeline {
    /// The timestamp that the time line calls 0, once there was an event.
    zero: Option<u64>,
    /// The latest timestamp that was seen.
    latest: u64,
    /// The number of each packet's process, from 1.
    processes: FxHashMap<u64, u64>,
    tracks: Vec<Track>,
    /// Which track is that of a packet and a context.
    positions: FxHashMap<(u64, u64), usize>,
    /// Whether an event was written, after which comes a comma.
    begun: bool,
    /// Events that the plugin missed and that are not on the time line yet.
    missed: u64,
}

/// One context of one packet.
#[derive(Debug)]
struct Track {
    place: Place,
    open: Vec<Open>,
}

/// Where something stands: a process, and a track of it. Every track has another number.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    process: u64,
    track: u64,
}

/// A call that has not returned.
#[derive(Debug)]
struct Open {
    function: u32,
    cpu: u32,
    skb: u64,
    timestamp: u64,
    /// Its fields, as JSON; empty if it has none.
    fields: String,
}

plugin! {
    Timeline,
    about: "Packets on a time line, as JSON that ui.perfetto.dev opens",
}

impl Plugin for Timeline {
    fn start(&mut self, _trace: &Trace, _options: &Options) -> Result<(), Error> {
        *self = Timeline::default();
        Ok(())
    }

    fn events(&mut self, batch: &Batch, out: &mut Output) -> Result<(), Error> {
        self.show_missed(out)?;
        for event in batch.events {
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
        for track in std::mem::take(&mut self.tracks) {
            for call in track.open {
                self.instant(trace, out, track.place, &call, " (no return)")?;
            }
        }
        self.begin(out)?;
        write!(out, "\n],\n\"displayTimeUnit\":\"ns\",\n\"otherData\":{{")?;
        write!(out, "\"tool\":\"ipft\",\"tracer\":{},", text::json(&trace.tracer))?;
        write!(out, "\"backend\":{},", text::json(&trace.backend))?;
        write!(out, "\"kernel\":{},", text::json(&trace.kernel_release))?;
        write!(out, "\"command\":{},", text::json(&trace.command_line.join(" ")))?;
        // Texts, because readers keep 53 bits of a number.
        if let Some(zero) = self.zero {
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
        if self.zero.is_none() {
            self.zero = Some(event.timestamp.saturating_sub(BEFORE));
        }
        self.latest = self.latest.max(event.timestamp);
        let position = self.track(event, out)?;
        let place = self.tracks[position].place;
        if !batch.trace.has_returns() && event.is_entry() {
            return self.instant(batch.trace, out, place, &Open::new(batch, event), "");
        }
        let open = &mut self.tracks[position].open;
        if event.is_entry() {
            open.push(Open::new(batch, event));
            if open.len() > DEEPEST {
                let oldest = open.remove(0);
                self.instant(batch.trace, out, place, &oldest, " (no return)")?;
            }
            return Ok(());
        }
        let is_entry = |call: &Open| call.function == event.function && call.timestamp == event.entry_timestamp;
        let Some(depth) = open.iter().rposition(is_entry) else {
            return self.instant(batch.trace, out, place, &Open::new(batch, event), " (return only)");
        };
        // What is open inside lost its return.
        for lost in open.split_off(depth + 1) {
            self.instant(batch.trace, out, place, &lost, " (no return)")?;
        }
        if let Some(call) = self.tracks[position].open.pop() {
            self.head(out, "X", place, &batch.function(event).name, call.timestamp)?;
            write!(
                out,
                ",\"dur\":{}",
                Micros(event.timestamp.saturating_sub(call.timestamp))
            )?;
            self.tail(out, batch.trace, &call, &fields(batch, event))?;
        }
        Ok(())
    }

    /// The position of an event's track; a new one gets its name.
    fn track(&mut self, event: &Event, out: &mut Output) -> Result<usize, Error> {
        let key = (event.packet, event.context());
        if let Some(position) = self.positions.get(&key) {
            return Ok(*position);
        }
        let process = match self.processes.get(&event.packet) {
            Some(process) => *process,
            None => {
                let process = self.processes.len() as u64 + 1;
                self.processes.insert(event.packet, process);
                let name = format!("packet {process}, {}", text::hex(event.packet));
                self.name(out, "process", Place { process, track: 0 }, &name, process)?;
                process
            }
        };
        let position = self.tracks.len();
        let track = position as u64 + 1;
        let name = match event.thread {
            0 => format!("idle task of CPU {}", event.cpu),
            thread => format!("thread {thread}"),
        };
        let place = Place { process, track };
        self.name(out, "thread", place, &name, track)?;
        self.positions.insert(key, position);
        self.tracks.push(Track {
            place,
            open: Vec::new(),
        });
        Ok(position)
    }

    /// One end of a call, the name of which gets an addition.
    fn instant(&mut self, trace: &Trace, out: &mut Output, place: Place, call: &Open, more: &str) -> Result<(), Error> {
        let name = format!("{}{more}", trace.function(call.function).name);
        self.head(out, "i", place, &name, call.timestamp)?;
        out.write_all(b",\"s\":\"t\"")?;
        self.tail(out, trace, call, "")
    }

    /// An instant across the whole picture where events are missing.
    fn show_missed(&mut self, out: &mut Output) -> Result<(), Error> {
        let missed = std::mem::take(&mut self.missed);
        if missed > 0 {
            let name = format!("{missed} events are missing here: the plugin was too slow");
            self.head(out, "i", Place::default(), &name, self.latest)?;
            out.write_all(b",\"s\":\"g\"}")?;
        }
        Ok(())
    }

    /// What is before the first event, once, and the comma between two.
    fn begin(&mut self, out: &mut Output) -> Result<(), Error> {
        if !self.begun {
            self.begun = true;
            out.write_all(b"{\"traceEvents\":[\n")?;
            out.write_all(
                b"{\"ph\":\"M\",\"pid\":0,\"tid\":0,\"name\":\"process_name\",\"args\":{\"name\":\"ipft\"}}",
            )?;
        }
        Ok(())
    }

    /// The beginning of an event, up to its name.
    fn head(&mut self, out: &mut Output, phase: &str, at: Place, name: &str, timestamp: u64) -> Result<(), Error> {
        self.begin(out)?;
        let time = Micros(timestamp.saturating_sub(self.zero.unwrap_or_default()));
        let Place { process, track } = at;
        write!(
            out,
            ",\n{{\"ph\":\"{phase}\",\"pid\":{process},\"tid\":{track},\"ts\":{time},"
        )?;
        write!(out, "\"name\":{}", text::json(name))?;
        Ok(())
    }

    /// The category and arguments of a call, which end the event. `returned` has the fields at its return.
    fn tail(&self, out: &mut Output, trace: &Trace, call: &Open, returned: &str) -> Result<(), Error> {
        write!(out, ",\"cat\":{}", text::json(&trace.function(call.function).module))?;
        write!(
            out,
            ",\"args\":{{\"cpu\":{},\"skb\":\"{}\"",
            call.cpu,
            text::hex(call.skb)
        )?;
        for (name, fields) in [("fields", call.fields.as_str()), ("return", returned)] {
            if !fields.is_empty() {
                write!(out, ",\"{name}\":{{{fields}}}")?;
            }
        }
        out.write_all(b"}}")?;
        Ok(())
    }

    /// The name of a process or thread, and where it stands among the others.
    fn name(&mut self, out: &mut Output, what: &str, at: Place, name: &str, index: u64) -> Result<(), Error> {
        self.begin(out)?;
        let Place { process, track } = at;
        for (fact, value) in [
            ("name", text::json(name).to_string()),
            ("sort_index", index.to_string()),
        ] {
            write!(out, ",\n{{\"ph\":\"M\",\"pid\":{process},\"tid\":{track},")?;
            write!(out, "\"name\":\"{what}_{fact}\",\"args\":{{\"{fact}\":{value}}}}}")?;
        }
        Ok(())
    }
}

impl Open {
    fn new(batch: &Batch, event: &Event) -> Self {
        Open {
            function: event.function,
            cpu: event.cpu,
            skb: event.skb,
            timestamp: event.timestamp,
            fields: fields(batch, event),
        }
    }
}

/// The event's fields as the inside of a JSON object. Of two with one name, which only scripts can make, the last counts,
/// as readers have it.
fn fields(batch: &Batch, event: &Event) -> String {
    let mut fields = String::new();
    for field in batch.fields(event) {
        if !fields.is_empty() {
            fields.push(',');
        }
        fields.push_str(&format!("{}:{}", text::json(field.name), field.json()));
    }
    fields
}

/// Microseconds, of nanoseconds, exactly.
struct Micros(u64);

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
