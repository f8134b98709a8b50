//! The sink that passes a trace on to a plugin, and the plugin's thread, for plugins of every kind.
//!
//! The trace's thread adds batches to the [queue](super::queue) and continues; a slow plugin does not delay it. The
//! plugin's thread takes the whole queue at once and passes it on in calls of a good size. It calls [`Draw`], so that
//! this module does not depend on the kind of plugin.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::error::{During, Failure, PluginError};
use super::queue::{Pending, call_size, cut};
use ipft_core::event::{Batch, Event, Function, Summary, Trace};
use ipft_core::sink::{Sink, SinkError};

/// Minimum events per call, and the longest wait for them.
const GOOD_CALL: usize = 1024;
const PATIENCE: Duration = Duration::from_millis(10);

/// How long the start of a trace waits for the plugin's, so that errors about options appear at once. Events of that
/// time are in the kernel's buffer.
const START: Duration = Duration::from_millis(100);

/// Stack size of a plugin's thread: the plugin's own stack, and the host's.
const STACK: usize = 4 << 20;

/// A sink plugin, on its own thread. The calls are those of the contract's `sink`, in the same order; after a failure
/// no call follows.
pub(super) trait Draw {
    /// As in the contract.
    fn start(&mut self, trace: &Trace) -> Result<(), PluginError>;
    /// As in the contract.
    fn learn(&mut self, functions: &[Function], names: &[String]) -> Result<(), PluginError>;
    /// As in the contract.
    fn events(&mut self, events: &[Event], payload: &[u8]) -> Result<(), PluginError>;
    /// As in the contract.
    fn missed(&mut self, events: u64) -> Result<(), PluginError>;
    /// As in the contract. `missed`: events that this plugin missed.
    fn finish(&mut self, summary: &Summary, missed: u64) -> Result<(), PluginError>;
    /// Called when no events come for a moment: flushes the output. `during`: the last call.
    fn flush(&mut self, during: &'static str) -> Result<(), PluginError>;
    /// Returns the bytes of memory of the plugin; 0 if unknown.
    fn memory(&self) -> usize;
}

/// Creates the plugin, on the thread that uses it.
pub(super) type Make = Box<dyn FnOnce() -> Result<Box<dyn Draw>, PluginError> + Send>;

/// The parts of a plugin's sink.
pub(super) struct Setup {
    /// Name of the plugin.
    pub(super) plugin: Arc<str>,
    /// Creates the plugin.
    pub(super) make: Make,
    /// Time limit of the plugin after the trace has ended; later events count as missed.
    pub(super) rest: Duration,
    /// Set when the sink is dropped before its end, so that the plugin can end its call.
    pub(super) stop: Arc<AtomicBool>,
    /// Progress of calls, for plugins that cannot be interrupted.
    pub(super) pulse: Option<Pulse>,
}

/// Signs of life of a plugin that cannot be interrupted.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    limit: Duration,
    beat: Arc<Beat>,
}

#[derive(Debug, Default)]
struct Beat {
    /// Number of started calls and finished waits.
    count: AtomicU64,
    /// Whether the call waits for the reader of the stream, which the plugin is not charged for.
    waits: AtomicBool,
    /// The last started call.
    call: Mutex<&'static str>,
}

impl Pulse {
    /// `limit`: time limit of one call.
    pub(super) fn new(limit: Duration) -> Self {
        Pulse {
            limit,
            beat: Arc::default(),
        }
    }

    /// Starts a call with this name.
    pub(super) fn call(&self, name: &'static str) {
        *self.beat.call.lock().unwrap_or_else(PoisonError::into_inner) = name;
        self.beat.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs an operation without a time limit.
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

/// A sink whose plugin has its own thread.
pub struct PluginSink {
    plugin: Arc<str>,
    /// Data for the thread's start.
    idle: Option<Idle>,
    pulse: Option<Pulse>,
    channel: Arc<Channel>,
    thread: Option<JoinHandle<()>>,
    /// Names of tagged values already added to the queue.
    names: usize,
}

struct Idle {
    make: Make,
    rest: Duration,
}

/// The state of a running plugin for other threads, even when its sink is out of reach.
#[derive(Clone, Debug)]
pub struct Usage(Arc<Channel>);

impl Usage {
    /// Returns how many events it has missed because it was too slow.
    pub fn missed(&self) -> u64 {
        self.0.missed.load(Ordering::Relaxed)
    }

    /// Returns how many events were passed on to it.
    pub fn delivered(&self) -> u64 {
        self.0.delivered.load(Ordering::Relaxed)
    }

    /// Returns its bytes of memory, which are never released.
    pub fn memory(&self) -> usize {
        self.0.memory.load(Ordering::Relaxed)
    }
}

/// State shared by the two threads.
#[derive(Debug, Default)]
struct Channel {
    queue: Mutex<Queue>,
    /// Signals work for the plugin's thread.
    work: Condvar,
    /// Signals that the plugin has started, failed or ended.
    reported: Condvar,
    missed: AtomicU64,
    delivered: AtomicU64,
    memory: AtomicUsize,
    /// The trace has ended; the queue has the rest.
    ended: AtomicBool,
    /// The sink was dropped.
    stop: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Queue {
    pending: Pending,
    /// The number of events that the plugin's thread sleeps for; 0 while it does not sleep.
    wanted: usize,
    started: bool,
    /// The plugin accepts no more events.
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

    /// Returns its state for other threads.
    pub fn usage(&self) -> Usage {
        Usage(self.channel.clone())
    }

    fn failed(&self, error: std::io::Error) -> SinkError {
        reported(PluginError {
            plugin: self.plugin.to_string(),
            during: During::Load,
            failure: Failure::Thread(error),
        })
    }

    /// Waits for the thread. One whose call does not return and cannot be interrupted is left behind: it ends with the
    /// program.
    fn join(&mut self) -> Result<(), SinkError> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        if let Some(pulse) = &self.pulse {
            self.channel.wait_for_end(pulse, &self.plugin).map_err(reported)?;
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
            .reported
            .wait_timeout_while(queue, START, |queue| !queue.started && !queue.over)
            .unwrap_or_else(PoisonError::into_inner);
        queue.failure()
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        let mut queue = self.channel.lock();
        if !queue.over {
            // Before the queued events, which do not refer to them.
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
    /// Interrupts the plugin if the sink is dropped before its end.
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.channel.stop.store(true, Ordering::Relaxed);
            // Under the lock: the thread checks the flag and goes to sleep without releasing it in between.
            drop(self.channel.lock());
            self.channel.work.notify_one();
            // The error has no receiver.
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

/// Converts a plugin's error for a sink. A closed reader is the end of the output, as for every sink.
fn reported(error: PluginError) -> SinkError {
    match error.failure {
        Failure::Closed => SinkError::Closed,
        _ => SinkError::Plugin(Box::new(error)),
    }
}

impl Channel {
    /// Locks the state, ignoring poisoning: it is valid after each change.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs the plugin's thread.
    fn run(&self, idle: Idle, trace: &Trace) {
        let result = self.draw(idle, trace);
        let mut queue = self.lock();
        queue.over = true;
        // Free the memory of events that are not taken.
        queue.pending = Pending::default();
        queue.failure = result.err();
        drop(queue);
        self.reported.notify_one();
    }

    fn draw(&self, idle: Idle, trace: &Trace) -> Result<(), PluginError> {
        let mut plugin = (idle.make)()?;
        plugin.start(trace)?;
        plugin.learn(&trace.functions, &[])?;
        self.lock().started = true;
        self.reported.notify_one();
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

    /// Waits for work, collects events for a moment, and takes the queue.
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

    /// Waits until the plugin accepts no more events, or shows no sign of life for too long.
    fn wait_for_end(&self, pulse: &Pulse, plugin: &str) -> Result<(), PluginError> {
        let mut queue = self.lock();
        loop {
            let before = pulse.count();
            let (now, _) = self
                .reported
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
    /// Returns whether the plugin's thread sleeps and should wake up.
    fn is_wanted(&self) -> bool {
        self.wanted > 0 && self.pending.batch.events.len() >= self.wanted
    }

    /// Returns the failure, once.
    fn failure(&mut self) -> Result<(), SinkError> {
        self.failure.take().map_or(Ok(()), |error| Err(reported(error)))
    }
}
