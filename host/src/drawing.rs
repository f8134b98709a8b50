//! The sinks of a trace, as the user asked for them. A trace that is made and one that is replayed are drawn alike.

use std::io;

use anyhow::{Context, bail};

use crate::cli::{Drawing, Output, OutputFile};
use crate::plugin::{Stream, Target};
use crate::plugins::Plugins;
use crate::sink::{Aggregate, Counter, Destination, Json, Jsonl, Pcapng, Sinks};

/// All of them. Without a word on ipft's own output, a plugin or a file of packets takes its place.
pub fn sinks(drawing: &Drawing, plugins: &mut Plugins) -> anyhow::Result<Sinks> {
    let mut sinks = Sinks::new(Box::new(|name, error| eprintln!("ipft: {name}: {error}")));
    if drawing.own_output().is_some() || !(plugins.draw() || drawing.pcapng.is_some()) {
        own(drawing.output, &mut sinks);
    }
    if let Some(file) = &drawing.pcapng {
        if *file == OutputFile::Stdout && plugins.use_stdout() {
            bail!("a plugin and --pcapng - would both write to stdout; name a file, or give the plugin a --plugin-out");
        }
        add_pcapng(file, drawing, &mut sinks)?;
    }
    plugins.add_to(&mut sinks)?;
    Ok(sinks)
}

/// ipft's own output.
fn own(output: Output, sinks: &mut Sinks) {
    let stdout = io::stdout();
    match output {
        Output::Aggregate => {
            let counter = Counter::on_stderr();
            sinks.add(
                "stdout",
                Destination::Stdout,
                Box::new(Aggregate::new(stdout).with_counter(counter)),
            );
        }
        Output::Json => sinks.add("stdout", Destination::Stdout, Box::new(Json::new(stdout))),
        Output::Jsonl => sinks.add("stdout", Destination::Stdout, Box::new(Jsonl::new(stdout))),
    }
}

/// The file of packets.
fn add_pcapng(file: &OutputFile, drawing: &Drawing, sinks: &mut Sinks) -> anyhow::Result<()> {
    let (name, destination, stream) = match file {
        OutputFile::Stdout => ("stdout".to_owned(), Destination::Stdout, Stream::direct(Target::Stdout)),
        OutputFile::Path(path) => {
            let name = path.display().to_string();
            let stream = Stream::file(path).with_context(|| format!("cannot write {name}"))?;
            (name, Destination::Elsewhere, stream)
        }
    };
    let said = name.clone();
    let tell = Box::new(move |message: &str| eprintln!("ipft: {said}: {message}"));
    // One counter is enough.
    let counter = match drawing.own_output() {
        Some(_) => None,
        None => Counter::on_stderr(),
    };
    let sink = Pcapng::new(stream, |stream| stream.complete(), tell).with_counter(counter);
    sinks.add(name, destination, Box::new(sink));
    Ok(())
}
