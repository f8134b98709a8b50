//! Decoder plugins. They run on the trace's own thread, as every sink needs their fields.

use std::sync::Arc;

use wasmtime::component::{Func, TypedFunc};

use super::instance::Running;
use super::types::{Answer, Decoded, OptionValue, TraceRecord};
use crate::host::error::PluginError;
use crate::package::OptionValues;
use ipft_core::event::Trace;

/// A decoder plugin.
pub struct Decoder {
    plugin: Arc<str>,
    running: Running,
    start: Func,
    decode: Func,
    finish: TypedFunc<(), Answer>,
    options: OptionValues,
}

type StartParameters<'a> = (TraceRecord<'a>, &'a [OptionValue]);
type DecodeParameters<'a> = (&'a [u8], u32);

impl Decoder {
    pub(super) fn new(
        plugin: Arc<str>,
        mut running: Running,
        interface: &str,
        options: OptionValues,
    ) -> Result<Self, PluginError> {
        Ok(Decoder {
            plugin,
            start: *running
                .function::<StartParameters<'_>, Answer>(interface, "start")?
                .func(),
            decode: *running
                .function::<DecodeParameters<'_>, Answer<Decoded>>(interface, "decode")?
                .func(),
            finish: running.function(interface, "finish")?,
            running,
            options,
        })
    }

    /// Returns the plugin's name.
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// Starts the decoder before the first event.
    pub fn start(&mut self, trace: &Trace) -> Result<(), PluginError> {
        // SAFETY: `new` has compared the function's type with these parameters and this result; lifetimes are not part
        // of it.
        let start = unsafe { TypedFunc::<StartParameters<'_>, Answer>::new_unchecked(self.start) };
        self.running
            .ask("start", &start, (TraceRecord::from(trace), &self.options[..]))
    }

    /// Decodes payloads of `size` bytes each. After a failure other than [`super::Failure::Returned`], no call may
    /// follow. The result is unchecked.
    pub fn decode(&mut self, payloads: &[u8], size: u32) -> Result<Decoded, PluginError> {
        // SAFETY: as in `start`.
        let decode = unsafe { TypedFunc::<DecodeParameters<'_>, Answer<Decoded>>::new_unchecked(self.decode) };
        self.running.ask("decode", &decode, (payloads, size))
    }

    /// Finishes the decoder at the end of the trace.
    pub fn finish(&mut self) -> Result<(), PluginError> {
        self.running.ask("finish", &self.finish, ())
    }
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Decoder")
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}
