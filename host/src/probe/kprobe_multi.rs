//! The `kprobe-multi` and `kprobe-session` backends: one link for all functions whose packet is in the same place.
//!
//! They share all but the attach type. kprobe-multi (5.18, with FPROBE) sees entries, and returns through a second
//! link; a session (6.10) sees both in one program, and the program says at the entry whether it wants the return, so
//! that the returns of other packets cost nothing.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use ipft_bpf::wire::FunctionSource;

use super::programs::{Programs, RETURN_PROGRAM, Selected, program_name};
use super::reason::{self, Mechanism};
use super::syscall::{self, MultiKind};
use super::{
    ADDRESS_HIDDEN, Attachment, Backend, FunctionIds, ProbeError, Request, nothing_attached, skip, unsupported,
};
use crate::event::{SkippedFunction, Tracer};
use crate::kernel::{self, Candidate, Root};

/// Entries through one kprobe-multi link, returns through another.
#[derive(Debug)]
pub struct KprobeMulti;

/// Entries and returns through one link.
#[derive(Debug)]
pub struct KprobeSession;

impl Backend for KprobeMulti {
    fn name(&self) -> &'static str {
        "kprobe-multi"
    }

    fn description(&self) -> &'static str {
        "one link for all functions, a second for their returns"
    }

    fn suits(&self, _tracer: Tracer) -> bool {
        true
    }

    fn attach(&self, request: &Request<'_>) -> Result<Attachment, ProbeError> {
        attach(self.name(), MultiKind::Entry, request)
    }
}

impl Backend for KprobeSession {
    fn name(&self) -> &'static str {
        "kprobe-session"
    }

    fn description(&self) -> &'static str {
        "one link for all functions and their returns"
    }

    fn suits(&self, tracer: Tracer) -> bool {
        tracer == Tracer::FunctionGraph
    }

    fn attach(&self, request: &Request<'_>) -> Result<Attachment, ProbeError> {
        attach(self.name(), MultiKind::Session, request)
    }
}

fn attach(backend: &'static str, kind: MultiKind, request: &Request<'_>) -> Result<Attachment, ProbeError> {
    let returns = request.tracer == Tracer::FunctionGraph;
    let config = request.config(FunctionSource::FuncIp);
    let attach_type = match kind {
        MultiKind::Session => libbpf_sys::BPF_TRACE_KPROBE_SESSION,
        MultiKind::Entry | MultiKind::Return => libbpf_sys::BPF_TRACE_KPROBE_MULTI,
    };

    let mut skipped = Vec::new();
    let groups = groups(request, &mut skipped);
    let mut selected: Vec<Selected> = groups
        .iter()
        .map(|(name, _)| Selected {
            attach_type: Some(attach_type),
            ..Selected::plain(name.clone())
        })
        .collect();
    let second_link = returns && kind != MultiKind::Session;
    if second_link {
        selected.push(Selected {
            attach_type: Some(attach_type),
            ..Selected::plain(RETURN_PROGRAM)
        });
    }
    let object = if kind == MultiKind::Session {
        &ipft_bpf::KPROBE_SESSION
    } else {
        &ipft_bpf::KPROBE
    };
    let needs = match kind {
        MultiKind::Session => "kprobe sessions (Linux 6.10 and CONFIG_FPROBE)",
        MultiKind::Entry | MultiKind::Return => "kprobe-multi links (Linux 5.18 and CONFIG_FPROBE)",
    };
    let programs =
        Programs::load(object, config, request, &selected).map_err(|error| unsupported(backend, needs, error))?;

    let mut linker = Linker {
        root: request.root,
        backend,
        links: Vec::new(),
        skipped,
        refusals: 0,
    };
    let mut attached = 0;
    let mut entered = Vec::new();
    for (name, functions) in &groups {
        let done = linker.link(programs.program(name)?, functions, kind)?;
        if !name.starts_with("ipft_silent") {
            attached += done.len();
            entered.extend(done);
        }
    }
    let links = std::mem::take(&mut linker.links);
    if attached == 0 {
        return Err(nothing_attached(backend, request, &linker.skipped));
    }
    if second_link && kernel::detaching_returns_crashes(request.root) {
        return Err(ProbeError::Unsupported {
            backend,
            reason: "returns need Linux 6.5 (or 6.4.5, or 6.1.40): an older one may crash when they are detached"
                .to_owned(),
        });
    }
    if second_link {
        linker.link(programs.program(RETURN_PROGRAM)?, &entered, MultiKind::Return)?;
    }
    Ok(Attachment {
        programs,
        own_programs: Vec::new(),
        events: Vec::new(),
        links,
        return_links: linker.links,
        backend,
        function_ids: FunctionIds::addresses(request.functions),
        attached: attached as u32,
        skipped: linker.skipped,
    })
}

/// The functions by the program that serves them. A link takes addresses, so functions without one are skipped.
fn groups<'a>(request: &Request<'a>, skipped: &mut Vec<SkippedFunction>) -> Vec<(String, Vec<&'a Candidate>)> {
    let mut groups: Vec<(String, Vec<&Candidate>)> = Vec::new();
    let all = request.functions.iter().map(|function| (function, false));
    for (function, silent) in all.chain(request.silent.iter().map(|function| (function, true))) {
        if function.address == 0 {
            skipped.push(skip(function, ADDRESS_HIDDEN));
            continue;
        }
        let name = program_name(function, silent);
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, functions)) => functions.push(function),
            None => groups.push((name, vec![function])),
        }
    }
    groups
}

/// Makes links, and finds the functions that a kernel refuses by halving.
struct Linker<'r> {
    root: &'r Root,
    backend: &'static str,
    links: Vec<OwnedFd>,
    skipped: Vec<SkippedFunction>,
    refusals: u32,
}

impl Linker<'_> {
    /// Links all of the functions that the kernel accepts, and returns them.
    fn link<'a>(
        &mut self,
        program: BorrowedFd<'_>,
        functions: &[&'a Candidate],
        kind: MultiKind,
    ) -> Result<Vec<&'a Candidate>, ProbeError> {
        let addresses: Vec<u64> = functions.iter().map(|function| function.address).collect();
        let error = match syscall::link_kprobe_multi(program, &addresses, kind) {
            Ok(link) => {
                self.links.push(link);
                return Ok(functions.to_vec());
            }
            Err(error) => error,
        };
        self.refuse_if_unsupported(&error)?;
        match functions {
            [] => Ok(Vec::new()),
            [one] => {
                let reason = reason::of_function(self.root, Mechanism::KprobeMulti, &error, one);
                self.skipped.push(skip(one, reason));
                Ok(Vec::new())
            }
            many => {
                let (left, right) = many.split_at(many.len() / 2);
                let mut done = self.link(program, left, kind)?;
                done.extend(self.link(program, right, kind)?);
                Ok(done)
            }
        }
    }

    /// A kernel without the mechanism refuses everything; there is no guilty function to look for.
    fn refuse_if_unsupported(&mut self, error: &io::Error) -> Result<(), ProbeError> {
        if let Some(reason) = error
            .raw_os_error()
            .and_then(|code| reason::of_any_call(self.root, code))
        {
            return Err(ProbeError::Machine {
                what: "cannot attach to the functions",
                reason,
            });
        }
        self.refusals += 1;
        let reason = match error.raw_os_error() {
            // The link type exists and CONFIG_FPROBE is off (kernel/trace/bpf_trace.c).
            Some(libc::EOPNOTSUPP) => "the kernel was built without CONFIG_FPROBE".into(),
            // Not one of the first dozen halves was accepted: nothing will be.
            _ if self.links.is_empty() && self.refusals > 12 => error.to_string(),
            _ => return Ok(()),
        };
        Err(ProbeError::Unsupported {
            backend: self.backend,
            reason,
        })
    }
}
