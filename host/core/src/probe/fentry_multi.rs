//! The `fentry-multi` backend: BPF trampolines for many functions through one tracing-multi link (7.x). It has the
//! speed of fentry without its start: the kernel patches all functions at once.
//!
//! One program serves functions of many prototypes, so its arguments have no type and it reads the mark as a kprobe
//! program does. A function is named by its BTF id and carries its index as cookie. Ids of a module belong to the
//! module's BTF, and a link takes ids of one BTF only, that of its program: each module gets programs of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipft_bpf::wire::FunctionSource;

use super::programs::{Programs, Selected, program_name};
use super::reason::{self, Mechanism};
use super::syscall::{self, ModuleBtfs, TracingProgram};
use super::{Attached, Backend, Layer, ProbeError, Refused, Request, Target, check_any, objection, unsupported};
use crate::event::Tracer;
use crate::kernel::Root;

/// Tracing-multi links.
#[derive(Debug)]
pub struct FentryMulti;

const NAME: &str = "fentry-multi";

const WHAT: &str = "cannot attach to the functions";

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

        let mut refused = Vec::new();
        let mut groups: Vec<Group<'_>> = Vec::new();
        for target in &request.targets {
            let function = target.function;
            if let Some(reason) = objection(function) {
                refused.push(Refused::new(*target, reason));
                continue;
            }
            let program = program_name(function, target.is_silent());
            match groups
                .iter_mut()
                .find(|group| group.module == function.module && group.program == program)
            {
                Some(group) => group.targets.push(*target),
                None => {
                    groups.push(Group {
                        module: &function.module,
                        program,
                        targets: vec![*target],
                    });
                }
            }
        }

        let mut names: Vec<&str> = groups.iter().map(|group| group.program.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let selected: Vec<Selected> = names
            .iter()
            .map(|name| Selected {
                attach_type: Some(attach_type),
                tracing: true,
                ..Selected::plain(*name)
            })
            .collect();
        let object = if session {
            &ipft_bpf::FENTRY_SESSION
        } else {
            &ipft_bpf::FENTRY_MULTI
        };
        let programs = Programs::load(object, config, request, &selected)
            .map_err(|error| unsupported(NAME, "tracing-multi links (Linux 7.x)", error))?;

        let modules = ModuleBtfs::open();
        let mut own_programs = Vec::new();
        let mut linker = Linker {
            root: request.root,
            attach_type,
            links: Vec::new(),
            refused,
            refusals: 0,
        };
        let mut attached = 0;
        for group in &groups {
            let done = if group.module == "vmlinux" {
                linker.link(programs.program(&group.program)?, &group.targets)?
            } else {
                let instructions = programs.instructions(&group.program)?;
                let loaded = modules.get(group.module).map(|btf| {
                    TracingProgram {
                        instructions: &instructions,
                        attach_type,
                        btf_id: 0,
                        module_btf: Some(btf),
                    }
                    .load()
                });
                match loaded {
                    Ok(Ok(program)) => {
                        let done = linker.link(program.as_fd(), &group.targets)?;
                        own_programs.push(program);
                        done
                    }
                    Ok(Err(error)) => linker.skip_all(group, &format!("its module refused the program: {error}")),
                    Err(reason) => linker.skip_all(group, &reason),
                }
            };
            if !group.program.starts_with("ipft_silent") {
                attached += done;
            }
        }
        check_any(NAME, request, attached, &linker.refused)?;
        Ok(Attached {
            layer: Layer {
                programs,
                own_programs,
                events: Vec::new(),
                links: linker.links,
                return_links: Vec::new(),
                backend: NAME,
                attached,
            },
            refused: linker.refused,
            without_return: Vec::new(),
        })
    }
}

/// Functions that one link takes.
struct Group<'a> {
    module: &'a str,
    program: String,
    targets: Vec<Target<'a>>,
}

/// Makes links, and finds the functions that the kernel refuses by halving.
struct Linker<'a> {
    root: &'a Root,
    attach_type: u32,
    links: Vec<OwnedFd>,
    refused: Vec<Refused<'a>>,
    refusals: u32,
}

impl<'a> Linker<'a> {
    /// Links all of the functions that the kernel accepts, and returns how many that are.
    fn link(&mut self, program: BorrowedFd<'_>, targets: &[Target<'a>]) -> Result<u32, ProbeError> {
        let ids: Vec<u32> = targets.iter().map(|target| target.function.btf_id).collect();
        let cookies: Vec<u64> = targets
            .iter()
            .map(|target| target.index.map_or(u64::MAX, u64::from))
            .collect();
        let error = match syscall::link_tracing_multi(program, self.attach_type, &ids, &cookies) {
            Ok(link) => {
                self.links.push(link);
                return Ok(targets.len() as u32);
            }
            Err(error) => error,
        };
        if let Some(reason) = error
            .raw_os_error()
            .and_then(|code| reason::of_any_call(self.root, code))
        {
            return Err(ProbeError::Machine { what: WHAT, reason });
        }
        self.refusals += 1;
        if self.links.is_empty() && self.refusals > 12 {
            return Err(ProbeError::Unsupported {
                backend: NAME,
                reason: error.to_string(),
            });
        }
        match targets {
            [] => Ok(0),
            [one] => {
                let reason = reason::of_function(self.root, Mechanism::Trampoline, &error, one.function);
                self.refused.push(Refused::new(*one, reason));
                Ok(0)
            }
            many => {
                let (left, right) = many.split_at(many.len() / 2);
                Ok(self.link(program, left)? + self.link(program, right)?)
            }
        }
    }

    fn skip_all(&mut self, group: &Group<'a>, reason: &str) -> u32 {
        self.refused
            .extend(group.targets.iter().map(|target| Refused::new(*target, reason)));
        0
    }
}
