//! The life of a plugin, the same whether it is WebAssembly, native, or in a test.

use crate::event::{Batch, Event};
use crate::trace::{Function, Summary, Trace};
use crate::{Error, Options, Output, Plugin};

/// Calls a plugin, and keeps what its calls refer to.
#[derive(Debug)]
pub struct Driver<P> {
    plugin: P,
    trace: Trace,
    output: Output,
}

impl<P: Plugin> Driver<P> {
    /// Drives `plugin`, which writes to `output`.
    pub fn new(plugin: P, output: Output) -> Self {
        Driver {
            plugin,
            trace: Trace::default(),
            output,
        }
    }

    /// The trace is about to deliver events.
    pub fn start(&mut self, trace: Trace, options: &Options) -> Result<(), Error> {
        self.trace = trace;
        self.plugin.start(&self.trace, options)
    }

    /// Functions and names that are new.
    pub fn learn(&mut self, functions: Vec<Function>, names: Vec<String>) {
        self.trace.functions.extend(functions);
        self.trace.names.extend(names);
        self.plugin.learn(&self.trace);
    }

    /// Events happened.
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

    /// So many events did not reach the plugin.
    pub fn missed(&mut self, events: u64) {
        self.plugin.missed(events);
    }

    /// The trace has ended.
    pub fn finish(&mut self, summary: &Summary) -> Result<(), Error> {
        let result = self.plugin.finish(&self.trace, summary, &mut self.output);
        self.output.pass_on();
        result
    }
}
