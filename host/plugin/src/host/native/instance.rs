//! One running instance of a native plugin, on its own thread.

use std::ffi::{CStr, c_void};
use std::ptr;
use std::sync::Arc;

use super::abi::{
    Answer, Destroy, Events, FactRecord, FieldRecord, Finish, FunctionRecord, Learn, LossRecord, Missed, SkippedRecord,
    Start, SummaryRecord, Text, TraceRecord, members,
};
use super::host::Host;
use crate::host::error::{self, During, Failure, PluginError};
use crate::host::facts;
use crate::host::worker::{Draw, Pulse};
use crate::package::OptionValues;
use ipft_core::event::{Event, Function, Summary, Trace};

/// Maximum bytes read of an error.
const MAX_ERROR: usize = 64 << 10;

/// The functions of a library's table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Functions {
    pub(super) start: Start,
    pub(super) learn: Option<Learn>,
    pub(super) events: Events,
    pub(super) missed: Option<Missed>,
    pub(super) finish: Finish,
    pub(super) destroy: Option<Destroy>,
}

/// An instance before or after its start. It is used on the thread that created it, as the header promises.
pub(super) struct Instance {
    plugin: Arc<str>,
    functions: Functions,
    options: OptionValues,
    pulse: Pulse,
    /// The plugin's own pointer.
    own: *mut c_void,
    started: bool,
    /// Last, as the plugin may call it until it is destroyed.
    host: Host,
}

impl Instance {
    pub(super) fn new(plugin: Arc<str>, functions: Functions, options: OptionValues, host: Host, pulse: Pulse) -> Self {
        Instance {
            plugin,
            functions,
            options,
            pulse,
            own: ptr::null_mut(),
            started: false,
            host,
        }
    }

    /// Converts the result of a call. A failure of the stream takes precedence over the plugin's error.
    fn answer(&self, call: &'static str, answer: Answer) -> Result<(), PluginError> {
        let failure = match self.host.take_failure() {
            Some(failure) => failure,
            None if answer.is_null() => return Ok(()),
            None => {
                // SAFETY: the header requires NUL-terminated text that stays valid until the next call of the instance.
                let text = unsafe { CStr::from_ptr(answer) }.to_bytes();
                let text = String::from_utf8_lossy(&text[..text.len().min(MAX_ERROR)]);
                Failure::Returned(error::Text::new(&text))
            }
        };
        // Its earlier output is still written; the failure above is the one to report.
        let _ = self.host.flush();
        Err(self.failed(call, failure))
    }

    fn failed(&self, call: &'static str, failure: Failure) -> PluginError {
        PluginError {
            plugin: self.plugin.to_string(),
            during: During::Call(call),
            failure,
        }
    }
}

// SAFETY of the calls below: the user named the library as a plugin, so its functions are assumed to follow the header;
// a test compares the records' layout with it. Arguments are borrowed for longer than the call takes, and each count is
// that of its list. `own` is the value stored by `start`. `&mut self` ensures that no two calls overlap, and that the
// instance, which is not `Send`, stays on its thread.
impl Draw for Instance {
    fn start(&mut self, trace: &Trace) -> Result<(), PluginError> {
        let lists: Vec<_> = trace.schema.fields.iter().map(members).collect();
        let fields = trace.schema.fields.iter().zip(&lists);
        let fields: Vec<_> = fields
            .map(|(field, members)| FieldRecord::new(field, members))
            .collect();
        let command_line: Vec<Text<'_>> = trace.command_line.iter().map(|word| word.as_str().into()).collect();
        let facts = facts::facts(trace);
        let facts: Vec<FactRecord<'_>> = facts.iter().map(FactRecord::from).collect();
        let record = TraceRecord::new(trace, &fields, &command_line, &facts);
        let options: Vec<FactRecord<'_>> = self.options.iter().map(FactRecord::from).collect();
        self.started = true;
        self.pulse.call("start");
        // SAFETY: see above.
        let answer = unsafe {
            (self.functions.start)(
                self.host.table(),
                &record,
                options.as_ptr(),
                options.len() as u64,
                &mut self.own,
            )
        };
        self.answer("start", answer)
    }

    fn learn(&mut self, functions: &[Function], names: &[String]) -> Result<(), PluginError> {
        let Some(learn) = self.functions.learn else {
            return Ok(());
        };
        let functions: Vec<_> = functions.iter().map(FunctionRecord::from).collect();
        let names: Vec<Text<'_>> = names.iter().map(|name| name.as_str().into()).collect();
        self.pulse.call("learn");
        // SAFETY: see above.
        unsafe {
            learn(
                self.own,
                functions.as_ptr(),
                functions.len() as u64,
                names.as_ptr(),
                names.len() as u64,
            );
        }
        self.answer("learn", ptr::null())
    }

    fn events(&mut self, events: &[Event], payload: &[u8]) -> Result<(), PluginError> {
        self.pulse.call("events");
        // SAFETY: see above.
        let answer = unsafe {
            (self.functions.events)(
                self.own,
                events.as_ptr(),
                events.len() as u64,
                payload.as_ptr(),
                payload.len() as u64,
            )
        };
        self.answer("events", answer)
    }

    fn missed(&mut self, events: u64) -> Result<(), PluginError> {
        let Some(missed) = self.functions.missed else {
            return Ok(());
        };
        self.pulse.call("missed");
        // SAFETY: see above.
        unsafe { missed(self.own, events) };
        self.answer("missed", ptr::null())
    }

    fn finish(&mut self, summary: &Summary, missed: u64) -> Result<(), PluginError> {
        let losses: Vec<_> = summary.losses.iter().map(LossRecord::from).collect();
        let skipped: Vec<_> = summary.skipped.iter().map(SkippedRecord::from).collect();
        let record = SummaryRecord::new(summary, &losses, &skipped, missed);
        self.pulse.call("finish");
        // SAFETY: see above.
        let answer = unsafe { (self.functions.finish)(self.own, &record) };
        self.answer("finish", answer)
    }

    fn flush(&mut self, during: &'static str) -> Result<(), PluginError> {
        self.host.flush().map_err(|failure| self.failed(during, failure))
    }

    /// The plugin's own state is part of this value.
    fn memory(&self) -> usize {
        0
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let (true, Some(destroy)) = (self.started, self.functions.destroy) {
            self.pulse.call("destroy");
            // SAFETY: as for the calls above; it is the last one, and `host` still exists.
            unsafe { destroy(self.own) };
        }
    }
}
