//! `ipft top`: packets, flows, drops and functions on the terminal, as they change. It is one sink among others, whose
//! model a thread draws: a terminal that is slow stops neither the trace nor the other outputs.

mod draw;
mod item;
mod keys;
mod listing;
mod number;
mod pane;
mod record;
mod screen;
mod terminal;
mod view;

#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::os::unix::process::parent_id;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use ipft_core::event::{Batch, Function, Progress, Summary, Trace};
use ipft_core::output::Outlet;
use ipft_core::signals::{self, Stop, TerminalSignals};
use ipft_core::sink::top::{Model, Totals};
use ipft_core::sink::{Sink, SinkError, TextOptions};
use ratatui_core::terminal::Terminal;

use keys::Keys;
pub use record::{Switch, Switched};
use terminal::{Escapes, Tty};
use view::{Action, Recording, View};

/// Least time between two screens.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest time that a signal is not seen.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long the bytes of a key may be apart.
const KEY: Duration = Duration::from_millis(30);

/// What the view is made with.
#[derive(Debug)]
pub struct TopOptions {
    /// The looks of journeys.
    pub text: TextOptions,
    /// Memory for what is remembered.
    pub memory: u64,
    /// Switches the recording.
    pub switch: Arc<Switch>,
    /// Ends the trace.
    pub stop: Stop,
    /// Whether the view stays when all events were seen: a recording is at its end at once.
    pub stays: bool,
}

/// The sink behind `ipft top`.
#[derive(Debug)]
pub struct Top {
    shared: Arc<Shared>,
    stays: bool,
    /// Before the trace begins.
    setup: Option<Setup>,
    thread: Option<JoinHandle<io::Result<()>>>,
    stdout: Outlet,
}

/// What the thread needs.
#[derive(Debug)]
struct Setup {
    tty: Tty,
    signals: TerminalSignals,
    switch: Arc<Switch>,
    stop: Stop,
    color: bool,
}

/// What the sink and the thread share.
#[derive(Debug)]
struct Shared {
    model: Mutex<Model>,
    /// No event follows.
    over: AtomicBool,
    /// The view is to end.
    close: AtomicBool,
    /// The view has ended.
    closed: AtomicBool,
}

impl Shared {
    fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Top {
    /// Opens the terminal, and leaves it as it is until the trace begins. `stdout` takes the last lines.
    pub fn new(options: TopOptions, stdout: Outlet) -> anyhow::Result<Self> {
        let tty = Tty::open()?;
        let signals = TerminalSignals::install().context("cannot listen for signals")?;
        signals::before_end(terminal::leave);
        terminal::leave_on_panic();
        // Journeys are drawn with the escapes of colours, which the view reads.
        let text = TextOptions {
            color: true,
            ..options.text
        };
        Ok(Top {
            shared: Arc::new(Shared {
                model: Mutex::new(Model::new(text, options.memory)),
                over: AtomicBool::new(false),
                close: AtomicBool::new(false),
                closed: AtomicBool::new(false),
            }),
            stays: options.stays,
            setup: Some(Setup {
                tty,
                signals,
                switch: options.switch,
                stop: options.stop,
                color: options.text.color,
            }),
            thread: None,
            stdout,
        })
    }

    /// Ends the view, and puts the terminal back.
    fn close(&mut self) -> Result<(), SinkError> {
        self.shared.close.store(true, Ordering::Release);
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        let result = thread.join();
        terminal::leave();
        match result {
            Ok(result) => Ok(result?),
            Err(_) => Err(io::Error::other("the thread that draws has panicked").into()),
        }
    }
}

impl Sink for Top {
    fn start(&mut self, trace: &Trace) -> Result<(), SinkError> {
        self.shared.model().start(trace)?;
        let Some(setup) = self.setup.take() else {
            return Ok(());
        };
        let shared = Arc::clone(&self.shared);
        let run = move || {
            let end = Closed(&shared);
            let result = setup.tty.enter().and_then(|()| run(&setup, &shared));
            setup.stop.request();
            drop(end);
            result
        };
        self.thread = Some(std::thread::Builder::new().name("top".into()).spawn(run)?);
        Ok(())
    }

    fn functions(&mut self, new: &[Function]) -> Result<(), SinkError> {
        self.shared.model().functions(new);
        Ok(())
    }

    fn events(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.shared.model().events(batch);
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) -> Result<(), SinkError> {
        self.shared.model().progress(progress);
        Ok(())
    }

    fn finish(&mut self, summary: &Summary) -> Result<(), SinkError> {
        self.shared.model().progress(&Progress {
            timestamp: 0,
            losses: summary.losses.clone(),
        });
        self.shared.over.store(true, Ordering::Release);
        while self.stays && !signals::stop_requested() && !self.shared.closed.load(Ordering::Acquire) {
            std::thread::sleep(KEY);
        }
        self.close()?;
        let text = self.shared.model().summary(summary);
        self.stdout.write_all(&text)?;
        Ok(self.stdout.flush()?)
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// Notes the end of the view, also if it panics.
struct Closed<'a>(&'a Shared);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.closed.store(true, Ordering::Release);
    }
}

/// Draws and takes keys until the end.
fn run(setup: &Setup, shared: &Shared) -> io::Result<()> {
    let tty = &setup.tty;
    let mut terminal = Terminal::new(Escapes::new(tty, setup.color))?;
    let mut view = View::new(match setup.switch.present.load(Ordering::Acquire) {
        true => Recording::Off,
        false => Recording::NoFile,
    });
    let parent = parent_id();
    let began = Instant::now();
    let (mut keys, mut buffer) = (Keys::default(), [0; 256]);
    let mut drawn: Option<(Instant, Shown)> = None;
    let mut pressed = true;
    let mut said = None;
    while !shared.close.load(Ordering::Acquire) {
        let next = drawn.as_ref().map_or(Duration::ZERO, |(at, _)| {
            (*at + INTERVAL).saturating_duration_since(Instant::now())
        });
        let wait = match (keys.are_pending(), next) {
            (true, _) => KEY,
            (false, Duration::ZERO) if pressed => Duration::ZERO,
            (false, Duration::ZERO) => INTERVAL,
            (false, next) => next.min(PATIENCE),
        };
        let Some(length) = tty.read(wait, &mut buffer) else {
            return Ok(());
        };
        // The shell was killed, and another one has the terminal.
        if parent_id() != parent {
            return Ok(());
        }
        let mut found = Vec::new();
        match length {
            0 => keys.pause(|key| found.push(key)),
            _ => keys.feed(&buffer[..length], |key| found.push(key)),
        }
        let mut suspend = setup.signals.take_suspended();
        for key in found {
            pressed = true;
            match view.key(key, &mut shared.model()) {
                Action::Nothing => {}
                Action::Quit => return Ok(()),
                Action::Suspend => suspend = true,
                Action::Record => {
                    setup.switch.on.fetch_xor(true, Ordering::AcqRel);
                }
            }
        }
        if suspend {
            terminal::leave();
            setup.signals.suspend();
            tty.enter()?;
        }
        if setup.signals.take_changed() || suspend {
            // It may have been stopped by SIGSTOP, and the shell has set its own modes.
            tty.renew()?;
            terminal.clear()?;
            pressed = true;
        }
        view.set_recording(recording(&setup.switch));
        let over = shared.over.load(Ordering::Acquire);
        if over {
            view.end();
        }
        let message = tty.last_message();
        if message != said {
            said.clone_from(&message);
            if let Some(message) = message {
                view.note(message);
                pressed = true;
            }
        }
        let ready = drawn.as_ref().is_none_or(|(at, _)| at.elapsed() >= INTERVAL);
        if !ready {
            continue;
        }
        let size = terminal.size()?;
        let (screen, shown) = {
            let mut model = shared.model();
            let shown = Shown {
                totals: model.seen().totals(),
                recording: recording(&setup.switch),
                over,
                second: began.elapsed().as_secs(),
            };
            if !pressed && drawn.as_ref().is_some_and(|(_, before)| !before.differs(&shown)) {
                continue;
            }
            (
                view.screen(&mut model, usize::from(size.height), began.elapsed()),
                shown,
            )
        };
        pressed = false;
        terminal.draw(|frame| draw::draw(&screen, frame.buffer_mut()))?;
        drawn = Some((Instant::now(), shown));
    }
    Ok(())
}

/// What a screen depends on, besides keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shown {
    totals: Totals,
    recording: Recording,
    over: bool,
    /// The rate of events is of the second before.
    second: u64,
}

impl Shown {
    /// Returns whether a new screen would be another one.
    fn differs(&self, new: &Shown) -> bool {
        self != new
    }
}

fn recording(switch: &Switch) -> Recording {
    let is = |flag: &AtomicBool| flag.load(Ordering::Acquire);
    match () {
        () if !is(&switch.present) => Recording::NoFile,
        () if is(&switch.failed) => Recording::Failed,
        () if is(&switch.on) => Recording::On,
        () => Recording::Off,
    }
}
