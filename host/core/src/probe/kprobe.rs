//! The `kprobe` backend: one perf event per function. It works on every kernel with kprobes, and is the only one on
//! kernels without FPROBE that sees functions with a compiler suffix.
//!
//! Both arming and disarming a probe at a function's beginning walk all of ftrace's records (`kernel/trace/ftrace.c`,
//! `__ftrace_hash_rec_update`), some 10 million instructions a probe, and disarming waits for a grace period under
//! `event_mutex`, so threads cannot help. So entries are probed behind ftrace's NOP where that is the same
//! ([`Entries`]). Returns have to be probed at the beginning: with them this backend starts and stops slowly.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipft_bpf::wire::FunctionSource;

use super::parallel::in_parallel;
use super::program_key::ProgramKey;
use super::programs::{Programs, Selected};
use super::reason::{self, Mechanism};
use super::syscall::{self, KprobeTarget};
use super::{
    ADDRESS_HIDDEN, Attached, Backend, Layer, ProbeError, Progress, Refused, Request, Target, check_any, detach,
};
use crate::event::Tracer;
use crate::kernel::{Candidate, Entries};

/// Perf kprobes and kretprobes.
#[derive(Debug)]
pub struct Kprobe;

const NAME: &str = "kprobe";

/// Result for one function.
enum Outcome {
    Attached {
        event: OwnedFd,
        link: Option<OwnedFd>,
        exit: Option<(OwnedFd, Option<OwnedFd>)>,
    },
    Refused(io::Error),
}

impl Backend for Kprobe {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "a perf kprobe per function, and a kretprobe for its return"
    }

    fn suits(&self, _tracer: Tracer) -> bool {
        true
    }

    fn gains_from_trampolines(&self, tracer: Tracer) -> bool {
        tracer == Tracer::Function
    }

    fn attach<'a>(&self, request: &Request<'a>) -> Result<Attached<'a>, ProbeError> {
        let pmu = pmu_type(request)?;
        let returns = request.tracer == Tracer::FunctionGraph;
        let cookies = has_attach_cookies();
        let source = if cookies {
            FunctionSource::Cookie
        } else {
            FunctionSource::Regs
        };
        let config = request.config(source);

        let key_of = |target: &Target<'_>| ProgramKey::of(target);
        let keys: BTreeSet<ProgramKey> = request.targets.iter().map(key_of).collect();
        let returning = returns.then_some(ProgramKey::Return);
        let selected: Vec<Selected> = keys.iter().copied().chain(returning).map(Selected::plain).collect();
        let programs = Programs::load(request.kprobe_object(), config, request, &selected)?;

        let by_key: BTreeMap<ProgramKey, BorrowedFd<'_>> = (keys.iter())
            .map(|key| programs.program(*key).map(|fd| (*key, fd)))
            .collect::<Result<_, _>>()?;
        let all: Vec<_> = (request.targets.iter())
            .map(|target| (target, by_key.get(&key_of(target)).copied()))
            .collect();
        let return_program = returning.map(|key| programs.program(key)).transpose()?;
        let entries = Entries::open(request.root);
        request.progress.begin(all.len());
        let outcomes = in_parallel(&all, |(target, program)| {
            if request.progress.is_cancelled() {
                return Outcome::Refused(io::ErrorKind::Interrupted.into());
            }
            request.progress.step();
            let silent = target.is_silent();
            if !(cookies || silent) && target.function.address == 0 {
                // It could be attached by name, but its events only have an address.
                return Outcome::Refused(io::Error::other(ADDRESS_HIDDEN));
            }
            match *program {
                Some(program) => attach_one(
                    pmu,
                    target.function,
                    entries.as_ref(),
                    program,
                    return_program.filter(|_| !silent),
                    cookies.then_some(target.index.map_or(u64::MAX, u64::from)),
                ),
                None => Outcome::Refused(io::Error::other("no program")),
            }
        });

        let mut attached = 0;
        let mut refused = Vec::new();
        let (mut events, mut links, mut return_links) = (Vec::new(), Vec::new(), Vec::new());
        for (target, outcome) in request.targets.iter().zip(outcomes) {
            match outcome {
                Outcome::Attached { event, link, exit } => {
                    events.push(event);
                    links.extend(link);
                    if let Some((event, link)) = exit {
                        events.push(event);
                        return_links.extend(link);
                    }
                    attached += u32::from(!target.is_silent());
                }
                Outcome::Refused(error) => {
                    let reason = reason::of_function(request.root, Mechanism::Kprobe, &error, target.function);
                    refused.push(Refused::new(*target, reason));
                }
            }
        }
        if request.progress.is_cancelled() {
            detach::close(vec![return_links, links, events], &Progress::default());
            return Err(ProbeError::Stopped);
        }
        check_any(NAME, request, attached, &refused)?;
        Ok(Attached {
            layer: Layer {
                programs,
                own_programs: Vec::new(),
                events,
                links,
                return_links,
                backend: NAME,
                attached,
            },
            refused,
            without_return: Vec::new(),
        })
    }
}

fn pmu_type(request: &Request<'_>) -> Result<u32, ProbeError> {
    let path = request.root.path("/sys/bus/event_source/devices/kprobe/type");
    std::fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| ProbeError::Unsupported {
            backend: NAME,
            reason: format!("{} is not there: the kernel has no kprobes", path.display()),
        })
}

fn has_attach_cookies() -> bool {
    // SAFETY: a probe without options, which may be null.
    unsafe {
        libbpf_sys::libbpf_probe_bpf_helper(
            libbpf_sys::BPF_PROG_TYPE_KPROBE,
            libbpf_sys::BPF_FUNC_get_attach_cookie,
            std::ptr::null(),
        ) == 1
    }
}

fn attach_one(
    pmu: u32,
    function: &Candidate,
    entries: Option<&Entries>,
    program: BorrowedFd<'_>,
    return_program: Option<BorrowedFd<'_>>,
    cookie: Option<u64>,
) -> Outcome {
    let target = match function.address {
        0 => KprobeTarget::Symbol(&function.name),
        address => KprobeTarget::Address(address),
    };
    let open = |target, program, is_return| {
        let event = syscall::open_kprobe(pmu, target, is_return)?;
        let link = connect(program, &event, cookie)?;
        Ok((event, link))
    };
    let exit = match return_program.map(|program| open(target, program, true)).transpose() {
        Ok(exit) => exit,
        Err(error) => return Outcome::Refused(error),
    };
    let behind = entries.and_then(|entries| entries.behind_nop(function.address));
    // The kernel may know of a reason against that place, and then the beginning is left.
    let entry = behind.map(|address| open(KprobeTarget::Address(address), program, false));
    match entry
        .and_then(Result::ok)
        .map_or_else(|| open(target, program, false), Ok)
    {
        Ok((event, link)) => Outcome::Attached { event, link, exit },
        Err(error) => Outcome::Refused(error),
    }
}

fn connect(program: BorrowedFd<'_>, event: &OwnedFd, cookie: Option<u64>) -> io::Result<Option<OwnedFd>> {
    match cookie {
        Some(cookie) => syscall::link_perf(program, event.as_fd(), cookie).map(Some),
        None => syscall::set_perf_program(event.as_fd(), program).map(|()| None),
    }
}
