//! The signals that end a trace: the first asks it to stop and print what it has, the next one ends the process.
//!
//! A thread takes the signals, so that the second one works even while the main thread is busy printing, and so that
//! no code runs in a signal handler. The main thread polls [`Signals::fd`] beside its buffers. This file imports
//! nothing of the crate.
//!
//! SIGPIPE needs nothing here: Rust's runtime ignores it, and a write to a closed pipe fails with `BrokenPipe`, which
//! the sinks know.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::flag;
use signal_hook::iterator;
use signal_hook::low_level::emulate_default_handler;

/// Signals closer together than this are one request. timeout(1) sends its signal to the child and then to the
/// child's process group, so one time-out arrives twice; a person's second Ctrl-C comes later.
const ONE_REQUEST: Duration = Duration::from_millis(100);

/// Whether a signal has requested the end: signals are per process, and code that waits for a reader has no access to
/// the [`Signals`].
static STOP: AtomicBool = AtomicBool::new(false);

/// What is called before a second signal ends the process.
static BEFORE_END: OnceLock<fn()> = OnceLock::new();

/// Calls a function before a second signal ends the process, such as one that puts a terminal back. Only the first one
/// is taken.
pub fn before_end(call: fn()) {
    let _ = BEFORE_END.set(call);
}

/// Returns whether a signal has requested to stop.
pub fn stop_requested() -> bool {
    STOP.load(Ordering::Acquire)
}

/// Makes a write beyond the limit on the size of files (`ulimit -f`) fail like any other, in the place of ending the
/// program. Programs that are started by this one have the signal as it was.
pub fn survive_file_limit() {
    // The flag is of no interest; that there is a handler is what makes write(2) return EFBIG. Without one, the signal ends
    // the program as before.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, Arc::default());
}

/// Listens for SIGINT, SIGTERM and SIGHUP from its creation until it is dropped.
///
/// SIGHUP is left alone where it was ignored at start (nohup). SIGINT is taken even where it was ignored: a shell
/// script starts its background jobs so, and `kill -INT` must still end the trace.
#[derive(Debug)]
pub struct Signals {
    requested: Arc<AtomicBool>,
    /// Readable from the first signal on; never read, so it stays readable.
    event: Arc<OwnedFd>,
    handle: iterator::Handle,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Takes over the signals. Call it before anything slow, so that Ctrl-C while attaching is a clean end, too.
    pub fn install() -> io::Result<Self> {
        let mut wanted = vec![SIGINT, SIGTERM];
        if !ignored(
            SIGHUP,
            &std::fs::read_to_string("/proc/self/status").unwrap_or_default(),
        ) {
            wanted.push(SIGHUP);
        }
        Signals::listen(&wanted)
    }

    /// Takes over no signal: a trace in a test, which must leave those of the test program alone.
    #[cfg(test)]
    pub(crate) fn none() -> io::Result<Self> {
        Signals::listen(&[])
    }

    fn listen(wanted: &[i32]) -> io::Result<Self> {
        let requested = Arc::new(AtomicBool::new(false));
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut incoming = iterator::Signals::new(wanted)?;
        let handle = incoming.handle();
        let thread = std::thread::Builder::new().name("signals".into()).spawn({
            let stop = Stop {
                requested: Arc::clone(&requested),
                event: Arc::clone(&event),
            };
            move || {
                let mut requests = Requests::default();
                for signal in incoming.forever() {
                    match requests.signal(Instant::now()) {
                        Request::Stop => stop.request(),
                        Request::Same => {}
                        // Resets the signal's action and raises it: the exit status shows the shell which signal it
                        // was (130 for SIGINT, 143 for SIGTERM). The kernel detaches what was attached.
                        Request::StopAtOnce => {
                            if let Some(call) = BEFORE_END.get() {
                                call();
                            }
                            let _ = emulate_default_handler(signal);
                        }
                    }
                }
            }
        })?;
        Ok(Signals {
            requested,
            event,
            handle,
            thread: Some(thread),
        })
    }

    /// Returns whether a signal has requested the end of the trace.
    pub fn stop_requested(&self) -> bool {
        self.requested.load(Ordering::Acquire)
    }

    /// Returns what requests the same as a signal.
    pub fn stop(&self) -> Stop {
        Stop {
            requested: Arc::clone(&self.requested),
            event: Arc::clone(&self.event),
        }
    }

    /// Becomes true when a stop is requested, for code without access to signals.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.requested)
    }

    /// Readable (POLLIN) from the moment a stop is requested. Do not read from it. A poll may also end with EINTR, when
    /// the kernel chose the polling thread to receive the signal; poll again then.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Requests the end of a trace, as a signal does.
#[derive(Clone, Debug)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    event: Arc<OwnedFd>,
}

impl Stop {
    /// Requests it.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Release);
        STOP.store(true, Ordering::Release);
        // Adding 1 to a fresh eventfd cannot fail; the flag is set in any case.
        let _ = rustix::io::write(&*self.event, &1u64.to_ne_bytes());
    }
}

/// The signals of a terminal: its size has changed (SIGWINCH), the user wants the shell back (SIGTSTP), or has come back
/// (SIGCONT).
#[derive(Debug)]
pub struct TerminalSignals {
    resized: Arc<AtomicBool>,
    suspended: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
}

impl TerminalSignals {
    /// Takes over the signals for the rest of the process.
    pub fn install() -> io::Result<Self> {
        let signals = TerminalSignals {
            resized: Arc::default(),
            suspended: Arc::default(),
            continued: Arc::default(),
        };
        flag::register(SIGWINCH, Arc::clone(&signals.resized))?;
        flag::register(SIGCONT, Arc::clone(&signals.continued))?;
        // A shell without job control ignores it, and could not continue the process.
        if !ignored(
            SIGTSTP,
            &std::fs::read_to_string("/proc/self/status").unwrap_or_default(),
        ) {
            flag::register(SIGTSTP, Arc::clone(&signals.suspended))?;
        }
        Ok(signals)
    }

    /// Returns whether the terminal has a new size, or may have another content, since the last call.
    pub fn take_changed(&self) -> bool {
        self.resized.swap(false, Ordering::AcqRel) | self.continued.swap(false, Ordering::AcqRel)
    }

    /// Returns whether a stop of the process was requested, since the last call.
    pub fn take_suspended(&self) -> bool {
        self.suspended.swap(false, Ordering::AcqRel)
    }

    /// Stops the process, as SIGTSTP does by default, until it is continued.
    pub fn suspend(&self) {
        // It raises SIGSTOP, which cannot fail.
        let _ = emulate_default_handler(SIGTSTP);
    }
}

/// Returns the action for a signal, given those before it.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Stop,
    Same,
    StopAtOnce,
}

#[derive(Default)]
struct Requests {
    first: Option<Instant>,
}

impl Requests {
    fn signal(&mut self, now: Instant) -> Request {
        match self.first {
            None => {
                self.first = Some(now);
                Request::Stop
            }
            Some(first) if now.saturating_duration_since(first) < ONE_REQUEST => Request::Same,
            Some(_) => Request::StopAtOnce,
        }
    }
}

/// Returns whether the process ignores `signal`, from the text of `/proc/self/status` (proc(5): `SigIgn`, a mask in hex
/// whose lowest bit is signal 1).
fn ignored(signal: i32, status: &str) -> bool {
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, Command, Stdio};

    use rustix::event::{PollFd, PollFlags, poll};

    /// Set in a copy of the test program that plays the traced process.
    const CHILD: &str = "IPFT_SIGNALS_TEST_CHILD";

    /// Runs the named test again in a process of its own, where it finds [`CHILD`] set, and waits until it says that
    /// it listens.
    fn child(test: &str) -> (Child, impl Iterator<Item = String>) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "--test-threads=1", test])
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        // libtest writes "test NAME ... " first and ends the line only afterwards.
        assert!(lines.any(|line| line.ends_with("listening")));
        (child, lines)
    }

    fn wait_for_stop(signals: &Signals) {
        while poll(&mut [PollFd::new(&signals.fd(), PollFlags::IN)], None) == Err(rustix::io::Errno::INTR) {}
    }

    fn send(child: &Child, signal: i32) {
        let status = Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    fn the_first_signal_asks_to_stop_and_wakes_a_poll() {
        if std::env::var_os(CHILD).is_some() {
            let signals = Signals::install().unwrap();
            assert!(!signals.stop_requested());
            println!("listening");
            wait_for_stop(&signals);
            println!("stopped: {}", signals.stop_requested());
            return;
        }
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let (mut child, mut lines) = child("signals::tests::the_first_signal_asks_to_stop_and_wakes_a_poll");
            send(&child, signal);
            assert!(lines.any(|line| line == "stopped: true"), "signal {signal}");
            assert!(child.wait().unwrap().success(), "signal {signal}");
        }
    }

    #[test]
    fn a_later_second_signal_ends_the_process() {
        if std::env::var_os(CHILD).is_some() {
            let signals = Signals::install().unwrap();
            println!("listening");
            wait_for_stop(&signals);
            println!("busy");
            loop {
                std::thread::park();
            }
        }
        for signal in [SIGINT, SIGTERM] {
            let (mut child, mut lines) = child("signals::tests::a_later_second_signal_ends_the_process");
            send(&child, signal);
            assert!(lines.any(|line| line == "busy"), "signal {signal}");
            let status = loop {
                if let Some(status) = child.try_wait().unwrap() {
                    break status;
                }
                std::thread::sleep(ONE_REQUEST);
                send(&child, signal);
            };
            assert_eq!(status.signal(), Some(signal));
        }
    }

    #[test]
    fn two_signals_in_a_burst_are_one_request() {
        let (mut requests, start) = (Requests::default(), Instant::now());
        assert_eq!(requests.signal(start), Request::Stop);
        assert_eq!(requests.signal(start + ONE_REQUEST / 2), Request::Same);
        assert_eq!(requests.signal(start + ONE_REQUEST), Request::StopAtOnce);
    }

    #[test]
    fn an_ignored_signal_is_recognised() {
        let status = "Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000002\n";
        assert!(ignored(SIGHUP, status));
        assert!(!ignored(SIGINT, status));
        assert!(!ignored(SIGHUP, "Name:\tx\n"));
        assert!(!ignored(SIGHUP, "SigIgn:\tnonsense\n"));
    }
}
