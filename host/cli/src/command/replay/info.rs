//! `ipft replay --info`: what is in a recording, without reading its events.
//!
//! The index of each file says it; of a file that was cut, the headers of its blocks do.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use ipft_core::event::{Loss, Summary, Trace};
use ipft_core::recording::layout::{BlockHeader, Kind};
use ipft_core::recording::{Content, Reader, RecordingError};
use ipft_core::stream::RecordedError;
use ipft_core::stream::recorded::{in_order, notes_on, open};
use ipft_core::text::visible;

/// What is known of the files of one trace.
#[derive(Debug, Default)]
struct Info {
    events: u64,
    blocks: u64,
    functions: u64,
    /// The earliest and the latest timestamp of all events.
    span: Option<(u64, u64)>,
    losses: Vec<Loss>,
    summary: Option<Summary>,
    notes: Vec<String>,
}

/// Prints what is in the files, which are of one trace.
pub fn print(paths: &[PathBuf], out: &mut impl Write) -> anyhow::Result<()> {
    let (paths, notes) = in_order(paths)?;
    let mut info = Info {
        notes,
        ..Info::default()
    };
    let mut trace = None;
    let mut version = (0, 0);
    for path in &paths {
        let mut reader = open(path)?;
        let failed = |source: std::io::Error| RecordedError::Recording {
            path: path.clone(),
            reason: RecordingError::Read(source),
        };
        info.read(&mut reader).map_err(failed)?;
        info.notes.extend(notes_on(path, &reader, Some(path) == paths.last()));
        version = (reader.header().major, reader.header().minor);
        trace = Some(reader.trace().clone());
    }
    if let Some(trace) = trace {
        out.write_all(info.text(&trace, version).as_bytes())?;
    }
    Ok(out.flush()?)
}

impl Info {
    fn read(&mut self, reader: &mut Reader) -> std::io::Result<()> {
        let Some(index) = reader.index()? else {
            return self.scan(reader);
        };
        for entry in &index {
            if entry.kind == Kind::EVENTS {
                self.count(entry.events, entry.first, entry.last);
            }
        }
        for entry in index.iter().filter(|entry| entry.kind == Kind::FUNCTIONS) {
            reader.seek(entry.offset)?;
            let content = reader.next(|_| false)?;
            self.take(content);
        }
        for kind in [Kind::LOSSES, Kind::DONE] {
            if let Some(entry) = index.iter().rfind(|entry| entry.kind == kind) {
                reader.seek(entry.offset)?;
                let content = reader.next(|_| false)?;
                self.take(content);
            }
        }
        // To the very end, so that the reader knows how it ends.
        while reader.next(|_| false)?.is_some() {}
        Ok(())
    }

    /// Goes from header to header.
    fn scan(&mut self, reader: &mut Reader) -> std::io::Result<()> {
        // Only what comes after a block tells that it is whole.
        let mut latest: Option<BlockHeader> = None;
        loop {
            let content = reader.next(|block| {
                if let Some(whole) = latest.replace(*block) {
                    self.count(whole.events, whole.first, whole.last);
                }
                false
            })?;
            if content.is_none() {
                break;
            }
            self.take(content);
        }
        if let Some(block) = latest.filter(|_| reader.seen().cut.is_none_or(|cut| cut.kind != Kind::EVENTS)) {
            self.count(block.events, block.first, block.last);
        }
        Ok(())
    }

    fn count(&mut self, events: u32, first: u64, last: u64) {
        self.blocks += 1;
        self.events += u64::from(events);
        let (earliest, latest) = self.span.unwrap_or((first, last));
        self.span = Some((earliest.min(first), latest.max(last)));
    }

    fn take(&mut self, content: Option<Content>) {
        match content {
            Some(Content::Losses(losses)) => self.losses = losses,
            Some(Content::Done(summary)) => {
                self.losses.clone_from(&summary.losses);
                self.summary = Some(summary);
            }
            Some(Content::Functions(first, functions)) => {
                let known = u64::from(first) + functions.len() as u64;
                self.functions = self.functions.max(known);
            }
            Some(Content::Events) | None => {}
        }
    }

    fn text(&self, trace: &Trace, (major, minor): (u16, u16)) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{:<11}{}", format!("{name}:"), visible(value));
        };
        line("Format", &format!("{major}.{minor}"));
        line("Kernel", &trace.kernel_release);
        let words = trace.command_line.iter().map(String::as_str);
        let command = shlex::try_join(words).unwrap_or_else(|_| trace.command_line.join(" "));
        line("Command", &command);
        line("Tracer", &format!("{}, by {}", trace.tracer.name(), trace.backend));
        line("Mark", &format!("{:#x}, mask {:#x}", trace.mark, trace.mask));
        let functions = self.functions.max(trace.functions.len() as u64);
        line("Functions", &functions.to_string());
        let mut names: Vec<&str> = trace.schema.fields.iter().map(|field| field.name.as_str()).collect();
        match (trace.schema.tail, names.is_empty()) {
            (true, true) => line("Fields", "of a script or plugin"),
            (true, false) => {
                names.push("and those of a script or plugin");
                line("Fields", &names.join(", "));
            }
            (false, false) => line("Fields", &names.join(", ")),
            (false, true) => {}
        }
        if let Some((first, last)) = self.span {
            let length = Duration::from_nanos(last.saturating_sub(first));
            line("Time", &format!("{} to {}", wall(first, trace), wall(last, trace)));
            line("Length", &format!("{:.6} s", length.as_secs_f64()));
        }
        let blocks = if self.blocks == 1 { "block" } else { "blocks" };
        line("Events", &format!("{} in {} {blocks}", self.events, self.blocks));
        let packets = self.summary.as_ref().map(|summary| summary.packets.to_string());
        line(
            "Packets",
            &packets.unwrap_or_else(|| "not counted, since the end is missing".to_owned()),
        );
        match self.losses.is_empty() {
            true => line("Lost", "nothing"),
            false => {
                for loss in &self.losses {
                    let cpu = loss.cpu.map(|cpu| format!(" on CPU {cpu}")).unwrap_or_default();
                    line("Lost", &format!("{}{cpu}: {}", loss.count, loss.kind.description()));
                }
            }
        }
        for note in &self.notes {
            // Fit for a terminal already.
            let _ = writeln!(text, "{:<11}{note}", "Note:");
        }
        text
    }
}

/// A moment of the trace, in UTC.
fn wall(timestamp: u64, trace: &Trace) -> String {
    let nanoseconds = timestamp.saturating_add_signed(trace.clock_offset);
    // What is later than the year 2554 does not fit, and is no time of a trace.
    humantime::format_rfc3339_micros(UNIX_EPOCH + Duration::from_nanos(nanoseconds)).to_string()
}
