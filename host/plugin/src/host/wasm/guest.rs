//! The functions of a sink plugin, in one instance of it.

use std::sync::Arc;

use wasmtime::component::{Func, InstancePre, TypedFunc};

use super::component::Style;
use super::instance::Running;
use super::state::State;
use super::types::{Answer, EventRecord, FunctionRecord, OptionValue, SummaryRecord, TraceRecord, bytes, records};
use crate::host::error::PluginError;
use crate::host::worker::Draw;
use crate::package::OptionValues;
use ipft_core::event::{Event, Function, Summary, Trace};

/// The functions of a sink plugin.
pub(super) struct Guest {
    running: Running,
    options: OptionValues,
    start: Func,
    learn: Func,
    events: Func,
    missed: TypedFunc<(u64,), ()>,
    finish: Func,
    raw: bool,
}

type StartParameters<'a> = (TraceRecord<'a>, &'a [OptionValue]);
type LearnParameters<'a> = (&'a [FunctionRecord<'a>], &'a [String]);
type EventParameters<'a> = (&'a [EventRecord], &'a [u8]);
type RawParameters<'a> = (&'a [u8], &'a [u8]);
type FinishParameters<'a> = (SummaryRecord<'a>,);

impl Guest {
    /// Starts an instance, finds the functions, and compares their types: later calls need no further checks.
    pub(super) fn new(
        plugin: Arc<str>,
        component: &InstancePre<State>,
        style: &Style,
        options: OptionValues,
        state: State,
    ) -> Result<Self, PluginError> {
        let mut running = Running::new(plugin, component, state)?;
        let (interface, raw) = match style {
            Style::Records(interface) => (interface, false),
            Style::Bytes(interface) => (interface, true),
        };
        Ok(Guest {
            start: *running
                .function::<StartParameters<'_>, Answer>(interface, "start")?
                .func(),
            learn: *running.function::<LearnParameters<'_>, ()>(interface, "learn")?.func(),
            events: if raw {
                *running
                    .function::<RawParameters<'_>, Answer>(interface, "events")?
                    .func()
            } else {
                *running
                    .function::<EventParameters<'_>, Answer>(interface, "events")?
                    .func()
            },
            missed: running.function(interface, "missed")?,
            finish: *running
                .function::<FinishParameters<'_>, Answer>(interface, "finish")?
                .func(),
            raw,
            running,
            options,
        })
    }
}

impl Draw for Guest {
    fn start(&mut self, trace: &Trace) -> Result<(), PluginError> {
        // SAFETY: `new` has compared the function's type with these parameters and this result; lifetimes are not part
        // of it. The same holds for the functions below.
        let start = unsafe { TypedFunc::<StartParameters<'_>, Answer>::new_unchecked(self.start) };
        self.running
            .ask("start", &start, (TraceRecord::from(trace), &self.options[..]))
    }

    fn learn(&mut self, functions: &[Function], names: &[String]) -> Result<(), PluginError> {
        let functions: Vec<_> = functions.iter().map(FunctionRecord::from).collect();
        // SAFETY: as in `start`.
        let learn = unsafe { TypedFunc::<LearnParameters<'_>, ()>::new_unchecked(self.learn) };
        self.running.call("learn", &learn, (&functions[..], names))
    }

    fn events(&mut self, events: &[Event], payload: &[u8]) -> Result<(), PluginError> {
        if self.raw {
            // SAFETY: as in `start`; `raw` says which of the two types was compared.
            let function = unsafe { TypedFunc::<RawParameters<'_>, Answer>::new_unchecked(self.events) };
            self.running.ask("events", &function, (bytes(events), payload))
        } else {
            // SAFETY: as above.
            let function = unsafe { TypedFunc::<EventParameters<'_>, Answer>::new_unchecked(self.events) };
            self.running.ask("events", &function, (records(events), payload))
        }
    }

    fn missed(&mut self, events: u64) -> Result<(), PluginError> {
        self.running.call("missed", &self.missed, (events,))
    }

    fn finish(&mut self, summary: &Summary, missed: u64) -> Result<(), PluginError> {
        // SAFETY: as in `start`.
        let finish = unsafe { TypedFunc::<FinishParameters<'_>, Answer>::new_unchecked(self.finish) };
        self.running
            .ask("finish", &finish, (SummaryRecord::new(summary, missed),))
    }
    fn flush(&mut self, during: &'static str) -> Result<(), PluginError> {
        self.running.flush(during)
    }

    fn memory(&self) -> usize {
        self.running.memory()
    }
}
