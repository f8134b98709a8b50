//! The sink that passes a trace on to a plugin, and the thread that the plugin runs on, for plugins of every kind.
//!
//! The trace's thread adds batches to what is [pending](super::queue) and goes on; a slow plugin costs it nothing. The
//! plugin's thread takes everything that is pending at once and passes it on in calls of a good size. What is called
//! there is [`Draw`], so that this room knows nothing of what a plugin is made of.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::{During, Failure, PluginError};
use super::queue::{Pending, call_size, cut};
use ipft_core::event::{Batch, Event, Function, Summary, Trace};
use ipft_core::sink::{Sink, SinkError};

/// Events that are worth a call, and how long they are waited for.
const GOOD_CALL: usize = 1024;
const PATIENCE: Duration = Duration::from_millis(10);

/// How long the start of a trace waits for the plugin's, so that what it says of wrong options is seen at once. The
/// events that happen meanwhile are in the kernel's buffer.
const START: Duration = Duration::from_millis(100);

/// Bytes of stack of a plugin's thread: what the plugin may use itself, and what the host needs besides.
const STACK: usize = 4 << 20;

/// A plugin that draws, on its own thread. The calls are those of the contract's `sink`, in the same order; after a
/// failure none follows.
pub(super) trait Draw {
    /// As in the contract.
    fn start(&mut self, trace: &Trace) -> Result<(), PluginError>;
    /// As in the contract.
    fn learn(&mut self, functions: &[Function], names: &[String]) -> Result<(), PluginError>;
    /// As in the contract.
    fn events(&mut self, events: &[Event], payload: &[u8]) -> Result<(), PluginError>;
    /// As in the contract.
    fn missed(&mut self, events: u64) -> Result<(), PluginError>;
    /// As in the contract. `missed`: what this plugin did not get.
    fn finish(&mut self, summary: &Summary, missed: u64) -> Result<(), PluginError>;
    /// Nothing comes for a moment, or ever: what was written goes to whoever reads it. `during`: the last call.
    fn flush(&mut self, during: &'static str) -> Result<(), PluginError>;
    /// Bytes of memory that are the plugin's own; 0 if nobody knows.
    fn memory(&self) -> usize;
}

/// Makes what draws, on the thread on which it is used.
pub(super) type Make = Box<dyn FnOnce() -> Result<Box<dyn Draw>, PluginError> + Send>;

/// What makes a sink of a plugin.
pub(super) struct Setup {
    /// Its name.
    pub(super) plugin: Arc<str>,
    /// Makes what draws.
    pub(super) make: Make,
    /// How long the plugin may draw when the trace has ended, before it misses what is left.
    pub(super) rest: Duration,
    /// Is set when the sink is given up before its end, so that what draws can end its call.
    pub(super) stop: Arc<AtomicBool>,
    /// What tells whether a call comes back, if nothing ends one that does not.
    pub(super) pulse: Option<Pulse>,
}

/// Whether a plugin that nothing can interrupt still does something.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    limit: Duration,
    beat: Arc<Beat>,
}

#[derive(Debug, Default)]
struct Beat {
    /// Calls that have begun, and waits that have ended.
    count: AtomicU64,
    /// The call waits for whoever reads the stream, which is not the plugin's fault.
    waits: AtomicBool,
    /// The last call that has begun.
    call: Mutex<&'static str>,
}

impl Pulse {
    /// `limit`: how long one call may take.
    pub(super) fn new(limit: Duration) -> Self {
        Pulse {
            limit,
            beat: Arc::default(),
        }
    }

    /// A call of this name begins.
    pub(super) fn call(&self, name: &'static str) {
        *self.beat.call.lock().unwrap_or_else(PoisonError::into_inner) = name;
        self.beat.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Does what may take as long as it likes.
    pub(super) fn wait<T>(&self, run: impl FnOnce() -> T) -> T {
        self.beat.waits.store(true, Ordering::Relaxed);
        let result = run();
        self.beat.count.fetch_add(1, Ordering::Relaxed);
        self.beat.waits.store(false, Ordering::Relaxed);
        result
    }

    fn count(&self) -> u64 {
        self.beat.count.load(Ordering::Relaxed)
    }

    fn waits(&self) -> bool {
        self.beat.waits.load(Ordering::Relaxed)
    }

    fn late(&self, plugin: &str) -> PluginError {
        let call = *self.beat.call.lock().unwrap_or_else(PoisonError::into_inner);
        PluginError {
            plugin: plugin.to_owned(),
            during: During::Call(call),
            failure: Failure::Late { limit: self.limit },
        }
    }
}

/// A sink whose plugin has a thread of its own.
pub struct PluginSink {
    plugin: Arc<str>,
    /// What the thread gets when it starts.
    idle: Option<Idle>,
    pulse: Option<Pulse>,
    channel: Arc<Channel>,
    thread: Option<JoinHandle<()>>,
    /// Names of tagged values that were added to what is pending.
    names: usize,
}

struct Idle {
    make: Make,
    rest: Duration,
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

/// What the two threads share.
#[derive(Debug, Default)]
struct Channel {
    queue: Mutex<Queue>,
    /// There is something to do for the plugin's thread.
    work: Condvar,
    /// The plugin has started, or failed, or ended.
    told: Condvar,
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

impl PluginSink {
    pub(super) fn new(setup: Setup) -> Self {
        PluginSink {
            plugin: setup.plugin,
            idle: Some(Idle {
                make: setup.make,
                rest: setup.rest,
            }),
            pulse: setup.pulse,
            channel: Arc::new(Channel {
                stop: setup.stop,
                ..Channel::default()
            }),
            thread: None,
            names: 0,
        }
    }

    /// Where it can be asked what it misses and uses.
    pub fn usage(&self) -> Usage {
        Usage(self.channel.clone())
    }

    fn failed(&self, error: std::io::Error) -> SinkError {
        told(PluginError {
            plugin: self.plugin.to_string(),
            during: During::Load,
            failure: Failure::Thread(error),
        })
    }

    /// Waits for the thread. One whose call does not come back, and that nothing can interrupt, is left behind: it ends
    /// with the program.
    fn join(&mut self) -> Result<(), SinkError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        if let Some(pulse) = &self.pulse {
            self.channel.wait_for_end(pulse, &self.plugin).map_err(told)?;
        }
        match thread.join() {
            Ok(()) => self.channel.lock().failure(),
            Err(_) => Err(self.failed(std::io::Error::other("its thread panicked"))),
        }
    }
}

impl Sink for PluginSink {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        let Some(idle) = self.idle.take() else {
            return Ok(());
        };
        let (channel, trace) = (self.channel.clone(), trace.clone());
        let thread = std::thread::Builder::new()
            .name(format!("plugin {}", self.plugin))
            .stack_size(STACK)
            .spawn(move || channel.run(idle, &trace))
            .map_err(|error| self.failed(error))?;
        self.thread = Some(thread);
        let queue = self.channel.lock();
        let (mut queue, _) = self
            .channel
            .told
            .wait_timeout_while(queue, START, |queue| !queue.started && !queue.over)
            .unwrap_or_else(PoisonError::into_inner);
        queue.failure()
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        let mut queue = self.channel.lock();
        if !queue.over {
            // Told before the events that are pending, which name none of them.
            queue.pending.functions.extend_from_slice(new);
        }
        queue.failure()
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let mut queue = self.channel.lock();
        if queue.over {
            return queue.failure();
        }
        let missed = queue.pending.add(batch, self.names);
        self.names = batch.names.len();
        if missed > 0 {
            self.channel.missed.fetch_add(missed, Ordering::Relaxed);
        }
        if queue.is_wanted() {
            queue.wanted = 0;
            drop(queue);
            self.channel.work.notify_one();
        }
        Ok(())
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), SinkError> {
        self.channel.lock().pending.end = Some(summary.clone());
        self.channel.ended.store(true, Ordering::Relaxed);
        self.channel.work.notify_one();
        self.join()
    }
}

impl Drop for PluginSink {
    /// A sink that is given up before its end: the plugin is interrupted.
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.channel.stop.store(true, Ordering::Relaxed);
            // Under the lock: the thread looks at the flag, and then sleeps, without letting go of it in between.
            drop(self.channel.lock());
            self.channel.work.notify_one();
            // Nobody is left who could be told.
            let _ = self.join();
        }
    }
}

impl std::fmt::Debug for PluginSink {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("PluginSink")
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
    /// A lock that a panic elsewhere cannot take away: what it guards is whole after each change.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// The plugin's thread.
    fn run(&self, idle: Idle, trace: &Trace) {
        let result = self.draw(idle, trace);
        let mut queue = self.lock();
        queue.over = true;
        // What nobody takes needs no memory.
        queue.pending = Pending::default();
        queue.failure = result.err();
        drop(queue);
        self.told.notify_one();
    }

    fn draw(&self, idle: Idle, trace: &Trace) -> Result<(), PluginError> {
        let mut plugin = (idle.make)()?;
        plugin.start(trace)?;
        plugin.learn(&trace.functions, &[])?;
        self.lock().started = true;
        self.told.notify_one();
        let mut work = Pending::default();
        let mut missed = 0;
        let mut over = None;
        loop {
            self.take(&mut work);
            if self.stopped() {
                return Ok(());
            }
            if !work.batch.names.is_empty() || !work.functions.is_empty() {
                plugin.learn(&work.functions, &work.batch.names)?;
            }
            let mut skipped = 0;
            let mut rest = &mut work.batch.events[..];
            while !rest.is_empty() {
                let size = call_size(rest);
                let (events, after) = rest.split_at_mut(size);
                rest = after;
                // When the trace has ended, a person waits for the rest.
                if self.ended.load(Ordering::Relaxed) {
                    let over = *over.get_or_insert_with(|| Instant::now() + idle.rest);
                    if Instant::now() > over {
                        skipped += events.len() as u64;
                        continue;
                    }
                }
                let payload = cut(events, &work.batch.payload);
                plugin.events(events, payload)?;
                self.delivered.fetch_add(events.len() as u64, Ordering::Relaxed);
            }
            self.missed.fetch_add(skipped, Ordering::Relaxed);
            let now = skipped + work.missed;
            if now > 0 {
                missed += now;
                plugin.missed(now)?;
            }
            self.memory.store(plugin.memory(), Ordering::Relaxed);
            if let Some(summary) = work.end.take() {
                plugin.finish(&summary, missed)?;
                self.memory.store(plugin.memory(), Ordering::Relaxed);
                return plugin.flush("finish");
            }
            plugin.flush("events")?;
        }
    }

    /// Waits until there is something to do, gathers for a moment, and takes everything.
    fn take(&self, work: &mut Pending) {
        work.clear();
        let mut queue = self.lock();
        if queue.pending.is_empty() {
            queue.wanted = 1;
            queue = self
                .work
                .wait_while(queue, |queue| queue.pending.is_empty() && !self.stopped())
                .unwrap_or_else(PoisonError::into_inner);
        }
        let few = |queue: &mut Queue| {
            !self.stopped() && queue.pending.end.is_none() && queue.pending.batch.events.len() < queue.wanted
        };
        if queue.pending.batch.events.len() < GOOD_CALL && queue.pending.missed == 0 {
            queue.wanted = GOOD_CALL;
            queue = self
                .work
                .wait_timeout_while(queue, PATIENCE, few)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        queue.wanted = 0;
        std::mem::swap(&mut queue.pending, work);
    }

    /// Waits until the plugin takes nothing any more, or has shown no sign of life for too long.
    fn wait_for_end(&self, pulse: &Pulse, plugin: &str) -> Result<(), PluginError> {
        let mut queue = self.lock();
        loop {
            let before = pulse.count();
            let (now, _) = self
                .told
                .wait_timeout_while(queue, pulse.limit, |queue| !queue.over)
                .unwrap_or_else(PoisonError::into_inner);
            queue = now;
            if queue.over {
                return Ok(());
            }
            if pulse.count() == before && !pulse.waits() {
                return Err(pulse.late(plugin));
            }
        }
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
