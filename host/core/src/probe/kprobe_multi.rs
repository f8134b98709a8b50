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
use super::{ADDRESS_HIDDEN, Attached, Backend, Layer, ProbeError, Refused, Request, Target, check_any, unsupported};
use crate::event::Tracer;
use crate::kernel::{self, Root};

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
        refused,
        refusals: 0,
    };
    let mut attached = 0;
    let mut entered = Vec::new();
    for (name, targets) in &groups {
        let done = linker.link(programs.program(name)?, targets, kind)?;
        if !name.starts_with("ipft_silent") {
            attached += done.len();
            entered.extend(done);
        }
    }
    let links = std::mem::take(&mut linker.links);
    let refused = std::mem::take(&mut linker.refused);
    check_any(backend, request, attached as u32, &refused)?;
    if second_link && kernel::detaching_returns_crashes(request.root) {
        return Err(ProbeError::Unsupported {
            backend,
            reason: "returns need Linux 6.5 (or 6.4.5, or 6.1.40): an older one may crash when they are detached"
                .to_owned(),
        });
    }
    if second_link && !entered.is_empty() {
        linker.link(programs.program(RETURN_PROGRAM)?, &entered, MultiKind::Return)?;
    }
    Ok(Attached {
        layer: Layer {
            programs,
            own_programs: Vec::new(),
            events: Vec::new(),
            links,
            return_links: linker.links,
            backend,
            attached: attached as u32,
        },
        refused,
        without_return: linker.refused,
    })
}

/// The functions by the program that serves them. A link takes addresses, so functions without one are skipped.
fn groups<'a>(request: &Request<'a>, refused: &mut Vec<Refused<'a>>) -> Vec<(String, Vec<Target<'a>>)> {
    let mut groups: Vec<(String, Vec<Target<'a>>)> = Vec::new();
    for target in &request.targets {
        if target.function.address == 0 {
            refused.push(Refused::new(*target, ADDRESS_HIDDEN));
            continue;
        }
        let name = program_name(target.function, target.is_silent());
        match groups.iter_mut().find(|(group, _)| *group == name) {
            Some((_, targets)) => targets.push(*target),
            None => groups.push((name, vec![*target])),
        }
    }
    groups
}

/// Makes links, and finds the functions that a kernel refuses by halving.
struct Linker<'a> {
    root: &'a Root,
    backend: &'static str,
    links: Vec<OwnedFd>,
    refused: Vec<Refused<'a>>,
    refusals: u32,
}

impl<'a> Linker<'a> {
    /// Links all of the functions that the kernel accepts, and returns them.
    fn link(
        &mut self,
        program: BorrowedFd<'_>,
        targets: &[Target<'a>],
        kind: MultiKind,
    ) -> Result<Vec<Target<'a>>, ProbeError> {
        let addresses: Vec<u64> = targets.iter().map(|target| target.function.address).collect();
        let error = match syscall::link_kprobe_multi(program, &addresses, kind) {
            Ok(link) => {
                self.links.push(link);
                return Ok(targets.to_vec());
            }
            Err(error) => error,
        };
        self.refuse_if_unsupported(&error)?;
        match targets {
            [] => Ok(Vec::new()),
            [one] => {
                let reason = reason::of_function(self.root, Mechanism::KprobeMulti, &error, one.function);
                self.refused.push(Refused::new(*one, reason));
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
