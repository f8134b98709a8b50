//! The sinks of a trace, as the user asked for them. A trace that is made and one that is replayed are drawn alike.

use std::io;

use crate::cli::{Drawing, Output};
use crate::kernel::{self, Root};
use crate::plugins::Plugins;
use crate::sink::{Aggregate, Counter, Destination, Json, Jsonl, Sinks};

/// The memory that there is, where the system does not say.
const MEMORY: u64 = 4 << 30;

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
            let max_memory = drawing.max_memory.unwrap_or_else(default_max_memory);
            let aggregate = Aggregate::new(stdout)
                .with_counter(Counter::on_stderr())
                .with_max_memory(max_memory, Box::new(|packets| eprintln!("{}", printed_early(packets))));
            sinks.add("stdout", Destination::Stdout, Box::new(aggregate));
        }
        Output::Json => sinks.add("stdout", Destination::Stdout, Box::new(Json::new(stdout))),
        Output::Jsonl => sinks.add("stdout", Destination::Stdout, Box::new(Jsonl::new(stdout))),
    }
    plugins.add_to(&mut sinks)?;
    Ok(sinks)
}

/// A quarter of the memory that there is: others want some, and a trace must not be what makes the machine run out.
fn default_max_memory() -> u64 {
    kernel::memory(&Root::system()).unwrap_or(MEMORY) / 4
}

/// What the user is told when a trace has ended that needed more memory.
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
    fn it_is_told_how_many_packets_were_printed_early_and_what_helps() {
        assert!(printed_early(1).starts_with("1 packet was printed before the trace ended"));
        assert!(printed_early(1830).starts_with("1830 packets were printed before the trace ended"));
        assert!(printed_early(2).ends_with("A larger --max-memory avoids that."));
    }

    #[test]
    fn by_default_there_is_memory_but_not_all_of_it() {
        let memory = kernel::memory(&Root::system()).expect("the system says how much there is");
        assert_eq!(default_max_memory(), memory / 4);
    }
}
