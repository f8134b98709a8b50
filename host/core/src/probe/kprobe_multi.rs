//! The `kprobe-multi` and `kprobe-session` backends: a link for all functions whose packet is in the same place, and one
//! for those of rare places.
//!
//! They share everything but the attach type. kprobe-multi (5.18, with FPROBE) sees entries, and returns through a
//! second link; a session (6.10) sees both in one program, which decides at the entry whether it wants the return, so
//! that the returns of other packets cost nothing.

use std::os::fd::BorrowedFd;

use ipft_bpf::wire::FunctionSource;

use super::bisect::Bisection;
use super::groups::{self, Group};
use super::program_key::ProgramKey;
use super::programs::{Programs, Selected};
use super::reason::Mechanism;
use super::syscall::{self, MultiKind};
use super::{ADDRESS_HIDDEN, Attached, Backend, Layer, ProbeError, Refused, Request, Target, check_any, unsupported};
use crate::event::Tracer;
use crate::kernel;

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

    fn gains_from_trampolines(&self, tracer: Tracer) -> bool {
        tracer == Tracer::Function
    }

    fn attach<'a>(&self, request: &Request<'a>) -> Result<Attached<'a>, ProbeError> {
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

    fn gains_from_trampolines(&self, tracer: Tracer) -> bool {
        tracer == Tracer::Function
    }

    fn attach<'a>(&self, request: &Request<'a>) -> Result<Attached<'a>, ProbeError> {
        attach(self.name(), MultiKind::Session, request)
    }
}

fn attach<'a>(backend: &'static str, kind: MultiKind, request: &Request<'a>) -> Result<Attached<'a>, ProbeError> {
    let returns = request.tracer == Tracer::FunctionGraph;
    let config = request.config(FunctionSource::FuncIp);
    let attach_type = match kind {
        MultiKind::Session => libbpf_sys::BPF_TRACE_KPROBE_SESSION,
        MultiKind::Entry | MultiKind::Return => libbpf_sys::BPF_TRACE_KPROBE_MULTI,
    };

    let mut refused = Vec::new();
    let groups = groups(request, &mut refused);
    let second_link = returns && kind != MultiKind::Session;
    let returning = second_link.then_some(ProgramKey::Return);
    let selected: Vec<Selected> = (groups.iter().map(|group| group.program).chain(returning))
        .map(|key| Selected {
            attach_type: Some(attach_type),
            ..Selected::plain(key)
        })
        .collect();
    let object = if kind == MultiKind::Session {
        &ipft_bpf::KPROBE_SESSION
    } else {
        request.kprobe_object()
    };
    let needs = match kind {
        MultiKind::Session => "kprobe sessions (Linux 6.10 and CONFIG_FPROBE)",
        MultiKind::Entry | MultiKind::Return => "kprobe-multi links (Linux 5.18 and CONFIG_FPROBE)",
    };
    let programs =
        Programs::load(object, config, request, &selected).map_err(|error| unsupported(backend, needs, error))?;

    let link = |program: BorrowedFd<'_>, targets: &[Target<'a>], with_cookies: bool, kind| {
        let addresses: Vec<u64> = targets.iter().map(|target| target.function.address).collect();
        let cookies: Option<Vec<u64>> = with_cookies.then(|| targets.iter().map(groups::cookie).collect());
        syscall::link_kprobe_multi(program, &addresses, cookies.as_deref(), kind)
    };
    let mut entries = Bisection::new(request.root, backend, Mechanism::KprobeMulti, refused);
    let mut entered = Vec::new();
    for group in &groups {
        let program = programs.program(group.program)?;
        let with_cookies = group.program.reads_cookie();
        let done = entries.link(&group.targets, &|targets| link(program, targets, with_cookies, kind))?;
        entered.extend(done.into_iter().filter(|target| !target.is_silent()));
    }
    let attached = entered.len() as u32;
    check_any(backend, request, attached, &entries.refused)?;
    if second_link && kernel::detaching_returns_crashes(request.root) {
        return Err(ProbeError::Unsupported {
            backend,
            reason: "returns need Linux 6.5 (or 6.4.5, or 6.1.40): an older one may crash when they are detached"
                .to_owned(),
        });
    }
    let mut exits = Bisection::new(request.root, backend, Mechanism::KprobeMulti, Vec::new());
    if second_link && !entered.is_empty() {
        let program = programs.program(ProgramKey::Return)?;
        exits.link(&entered, &|targets| link(program, targets, false, MultiKind::Return))?;
    }
    Ok(Attached {
        layer: Layer {
            programs,
            own_programs: Vec::new(),
            events: Vec::new(),
            links: entries.links,
            return_links: exits.links,
            backend,
            attached,
        },
        refused: entries.refused,
        without_return: exits.refused,
    })
}

/// Groups the functions. A link takes addresses, so functions without one are skipped.
fn groups<'a>(request: &Request<'a>, refused: &mut Vec<Refused<'a>>) -> Vec<Group<'a>> {
    let hidden = |target: &&Target<'_>| target.function.address == 0;
    refused.extend((request.targets.iter().filter(hidden)).map(|target| Refused::new(*target, ADDRESS_HIDDEN)));
    let shown = request.targets.iter().filter(|target| !hidden(target)).copied();
    groups::group(shown, request.following.is_some())
}
