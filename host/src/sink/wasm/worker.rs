//! The sink that passes a trace on to a plugin, and the thread that the plugin runs on.
//!
//! The trace's thread adds batches to what is [pending](super::queue) and goes on; a slow plugin costs it nothing. The
//! plugin's thread takes everything that is pending at once and passes it on in calls of a good size.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wasmtime::component::{Func, InstancePre, TypedFunc};

use super::component::Style;
use super::error::{During, Failure, PluginError};
use super::instance::Running;
use super::queue::{Pending, call_size, cut};
use super::state::{State, locked};
use super::types::{Answer, EventRecord, FunctionRecord, OptionValue, SummaryRecord, TraceRecord, bytes, records};
use crate::event::{Batch, Event, Summary, Trace};
use crate::plugin::{Limits, OptionValues};
use crate::sink::{Sink, SinkError};

/// Events that are worth a call, and how long they are waited for.
const GOOD_CALL: usize = 1024;
const PATIENCE: Duration = Duration::from_millis(10);

/// How long the start of a trace waits for the plugin's, so that what it says of wrong options is seen at once. The
/// events that happen meanwhile are in the kernel's buffer.
const START: Duration = Duration::from_millis(100);

/// Bytes of stack of a plugin's thread: what the plugin may use itself, and what the host needs besides.
const STACK: usize = 4 << 20;

/// A plugin that draws.
pub struct WasmSink {
    plugin: Arc<str>,
    limits: Limits,
    /// What the thread gets when it starts.
    idle: Option<Idle>,
    shared: Arc<Channel>,
    thread: Option<JoinHandle<()>>,
    /// Names of tagged values that were added to what is pending.
    names: usize,
}

/// What is known of a running plugin from outside, also when its sink is out of reach.
#[derive(Clone, Debug)]
pub struct Usage(Arc<Channel>);

impl Usage {
    /// How many events it missed up to now because it was too slow.
    pub fn missed(&self) -> u64 {
        self.0.missed.load(Ordering::Relaxed)
    }

    /// How many were passed on to it up to now.
    pub fn delivered(&self) -> u64 {
        self.0.delivered.load(Ordering::Relaxed)
    }

    /// Bytes of memory that it has; they are never given back.
    pub fn memory(&self) -> usize {
        self.0.memory.load(Ordering::Relaxed)
    }
}

struct Idle {
    component: InstancePre<State>,
    style: Style,
    options: OptionValues,
    state: State,
}

/// What the two threads share.
#[derive(Debug, Default)]
struct Channel {
    queue: Mutex<Queue>,
    /// There is something to do for the plugin's thread.
    work: Condvar,
    /// The plugin has started, or failed.
    started: Condvar,
    missed: AtomicU64,
    delivered: AtomicU64,
    memory: AtomicUsize,
    /// The trace has ended; what is pending is the rest.
    ended: AtomicBool,
    /// Nobody needs the plugin any more.
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Queue {
    pending: Pending,
    /// The plugin's thread sleeps until there are so many events; 0 while it does not sleep.
    wanted: usize,
    started: bool,
    /// The plugin takes nothing any more.
    over: bool,
    failure: Option<PluginError>,
}

impl WasmSink {
    pub(super) fn new(
        plugin: Arc<str>,
        component: InstancePre<State>,
        style: Style,
        options: OptionValues,
        state: State,
        limits: Limits,
        stop: Arc<AtomicBool>,
    ) -> Self {
        WasmSink {
            plugin,
            limits,
            idle: Some(Idle {
                component,
                style,
                options,
                state,
            }),
            shared: Arc::new(Channel {
                stop,
                ..Channel::default()
            }),
            thread: None,
            names: 0,
        }
    }

    /// Where it can be asked what it misses and uses.
    pub fn usage(&self) -> Usage {
        Usage(self.shared.clone())
    }

    fn error(&self, failure: Failure) -> SinkError {
        told(PluginError {
            plugin: self.plugin.to_string(),
            during: During::Load,
            failure,
        })
    }
}

impl Sink for WasmSink {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let Some(idle) = self.idle.take() else {
            return Ok(());
        };
        let worker = Worker {
            plugin: self.plugin.clone(),
            limits: self.limits,
            shared: self.shared.clone(),
        };
        let trace = trace.clone();
        let thread = std::thread::Builder::new()
            .name(format!("plugin {}", self.plugin))
            .stack_size(STACK)
            .spawn(move || worker.run(idle, &trace))
            .map_err(|error| self.error(Failure::Thread(error)))?;
        self.thread = Some(thread);
        let queue = self.shared.lock();
        let (mut queue, _) = self
            .shared
            .started
            .wait_timeout_while(queue, START, |queue| !queue.started && !queue.over)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        queue.failure()
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let mut queue = self.shared.lock();
        if queue.over {
            return queue.failure();
        }
        let missed = queue.pending.add(batch, self.names);
        self.names = batch.names.len();
        if missed > 0 {
            self.shared.missed.fetch_add(missed, Ordering::Relaxed);
        }
        if queue.is_wanted() {
            queue.wanted = 0;
            drop(queue);
            self.shared.work.notify_one();
        }
        Ok(())
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), SinkError> {
        self.shared.lock().pending.end = Some(summary.clone());
        self.shared.ended.store(true, Ordering::Relaxed);
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            return Err(self.error(Failure::Thread(std::io::Error::other("its thread panicked"))));
        }
        self.shared.lock().failure()
    }
}

impl Drop for WasmSink {
    /// A sink that is given up before its end: the plugin is interrupted.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.stop.store(true, Ordering::Relaxed);
            // Under the lock: the thread looks at the flag, and then sleeps, without letting go of it in between.
            drop(self.shared.lock());
            self.shared.work.notify_one();
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for WasmSink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WasmSink")
            .field("plugin", &self.plugin)
            .finish_non_exhaustive()
    }
}

/// What a sink says for a plugin. A reader that has gone is the end of the output, as for every sink.
fn told(error: PluginError) -> SinkError {
    match error.failure {
        Failure::Closed => SinkError::Closed,
        _ => SinkError::Plugin(Box::new(error)),
    }
}

impl Channel {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        locked(&self.queue)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until there is something to do, gathers for a moment, and takes everything.
    fn take(&self, work: &mut Pending) {
        work.clear();
        let mut queue = self.lock();
        let few = |queue: &mut Queue| {
            !self.stopped() && queue.pending.end.is_none() && queue.pending.batch.events.len() < queue.wanted
        };
        if queue.pending.is_empty() {
            queue.wanted = 1;
            queue = self
                .work
                .wait_while(queue, |queue| queue.pending.is_empty() && !self.stopped())
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if queue.pending.batch.events.len() < GOOD_CALL && queue.pending.missed == 0 {
            queue.wanted = GOOD_CALL;
            queue = self
                .work
                .wait_timeout_while(queue, PATIENCE, few)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
        queue.wanted = 0;
        std::mem::swap(&mut queue.pending, work);
    }
}

impl Queue {
    /// Whether the plugin's thread sleeps and should not.
    fn is_wanted(&self) -> bool {
        self.wanted > 0 && self.pending.batch.events.len() >= self.wanted
    }

    /// What went wrong, once.
    fn failure(&mut self) -> Result<(), SinkError> {
        self.failure.take().map_or(Ok(()), |error| Err(told(error)))
    }
}

/// The plugin's thread.
struct Worker {
    plugin: Arc<str>,
    limits: Limits,
    shared: Arc<Channel>,
}

impl Worker {
    fn run(self, idle: Idle, trace: &Trace) {
        let result = self.trace(idle, trace);
        let mut queue = self.shared.lock();
        queue.over = true;
        // What nobody takes needs no memory.
        queue.pending = Pending::default();
        queue.failure = result.err();
        drop(queue);
        self.shared.started.notify_one();
    }

    fn trace(&self, idle: Idle, trace: &Trace) -> Result<(), PluginError> {
        let running = Running::new(self.plugin.clone(), &idle.component, idle.state)?;
        let mut guest = Guest::new(running, idle.style)?;
        guest.start(trace, &idle.options)?;
        guest.learn(&trace.functions, &[])?;
        self.shared.lock().started = true;
        self.shared.started.notify_one();
        let mut work = Pending::default();
        let mut missed = 0;
        let mut over = None;
        loop {
            self.shared.take(&mut work);
            if self.shared.stopped() {
                return Err(self.stopped());
            }
            if !work.batch.names.is_empty() {
                guest.learn(&[], &work.batch.names)?;
            }
            let mut skipped = 0;
            let mut rest = &mut work.batch.events[..];
            while !rest.is_empty() {
                let size = call_size(rest);
                let (events, after) = rest.split_at_mut(size);
                rest = after;
                // When the trace has ended, a person waits for the rest.
                if self.shared.ended.load(Ordering::Relaxed) {
                    let over = *over.get_or_insert_with(|| Instant::now() + self.limits.timeout);
                    if Instant::now() > over {
                        skipped += events.len() as u64;
                        continue;
                    }
                }
                let payload = cut(events, &work.batch.payload);
                guest.events(events, payload)?;
                self.shared.delivered.fetch_add(events.len() as u64, Ordering::Relaxed);
            }
            self.shared.missed.fetch_add(skipped, Ordering::Relaxed);
            let now = skipped + work.missed;
            if now > 0 {
                missed += now;
                guest.missed(now)?;
            }
            self.note(&guest);
            if let Some(summary) = work.end.take() {
                guest.finish(&summary, missed)?;
                self.note(&guest);
                return guest.running.flush("finish");
            }
            guest.running.flush("events")?;
        }
    }

    fn note(&self, guest: &Guest) {
        self.shared.memory.store(guest.running.memory(), Ordering::Relaxed);
    }

    fn stopped(&self) -> PluginError {
        PluginError {
            plugin: self.plugin.to_string(),
            during: During::Call("events"),
            failure: Failure::Stopped,
        }
    }
}

/// The functions of a plugin that draws.
struct Guest {
    running: Running,
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
    /// Finds the functions, and compares their types with ours: after that they can be called without looking again.
    fn new(mut running: Running, style: Style) -> Result<Self, PluginError> {
        let (interface, raw) = match &style {
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
        })
    }

    fn start(&mut self, trace: &Trace, options: &[OptionValue]) -> Result<(), PluginError> {
        // SAFETY: `new` has compared the function's type with these parameters and this answer; lifetimes are no part
        // of it. So it is in the functions below.
        let start = unsafe { TypedFunc::<StartParameters<'_>, Answer>::new_unchecked(self.start) };
        self.running.ask("start", &start, (TraceRecord::from(trace), options))
    }

    fn learn(&mut self, functions: &[crate::event::Function], names: &[String]) -> Result<(), PluginError> {
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
}
