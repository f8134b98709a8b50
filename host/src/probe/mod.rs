//! Attaches the BPF programs to the kernel's functions. One backend per file, one trait.
//!
//! A backend is a mechanism of the kernel. Which of them work is found by trying them, never from a version. This room
//! may import `kernel` (the functions) and `event` (what is counted as lost).

mod detach;
mod fentry_multi;
mod ftrace;
pub mod identity;
mod kprobe;
mod kprobe_multi;
mod link;
mod loss;
mod programs;
mod progress;
mod proof;
mod reason;
mod syscall;
#[cfg(test)]
mod testing;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use ipft_bpf::wire::{Config, FunctionSource};

use crate::event::{Loss, SkippedFunction, Tracer};
use crate::kernel::{Candidate, Root, faults_crash, ring_buffer_sleeps};
use programs::Programs;

pub use fentry_multi::FentryMulti;
pub use ftrace::Ftrace;
pub use kprobe::Kprobe;
pub use kprobe_multi::{KprobeMulti, KprobeSession};
pub use loss::tell_missing_buffers;
pub use progress::Progress;
pub use reason::Reason;

/// Why nothing could be attached.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// libbpf or the kernel refused.
    #[error("{what}: {source}{}", said(.log))]
    Libbpf {
        /// What was tried.
        what: &'static str,
        /// The error's code, if it has one.
        code: Option<i32>,
        /// The error's text.
        source: io::Error,
        /// What libbpf and the verifier said.
        log: String,
    },
    /// Something of the machine or its settings is in the way, and would be in that of any backend.
    #[error("{what}: {reason}")]
    Machine {
        /// What was tried.
        what: &'static str,
        /// Why it failed, and what to do.
        reason: Reason,
    },
    /// It attaches, and its programs never run.
    #[error("backend '{backend}' would see nothing: {cause}")]
    Silent {
        /// The backend's name.
        backend: &'static str,
        /// Why, as far as it is known.
        cause: String,
    },
    /// The object lacks a program: a bug.
    #[error("the BPF object has no program '{0}'")]
    NoProgram(String),
    /// The kernel does not know the mechanism, or does not let us use it.
    #[error("backend '{backend}' does not work on this kernel: {reason}")]
    Unsupported {
        /// The backend's name.
        backend: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// Every function was refused.
    #[error("backend '{backend}' could attach none of {count} functions; the first, {function}: {reason}")]
    NothingAttached {
        /// The backend's name.
        backend: &'static str,
        /// How many were tried.
        count: usize,
        /// The first of them.
        function: String,
        /// Why not.
        reason: String,
    },
    /// The extension does not fit ours: libbpf's words.
    #[error("the extension cannot be linked: {0}")]
    Link(String),
    /// The kernel loads our programs, and does not with the extension linked in.
    #[error("the kernel did not accept the extension's code")]
    Extension {
        /// What the verifier said, whole.
        log: String,
    },
    /// The user wants it no more.
    #[error("stopped while attaching")]
    Stopped,
    /// The tracer needs more than the backend can.
    #[error("no function that takes a packet is left to trace")]
    NoFunctions,
}

fn said(log: &str) -> String {
    if log.trim().is_empty() {
        String::new()
    } else {
        format!("\n{}", log.trim_end())
    }
}

impl ProbeError {
    fn libbpf(what: &'static str, error: &libbpf_rs::Error) -> Self {
        ProbeError::Libbpf {
            what,
            code: reason::code(error),
            source: io::Error::other(format!("{error:#}")),
            log: programs::libbpf_said(),
        }
    }
}

/// The buffer that events pass through on their way to user space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// One BPF ring buffer for all CPUs (5.8 and later).
    Ring {
        /// Its size: a power of two, and a multiple of the page size.
        bytes: u32,
    },
    /// One perf buffer per CPU.
    Perf {
        /// Data pages of each, a power of two.
        pages: u32,
        /// Every how many events one is taken.
        sample_period: u64,
        /// Every how many events the reader is woken.
        wakeup_events: u32,
    },
}

impl Buffer {
    fn is_perf(&self) -> bool {
        matches!(self, Buffer::Perf { .. })
    }

    /// After how many events of a CPU, less one, the reader of a ring buffer is woken: when an eighth of it is full.
    /// A large ring waits for the reader to look by itself, which it does every few milliseconds.
    fn wake_mask(&self, payload: usize, capture: usize) -> u32 {
        /// Of the ring buffer, before each record.
        const HEADER: usize = 8;
        // Every event may be a packet's first.
        let record = (ipft_bpf::wire::EVENT_SIZE + payload + HEADER + capture) as u32;
        match *self {
            Buffer::Ring { bytes } => ((bytes / 8 / record).max(1).next_power_of_two() / 2).clamp(1, 8192) - 1,
            Buffer::Perf { .. } => 0,
        }
    }
}

/// What is to be traced.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The running system.
    pub root: &'a Root,
    /// The functions, in the order of the function table.
    pub functions: &'a [Candidate],
    /// Functions that the user did not ask for and that identity needs.
    pub silent: &'a [Candidate],
    /// Entries, or entries and returns.
    pub tracer: Tracer,
    /// The mark, masked.
    pub mark: u32,
    /// The bits of the mark that count.
    pub mask: u32,
    /// Where events go.
    pub buffer: &'a Buffer,
    /// An object whose `module` fills the payload of each entry.
    pub extension: Option<&'a [u8]>,
    /// How many of each packet's first bytes are wanted, at most [`ipft_bpf::wire::MAX_RECORD_BYTES`]; 0 for none. Only a
    /// ring buffer takes them.
    pub record_bytes: u32,
    /// Where backends that take long say how far they are, and see that they are to stop.
    pub progress: &'a Progress,
}

impl Request<'_> {
    /// Bytes that follow the event in the record of an entry.
    pub fn payload_size(&self) -> usize {
        match self.extension {
            Some(_) => ipft_bpf::wire::PAYLOAD_SIZE,
            None => 0,
        }
    }

    /// The programs' configuration.
    fn config(&self, function_source: FunctionSource) -> Config {
        let record_bytes = if self.buffer.is_perf() { 0 } else { self.record_bytes };
        let capture = match record_bytes {
            0 => 0,
            bytes => ipft_bpf::wire::CAPTURE_SIZE + bytes as usize,
        };
        Config {
            mark: self.mark,
            mask: self.mask,
            use_perf_buffer: self.buffer.is_perf(),
            wake_mask: self.buffer.wake_mask(self.payload_size(), capture),
            remember_calls: self.tracer == Tracer::FunctionGraph,
            function_source,
            record_bytes,
            faults_crash: faults_crash(self.root),
        }
    }
}

/// What the events of an attachment carry as their function.
#[derive(Clone, Debug)]
pub enum FunctionIds {
    /// The index in the function table.
    Index,
    /// The function's address, with its index.
    Address(Vec<(u64, u32)>),
}

impl FunctionIds {
    fn addresses(functions: &[Candidate]) -> Self {
        FunctionIds::Address(
            functions
                .iter()
                .zip(0..)
                .map(|(function, index)| (function.address, index))
                .collect(),
        )
    }
}

/// Everything that is attached for one trace. Dropping it detaches; so does the end of the process.
#[derive(Debug)]
pub struct Attachment {
    programs: Programs,
    /// Programs that were loaded one per function.
    own_programs: Vec<OwnedFd>,
    /// Perf events of kprobes.
    events: Vec<OwnedFd>,
    links: Vec<OwnedFd>,
    return_links: Vec<OwnedFd>,
    /// Which backend did it.
    pub backend: &'static str,
    /// What events carry.
    pub function_ids: FunctionIds,
    /// How many functions are attached.
    pub attached: u32,
    /// Those that could not be.
    pub skipped: Vec<SkippedFunction>,
}

impl Attachment {
    /// The map that events come out of.
    pub fn buffer_map(&self, buffer: &Buffer) -> Option<BorrowedFd<'_>> {
        self.programs
            .map(if buffer.is_perf() { "ipft_perf" } else { "ipft_ring" })
    }

    /// Packets that were given an identity so far.
    pub fn packets(&self) -> u64 {
        self.programs.cpus().iter().map(|cpu| cpu.packets).sum()
    }

    /// What was lost so far in the kernel.
    pub fn losses(&self) -> Vec<Loss> {
        loss::count(self)
    }

    /// Detaches everything, and returns when the kernel has.
    pub fn detach(self, progress: &Progress) {
        let Attachment {
            programs,
            own_programs,
            events,
            links,
            return_links,
            ..
        } = self;
        // A link holds its event, so the event's last reference is the one that waits.
        detach::close(vec![return_links, links, events, own_programs], progress);
        drop(programs);
    }
}

/// Why a function is skipped where an address is needed.
const ADDRESS_HIDDEN: &str = "its address is not known (kernel.kptr_restrict hides it)";

fn skip(function: &Candidate, reason: impl Into<String>) -> SkippedFunction {
    SkippedFunction {
        name: function.name.clone(),
        module: function.module.clone(),
        reason: reason.into(),
    }
}

/// Why a function cannot be attached by its BTF id, if it cannot.
fn objection(function: &Candidate) -> Option<&'static str> {
    if function.name.contains('.') {
        Some("it exists only with a compiler suffix, which BTF does not name; a kprobe backend sees it")
    } else if function.ambiguous {
        Some("several functions bear the name, and BTF cannot say which is meant; a kprobe backend sees them")
    } else if function.btf_id == 0 {
        Some("BTF does not describe it; a kprobe backend sees it")
    } else if !function.trampoline {
        Some("trampolines do not take its prototype; a kprobe backend sees it")
    } else {
        None
    }
}

/// The error of a backend whose programs the kernel does not load. A kernel that lacks the mechanism says little more
/// than "invalid argument".
fn unsupported(backend: &'static str, needs: &str, error: ProbeError) -> ProbeError {
    match error {
        ProbeError::Libbpf { code, source, .. } if reason::is_unknown_mechanism(code) => ProbeError::Unsupported {
            backend,
            reason: format!("it needs {needs} ({source})"),
        },
        other => other,
    }
}

/// The error of a backend that could attach nothing.
fn nothing_attached(backend: &'static str, request: &Request<'_>, skipped: &[SkippedFunction]) -> ProbeError {
    match skipped.first() {
        Some(first) => ProbeError::NothingAttached {
            backend,
            count: request.functions.len(),
            function: first.name.clone(),
            reason: first.reason.clone(),
        },
        None => ProbeError::NoFunctions,
    }
}

/// A mechanism of the kernel that runs our programs when a function is entered (and returns).
pub trait Backend: Sync {
    /// The name that `-b` takes.
    fn name(&self) -> &'static str;
    /// One line for people.
    fn description(&self) -> &'static str;
    /// Attaches for real. Functions that the kernel refuses are skipped with a reason; to attach none is an error. Whether
    /// the programs run is not looked at: [`attach`] does that.
    fn attach(&self, request: &Request<'_>) -> Result<Attachment, ProbeError>;
    /// Whether the backend is worth choosing for this tracer when the user did not choose.
    fn suits(&self, tracer: Tracer) -> bool;
}

/// All backends, in the order in which they are tried: the lowest price per packet first, but for `ftrace`, which
/// would make the start and the end of a trace minutes long where a kprobe backend takes one.
pub static BACKENDS: [&dyn Backend; 5] = [&FentryMulti, &KprobeSession, &KprobeMulti, &Kprobe, &Ftrace];

/// The backend of this name.
pub fn backend(name: &str) -> Option<&'static dyn Backend> {
    BACKENDS.into_iter().find(|backend| backend.name() == name)
}

/// Attaches with a backend, and makes sure that the kernel runs the programs.
pub fn attach(backend: &dyn Backend, request: &Request<'_>) -> Result<Attachment, ProbeError> {
    let kprobes = backend.name() == Kprobe.name();
    proof::refuse_if_switched_off(request, backend.name(), kprobes)?;
    let attachment = backend.attach(request)?;
    match proof::prove(&attachment, request) {
        Ok(()) => Ok(attachment),
        Err(error) => {
            attachment.detach(&Progress::default());
            Err(error)
        }
    }
}

/// Tries a backend on one function: attaches for real, sees whether it runs, and detaches.
pub fn try_out(backend: &dyn Backend, request: &Request<'_>) -> Result<(), ProbeError> {
    let mut plain = request
        .functions
        .iter()
        .filter(|function| function.module == "vmlinux" && !function.unsure);
    // Better one that can be seen to run.
    let one = plain
        .clone()
        .find(|function| proof::is_passed(function) && objection(function).is_none())
        .or_else(|| plain.next())
        .ok_or(ProbeError::NoFunctions)?;
    let small = Buffer::Ring { bytes: 4096 };
    let request = Request {
        functions: std::slice::from_ref(one),
        silent: &[],
        buffer: match request.buffer {
            Buffer::Ring { .. } => &small,
            perf @ Buffer::Perf { .. } => perf,
        },
        ..*request
    };
    attach(backend, &request).map(drop)
}

/// Whether the kernel has BPF ring buffers, and probes may use them.
pub fn has_ring_buffer(root: &Root) -> bool {
    // A kernel that does not know the type says EINVAL (kernel/bpf/syscall.c, find_and_alloc_map). Whatever else it says
    // is of this process or the machine; loading the programs fails of it, too, with a reason.
    let unknown = syscall::try_ring_buffer(4096).is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL));
    !unknown && !ring_buffer_sleeps(root)
}

/// Attaches with the first backend that works for the tracer. An error says why each of them does not.
pub fn attach_with_any(request: &Request<'_>) -> Result<Attachment, Vec<(&'static str, ProbeError)>> {
    let mut failures = Vec::new();
    for backend in BACKENDS.into_iter().filter(|backend| backend.suits(request.tracer)) {
        match attach(backend, request) {
            Ok(attachment) => return Ok(attachment),
            // The others would meet the same.
            Err(error @ (ProbeError::Machine { .. } | ProbeError::Stopped)) => {
                return Err(vec![(backend.name(), error)]);
            }
            Err(error) => failures.push((backend.name(), error)),
        }
    }
    Err(failures)
}
