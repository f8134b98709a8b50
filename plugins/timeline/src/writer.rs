//! Trace events as JSON. This module knows no packets: a position is a process and one of its tracks.

use std::fmt::{Display, Formatter};
use std::io::Write;

use ipft_plugin::{Batch, Error, Event, Output, Trace, text};

/// Nanoseconds that the time line begins before its first event, as events of other CPUs may be slightly older.
const BEFORE: u64 = 1_000_000_000;

/// A position on the time line. Every track has its own number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place {
    pub(crate) process: u64,
    pub(crate) track: u64,
}

/// A call, written at its entry or when only its return was seen.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: u32,
    pub(crate) timestamp: u64,
    cpu: u32,
    skb: u64,
    /// Its fields, as the inside of a JSON object; empty for none.
    fields: String,
}

impl Call {
    pub(crate) fn new(batch: &Batch, event: &Event) -> Self {
        Call {
            function: event.function,
            timestamp: event.timestamp,
            cpu: event.cpu,
            skb: event.skb,
            fields: fields(batch, event),
        }
    }
}

/// Writes events one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// Timestamp that is 0 on the time line; set by the first event.
    pub(crate) zero: Option<u64>,
    /// Whether an event was written, so that a comma must follow.
    begun: bool,
}

impl Writer {
    /// Writes the file's start before the first event.
    pub(crate) fn begin(&mut self, out: &mut Output) -> Result<(), Error> {
        if !self.begun {
            self.begun = true;
            out.write_all(b"{\"traceEvents\":[\n")?;
            out.write_all(
                b"{\"ph\":\"M\",\"pid\":0,\"tid\":0,\"name\":\"process_name\",\"args\":{\"name\":\"ipft\"}}",
            )?;
        }
        Ok(())
    }

    /// Registers an event's time; the time line begins slightly before the first.
    pub(crate) fn see(&mut self, timestamp: u64) {
        self.zero.get_or_insert_with(|| timestamp.saturating_sub(BEFORE));
    }

    /// Writes a call from its entry to its return.
    pub(crate) fn slice(
        &mut self,
        batch: &Batch,
        out: &mut Output,
        at: Place,
        call: &Call,
        end: &Event,
    ) -> Result<(), Error> {
        self.head(out, "X", at, &batch.function(end).name, call.timestamp)?;
        let duration = Micros(end.timestamp.saturating_sub(call.timestamp));
        write!(out, ",\"dur\":{duration}")?;
        tail(out, batch.trace, call, &fields(batch, end))
    }

    /// Writes one end of a call, with a suffix on its name.
    pub(crate) fn instant(
        &mut self,
        trace: &Trace,
        out: &mut Output,
        at: Place,
        call: &Call,
        more: &str,
    ) -> Result<(), Error> {
        let name = format!("{}{more}", trace.function(call.function).name);
        self.head(out, "i", at, &name, call.timestamp)?;
        out.write_all(b",\"s\":\"t\"")?;
        tail(out, trace, call, "")
    }

    /// Writes an instant across all tracks.
    pub(crate) fn mark(&mut self, out: &mut Output, name: &str, timestamp: u64) -> Result<(), Error> {
        self.head(out, "i", Place::default(), name, timestamp)?;
        out.write_all(b",\"s\":\"g\"}")?;
        Ok(())
    }

    /// Writes an instant of a process.
    pub(crate) fn note(&mut self, out: &mut Output, at: Place, name: &str, timestamp: u64) -> Result<(), Error> {
        self.head(out, "i", at, name, timestamp)?;
        out.write_all(b",\"s\":\"p\"}")?;
        Ok(())
    }

    /// Writes the name of a process or thread, and its sort order.
    pub(crate) fn name(
        &mut self,
        out: &mut Output,
        what: &str,
        at: Place,
        name: &str,
        index: u64,
    ) -> Result<(), Error> {
        self.rename(out, what, at, name)?;
        self.fact(out, what, at, ("sort_index", &index.to_string()))
    }

    /// Writes another name of a process or thread, which replaces the one before.
    pub(crate) fn rename(&mut self, out: &mut Output, what: &str, at: Place, name: &str) -> Result<(), Error> {
        self.fact(out, what, at, ("name", &text::json(name).to_string()))
    }

    fn fact(&mut self, out: &mut Output, what: &str, at: Place, fact: (&str, &str)) -> Result<(), Error> {
        self.begin(out)?;
        let (Place { process, track }, (fact, value)) = (at, fact);
        write!(out, ",\n{{\"ph\":\"M\",\"pid\":{process},\"tid\":{track},")?;
        write!(out, "\"name\":\"{what}_{fact}\",\"args\":{{\"{fact}\":{value}}}}}")?;
        Ok(())
    }

    /// Writes the start of an event, up to its name.
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
}

/// Writes the category and arguments of a call, which end the event. `returned` has the fields at its return.
fn tail(out: &mut Output, trace: &Trace, call: &Call, returned: &str) -> Result<(), Error> {
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

/// Writes the event's fields as the inside of a JSON object. Of two with one name, which only scripts can produce,
/// readers take the last.
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

/// Formats nanoseconds as microseconds, exactly.
struct Micros(u64);

impl Display for Micros {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}
