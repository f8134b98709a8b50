//! Passes a trace that is already there on to sinks.

use ipft_plugin::testing::Recording;

use super::convert;
use ipft_core::event::Trace;
use ipft_core::sink::{Flow, Sinks};

/// Passes all of it on, as a trace would come.
pub fn replay(recording: &Recording, sinks: &mut Sinks) {
    let mut trace: Trace = convert::trace(&recording.trace);
    // The host tells a plugin all functions at the start.
    for chunk in &recording.chunks {
        trace.functions.extend(chunk.functions.iter().map(convert::function));
    }
    let mut names = recording.trace.names.clone();
    if sinks.start(&trace) == Flow::Continue {
        for chunk in &recording.chunks {
            names.extend(chunk.names.iter().cloned());
            let batch = convert::batch(&chunk.events, &chunk.payload, &names);
            if sinks.events(&batch) == Flow::Stop {
                break;
            }
        }
    }
    sinks.finish(&convert::summary(&recording.summary));
}
