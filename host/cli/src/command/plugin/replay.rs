//! Passes an existing trace to sinks.

use ipft_plugin::testing::Recording;

use super::convert;
use ipft_core::event::Trace;
use ipft_core::sink::{Flow, Sinks};

/// Passes all of it on, like a live trace.
pub fn replay(recording: &Recording, sinks: &mut Sinks) {
    let mut trace: Trace = convert::trace(&recording.trace);
    // The host passes all functions to a plugin at the start.
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
