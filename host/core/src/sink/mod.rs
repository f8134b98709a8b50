//! Sinks draw the journey: they consume batches of events and produce output.
//!
//! Built-in, Lua, native and WASM sinks are peers behind one trait, and nothing above this module knows which kind one
//! is. Those of plugins are in the crate `ipft-plugin-host`. A sink may import `event`, `output`, `seeded` and `text`,
//! nothing else of the crate; the one that records also `recording`.
//! Several run at once; one that fails is set aside and the others go on.

mod aggregate;
mod blocks;
mod clashes;
mod counter;
pub mod difference;
mod fields;
mod graph;
mod heading;
mod journal;
mod json;
mod jsonl;
mod lineage;
mod output;
mod pcapng;
mod reasons;
mod recent;
mod record;
mod rows;
mod sinks;
mod tagged;
mod text;
mod texts;
mod tuple;
mod waits;

#[cfg(test)]
mod test_support;

pub use aggregate::{Aggregate, Reported};
pub use counter::Counter;
pub use json::Json;
pub use jsonl::{Jsonl, VERSION as JSONL_VERSION};
pub use pcapng::{LIMIT as PCAPNG_MEMORY, Pcapng};
pub use record::{Record, Ring};
pub use sinks::{Destination, Flow, Report, Sinks};
pub use text::{Drops, DropsOptions, Screen, Text, TextOptions, TextTime, top};
pub use tuple::FlowKey;

use crate::event::{Batch, Function, Progress, Summary, Trace};
use crate::text::visible;

/// The error of a sink.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The output was closed by its reader (`| head`): the end of a run, not a failure.
    #[error("the output was closed by its reader")]
    Closed,
    /// The output could not be written.
    #[error("cannot write the output: {0}")]
    Write(#[source] std::io::Error),
    /// The schema has a field that cannot be shown.
    #[error("cannot show the field `{name}`: {reason}", name = visible(name))]
    Field {
        /// The field's name.
        name: String,
        /// The problem.
        reason: &'static str,
    },
    /// The sink writes packets, and has the bytes of none.
    #[error("no packet bytes were recorded; trace again with --record-bytes or --pcapng")]
    NoBytes,
    /// The files of a ring are too small for events.
    #[error(
        "each file of a ring begins with what was traced, which takes {beginning} bytes here; give --record-max-size \
         more, such as {}M",
        (beginning / 500_000).max(1)
    )]
    SmallRing {
        /// Bytes that are in each file before its first event.
        beginning: u64,
    },
    /// A plugin could not go on.
    #[error(transparent)]
    Plugin(Box<dyn std::error::Error + Send + Sync>),
}

impl From<std::io::Error> for SinkError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            SinkError::Closed
        } else {
            SinkError::Write(error)
        }
    }
}

/// A consumer of one trace. The calls come in this order: `start` once, `functions`, `events` and `progress` any number
/// of times, `finish` once.
pub trait Sink {
    /// The trace is about to deliver events.
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError>;
    /// Functions were appended to the function table; events that follow may name them.
    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError>;
    /// Events happened. Within one packet they come in order of time.
    fn events(&mut self, batch: &Batch) -> Result<(), SinkError>;
    /// The trace goes on: about once a second, also while nothing happens. For sinks that must not wait for the end;
    /// what is drawn must not depend on it, since a recording that is replayed does not tell.
    fn progress(&mut self, _progress: &Progress) -> Result<(), SinkError> {
        Ok(())
    }
    /// The trace has ended; nothing follows.
    fn finish(&mut self, summary: &Summary) -> Result<(), SinkError>;
}
