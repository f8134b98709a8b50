//! Attaches the BPF programs to the kernel's functions. One backend per file, one trait.
//!
//! A backend is a mechanism of the kernel. Which of them work is found by trying them, never from a version. This room
//! may import `kernel` (the functions) and `event` (what is counted as lost).

mod bisect;
mod detach;
mod fentry_multi;
mod ftrace;
pub mod identity;
mod kprobe;
mod kprobe_multi;
mod libbpf_log;
mod link;
mod loss;
mod plan;
mod program_key;
mod programs;
mod progress;
mod proof;
mod reason;
mod syscall;
#[cfg(test)]
mod testing;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipft_bpf::wire::{Config, FunctionSource};

use crate::event::{SkippedFunction, Tracer};
use crate::kernel::{Candidate, Root, faults_crash, ring_buffer_sleeps};
use programs::Programs;

pub use fentry_multi::FentryMulti;
pub use ftrace::Ftrace;
pub use kprobe::Kprobe;
pub use kprobe_multi::{KprobeMulti, KprobeSession};
pub use loss::tell_missing_buffers;
pub use plan::{Attachment, attach_beside, attach_with, attach_with_any, sum};
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
            log: libbpf_log::take(),
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
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The running system.
    pub root: &'a Root,
    /// The functions to attach to.
    pub targets: Vec<Target<'a>>,
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
    /// The built-in fields of each entry, by the bits that `ipft_bpf::wire` has for them.
    pub fields: u32,
    /// Bytes of these fields ([`ipft_bpf::wire::fields_size`]).
    pub fields_size: u32,
    /// Where backends that take long say how far they are, and see that they are to stop.
    pub progress: &'a Progress,
    /// Maps of programs that are attached already, by name: those of this request use them too.
    pub maps: Maps,
}

/// Maps that programs share, by the names that their object has for them.
pub type Maps = Arc<[(String, OwnedFd)]>;

/// A function to attach to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The function.
    pub function: &'a Candidate,
    /// Its index in the function table; none of a function that the user did not ask for and that identity needs.
    pub index: Option<u32>,
}

impl Target<'_> {
    /// Whether no events are wanted of it.
    fn is_silent(&self) -> bool {
        self.index.is_none()
    }
}

/// What there is to attach to: functions in the order of the function table, which begins with the index `first`, and
/// those that only identity needs.
pub fn targets<'a>(functions: &'a [Candidate], first: u32, silent: &'a [Candidate]) -> Vec<Target<'a>> {
    let named = functions.iter().zip(first..).map(|(function, index)| Target {
        function,
        index: Some(index),
    });
    let silent = silent.iter().map(|function| Target { function, index: None });
    named.chain(silent).collect()
}

impl Request<'_> {
    /// Bytes that follow the event in the record of an entry: the fields, and the extension's payload.
    pub fn payload_size(&self) -> usize {
        let extension = match self.extension {
            Some(_) => ipft_bpf::wire::PAYLOAD_SIZE,
            None => 0,
        };
        self.fields_size as usize + extension
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
            fields: self.fields,
            fields_size: self.fields_size,
            faults_crash: faults_crash(self.root),
        }
    }
}

/// What one backend has attached. Dropping it detaches.
#[derive(Debug)]
pub struct Layer {
    programs: Programs,
    /// Programs that were loaded one per function.
    own_programs: Vec<OwnedFd>,
    /// Perf events of kprobes.
    events: Vec<OwnedFd>,
    links: Vec<OwnedFd>,
    return_links: Vec<OwnedFd>,
    /// Which backend did it.
    pub backend: &'static str,
    /// How many functions of the function table are attached.
    pub attached: u32,
}

impl Layer {
    /// What is to be closed, in this order: a link holds its event, so the event's last reference is the one that waits.
    fn into_descriptors(self) -> (Programs, Vec<Vec<OwnedFd>>) {
        let groups = vec![self.return_links, self.links, self.events, self.own_programs];
        (self.programs, groups)
    }

    /// Detaches everything, and returns when the kernel has.
    fn detach(self, progress: &Progress) {
        let (programs, groups) = self.into_descriptors();
        detach::close(groups, progress);
        drop(programs);
    }
}

/// What came of a backend's try.
#[derive(Debug)]
pub struct Attached<'a> {
    /// What is attached.
    layer: Layer,
    /// What is not, and another backend may take.
    refused: Vec<Refused<'a>>,
    /// Functions whose entries are attached and whose returns are not.
    without_return: Vec<Refused<'a>>,
}

/// A function that a backend cannot attach to.
#[derive(Clone, Debug)]
pub struct Refused<'a> {
    /// The function.
    target: Target<'a>,
    /// Why not, in words for the user.
    reason: String,
}

impl<'a> Refused<'a> {
    fn new(target: Target<'a>, reason: impl Into<String>) -> Self {
        Refused {
            target,
            reason: reason.into(),
        }
    }

    fn skipped(&self) -> SkippedFunction {
        SkippedFunction {
            name: self.target.function.name.clone(),
            module: self.target.function.module.clone(),
            reason: self.reason.clone(),
        }
    }
}

/// Why a function is skipped where an address is needed.
const ADDRESS_HIDDEN: &str = "its address is not known (kernel.kptr_restrict hides it)";

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

/// An error if nothing of what was wanted could be attached.
fn check_any(
    backend: &'static str,
    request: &Request<'_>,
    attached: u32,
    refused: &[Refused<'_>],
) -> Result<(), ProbeError> {
    let wanted = request.targets.iter().filter(|target| !target.is_silent()).count();
    let only_silent = wanted == 0 && refused.len() < request.targets.len();
    if attached > 0 || only_silent {
        return Ok(());
    }
    Err(match refused.first() {
        Some(first) => ProbeError::NothingAttached {
            backend,
            count: wanted,
            function: first.target.function.name.clone(),
            reason: first.reason.clone(),
        },
        None => ProbeError::NoFunctions,
    })
}

/// A mechanism of the kernel that runs our programs when a function is entered (and returns).
pub trait Backend: Sync {
    /// The name that `-b` takes.
    fn name(&self) -> &'static str;
    /// One line for people.
    fn description(&self) -> &'static str;
    /// Attaches for real. Functions that the kernel refuses are skipped with a reason; to attach none is an error. Whether
    /// the programs run is not looked at: [`attach`] does that.
    fn attach<'a>(&self, request: &Request<'a>) -> Result<Attached<'a>, ProbeError>;
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
fn attach<'a>(backend: &dyn Backend, request: &Request<'a>) -> Result<Attached<'a>, ProbeError> {
    let kprobes = backend.name() == Kprobe.name();
    proof::refuse_if_switched_off(request, backend.name(), kprobes)?;
    let attached = backend.attach(request)?;
    match proof::prove(&attached, request) {
        Ok(()) => Ok(attached),
        Err(error) => {
            attached.layer.detach(&Progress::default());
            Err(error)
        }
    }
}

/// Tries a backend on one function: attaches for real, sees whether it runs, and detaches.
pub fn try_out(backend: &dyn Backend, request: &Request<'_>) -> Result<(), ProbeError> {
    let mut plain =
        (request.targets.iter()).filter(|target| target.function.module == "vmlinux" && !target.function.unsure);
    // Better one that can be seen to run.
    let one = plain
        .clone()
        .find(|target| proof::is_passed(target.function) && objection(target.function).is_none())
        .or_else(|| plain.next())
        .ok_or(ProbeError::NoFunctions)?;
    let small = Buffer::Ring { bytes: 4096 };
    let request = Request {
        targets: vec![*one],
        buffer: match request.buffer {
            Buffer::Ring { .. } => &small,
            perf @ Buffer::Perf { .. } => perf,
        },
        ..request.clone()
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
