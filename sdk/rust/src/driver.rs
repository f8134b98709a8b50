//! Drives a plugin's calls, the same for WebAssembly, native libraries and tests.

use crate::event::{Batch, Event};
use crate::trace::{Function, Summary, Trace};
use crate::{Error, Options, Output, Plugin};

/// Calls a plugin and owns the arguments of its calls.
#[derive(Debug)]
pub struct Driver<P> {
    plugin: P,
    trace: Trace,
    output: Output,
}

impl<P: Plugin> Driver<P> {
    /// Creates a driver for `plugin`, which writes to `output`.
    pub fn new(plugin: P, output: Output) -> Self {
        Driver {
            plugin,
            trace: Trace::default(),
            output,
        }
    }

    /// Starts the plugin before the first event.
    pub fn start(&mut self, trace: Trace, options: &Options) -> Result<(), Error> {
        self.trace = trace;
        self.plugin.start(&self.trace, options)
    }

    /// Adds new functions and names.
    pub fn learn(&mut self, functions: Vec<Function>, names: Vec<String>) {
        self.trace.functions.extend(functions);
        self.trace.names.extend(names);
        self.plugin.learn(&self.trace);
    }

    /// Passes events on.
    pub fn events(&mut self, events: &[Event], payload: &[u8]) -> Result<(), Error> {
        let batch = Batch {
            trace: &self.trace,
            events,
            payload,
        };
        let result = self.plugin.events(&batch, &mut self.output);
        self.output.pass_on();
        result
    }

    /// Reports a number of missed events.
    pub fn missed(&mut self, events: u64) {
        self.plugin.missed(events);
    }

    /// Finishes the plugin at the end of the trace.
    pub fn finish(&mut self, summary: &Summary) -> Result<(), Error> {
        let result = self.plugin.finish(&self.trace, summary, &mut self.output);
        self.output.pass_on();
        result
    }
}
