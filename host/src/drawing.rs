//! The sinks of a trace, as the user asked for them. A trace that is made and one that is replayed are drawn alike.

use std::io;

use anyhow::Context;

use crate::cli::{Drawing, Output, RecordFile};
use crate::plugins::Plugins;
use crate::sink::{Aggregate, Counter, Destination, Json, Jsonl, Record, Ring, Sinks};

/// What is opened before anything is attached, so that a wrong name is found out in time.
#[derive(Default)]
pub struct Files {
    record: Option<Record>,
}

impl Files {
    /// Opens them, and changes nothing in them.
    pub fn open(drawing: &Drawing) -> anyhow::Result<Self> {
        let record = drawing.record.as_ref().map(record).transpose()?;
        Ok(Files { record })
    }

    /// Device and inode of those that a trace is not to be read from, since they are written.
    pub fn identities(&self) -> Vec<(u64, u64)> {
        self.record.iter().filter_map(Record::identity).collect()
    }
}

fn record(file: &RecordFile) -> anyhow::Result<Record> {
    if file.is_stdout() {
        return Ok(Record::to_stdout());
    }
    let ring = file.ring.map(|(max_size, files)| Ring { max_size, files });
    Record::create(&file.path, ring).with_context(|| format!("cannot record to {}", file.path.display()))
}

/// All of them. Without a word on ipft's own output, plugins and recordings take its place.
pub fn sinks(drawing: &Drawing, files: Files, plugins: &mut Plugins) -> anyhow::Result<Sinks> {
    let mut sinks = Sinks::new(Box::new(|name, error| eprintln!("ipft: {name}: {error}")));
    let others = plugins.draw() || files.record.is_some();
    if drawing.own_output().is_some() || !others {
        let stdout = io::stdout();
        let sink: Box<dyn crate::sink::Sink> = match drawing.output {
            Output::Aggregate => Box::new(Aggregate::new(stdout).with_counter(Counter::on_stderr())),
            Output::Json => Box::new(Json::new(stdout).with_warnings(Box::new(|message| eprintln!("ipft: {message}")))),
            Output::Jsonl => Box::new(Jsonl::new(stdout)),
        };
        sinks.add("stdout", Destination::Stdout, sink);
    }
    let alone = drawing.own_output().is_none() && !plugins.draw();
    if let (Some(record), Some(file)) = (files.record, &drawing.record) {
        // Other sinks show on the terminal themselves that something is going on.
        let counter = if alone { Counter::on_stderr() } else { None };
        let destination = match file.is_stdout() {
            true => Destination::Stdout,
            false => Destination::Elsewhere,
        };
        let name = file.path.display().to_string();
        sinks.add(name, destination, Box::new(record.with_counter(counter)));
    }
    plugins.add_to(&mut sinks)?;
    Ok(sinks)
}
