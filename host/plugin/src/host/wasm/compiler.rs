//! Compiles plugins in a separate process, as the compiler has no limits of its own: that process has limits of memory
//! and time, ends with the first signal, and ends with ipft. It is this program, called with a hidden command
//! ([`COMPILE`]).
//!
//! ```text
//! component -> stdin -> [ipft --compile-plugin BYTES SECONDS] -> stdout: a byte, then native code or why there is none
//! ```

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit};

use super::engine;
use crate::host::error::{Failure, Limit, Text};
use crate::package::inspect::MAX_COMPONENT;

/// The hidden command that runs the compiler.
pub const COMPILE: &str = "--compile-plugin";

/// Duration of a compilation after which the user is informed.
const SLOW: Duration = Duration::from_millis(500);

/// Interval of checking for a signal.
const GLANCE: Duration = Duration::from_millis(20);

/// Maximum resources of compiling. The largest plugins, of 20 MiB, take a third.
const MEMORY: u64 = 3 << 30;
const TIME: Duration = Duration::from_secs(300);

/// Minimum memory limit on small machines.
const LEAST_MEMORY: u64 = 256 << 20;

/// Wall-clock limit, as a multiple of the CPU time: the machine may be busy.
const PATIENCE: u32 = 4;

/// Compiler threads, and the address space that the allocator reserves for each without using it.
const MAX_THREADS: usize = 8;
const ARENA: u64 = 256 << 20;

/// Address space for the program itself and its libraries.
const PROGRAM: u64 = 2 << 30;

/// Maximum bytes of compiled code read from the child, and of its error output.
const MAX_CODE: u64 = 512 << 20;
const MAX_WORDS: u64 = 4096;

/// First byte of the child's output.
const COMPILED: u8 = 0;
const REFUSED: u8 = 1;

/// Starts the compiler process.
#[derive(Clone, Debug)]
pub struct Compiler {
    program: PathBuf,
    memory: u64,
    time: Duration,
    /// Readable when the user wants to stop.
    stop: Option<Arc<OwnedFd>>,
}

impl Compiler {
    /// Uses this program, started once more. A readable `stop` ends it.
    pub fn this_program(stop: Option<BorrowedFd<'_>>) -> io::Result<Self> {
        Ok(Compiler {
            program: "/proc/self/exe".into(),
            memory: memory(),
            time: TIME,
            stop: stop.map(|stop| stop.try_clone_to_owned()).transpose()?.map(Arc::new),
        })
    }

    /// Uses this `ipft` with lower limits, for tests.
    pub fn new(program: PathBuf, memory: u64, time: Duration, stop: Option<OwnedFd>) -> Self {
        Compiler {
            program,
            memory,
            time,
            stop: stop.map(Arc::new),
        }
    }

    /// Compiles a component to native code. `on_slow` is called if it takes longer than half a second.
    pub(super) fn compile(&self, component: &[u8], on_slow: impl FnOnce()) -> Result<Vec<u8>, Failure> {
        let mut child = Running(self.start().map_err(Failure::Compiler)?);
        let (Some(mut input), Some(output), Some(words)) =
            (child.0.stdin.take(), child.0.stdout.take(), child.0.stderr.take())
        else {
            return Err(Failure::Compiler(io::ErrorKind::BrokenPipe.into()));
        };
        std::thread::scope(|scope| {
            // The thread always ends, as the child does: then the pipes close.
            let (done, ended) = channel();
            scope.spawn(move || {
                let mut code = Vec::new();
                let read = output.take(MAX_CODE).read_to_end(&mut code);
                let _ = done.send(read.map(|_| code));
            });
            // A failure means that the child has ended; its exit status has the reason.
            scope.spawn(move || drop(input.write_all(component)));
            let words = scope.spawn(move || read_some(words));
            let code = self.wait(&ended, on_slow);
            if code.is_err() {
                child.end();
            }
            let status = child.0.wait().map_err(Failure::Compiler)?;
            let words = words.join().unwrap_or_default();
            let mut code = code?.map_err(Failure::Compiler)?;
            match code.first() {
                Some(&COMPILED) if status.success() => {
                    code.drain(..1);
                    Ok(code)
                }
                Some(&REFUSED) if status.success() => Err(self.refused(&String::from_utf8_lossy(&code[1..]))),
                _ => Err(self.ended(status, &words)),
            }
        })
    }

    fn start(&self) -> io::Result<Child> {
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_THREADS);
        Command::new(&self.program)
            .arg(COMPILE)
            .arg(self.memory.to_string())
            .arg(self.time.as_secs().max(1).to_string())
            .env_clear()
            .env("RAYON_NUM_THREADS", threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C goes to ipft, which ends it.
            .process_group(0)
            .spawn()
    }

    /// Reads the child's output until it is closed.
    fn wait<T>(&self, ended: &std::sync::mpsc::Receiver<T>, on_slow: impl FnOnce()) -> Result<T, Failure> {
        let start = Instant::now();
        let mut on_slow = Some(on_slow);
        loop {
            match ended.recv_timeout(GLANCE) {
                Ok(code) => return Ok(code),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Compiler(io::ErrorKind::UnexpectedEof.into()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if self.is_stopped() {
                return Err(Failure::Stopped);
            }
            if start.elapsed() > self.time.saturating_mul(PATIENCE) {
                return Err(Failure::CompileLimit(Limit::Time(self.time)));
            }
            if start.elapsed() >= SLOW
                && let Some(on_slow) = on_slow.take()
            {
                on_slow();
            }
        }
    }

    fn is_stopped(&self) -> bool {
        let Some(stop) = &self.stop else { return false };
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::from_borrowed_fd(stop.as_fd(), PollFlags::IN)];
        poll(&mut fds, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    fn refused(&self, why: &str) -> Failure {
        match lacked_memory(why) {
            true => Failure::CompileLimit(Limit::Memory(self.memory)),
            false => Failure::Compile(Text::line(why)),
        }
    }

    /// Explains an end without a result.
    fn ended(&self, status: ExitStatus, words: &str) -> Failure {
        if status.signal() == Some(libc::SIGXCPU) {
            return Failure::CompileLimit(Limit::Time(self.time));
        }
        if lacked_memory(words) {
            return Failure::CompileLimit(Limit::Memory(self.memory));
        }
        let words = words.lines().next().unwrap_or_default();
        Failure::CompilerEnded(Text::line(&format!("{status} {words}")))
    }
}

/// Returns whether the messages report a failed allocation.
fn lacked_memory(words: &str) -> bool {
    [
        "memory allocation of",
        "out of memory",
        "Cannot allocate memory",
        "os error 12",
    ]
    .iter()
    .any(|known| words.contains(known))
}

/// Reads the start of a text; the rest is drained, so that its writer need not wait.
fn read_some(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = from.by_ref().take(MAX_WORDS).read_to_end(&mut bytes);
    let _ = io::copy(&mut from, &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A child that does not outlive its owner.
struct Running(Child);

impl Running {
    fn end(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
        let _ = self.0.wait();
    }
}

/// Returns the usual limits, but at most most of the available memory.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .map_or(MEMORY, |kibibytes| kibibytes.saturating_mul(1024));
    (available / 4 * 3).clamp(LEAST_MEMORY, MEMORY)
}

/// Runs the child: compiles its stdin within limits that it sets first. `arguments` are those after [`COMPILE`].
pub fn compile_for_parent(arguments: &[OsString]) -> io::Result<()> {
    let number = |index: usize| arguments.get(index).and_then(|word| word.to_str()?.parse::<u64>().ok());
    let (Some(memory), Some(seconds)) = (number(0), number(1)) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // Before reading: the parent exists as long as it has not written everything.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    restrict(memory, seconds)?;
    let mut component = Vec::new();
    io::stdin()
        .lock()
        .take(MAX_COMPONENT as u64 + 1)
        .read_to_end(&mut component)?;
    let compiled = engine::bare().and_then(|engine| engine.precompile_component(&component));
    let mut output = io::stdout().lock();
    match compiled {
        Ok(code) => {
            output.write_all(&[COMPILED])?;
            output.write_all(&code)?;
        }
        Err(error) => {
            output.write_all(&[REFUSED])?;
            output.write_all(Text::line(&format!("{error:#}")).as_str().as_bytes())?;
        }
    }
    output.flush()
}

fn restrict(memory: u64, seconds: u64) -> io::Result<()> {
    let lower = |resource: Resource, limit: u64| {
        let before = getrlimit(resource);
        let limit = before.maximum.map_or(limit, |most| most.min(limit));
        let limit = before.current.map_or(limit, |now| now.min(limit));
        setrlimit(
            resource,
            Rlimit {
                current: Some(limit),
                maximum: before.maximum,
            },
        )
    };
    lower(Resource::Core, 0)?;
    lower(Resource::Cpu, seconds)?;
    // Data segments, and all of the address space in case that something else is mapped.
    lower(Resource::Data, memory)?;
    lower(Resource::As, memory + PROGRAM + MAX_THREADS as u64 * ARENA)?;
    // If memory runs out nevertheless, the kernel kills this process first (proc_pid_oom_score_adj(5)).
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_explained_by_the_exceeded_limit() {
        let compiler = Compiler::new("x".into(), 5 << 20, Duration::from_secs(7), None);
        let signal = |number| ExitStatus::from_raw(number);
        for (status, words, expected) in [
            (signal(libc::SIGXCPU), "", "cannot be compiled within 7 seconds"),
            (
                signal(libc::SIGABRT),
                "memory allocation of 5 bytes failed",
                "cannot be compiled within 5 MiB of memory",
            ),
            (signal(libc::SIGKILL), "", "signal: 9 (SIGKILL)"),
            (
                signal(101 << 8),
                "thread panicked\x1b",
                "exit status: 101 thread panicked\\u{1b}",
            ),
        ] {
            let reported = compiler.ended(status, words).to_string();
            assert!(reported.contains(expected), "{reported}");
        }
    }

    #[test]
    fn memory_for_compiling_is_within_its_bounds() {
        assert!((LEAST_MEMORY..=MEMORY).contains(&memory()));
    }
}
