//! The `fentry-multi` backend: BPF trampolines for many functions through one tracing-multi link (7.x). It is as fast
//! as fentry, without its slow start: the kernel patches all functions at once.
//!
//! One program serves functions of many prototypes, so its arguments have no type and it reads the mark as a kprobe
//! program does. A function is named by its BTF id and carries its index as cookie. Ids of a module belong to the
//! module's BTF, and a link takes ids of one BTF only, that of its program: each module gets a program of its own.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use ipft_bpf::wire::FunctionSource;

use super::bisect::Bisection;
use super::groups::{self, Group};
use super::program_key::ProgramKey;
use super::programs::{Programs, Selected};
use super::reason::{self, Mechanism};
use super::syscall::{self, ModuleBtfs, RawProgram};
use super::{Attached, Backend, Layer, ProbeError, Refused, Request, Target, check_any, objection, unsupported};
use crate::event::Tracer;

/// Tracing-multi links.
#[derive(Debug)]
pub struct FentryMulti;

const NAME: &str = "fentry-multi";

/// The module of functions that are not in a module.
const KERNEL: &str = "vmlinux";

const NEEDS: &str = "tracing-multi links (Linux 7.x)";

impl Backend for FentryMulti {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "trampolines for all functions through one link, with a session for their returns"
    }

    fn suits(&self, _tracer: Tracer) -> bool {
        true
    }

    fn attach<'a>(&self, request: &Request<'a>) -> Result<Attached<'a>, ProbeError> {
        let session = request.tracer == Tracer::FunctionGraph;
        let config = request.config(FunctionSource::Cookie);
        let attach_type = if session {
            syscall::BPF_TRACE_FSESSION_MULTI
        } else {
            syscall::BPF_TRACE_FENTRY_MULTI
        };
        if let Err(error) = syscall::try_tracing_program(attach_type)
            && reason::is_unknown_mechanism(error.raw_os_error())
        {
            return Err(ProbeError::Unsupported {
                backend: NAME,
                reason: format!("it needs {NEEDS} ({error})"),
            });
        }

        let mut refused = Vec::new();
        let mut by_module: Vec<(&'a str, Vec<Target<'a>>)> = Vec::new();
        for target in &request.targets {
            let function = target.function;
            if let Some(reason) = objection(function) {
                refused.push(Refused::new(*target, reason));
                continue;
            }
            let module = function.module.as_str();
            match by_module.iter_mut().find(|(known, _)| *known == module) {
                Some((_, targets)) => targets.push(*target),
                None => by_module.push((module, vec![*target])),
            }
        }
        // A module has few functions, and loading a program takes longer than reading its cookies ever will.
        let groups: Vec<(&str, Group<'_>)> = (by_module.into_iter())
            .flat_map(|(module, targets)| {
                let following = request.following.is_some();
                let groups = match module == KERNEL || following {
                    true => groups::group(targets, following),
                    false => vec![Group::of_any(targets)],
                };
                groups.into_iter().map(move |group| (module, group))
            })
            .collect();

        let keys: BTreeSet<ProgramKey> = groups.iter().map(|(_, group)| group.program).collect();
        let selected: Vec<Selected> = (keys.into_iter())
            .map(|key| Selected {
                attach_type: Some(attach_type),
                tracing: true,
                ..Selected::plain(key)
            })
            .collect();
        let object = if session {
            &ipft_bpf::FENTRY_SESSION
        } else {
            &ipft_bpf::FENTRY_MULTI
        };
        let programs =
            Programs::load(object, config, request, &selected).map_err(|error| unsupported(NAME, NEEDS, error))?;

        let modules = ModuleBtfs::open();
        let mut own_programs = Vec::new();
        let link = |program: BorrowedFd<'_>, targets: &[Target<'a>]| {
            let ids: Vec<u32> = targets.iter().map(|target| target.function.btf_id).collect();
            let cookies: Vec<u64> = targets.iter().map(groups::cookie).collect();
            syscall::link_tracing_multi(program, attach_type, &ids, &cookies)
        };
        let mut bisection = Bisection::new(request.root, NAME, Mechanism::Trampoline, refused);
        let mut attached = 0;
        for (module, group) in &groups {
            let done = if *module == KERNEL {
                let program = programs.program(group.program)?;
                bisection.link(&group.targets, &|targets| link(program, targets))?
            } else {
                let instructions = programs.instructions(group.program)?;
                let loaded = modules.get(module).map(|btf| {
                    RawProgram {
                        name: c"ipft_of_module",
                        kind: libbpf_sys::BPF_PROG_TYPE_TRACING,
                        instructions,
                        attach_type,
                        btf_id: 0,
                        module_btf: Some(btf),
                    }
                    .load()
                });
                match loaded {
                    Ok(Ok(program)) => {
                        let done = bisection.link(&group.targets, &|targets| link(program.as_fd(), targets))?;
                        own_programs.push(program);
                        done
                    }
                    Ok(Err(error)) => refuse(
                        group,
                        &mut bisection,
                        &format!("its module refused the program: {error}"),
                    ),
                    Err(reason) => refuse(group, &mut bisection, &reason),
                }
            };
            attached += done.iter().filter(|target| !target.is_silent()).count() as u32;
        }
        check_any(NAME, request, attached, &bisection.refused)?;
        Ok(Attached {
            layer: Layer {
                programs,
                own_programs,
                events: Vec::new(),
                links: bisection.links,
                return_links: Vec::new(),
                backend: NAME,
                attached,
            },
            refused: bisection.refused,
            without_return: Vec::new(),
        })
    }
}

/// Skips all functions of a group, without a link.
fn refuse<'a>(group: &Group<'a>, bisection: &mut Bisection<'a>, reason: &str) -> Vec<Target<'a>> {
    let refused = group.targets.iter().map(|target| Refused::new(*target, reason));
    bisection.refused.extend(refused);
    Vec::new()
}
