//! Creates the sinks of a trace, as requested by the user. Live traces and replays are drawn alike.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};

use crate::args::{Color, Drawing, Output, OutputFile, RecordFile, TextStyle, Time};
use crate::command::plugins::Plugins;
use crate::command::top::{Switch, Switched, Top, TopOptions};
use ipft_core::event::DropTotals;
use ipft_core::kernel::{self, Root};
use ipft_core::message;
use ipft_core::output::{self, Full, Stream, Target};
use ipft_core::privileges::{self, Folder, FolderUse, Needs, folder_of};
use ipft_core::signals::Stop;
use ipft_core::sink::{
    Aggregate, Counter, Destination, Drops, DropsOptions, Json, Jsonl, PCAPNG_MEMORY, Pcapng, Record, Ring, Screen,
    Sink, Sinks, Text, TextOptions, TextTime,
};

/// The assumed memory, if the system does not report it.
const MEMORY: u64 = 4 << 30;

/// The source of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel, which does not wait for slow outputs.
    Trace,
    /// A recording, which does.
    Recording,
}

/// What the output of a trace of drops needs beside the request.
#[derive(Clone, Debug, Default)]
pub struct OfDrops {
    /// Show drops that are no loss, too.
    pub all: bool,
    /// Keep the table on the terminal, if there is one.
    pub table: bool,
    /// The counts of the trace.
    pub totals: DropTotals,
}

/// Creates all sinks. Builds all requested ones; plugins and files replace the default output unless it was requested.
/// Files are opened here, but not changed before the trace begins. Sinks that buffer events share the memory limit.
pub fn sinks(
    drawing: &Drawing,
    memory: u64,
    plugins: &mut Plugins,
    source: Source,
    drops: OfDrops,
    stop: Stop,
) -> anyhow::Result<Sinks> {
    refuse_shared_files(drawing)?;
    let switch = Arc::<Switch>::default();
    let mut sinks = Sinks::new(Box::new(|name, error| message!("ipft: {name}: {error}")));
    let own = has_own(drawing, plugins);
    let memory = Memory::divide(drawing, own, memory);
    if own {
        let sink = own_output(drawing, memory.aggregate, drops, |memory| TopOptions {
            text: text_options(&drawing.text),
            memory,
            switch: Arc::clone(&switch),
            stop,
            stays: source == Source::Recording,
        })?;
        sinks.add("stdout", Destination::Stdout, sink);
        let full = match drawing.output {
            // A line less is a loss like any other.
            Output::Text | Output::Drops | Output::Json | Output::Jsonl | Output::Top => Full::Drop,
            Output::Aggregate => Full::Fail,
        };
        sinks.add_outlet("stdout", output::stdout(), source.full(full));
    }
    for (option, file) in [
        ("--pcapng", drawing.pcapng.as_ref()),
        ("--record", drawing.record.as_ref().map(|record| &record.file)),
    ] {
        if file == Some(&OutputFile::Stdout) && plugins.use_stdout() {
            bail!("a plugin and {option} - would both write to stdout; name a file, or give the plugin a --plugin-out");
        }
    }
    // One counter is enough.
    let mut counter = if own { None } else { Counter::on_stderr() };
    if let Some(file) = &drawing.pcapng {
        if *file == OutputFile::Stdout {
            // What is written early, for want of memory, is not waited for.
            sinks.add_outlet("stdout", output::stdout(), source.full(Full::Fail));
        }
        add_pcapng(file, memory.pcapng, counter.take(), &mut sinks)?;
    }
    if let Some(record) = &drawing.record {
        add_record(
            record,
            counter.take(),
            &mut sinks,
            source,
            (drawing.output == Output::Top).then_some(switch),
        )?;
    }
    plugins.add_to(&mut sinks)?;
    Ok(sinks)
}

/// Returns whether ipft's own output is written.
fn has_own(drawing: &Drawing, plugins: &Plugins) -> bool {
    let files = drawing.pcapng.is_some() || drawing.record.is_some();
    drawing.own_output().is_some() || !(plugins.draw() || files)
}

/// Returns whether the user sees losses in ipft's own output: only the text has them, and stdout is the terminal.
pub fn shows_losses(drawing: &Drawing, plugins: &Plugins) -> bool {
    matches!(drawing.output, Output::Text | Output::Top) && has_own(drawing, plugins) && io::stdout().is_terminal()
}

/// The files that may be written over, and the options that say so.
pub fn written(drawing: &Drawing) -> Vec<(&'static str, PathBuf)> {
    let mut written = Vec::new();
    if let Some(OutputFile::Path(path)) = &drawing.pcapng {
        written.push(("--pcapng", path.clone()));
    }
    for plugin in &drawing.plugins {
        written.extend(plugin.grants.out.clone().map(|path| ("--plugin-out", path)));
    }
    if let Some(RecordFile {
        file: OutputFile::Path(path),
        ring,
    }) = &drawing.record
    {
        let files = match ring {
            Some(_) => Record::parts_there(path),
            None => vec![path.clone()],
        };
        written.extend(files.into_iter().map(|path| ("--record", path)));
    }
    written
}

/// Returns the folders that are used after the files were opened.
pub fn folders(drawing: &Drawing) -> Vec<Folder> {
    let mut folders = Vec::new();
    let mut named = |path: &PathBuf| {
        // A device or a pipe is open, and its name is not used again.
        if fs::metadata(path).map_or(true, |known| known.is_file()) {
            let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
            folders.push(Folder {
                path: folder_of(&path),
                used: FolderUse::Name(path.file_name().map(PathBuf::from).unwrap_or_default()),
            });
        }
    };
    let outs = drawing.plugins.iter().filter_map(|plugin| plugin.grants.out.as_ref());
    outs.for_each(&mut named);
    if let Some(OutputFile::Path(path)) = &drawing.pcapng {
        named(path);
    }
    if let Some(RecordFile {
        file: OutputFile::Path(path),
        ring,
    }) = &drawing.record
    {
        match ring {
            None => named(path),
            Some(_) => folders.push(Folder {
                path: folder_of(path),
                used: FolderUse::Ring,
            }),
        }
    }
    let granted = drawing.plugins.iter().flat_map(|plugin| &plugin.grants.dirs);
    folders.extend(granted.map(|dir| Folder {
        path: dir.host.clone(),
        used: FolderUse::Granted { write: !dir.read_only },
    }));
    folders
}

/// Drops all privileges that a replay does not need. All input files are open.
pub fn confine(drawing: &Drawing, verbose: bool) -> anyhow::Result<()> {
    let needs = Needs {
        folders: folders(drawing),
        terminal: drawing.output == Output::Top,
        ..Needs::default()
    };
    let in_force = privileges::reduce(&needs)?;
    if verbose {
        message!("Privileges from now on: {}", in_force.describe());
    }
    Ok(())
}

/// Refuses outputs that would overwrite each other.
fn refuse_shared_files(drawing: &Drawing) -> anyhow::Result<()> {
    let written = written(drawing);
    // Two terminals, pipes or devices may be the same.
    let is_file = |path: &PathBuf| fs::metadata(path).map_or(true, |known| known.is_file());
    let files = written.iter().filter(|(_, path)| is_file(path));
    if let Some(((other, _), (option, path))) = output::shared(files.map(|file| (file, file.1.as_path()))) {
        bail!("{other} and {option} would both write to {}", path.display());
    }
    Ok(())
}

/// Creates ipft's own output.
fn own_output(
    drawing: &Drawing,
    memory: u64,
    drops: OfDrops,
    top: impl FnOnce(u64) -> TopOptions,
) -> anyhow::Result<Box<dyn Sink>> {
    let stdout = output::stdout();
    Ok(match drawing.output {
        Output::Top => Box::new(Top::new(top(memory), stdout)?),
        Output::Text => Box::new(Text::new(stdout, text_options(&drawing.text))),
        Output::Drops => {
            let options = DropsOptions {
                text: text_options(&drawing.text),
                all: drops.all,
            };
            let sink = Drops::new(stdout, options, drops.totals);
            match drops.table && io::stdout().is_terminal() && !is_dumb() {
                true => Box::new(sink.with_table(Box::new(screen))),
                false => Box::new(sink),
            }
        }
        Output::Aggregate => {
            let aggregate = Aggregate::new(stdout).with_counter(Counter::on_stderr());
            Box::new(aggregate.with_max_memory(memory, Box::new(|packets| message!("{}", printed_early(packets)))))
        }
        Output::Json => Box::new(Json::new(stdout).with_warnings(Box::new(|message| message!("ipft: {message}")))),
        Output::Jsonl => Box::new(Jsonl::new(stdout)),
    })
}

/// Returns whether the terminal takes no escapes.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Returns the size of the terminal that is stdout, if it tells.
fn screen() -> Option<Screen> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then(|| Screen {
        rows: usize::from(size.ws_row),
        columns: usize::from(size.ws_col),
    })
}

/// Returns the looks of the text for stdout.
fn text_options(style: &TextStyle) -> TextOptions {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_terminal = io::stdout().is_terminal();
    TextOptions {
        time: match style.time {
            Time::Relative => TextTime::Relative,
            Time::Delta => TextTime::Delta,
            Time::Absolute => TextTime::Absolute,
        },
        color: match style.color {
            Color::Auto => is_terminal && !set("NO_COLOR") && !is_dumb(),
            Color::Always => true,
            Color::Never => false,
        },
        width: screen().map(|screen| screen.columns),
        unfold: style.unfold,
        stack: style.stack,
    }
}

/// Creates the packet file.
fn add_pcapng(file: &OutputFile, memory: u64, counter: Option<Counter>, sinks: &mut Sinks) -> anyhow::Result<()> {
    let (name, destination, stream) = match file {
        OutputFile::Stdout => ("stdout".to_owned(), Destination::Stdout, Stream::direct(Target::Stdout)),
        OutputFile::Path(path) => {
            let name = path.display().to_string();
            let stream = Stream::file(path).with_context(|| format!("cannot write {name}"))?;
            (name, Destination::Elsewhere, stream)
        }
    };
    let said = name.clone();
    let tell = Box::new(move |message: &str| message!("ipft: {said}: {message}"));
    let sink = Pcapng::new(stream, |stream| stream.complete(), tell).with_counter(counter);
    let sink = sink.with_limit(usize::try_from(memory).unwrap_or(usize::MAX));
    sinks.add(name, destination, Box::new(sink));
    Ok(())
}

/// Creates the recording.
fn add_record(
    record: &RecordFile,
    counter: Option<Counter>,
    sinks: &mut Sinks,
    source: Source,
    switch: Option<Arc<Switch>>,
) -> anyhow::Result<()> {
    let name = record.name();
    let (destination, sink) = match &record.file {
        OutputFile::Stdout => (Destination::Stdout, Record::to_stdout()),
        OutputFile::Path(path) => {
            let ring = record.ring.map(|(max_size, files)| Ring { max_size, files });
            let sink = Record::create(path, ring).with_context(|| format!("cannot record to {name}"))?;
            (Destination::Elsewhere, sink)
        }
    };
    if let Some(outlet) = sink.outlet() {
        sinks.add_outlet(name.as_str(), outlet, source.full(Full::Fail));
    }
    let sink = sink.with_counter(counter);
    let sink: Box<dyn Sink> = match switch {
        Some(switch) => Box::new(Switched::new(name.clone(), sink, switch)),
        None => Box::new(sink),
    };
    sinks.add(name, destination, sink);
    Ok(())
}

/// Returns the share of the memory limit for each sink that buffers events.
#[derive(Debug, PartialEq, Eq)]
struct Memory {
    aggregate: u64,
    pcapng: u64,
}

impl Memory {
    /// The sum of both never exceeds the limit.
    fn divide(drawing: &Drawing, own: bool, memory: u64) -> Self {
        let aggregate = own && matches!(drawing.output, Output::Aggregate | Output::Top);
        let pcapng = match (&drawing.pcapng, drawing.max_memory) {
            (None, _) => 0,
            (Some(_), Some(_)) if !aggregate => memory,
            (Some(_), Some(_)) => memory / 2,
            // The packets are few beside what all of the machine's memory holds.
            (Some(_), None) => (memory / 2).min(PCAPNG_MEMORY as u64),
        };
        Memory {
            aggregate: memory - pcapng,
            pcapng,
        }
    }
}

/// Reports what readers were too slow for, at the end of the trace.
pub fn tell_dropped(sinks: &Sinks) {
    for (name, lines) in sinks.dropped() {
        message!("ipft: {name}: dropped {lines} lines (its reader could not keep up); other outputs are unaffected");
    }
}

impl Source {
    /// Returns the behaviour of an output with a slow reader, if there are other outputs.
    fn full(self, full: Full) -> Full {
        match self {
            Source::Trace => full,
            Source::Recording => Full::Wait,
        }
    }
}

/// The memory limit for buffered events.
pub fn memory(drawing: &Drawing) -> u64 {
    drawing.max_memory.unwrap_or_else(default_max_memory)
}

/// Returns a quarter of the memory: a trace must not make the machine run out.
pub fn default_max_memory() -> u64 {
    kernel::memory(&Root::system()).unwrap_or(MEMORY) / 4
}

/// Returns the message at the end of a trace that exceeded the memory limit.
fn printed_early(packets: u64) -> String {
    let (printed, were) = match packets {
        1 => ("1 packet".to_owned(), "was"),
        _ => (format!("{packets} packets"), "were"),
    };
    format!(
        "{printed} {were} printed before the trace ended, for want of memory.\n\
         A packet that went on after that is shown in several parts. A larger --max-memory avoids that."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_packets_are_counted_with_a_remedy() {
        assert!(printed_early(1).starts_with("1 packet was printed before the trace ended"));
        assert!(printed_early(1830).starts_with("1830 packets were printed before the trace ended"));
        assert!(printed_early(2).ends_with("A larger --max-memory avoids that."));
    }

    #[test]
    fn what_keeps_events_shares_the_memory() {
        let drawing = |pcapng: bool, max_memory| Drawing {
            output: Output::Aggregate,
            output_given: true,
            text: TextStyle::default(),
            plugins: Vec::new(),
            record: None,
            pcapng: pcapng.then_some(OutputFile::Stdout),
            max_memory,
        };
        let divided = |pcapng, own, given: Option<u64>, memory| {
            let memory = Memory::divide(&drawing(pcapng, given), own, memory);
            (memory.aggregate, memory.pcapng)
        };
        assert_eq!(divided(false, true, Some(100), 100), (100, 0));
        assert_eq!(divided(true, true, Some(100), 100), (50, 50));
        assert_eq!(divided(true, false, Some(100), 100), (0, 100));
        assert_eq!(divided(true, true, None, 8 << 30), ((8 << 30) - (256 << 20), 256 << 20));
    }

    #[test]
    fn by_default_there_is_memory_but_not_all_of_it() {
        let memory = kernel::memory(&Root::system()).expect("the system says how much there is");
        assert_eq!(default_max_memory(), memory / 4);
    }
}
