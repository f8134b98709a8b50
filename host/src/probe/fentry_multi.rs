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
use super::{Attachment, Backend, FunctionIds, ProbeError, Request, nothing_attached, objection, skip, unsupported};
use crate::event::{SkippedFunction, Tracer};
use crate::kernel::{Candidate, Root};

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

    fn attach(&self, request: &Request<'_>) -> Result<Attachment, ProbeError> {
        let session = request.tracer == Tracer::FunctionGraph;
        let config = request.config(FunctionSource::Cookie);
        let attach_type = if session {
            syscall::BPF_TRACE_FSESSION_MULTI
        } else {
            syscall::BPF_TRACE_FENTRY_MULTI
        };

        let mut skipped = Vec::new();
        let mut groups: Vec<Group<'_>> = Vec::new();
        let named = request
            .functions
            .iter()
            .zip(0..)
            .map(|(function, index)| (function, Some(index)));
        for (function, index) in named.chain(request.silent.iter().map(|function| (function, None))) {
            if let Some(reason) = objection(function) {
                skipped.push(skip(function, reason));
                continue;
            }
            let program = program_name(function, index.is_none());
            match groups
                .iter_mut()
                .find(|group| group.module == function.module && group.program == program)
            {
                Some(group) => group.functions.push((function, index)),
                None => {
                    groups.push(Group {
                        module: &function.module,
                        program,
                        functions: vec![(function, index)],
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
            skipped,
            refusals: 0,
        };
        let mut attached = 0;
        for group in &groups {
            let done = if group.module == "vmlinux" {
                linker.link(programs.program(&group.program)?, &group.functions)?
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
                        let done = linker.link(program.as_fd(), &group.functions)?;
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
        if attached == 0 {
            return Err(nothing_attached(NAME, request, &linker.skipped));
        }
        Ok(Attachment {
            programs,
            own_programs,
            events: Vec::new(),
            links: linker.links,
            return_links: Vec::new(),
            backend: NAME,
            function_ids: FunctionIds::Index,
            attached,
            skipped: linker.skipped,
        })
    }
}

/// Functions that one link takes.
struct Group<'a> {
    module: &'a str,
    program: String,
    functions: Vec<(&'a Candidate, Option<u32>)>,
}

/// Makes links, and finds the functions that the kernel refuses by halving.
struct Linker<'a> {
    root: &'a Root,
    attach_type: u32,
    links: Vec<OwnedFd>,
    skipped: Vec<SkippedFunction>,
    refusals: u32,
}

impl Linker<'_> {
    /// Links all of the functions that the kernel accepts, and returns how many that are.
    fn link(&mut self, program: BorrowedFd<'_>, functions: &[(&Candidate, Option<u32>)]) -> Result<u32, ProbeError> {
        let ids: Vec<u32> = functions.iter().map(|(function, _)| function.btf_id).collect();
        let cookies: Vec<u64> = functions
            .iter()
            .map(|(_, index)| index.map_or(u64::MAX, u64::from))
            .collect();
        let error = match syscall::link_tracing_multi(program, self.attach_type, &ids, &cookies) {
            Ok(link) => {
                self.links.push(link);
                return Ok(functions.len() as u32);
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
        match functions {
            [] => Ok(0),
            [(one, _)] => {
                let reason = reason::of_function(self.root, Mechanism::Trampoline, &error, one);
                self.skipped.push(skip(one, reason));
                Ok(0)
            }
            many => {
                let (left, right) = many.split_at(many.len() / 2);
                Ok(self.link(program, left)? + self.link(program, right)?)
            }
        }
    }

    fn skip_all(&mut self, group: &Group<'_>, reason: &str) -> u32 {
        self.skipped
            .extend(group.functions.iter().map(|(function, _)| skip(function, reason)));
        0
    }
}
