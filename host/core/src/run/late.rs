//! Modules that are loaded while a trace runs.
//!
//! A process of its own watches for them and attaches to their functions. It is forked when the trace is attached and
//! before anything of others runs, so it keeps the rights that attaching needs while the trace itself may give them up.
//! All that it takes from the trace is the index of new functions in the function table, which says that their events may
//! come; all that it tells are lines of JSON. It shares the maps of the trace, so its events come the same way. What it attaches is
//! detached by its end, which comes with that of the trace, however that ends: the trace closes its end of the socket. The
//! signal that the kernel sends then does not arrive if the trace has become another user (`--user`).

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};
use serde::{Deserialize, Serialize};

use crate::event::{Function, Loss, LossKind, SkippedFunction};
use crate::kernel::{self, Candidate, LoadedModules};
use crate::message;
use crate::probe::{self, Attachment, Backend, Request, identity};
use crate::selection::Filter;
use crate::text::visible;

/// Interval of checking the list of modules without notifications.
const LOOK: Duration = Duration::from_secs(1);

/// Interval of checking while a module is being loaded.
const SOON: Duration = Duration::from_millis(20);

/// How long the end of a trace waits for the last counts.
const PATIENCE: Duration = Duration::from_secs(2);

/// Acknowledgement of the trace: the reported functions are in the table, from the index on that follows (u32).
const KNOWN: u8 = b'+';

/// Report at its end.
const END: u8 = b'.';

/// Messages to the trace, one line each.
#[derive(Debug, Serialize, Deserialize)]
enum Reported {
    /// Functions that are about to be attached. The other process waits until they are known.
    Functions(Vec<(String, String, u64)>),
    /// Results by module.
    Attached {
        /// Number of functions per module.
        modules: Vec<(String, u32)>,
        /// Name, module and reason of those that are not.
        skipped: Vec<(String, String, String)>,
    },
    /// A module that is not traced at all, and why.
    Missing(String, String),
    /// Events and returns of these functions that the kernel has lost so far.
    Losses(u64, u64),
}

/// The initial state of the process.
pub struct Setup<'a> {
    /// The request of the trace, with the maps to share.
    pub request: Request<'a>,
    /// The backend to begin with.
    pub backend: &'static dyn Backend,
    /// It is the only one that may be used.
    pub alone: bool,
    /// Which functions are wanted.
    pub filter: &'a Filter,
    /// The modules that were there before the functions were looked for.
    pub loaded: LoadedModules,
    /// All functions that were found at the start, in the order of the function table.
    pub functions: &'a [Candidate],
    /// Those that only identity needs.
    pub silent: &'a [Candidate],
}

/// The other process, as the trace sees it.
pub struct Late {
    socket: UnixStream,
    process: Option<rustix::process::Pid>,
    received: Vec<u8>,
    /// The process has ended, or sent an invalid message.
    over: bool,
    verbose: bool,
    losses: [u64; 2],
    /// Functions that were attached so far.
    pub attached: u32,
    /// Those that could not be.
    pub skipped: Vec<SkippedFunction>,
}

impl Late {
    /// Starts the process.
    pub fn start(setup: Setup<'_>, verbose: bool) -> io::Result<Late> {
        let (socket, other) = UnixStream::pair()?;
        socket.set_nonblocking(true)?;
        // SAFETY: the child runs nothing but `watch` and ends without unwinding or running destructors. Of
        // other threads there are only such as wait (for a signal, for work), and the C library's allocator is made for
        // a fork at any time.
        let process = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| watch(setup, other)));
                // SAFETY: ends the process, as nothing else of it may run.
                unsafe { libc::_exit(i32::from(done.is_err())) }
            }
            process => rustix::process::Pid::from_raw(process),
        };
        Ok(Late {
            socket,
            process,
            received: Vec::new(),
            over: false,
            verbose,
            losses: [0; 2],
            attached: 0,
            skipped: Vec::new(),
        })
    }

    /// Processes pending messages. `learn` gets new functions, before any event of them can come, and returns the index of
    /// the first in the function table.
    pub fn receive(&mut self, mut learn: impl FnMut(Vec<Function>) -> u32) {
        while !self.over {
            let mut bytes = [0; 4096];
            match self.socket.read(&mut bytes) {
                Ok(0) => self.over = true,
                Ok(read) => self.received.extend(bytes.iter().take(read)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.over = true,
            }
        }
        while let Some(end) = memchr::memchr(b'\n', &self.received) {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            match serde_json::from_slice(&line) {
                Ok(reported) => self.take(reported, &mut learn),
                Err(_) => self.over = true,
            }
        }
    }

    fn take(&mut self, reported: Reported, learn: &mut impl FnMut(Vec<Function>) -> u32) {
        match reported {
            Reported::Functions(functions) => {
                let function = |(name, module, address)| Function { name, module, address };
                let first = learn(functions.into_iter().map(function).collect());
                let mut answer = vec![KNOWN];
                answer.extend(first.to_le_bytes());
                // A process that has gone has attached nothing.
                let _ = (&self.socket).write_all(&answer);
            }
            Reported::Attached { modules, skipped } => {
                for (module, attached) in modules {
                    let missing = skipped.iter().filter(|(_, other, _)| *other == module).count();
                    self.attached = self.attached.saturating_add(attached);
                    match (attached, missing) {
                        (_, 0) => message!(
                            "Attached to {attached} functions of module {}, loaded during the trace",
                            visible(&module)
                        ),
                        _ => message!(
                            "Attached to {attached} functions of module {}, loaded during the trace; {missing} are \
                             missing (-v says why)",
                            visible(&module)
                        ),
                    }
                }
                for (name, module, reason) in skipped {
                    if self.verbose {
                        message!(
                            "Skipped {} [{}]: {}",
                            visible(&name),
                            visible(&module),
                            visible(&reason)
                        );
                    }
                    self.skipped.push(SkippedFunction { name, module, reason });
                }
            }
            Reported::Missing(module, reason) => message!(
                "Module {}, loaded during the trace, is not traced: {}",
                visible(&module),
                visible(&reason)
            ),
            Reported::Losses(events, returns) => self.losses = [events, returns],
        }
    }

    /// Returns the kernel's losses of the functions that were attached here.
    pub fn losses(&self) -> Vec<Loss> {
        let kinds = [LossKind::Recursion, LossKind::ReturnMissed];
        let losses = kinds.into_iter().zip(self.losses);
        losses
            .filter(|(_, count)| *count > 0)
            .map(|(kind, count)| Loss { kind, cpu: None, count })
            .collect()
    }

    /// Ends the process, which detaches what it attached, and takes its last numbers.
    pub fn finish(&mut self) {
        let Some(process) = self.process.take() else {
            return;
        };
        // A byte, as a trace that has given up its rights may write and neither shut down nor kill.
        let _ = (&self.socket).write_all(&[END]);
        let until = Instant::now() + PATIENCE;
        while !self.over && Instant::now() < until {
            let _ = wait(&[self.socket.as_fd()], SOON);
            // No event of new functions is read any more.
            self.receive(|_| 0);
        }
        while let Err(rustix::io::Errno::INTR) =
            rustix::process::waitpid(Some(process), rustix::process::WaitOptions::empty())
        {}
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Waits until one of these is readable or has been closed, or the time is over.
fn wait(files: &[BorrowedFd<'_>], timeout: Duration) -> rustix::io::Result<()> {
    let mut polled: Vec<PollFd<'_>> = (files.iter())
        .map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN))
        .collect();
    let timeout = Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: i64::from(timeout.subsec_nanos()),
    };
    poll(&mut polled, Some(&timeout)).map(drop)
}

/// Runs the other process until the trace ends.
fn watch(setup: Setup<'_>, socket: UnixStream) {
    let maps = setup.request.maps.iter().map(|(_, map)| map.as_raw_fd());
    settle(&maps.chain([socket.as_raw_fd()]).collect());
    let events = kernel_events();
    let mut watcher = Watcher {
        known: HashMap::new(),
        loaded: setup.loaded.clone(),
        attachments: Vec::new(),
        lost: [0; 2],
        setup,
        socket,
    };
    let all = watcher.setup.functions.iter().chain(watcher.setup.silent);
    for function in all {
        let known = watcher.known.entry(function.module.clone()).or_default();
        known.insert(function.address);
    }
    // An error says that the trace has gone.
    while watcher.look().is_ok() {
        let timeout = if watcher.loaded.changing { SOON } else { LOOK };
        let mut files = vec![watcher.socket.as_fd()];
        files.extend(events.as_ref().map(AsFd::as_fd));
        let _ = wait(&files, timeout);
        if let Some(events) = &events {
            drain(events);
        }
        if watcher.is_over() {
            let _ = watcher.tell_losses();
            break;
        }
    }
}

/// Lets go of what the trace has open, and outlives no trace.
fn settle(kept: &HashSet<i32>) {
    // SAFETY: these calls take integers and change this process alone. Nothing that owns one of the descriptors that are
    // closed is ever used or dropped here.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::prctl(libc::PR_SET_NAME, c"ipft-modules".as_ptr());
        // The terminal sends them to both processes, and what they ask for is the trace's to do.
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            libc::signal(signal, libc::SIG_IGN);
        }
        for descriptor in open_descriptors() {
            if descriptor > 2 && !kept.contains(&descriptor) {
                libc::close(descriptor);
            }
        }
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if null >= 0 {
            libc::dup2(null, 0);
            libc::dup2(null, 1);
        }
    }
}

fn open_descriptors() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// Opens the socket with the kernel's notifications of loaded modules (among others), if available.
fn kernel_events() -> Option<OwnedFd> {
    /// The kernel's own messages, before udev has seen them.
    const KERNEL: u32 = 1;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        flags,
        Some(netlink::KOBJECT_UEVENT),
    )
    .ok()?;
    rustix::net::bind(&socket, &netlink::SocketAddrNetlink::new(0, KERNEL)).ok()?;
    Some(socket)
}

/// Drops the messages: the list of modules is read elsewhere.
fn drain(socket: &OwnedFd) {
    let mut bytes = [0; 4096];
    // A message that was lost, because there were too many, is an error of its own.
    while !matches!(
        rustix::net::recv(socket, &mut bytes[..], RecvFlags::DONTWAIT),
        Err(rustix::io::Errno::AGAIN) | Err(rustix::io::Errno::BADF)
    ) {}
}

/// The other process, as it sees itself.
struct Watcher<'a> {
    setup: Setup<'a>,
    socket: UnixStream,
    /// Addresses of functions that were attached to, or tried, by module.
    known: HashMap<String, HashSet<u64>>,
    loaded: LoadedModules,
    attachments: Vec<Attachment>,
    lost: [u64; 2],
}

impl Watcher<'_> {
    fn tell(&mut self, reported: &Reported) -> io::Result<()> {
        let mut line = serde_json::to_vec(reported)?;
        line.push(b'\n');
        self.socket.write_all(&line)
    }

    /// Returns whether the trace has ended or wants no more.
    fn is_over(&self) -> bool {
        let mut byte = [0];
        matches!(
            rustix::net::recv(&self.socket, &mut byte[..], RecvFlags::PEEK | RecvFlags::DONTWAIT),
            Ok((_, 0 | 1))
        )
    }

    /// Looks for modules that are new, and attaches to their functions.
    fn look(&mut self) -> io::Result<()> {
        self.tell_losses()?;
        let now = LoadedModules::read(self.setup.request.root);
        for gone in self.loaded.not_in(&now) {
            self.known.remove(gone);
        }
        let new: HashSet<String> = now.not_in(&self.loaded).map(str::to_owned).collect();
        self.loaded = now;
        if new.is_empty() {
            return Ok(());
        }
        let found = match kernel::find_functions(self.setup.request.root) {
            Ok(found) => found,
            Err(error) => {
                for module in new {
                    self.tell(&Reported::Missing(module, error.to_string()))?;
                }
                return Ok(());
            }
        };
        for missing in found.missing {
            let matches = self.setup.filter.matches_module(&missing.name);
            if matches && new.contains(&missing.name) {
                self.tell(&Reported::Missing(missing.name, missing.reason))?;
            }
        }
        let known = &self.known;
        let is_known = |function: &Candidate| {
            let known = known.get(&function.module);
            function.address != 0 && known.is_some_and(|known| known.contains(&function.address))
        };
        let candidates = found.candidates.into_iter();
        let (wanted, rest): (Vec<_>, Vec<_>) = candidates
            .filter(|function| new.contains(&function.module) && !is_known(function))
            .partition(|function| self.setup.filter.matches(&function.name, &function.module));
        let following = self.setup.request.following.is_some();
        let silent: Vec<Candidate> = (rest.into_iter())
            .filter(|function| identity::is_needed(function, following))
            .collect();
        for function in wanted.iter().chain(&silent) {
            let known = self.known.entry(function.module.clone()).or_default();
            known.insert(function.address);
        }
        if wanted.is_empty() && silent.is_empty() {
            return Ok(());
        }
        self.attach(&wanted, &silent)
    }

    fn attach(&mut self, wanted: &[Candidate], silent: &[Candidate]) -> io::Result<()> {
        let name = |function: &Candidate| (function.name.clone(), function.module.clone(), function.address);
        self.tell(&Reported::Functions(wanted.iter().map(name).collect()))?;
        let mut answer = [0; 5];
        self.socket.read_exact(&mut answer)?;
        let [KNOWN, first @ ..] = answer else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let first = u32::from_le_bytes(first);
        let request = Request {
            targets: probe::targets(wanted, first, silent, self.setup.request.following.is_some()),
            ..self.setup.request.clone()
        };
        let result = match self.setup.alone {
            true => probe::attach_with(self.setup.backend, &request).map_err(|error| error.to_string()),
            false => probe::attach_beside(self.setup.backend, &request).map_err(|failures| {
                let reasons: Vec<String> = failures
                    .iter()
                    .map(|(name, error)| format!("{name}: {error}"))
                    .collect();
                reasons.join("; ")
            }),
        };
        let skipped: Vec<_> = match &result {
            Ok(attachment) => (attachment.skipped.iter())
                .map(|one| (one.name.clone(), one.module.clone(), one.reason.clone()))
                .collect(),
            Err(reason) => (wanted.iter())
                .map(|one| (one.name.clone(), one.module.clone(), reason.clone()))
                .collect(),
        };
        let mut modules: Vec<(String, u32)> = Vec::new();
        for function in wanted {
            let missing =
                |(name, module, _): &(String, String, String)| *name == function.name && *module == function.module;
            let attached = u32::from(!skipped.iter().any(missing));
            match modules.iter_mut().find(|(module, _)| *module == function.module) {
                Some((_, count)) => *count += attached,
                None => modules.push((function.module.clone(), attached)),
            }
        }
        self.attachments.extend(result);
        self.tell(&Reported::Attached { modules, skipped })
    }

    /// Tells what the kernel lost, if that is more than before.
    fn tell_losses(&mut self) -> io::Result<()> {
        let mut lost = [0u64; 2];
        for loss in self.attachments.iter().flat_map(Attachment::missed_by_kernel) {
            let place = usize::from(loss.kind == LossKind::ReturnMissed);
            if let Some(sum) = lost.get_mut(place) {
                *sum = sum.saturating_add(loss.count);
            }
        }
        if lost == self.lost {
            return Ok(());
        }
        self.lost = lost;
        let [events, returns] = lost;
        self.tell(&Reported::Losses(events, returns))
    }
}

#[cfg(test)]
mod tests;
