//! `ipft replay`: passes a recording through the sinks, like a live trace.

pub mod info;

use std::fs;
use std::path::Path;

use crate::args::{ExtensionFile, ReplayOptions};
use crate::command::drawing;
use crate::command::empty;
use crate::command::plugins::Plugins;
use crate::command::report::{Outcome, report_losses};
use anyhow::{Context, bail};
use ipft_core::event::{Batch, Summary, Trace};
use ipft_core::extension::decode::{DATA, Decode};
use ipft_core::extension::lua::{Print, Script};
use ipft_core::message;
use ipft_core::output::Place;
use ipft_core::selection::{Packets, Selection};
use ipft_core::signals::Signals;
use ipft_core::sink::{Flow, Sinks};
use ipft_core::stream::{Recorded, RecordedError};

/// Warning for a count that is too high.
const COUNTED_AGAIN: &str = "there are more packets than --max-memory has room for, so some may be counted more than \
    once; a larger --max-memory avoids that";

/// Draws a recording. Ignores `options.info`.
pub fn replay(options: &ReplayOptions) -> anyhow::Result<Outcome> {
    let signals = Signals::install().context("cannot listen for signals")?;
    let stop = signals.fd().try_clone_to_owned().context("cannot listen for signals")?;
    let mut recorded = Recorded::open(&options.files, Some(stop))?;
    let mut plugins = Plugins::load(
        &options.drawing.plugins,
        options.drawing.own_output(),
        options.verbose,
        Some(signals.fd()),
    )?;
    refuse_to_overwrite(options)?;
    let mut trace = recorded.trace().clone();
    let mut decoder = decoder(options, &plugins, &trace, &signals)?;
    if decoder.is_some() {
        trace.schema = trace.schema.decoded();
    }
    let count = !(options.selection.is_all() && recorded.is_complete());
    // The sinks share most of it. An eighth is for counting packets, and one for the first bytes of packets.
    let memory = drawing::memory(&options.drawing);
    let selection = Selection::new(&options.selection, &trace, count, memory / 8);
    let mut sinks = drawing::sinks(
        &options.drawing,
        memory / 8 * 6,
        &mut plugins,
        drawing::Source::Recording,
        drawing::OfDrops::default(),
        signals.stop(),
    )?;
    raise_file_limit(options.files.len());
    recorded.hold()?;
    // All files are open, and no plugin or script has run yet.
    if !options.keep_privileges {
        drawing::confine(&options.drawing, options.verbose)?;
    }
    if let Some(decoder) = &mut decoder {
        decoder.start(&trace).map_err(anyhow::Error::msg)?;
    }
    if sinks.start(&trace) == Flow::Stop {
        if sinks.failures().next().is_some() {
            return Ok(Outcome::SinkFailed);
        }
        bail!("output closed before the trace started");
    }
    let mut replay = Replay {
        recorded: &mut recorded,
        selection,
        decoder,
        builtin: trace.schema.builtin as usize,
        events: 0,
        calls: 0,
        follow: trace.follow,
        stopped: false,
    };
    let result = replay.run(&signals, &mut sinks);
    let summary = replay.summary(options, &trace);
    let counted_again = replay.selection.has_forgotten();
    let decoder = replay.decoder.take();
    let lost = recorded.has_lost();
    sinks.finish(&summary);
    drawing::tell_dropped(&sinks);
    let drawn = plugins.complete(&sinks);
    let messages = decoder.map(|mut decoder| decoder.finish().messages);
    let notes = recorded.notes().iter().chain(messages.iter().flatten());
    for note in notes {
        message!("ipft: {note}");
    }
    if counted_again {
        message!("ipft: {COUNTED_AGAIN}");
    }
    report_losses(&summary, None, drawing::shows_losses(&options.drawing, &plugins));
    if summary.events == 0 && result.is_ok() && !lost {
        message!("{}", empty::replay(&options.selection, &trace));
    }
    result?;
    Ok(if !drawn || sinks.failures().next().is_some() {
        Outcome::SinkFailed
    } else if lost {
        Outcome::Incomplete
    } else {
        Outcome::Done
    })
}

/// Raises the limit of open files as far as possible; later failures report what is missing.
fn raise_file_limit(files: usize) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const OTHERS: u64 = 256;
    let limit = getrlimit(Resource::Nofile);
    let wanted = files as u64 + OTHERS;
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
}

/// Refuses to draw a recording into itself, or into a file of its own ring: it would be lost.
fn refuse_to_overwrite(options: &ReplayOptions) -> anyhow::Result<()> {
    for path in &options.files {
        let read = match path.as_os_str() == "-" {
            true => Path::new("/dev/stdin"),
            false => path,
        };
        // Two terminals, pipes or devices may be the same.
        if !fs::metadata(read).is_ok_and(|known| known.is_file()) {
            continue;
        }
        let place = Place::of(read).ok();
        for (option, written) in drawing::written(&options.drawing) {
            if Place::of(&written).ok() == place {
                bail!("{} would be overwritten; give {option} another name", path.display());
            }
        }
    }
    Ok(())
}

/// Returns the decoder for an extension's bytes, if the user selected one.
fn decoder(
    options: &ReplayOptions,
    plugins: &Plugins,
    trace: &Trace,
    signals: &Signals,
) -> anyhow::Result<Option<Box<dyn Decode>>> {
    let raw = !trace.schema.tail && trace.schema.has_extension();
    let Some(ExtensionFile::Script(path)) = &options.extension else {
        return match raw {
            true => plugins.decoder(),
            false => Ok(None),
        };
    };
    if !raw {
        bail!(
            "{} cannot be used: {}",
            path.display(),
            match trace.schema.tail {
                true => "the fields were made by a script or plugin when the trace was recorded",
                false => "the trace was recorded without an extension, so there are no bytes to make fields of",
            }
        );
    }
    let print = match options.drawing.is_for_people() {
        true => Print::Stdout,
        false => Print::Stderr,
    };
    let stop = signals.fd().try_clone_to_owned().context("cannot listen for signals")?;
    let tell = Box::new(|message: &str| message!("ipft: {message}"));
    Ok(Some(Box::new(Script::load(path, print, Some(stop), tell)?)))
}

/// A recording on its way to the sinks.
struct Replay<'a> {
    recorded: &'a mut Recorded,
    selection: Selection,
    decoder: Option<Box<dyn Decode>>,
    /// Size of the built-in fields, which are not decoded.
    builtin: usize,
    /// All events, and the entries and returns among them.
    events: u64,
    calls: u64,
    /// Whether packets were followed, so that the recording's summary counts entries and returns only.
    follow: bool,
    /// Whether the replay was stopped before the recording's end.
    stopped: bool,
}

impl Replay<'_> {
    fn run(&mut self, signals: &Signals, sinks: &mut Sinks) -> anyhow::Result<()> {
        let mut batch = Batch::default();
        loop {
            let read = self.recorded.read(&mut batch, |block| self.selection.wants(block));
            for new in self.recorded.take_functions() {
                self.selection.append(&new);
                if sinks.functions(&new) == Flow::Stop {
                    self.stopped = true;
                    return Ok(());
                }
            }
            match read {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // Standard input had no more data at that time.
                Err(_) if signals.stop_requested() => {
                    self.stopped = true;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
            self.selection.apply(&mut batch);
            if !batch.is_empty() {
                if let Some(decoder) = &mut self.decoder {
                    widen(&mut batch, self.builtin);
                    decoder.decode(&mut batch);
                }
                self.events += batch.events.len() as u64;
                self.calls += batch.calls().count() as u64;
                if sinks.events(&batch) == Flow::Stop {
                    self.stopped = true;
                    return Ok(());
                }
            }
            if signals.stop_requested() || self.selection.is_over() {
                self.stopped = true;
                return Ok(());
            }
        }
    }

    /// The summary of the trace, if all of it was drawn.
    fn summary(&self, options: &ReplayOptions, trace: &Trace) -> Summary {
        let recorded = self.recorded.summary();
        let events = if self.follow { self.calls } else { self.events };
        match recorded {
            Some(summary) if options.selection.is_all() && !self.stopped && summary.events == events => summary.clone(),
            _ => Summary {
                events,
                packets: (self.selection.packets())
                    .unwrap_or_else(|| packets_again(self.recorded, options, self.events)),
                losses: recorded
                    .map_or(self.recorded.losses(), |summary| &summary.losses)
                    .to_vec(),
                attached: recorded.map_or(trace.functions.len() as u32, |summary| summary.attached),
                skipped: recorded.map(|summary| summary.skipped.clone()).unwrap_or_default(),
            },
        }
    }
}

/// Counts the distinct packets in the first `events` events by reading the files again. Needed if the whole trace was
/// selected, so that its own count would have applied, but not all of it could be read.
fn packets_again(recorded: &Recorded, options: &ReplayOptions, events: u64) -> u64 {
    let count = || -> Result<Packets, RecordedError> {
        let mut recorded = recorded.again()?;
        let mut packets = Packets::new(drawing::memory(&options.drawing) / 8);
        let mut batch = Batch::default();
        let mut left = events;
        while left > 0 && recorded.read(&mut batch, |_| true)? {
            let wanted = batch.events.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            for event in &batch.events[..wanted] {
                packets.insert(event.packet);
            }
            left -= wanted as u64;
        }
        Ok(packets)
    };
    match count() {
        Ok(packets) => {
            if packets.has_forgotten() {
                message!("ipft: {COUNTED_AGAIN}");
            }
            packets.count()
        }
        Err(error) => {
            message!("ipft: the packets cannot be counted: {error}");
            0
        }
    }
}

/// Extends each payload to the size that a decoder expects: bytes that an extension did not write are zero.
fn widen(batch: &mut Batch, builtin: usize) {
    let narrow = std::mem::take(&mut batch.payload);
    for event in &mut batch.events {
        let bytes = event.payload_in(&narrow);
        let bytes = &bytes[..bytes.len().min(builtin + DATA)];
        let length = if bytes.is_empty() { 0 } else { builtin + DATA };
        event.payload_offset = batch.payload.len() as u32;
        event.payload_len = length as u32;
        batch.payload.extend_from_slice(bytes);
        batch.payload.resize(event.payload_offset as usize + length, 0);
    }
}
