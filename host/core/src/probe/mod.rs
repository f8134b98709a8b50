//! Attaches the BPF programs to the kernel's functions. One backend per file, one trait.
//!
//! A backend is a mechanism of the kernel. Working ones are found by trying them, never from a version. This module may
//! import `kernel` (the functions), `filter` (what selects packets) and `event` (counts of losses).

mod bisect;
mod decisions;
mod detach;
mod drops;
mod fentry_multi;
mod ftrace;
mod groups;
pub mod identity;
mod kprobe;
mod kprobe_multi;
mod libbpf_log;
mod link;
mod loss;
mod parallel;
mod plan;
mod program_key;
mod programs;
mod progress;
mod proof;
mod reason;
mod specialize;
mod syscall;
#[cfg(test)]
mod testing;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use ipft_bpf::wire::{Config, Context, Frame, FunctionSource, Place};
use lua_bpf::Program;

use crate::event::{SkippedFunction, Tracer};
use crate::filter::{DevicePattern, Filter, ThreadName};
use crate::kernel::{Candidate, Contexts, ControlGroup, Root, faults_crash, ring_buffer_sleeps};
use identity::Role;
use programs::Programs;

pub use decisions::{Unseen, UnseenReason};
pub use drops::DropCount;
pub use fentry_multi::FentryMulti;
pub use ftrace::Ftrace;
pub use kprobe::Kprobe;
pub use kprobe_multi::{KprobeMulti, KprobeSession};
pub use loss::tell_missing_buffers;
pub use plan::{Attachment, attach_beside, attach_to_drops, attach_with, attach_with_any, mixed, sum};
pub use progress::Progress;
pub use reason::Reason;

/// The reason why nothing could be attached.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// libbpf or the kernel refused.
    #[error("{what}: {source}{}", said(.log))]
    Libbpf {
        /// The failed operation.
        what: &'static str,
        /// The error's code, if it has one.
        code: Option<i32>,
        /// The error's text.
        source: io::Error,
        /// Messages of libbpf and the verifier.
        log: String,
    },
    /// The machine or its settings prevent it, for any backend.
    #[error("{what}: {reason}")]
    Machine {
        /// The failed operation.
        what: &'static str,
        /// The cause, and the remedy.
        reason: Reason,
    },
    /// Programs are attached but never run.
    #[error("backend '{backend}' would see nothing: {cause}")]
    Silent {
        /// The backend's name.
        backend: &'static str,
        /// The cause, as far as known.
        cause: String,
    },
    /// There is no memory for ipft's programs.
    #[error("cannot unpack the BPF programs: {0}; ipft needs more memory")]
    Unpack(#[source] io::Error),
    /// The object lacks a program: a bug.
    #[error("the BPF object has no program '{0}'")]
    NoProgram(String),
    /// The kernel does not support the mechanism, or denies its use.
    #[error("backend '{backend}' does not work on this kernel: {reason}")]
    Unsupported {
        /// The backend's name.
        backend: &'static str,
        /// The kernel's error.
        reason: String,
    },
    /// Every function was refused.
    #[error("backend '{backend}' could attach none of {count} functions; the first, {function}: {reason}")]
    NothingAttached {
        /// The backend's name.
        backend: &'static str,
        /// The number of tried functions.
        count: usize,
        /// The first of them.
        function: String,
        /// The reason.
        reason: String,
    },
    /// The extension does not fit ipft's object: libbpf's message.
    #[error("the extension cannot be linked: {0}")]
    Link(String),
    /// The kernel loads ipft's programs, but not with the extension linked in.
    #[error("the kernel did not accept the extension's code")]
    Extension {
        /// The verifier's whole log.
        log: String,
    },
    /// The user has stopped it.
    #[error("stopped while attaching")]
    Stopped,
    /// The backend does not support the tracer.
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
    /// BPF ring buffers (5.8 and later): one for all CPUs, or one for each group of CPUs.
    Ring {
        /// The size of all of them: a power of two, and a multiple of the page size.
        bytes: u32,
        /// How many there are: a power of two.
        count: u32,
    },
    /// One perf buffer per CPU.
    Perf {
        /// Data pages of each, a power of two.
        pages: u32,
        /// `sample_period`: one of this many events is taken.
        sample_period: u64,
        /// `wakeup_events`: the reader is woken every this many events.
        wakeup_events: u32,
    },
}

impl Buffer {
    /// Returns ring buffers that have this size together, for a machine with so many CPUs. Writers take a ring's lock,
    /// so CPUs share one only if theirs would be too small for a burst otherwise.
    pub fn rings(bytes: u32, cpus: usize) -> Buffer {
        /// Holds the events of 40 ms at the default limit, and the reader looks every 20 ms.
        const SMALLEST: u32 = 2 << 20;
        let cpus = u32::try_from(cpus.clamp(1, ipft_bpf::wire::MAX_CPUS)).unwrap_or(1);
        let most = (bytes / SMALLEST).max(1);
        let count = cpus.next_power_of_two().min(most);
        Buffer::Ring { bytes, count }
    }

    fn is_perf(&self) -> bool {
        matches!(self, Buffer::Perf { .. })
    }

    /// Number of events per CPU, less one, between wake-ups of a ring buffer's reader: an eighth of the buffer. With a
    /// large ring the reader polls, every few milliseconds.
    fn wake_mask(&self, payload: usize, capture: usize) -> u32 {
        /// The ring buffer's header of each record.
        const HEADER: usize = 8;
        // Every event may be a packet's first.
        let record = (ipft_bpf::wire::EVENT_SIZE + payload + HEADER + capture) as u32;
        match *self {
            Buffer::Ring { bytes, count } => {
                ((bytes / count / 8 / record).max(1).next_power_of_two() / 2).clamp(1, 8192) - 1
            }
            Buffer::Perf { .. } => 0,
        }
    }
}

/// A request to attach.
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
    /// Destination of events.
    pub buffer: &'a Buffer,
    /// How packets are selected and followed; `None` if only their mark counts, at every function.
    pub following: Option<Following<'a>>,
    /// An object whose `module` fills the payload of each entry.
    pub extension: Option<&'a [u8]>,
    /// First bytes to record per packet, at most [`ipft_bpf::wire::MAX_RECORD_BYTES`]; 0 for none. Requires a ring
    /// buffer.
    pub record_bytes: u32,
    /// The built-in fields of each entry, and whether verdicts of netfilter are shown, as bits of `ipft_bpf::wire`.
    pub fields: u32,
    /// Where programs find out whether the current process is a packet's, if they have to.
    pub contexts: Option<Contexts>,
    /// Maximum number of events per second on each CPU in the long run; 0 for any number.
    pub max_events_per_second: u32,
    /// Progress of slow backends, which also tells them to stop.
    pub progress: &'a Progress,
    /// Maps of already attached programs, by name: this request uses them too.
    pub maps: Maps,
}

/// How packets are selected that are followed from then on. A [`Request::mask`] of 0 selects whatever the mark.
#[derive(Clone, Copy, Debug)]
pub struct Following<'a> {
    /// The packet filter.
    pub filter: &'a Filter,
    /// The filter of the packet inside a tunnel's packet; `None` if there need not be one.
    pub inner: Option<&'a Filter>,
    /// The expression that must hold; `None` for any packet.
    pub condition: Option<&'a Program>,
    /// Whether every function selects packets, not only gates.
    pub anywhere: bool,
    /// Whether a function shows a packet only if it selects it: then nothing is followed. With `anywhere`.
    pub judges_each: bool,
    /// Where packets are selected.
    pub place: &'a SelectionPlace,
    /// Whether the tracepoint `skb:kfree_skb` tells the reason.
    pub drops_have_reason: bool,
}

/// Where packets are selected, and how many of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelectionPlace {
    /// The devices; `None` for any, and for packets that have none.
    pub device: Option<DevicePattern>,
    /// Inode number of the network namespace; `None` for any.
    pub namespace: Option<u32>,
    /// One of so many flows; 1 for all.
    pub sample: u32,
    /// At most so many packets per second; 0 for any number.
    pub rate: u32,
    /// Number of the process that sends them; `None` for any. Needs [`Request::contexts`].
    pub process: Option<u32>,
    /// Name of the thread that sends them; `None` for any. Needs [`Request::contexts`].
    pub thread: Option<ThreadName>,
    /// The control group of their sockets, or one above that; `None` for any.
    pub group: Option<ControlGroup>,
    /// In a trace of drops: at most so many are sent per second of each place in the kernel, on each CPU; 0 for any
    /// number.
    pub drops: u32,
    /// Show drops of packets that are not followed, too: so many per second of each place in the kernel, on each CPU, 0
    /// for any number; `None` for none.
    pub other_drops: Option<u32>,
}

impl SelectionPlace {
    fn to_wire(self) -> Place {
        let device = self.device.unwrap_or_default();
        Place {
            name: device.name(),
            mask: device.mask(),
            present: device.present(),
            netns: self.namespace.unwrap_or(0),
            sample: self.sample,
            rate: self.rate,
            pid: self.process.unwrap_or(0),
            comm: self.thread.unwrap_or_default().words(),
            cgroup: self.group.map_or(0, |group| group.id),
            cgroup_level: self.group.map_or(0, |group| group.level),
            drops: self.drops,
        }
    }
}

/// Returns what a filter looks at, for the programs.
fn frame(filter: &Filter) -> Frame {
    /// Bytes of the frame before the network header.
    const ETHERNET_HEADER: u32 = 14;
    Frame {
        bytes: filter.prefix().saturating_sub(ETHERNET_HEADER).next_multiple_of(8),
        mac: filter.has_mac(),
        vlan: filter.has_vlan(),
        length: filter.has_length(),
        padding: 0,
    }
}

/// Maps that programs share, by their names in the object.
pub type Maps = Arc<[(String, OwnedFd)]>;

/// A function to attach to.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The function.
    pub function: &'a Candidate,
    /// Its index in the function table; `None` for a function that only identity needs.
    pub index: Option<u32>,
    /// The part that it plays in a packet's life.
    pub role: Role,
}

impl Target<'_> {
    /// Returns whether its events are not wanted.
    fn is_silent(&self) -> bool {
        self.index.is_none()
    }
}

/// Functions to attach to, in the order of the function table, starting at index `first`, and those that only identity
/// needs. Roles depend on whether packets are followed.
pub fn targets<'a>(
    functions: &'a [Candidate],
    first: u32,
    silent: &'a [Candidate],
    following: bool,
) -> Vec<Target<'a>> {
    let role = if following {
        identity::role_in_following
    } else {
        identity::role
    };
    let named = functions.iter().zip((first..).map(Some));
    let all = named.chain(silent.iter().map(|function| (function, None)));
    all.map(|(function, index)| Target {
        function,
        index,
        role: role(function),
    })
    .collect()
}

/// Nanoseconds in a second: also the highest limit of events per second that differs from none.
const NANOSECONDS: u32 = 1_000_000_000;

impl Request<'_> {
    /// Returns the size of an entry's record after the event: the fields, and the extension's payload.
    pub fn payload_size(&self) -> usize {
        let extension = match self.extension {
            Some(_) => ipft_bpf::wire::PAYLOAD_SIZE,
            None => 0,
        };
        ipft_bpf::wire::fields_size(self.fields) as usize + extension
    }

    /// Returns the number of bytes that the programs record of each packet.
    fn captured_bytes(&self) -> u32 {
        if self.buffer.is_perf() { 0 } else { self.record_bytes }
    }

    /// Returns the object of the kprobe and kprobe-multi backends for this kernel.
    fn kprobe_object(&self) -> &'static ipft_bpf::Object {
        match faults_crash(self.root) {
            true => &ipft_bpf::KPROBE_BY_HELPER,
            false => &ipft_bpf::KPROBE,
        }
    }

    /// Returns the object of the ftrace backend for this kernel, and for what the programs do.
    fn ftrace_object(&self) -> &'static ipft_bpf::Object {
        let calls_functions = self.extension.is_some() || self.following.is_some() || self.captured_bytes() > 0;
        match (faults_crash(self.root), calls_functions) {
            (false, _) => &ipft_bpf::FTRACE,
            (true, false) => &ipft_bpf::FTRACE_ALONE,
            (true, true) => &ipft_bpf::FTRACE_BY_HELPER,
        }
    }

    /// Returns the programs' configuration.
    fn config(&self, function_source: FunctionSource) -> Config {
        let record_bytes = self.captured_bytes();
        let capture = match record_bytes {
            0 => 0,
            bytes => ipft_bpf::wire::CAPTURE_SIZE + bytes as usize,
        };
        Config {
            use_perf_buffer: self.buffer.is_perf(),
            wake_mask: self.buffer.wake_mask(self.payload_size(), capture),
            remember_calls: self.tracer == Tracer::FunctionGraph,
            function_source,
            record_bytes,
            fields: self.fields & !ipft_bpf::wire::FIELD_NETFILTER,
            fields_size: ipft_bpf::wire::fields_size(self.fields),
            ring_mask: match *self.buffer {
                Buffer::Ring { count, .. } => count - 1,
                Buffer::Perf { .. } => 0,
            },
            event_interval: match self.max_events_per_second {
                0 => 0,
                rate => NANOSECONDS.div_ceil(rate),
            },
            mark: self.mark,
            mask: self.mask,
            select_anywhere: self.following.is_some_and(|following| following.anywhere),
            drops_have_reason: self.following.is_some_and(|following| following.drops_have_reason),
            judge_each: self.following.is_some_and(|following| following.judges_each),
            judge_inner: self.following.is_some_and(|following| following.inner.is_some()),
            judge_where: self.following.is_some_and(|following| following.condition.is_some()),
            frame: self
                .following
                .map_or_else(Frame::default, |following| frame(following.filter)),
            inner: (self.following.and_then(|following| following.inner)).map_or_else(Frame::default, frame),
            place: self
                .following
                .map_or_else(Place::default, |following| following.place.to_wire()),
            context: self.contexts.map_or_else(Context::default, |contexts| Context {
                per_cpu_offset: contexts.per_cpu_offset,
                preempt_count: contexts.preempt_count,
            }),
        }
    }
}

/// The attachments of one backend. Dropping it detaches.
#[derive(Debug)]
pub struct Layer {
    programs: Programs,
    /// Programs that were loaded one per function.
    own_programs: Vec<OwnedFd>,
    /// Perf events of kprobes.
    events: Vec<OwnedFd>,
    links: Vec<OwnedFd>,
    return_links: Vec<OwnedFd>,
    /// The backend.
    pub backend: &'static str,
    /// Number of attached functions of the function table.
    pub attached: u32,
}

impl Layer {
    /// Descriptors to close, in this order: a link holds its event, so closing the event's last reference is the slow
    /// one.
    fn into_descriptors(self) -> (Programs, Vec<Vec<OwnedFd>>) {
        let groups = vec![self.return_links, self.links, self.events, self.own_programs];
        (self.programs, groups)
    }

    /// Detaches everything, and returns when the kernel is done.
    fn detach(self, progress: &Progress) {
        let (programs, groups) = self.into_descriptors();
        detach::close(groups, progress);
        drop(programs);
    }

    /// Lets a child process detach everything, and does not wait for it.
    fn leave(self) {
        let (programs, groups) = self.into_descriptors();
        detach::leave(groups);
        drop(programs);
    }
}

/// Result of trying a backend.
#[derive(Debug)]
pub struct Attached<'a> {
    /// Attached functions.
    layer: Layer,
    /// Functions for another backend.
    refused: Vec<Refused<'a>>,
    /// Functions whose entries are attached and whose returns are not.
    without_return: Vec<Refused<'a>>,
}

/// A function that a backend cannot attach to.
#[derive(Clone, Debug)]
pub struct Refused<'a> {
    /// The function.
    target: Target<'a>,
    /// The reason, in words for the user.
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

/// The reason why a function is skipped if an address is required.
const ADDRESS_HIDDEN: &str = "its address is not known (kernel.kptr_restrict hides it)";

/// Returns the reason why a function cannot be attached by its BTF id, if it cannot.
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

/// Returns the error of a backend whose programs the kernel does not load. A kernel without the mechanism reports
/// little more than "invalid argument".
fn unsupported(backend: &'static str, needs: &str, error: ProbeError) -> ProbeError {
    match error {
        ProbeError::Libbpf { code, source, .. } if reason::is_unknown_mechanism(code) => ProbeError::Unsupported {
            backend,
            reason: format!("it needs {needs} ({source})"),
        },
        other => other,
    }
}

/// Fails if none of the wanted functions could be attached.
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

/// A mechanism of the kernel that runs ipft's programs at entries (and returns) of functions.
pub trait Backend: Sync {
    /// Returns its name for `-b`.
    fn name(&self) -> &'static str;
    /// Returns a one-line description.
    fn description(&self) -> &'static str;
    /// Attaches. Functions that the kernel refuses are skipped with a reason; attaching none is an error. Does not
    /// check whether the programs run: [`attach`] does.
    fn attach<'a>(&self, request: &Request<'a>) -> Result<Attached<'a>, ProbeError>;
    /// Returns whether the backend is a candidate for this tracer by default.
    fn suits(&self, tracer: Tracer) -> bool;
    /// Returns whether a trampoline of its own (`ftrace`) costs a function's packets less than this backend does.
    fn gains_from_trampolines(&self, _tracer: Tracer) -> bool {
        false
    }
}

/// All backends, in the order in which they are tried: the lowest cost per packet first, except for `ftrace`, which
/// takes minutes to start and stop where a kprobe backend takes one.
pub static BACKENDS: [&dyn Backend; 5] = [&FentryMulti, &KprobeSession, &KprobeMulti, &Kprobe, &Ftrace];

/// Returns the backend with this name.
pub fn backend(name: &str) -> Option<&'static dyn Backend> {
    BACKENDS.into_iter().find(|backend| backend.name() == name)
}

/// Attaches with a backend, and verifies that the kernel runs the programs.
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

/// Tries a backend on one function: attaches, checks whether it runs, and detaches.
pub fn try_out(backend: &dyn Backend, request: &Request<'_>) -> Result<(), ProbeError> {
    let mut plain =
        (request.targets.iter()).filter(|target| target.function.module == "vmlinux" && !target.function.unsure);
    // Prefer a function whose runs can be observed.
    let one = plain
        .clone()
        .find(|target| proof::is_passed(target.function) && objection(target.function).is_none())
        .or_else(|| plain.next())
        .ok_or(ProbeError::NoFunctions)?;
    let small = Buffer::Ring { bytes: 4096, count: 1 };
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

/// Returns whether the kernel has BPF ring buffers, and probes may use them.
pub fn has_ring_buffer(root: &Root) -> bool {
    // A kernel that does not know the type returns EINVAL (kernel/bpf/syscall.c, find_and_alloc_map). Other errors
    // concern this process or the machine; loading the programs fails with them as well, with a reason.
    let unknown = syscall::ring_buffer(4096).is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL));
    !unknown && !ring_buffer_sleeps(root)
}
