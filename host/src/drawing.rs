//! The sinks of a trace, as the user asked for them. A trace that is made and one that is replayed are drawn alike.

use std::io;

use crate::cli::{Drawing, Output};
use crate::plugins::Plugins;
use crate::sink::{Aggregate, Counter, Destination, Json, Jsonl, Sinks};

/// All of them. Without a word on ipft's own output, a plugin takes its place.
pub fn sinks(drawing: &Drawing, plugins: &mut Plugins) -> anyhow::Result<Sinks> {
    let mut sinks = Sinks::new(Box::new(|name, error| eprintln!("ipft: {name}: {error}")));
    if plugins.draw() && drawing.own_output().is_none() {
        plugins.add_to(&mut sinks)?;
        return Ok(sinks);
    }
    let stdout = io::stdout();
    match drawing.output {
        Output::Aggregate => {
            let counter = Counter::on_stderr();
            sinks.add(
                "stdout",
                Destination::Stdout,
                Box::new(Aggregate::new(stdout).with_counter(counter)),
            );
        }
        Output::Json => {
            let json = Json::new(stdout).with_warnings(Box::new(|message| eprintln!("ipft: {message}")));
            sinks.add("stdout", Destination::Stdout, Box::new(json));
        }
        Output::Jsonl => sinks.add("stdout", Destination::Stdout, Box::new(Jsonl::new(stdout))),
    }
    plugins.add_to(&mut sinks)?;
    Ok(sinks)
}
