//! The `ftrace` backend: fentry and fexit programs, through BPF trampolines (5.5 and later on x86-64). The kernel wants
//! one program per function, so a start takes long; a packet is served faster than by any kprobe.
//!
//! libbpf loads one template for each place where a packet can be, with a representative function; the backend then
//! writes each function's index into the relocated instructions and loads them itself.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipft_bpf::wire::{Config, FunctionSource};
use libbpf_sys::bpf_insn;

use super::programs::{Programs, RETURN_PROGRAM, Selected, program_name};
use super::reason::{self, Mechanism};
use super::syscall::{self, ModuleBtfs, TracingProgram};
use super::{Attachment, Backend, FunctionIds, ProbeError, Progress, Request, nothing_attached, objection, skip};
use crate::event::Tracer;
use crate::kernel::{self, Candidate};

/// fentry and fexit.
#[derive(Debug)]
pub struct Ftrace;

const NAME: &str = "ftrace";

/// What functions that are in no module have as theirs.
const KERNEL: &str = "vmlinux";

const SHADOWED: &str = "another symbol bears its name, and this kernel (before 6.4) may take that for it; a kprobe backend \
                        sees it";

/// The constant in the templates that stands for the function's index (`bpf/src/ftrace.bpf.c`).
const FUNCTION_PLACEHOLDER: i32 = 0x1bad_f00d;

impl Backend for Ftrace {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> &'static str {
        "an fentry program per function, and an fexit program for its return"
    }

    fn suits(&self, _tracer: Tracer) -> bool {
        true
    }

    fn attach(&self, request: &Request<'_>) -> Result<Attachment, ProbeError> {
        let returns = request.tracer == Tracer::FunctionGraph;
        let config = request.config(FunctionSource::Cookie);
        let mut skipped = Vec::new();
        let mut wanted: Vec<(&Candidate, String, Option<u32>)> = Vec::new();
        let shadowed = shadowed(request);
        let named = request
            .functions
            .iter()
            .zip(0..)
            .map(|(function, index)| (function, Some(index)));
        for (function, index) in named.chain(request.silent.iter().map(|function| (function, None))) {
            let is_shadowed = function.module != KERNEL && shadowed.contains(function.name.as_str());
            match objection(function).or(is_shadowed.then_some(SHADOWED)) {
                Some(reason) => skipped.push(skip(function, reason)),
                None => wanted.push((function, program_name(function, index.is_none()), index)),
            }
        }

        let modules = ModuleBtfs::open();
        let (programs, templates) = templates(request, config, &wanted, returns)?;
        let mut attachment = Attachment {
            programs,
            own_programs: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            return_links: Vec::new(),
            backend: NAME,
            function_ids: FunctionIds::Index,
            attached: 0,
            skipped,
        };
        request.progress.begin(wanted.len());
        for (function, program, index) in wanted {
            if request.progress.is_cancelled() {
                attachment.detach(&Progress::default());
                return Err(ProbeError::Stopped);
            }
            request.progress.step();
            let module_btf = match function.module.as_str() {
                KERNEL => None,
                module => match modules.get(module) {
                    Ok(btf) => Some(btf),
                    Err(reason) => {
                        attachment.skipped.push(skip(function, reason));
                        continue;
                    }
                },
            };
            let exit = index.filter(|_| returns).and_then(|_| templates.get(RETURN_PROGRAM));
            match attach_one(function, module_btf, &templates[&program], exit, index) {
                Ok(attached) => {
                    for (program, link) in attached {
                        attachment.own_programs.push(program);
                        attachment.links.push(link);
                    }
                    attachment.attached += u32::from(index.is_some());
                }
                Err(error) => {
                    let reason = reason::of_function(request.root, Mechanism::Trampoline, &error, function);
                    attachment.skipped.push(skip(function, reason));
                }
            }
        }
        if attachment.attached == 0 {
            return Err(nothing_attached(NAME, request, &attachment.skipped));
        }
        Ok(attachment)
    }
}

/// Names of modules' functions that other symbols have, too, if this kernel would confuse them: it would make a trampoline
/// for the one and attach it to the other.
fn shadowed<'a>(request: &Request<'a>) -> HashSet<&'a str> {
    if !kernel::trampolines_go_by_name(request.root) {
        return HashSet::new();
    }
    let all = request.functions.iter().chain(request.silent);
    let of_modules = all.filter(|function| function.module != KERNEL);
    kernel::shared_names(request.root, of_modules.map(|function| function.name.as_str()))
}

/// Instructions ready to be patched, by the template's name.
type Templates = HashMap<String, Vec<bpf_insn>>;

/// Loads each template that is needed with the first function that the kernel accepts for it.
fn templates(
    request: &Request<'_>,
    config: Config,
    wanted: &[(&Candidate, String, Option<u32>)],
    returns: bool,
) -> Result<(Programs, Templates), ProbeError> {
    let mut representatives: Vec<(String, Vec<&str>)> = Vec::new();
    for (function, program, _) in wanted {
        // libbpf looks the target up by name in vmlinux's BTF.
        if function.module != KERNEL || function.arguments > 6 {
            continue;
        }
        match representatives.iter_mut().find(|(name, _)| name == program) {
            Some((_, functions)) if functions.len() < 4 => functions.push(&function.name),
            Some(_) => {}
            None => representatives.push((program.clone(), vec![&function.name])),
        }
    }
    let Some((_, first)) = representatives.first() else {
        return Err(ProbeError::NoFunctions);
    };
    let exit_target = first[0].to_owned();

    let mut result = Err(ProbeError::NoFunctions);
    for attempt in 0..4 {
        let mut selected: Vec<Selected> = representatives
            .iter()
            .map(|(name, functions)| Selected {
                target: Some(functions[attempt.min(functions.len() - 1)].to_owned()),
                ..Selected::plain(name.clone())
            })
            .collect();
        if returns {
            selected.push(Selected {
                target: Some(exit_target.clone()),
                ..Selected::plain(RETURN_PROGRAM)
            });
        }
        result = Programs::load(&ipft_bpf::FTRACE, config, request, &selected);
        if result.is_ok() {
            break;
        }
    }
    let programs = result?;
    let mut templates = Templates::new();
    for (name, _) in &representatives {
        templates.insert(name.clone(), programs.instructions(name)?);
    }
    if returns {
        templates.insert(RETURN_PROGRAM.to_owned(), programs.instructions(RETURN_PROGRAM)?);
    }
    Ok((programs, templates))
}

/// Writes the function's index where the placeholder is: in the first half of a 64-bit load.
fn patch(template: &[bpf_insn], index: Option<u32>) -> Vec<bpf_insn> {
    const LOAD_64: u8 = (libbpf_sys::BPF_LD | libbpf_sys::BPF_IMM | libbpf_sys::BPF_DW) as u8;
    let mut instructions = template.to_vec();
    for instruction in &mut instructions {
        if instruction.code == LOAD_64 && instruction.src_reg() == 0 /* a constant, not a map */ && instruction.imm == FUNCTION_PLACEHOLDER
        {
            instruction.imm = index.unwrap_or(u32::MAX) as i32;
        }
    }
    instructions
}

/// Attaches the entry program and, if there is one, the exit program: exit first, so that no traced call misses it.
fn attach_one(
    function: &Candidate,
    module_btf: Option<BorrowedFd<'_>>,
    entry: &[bpf_insn],
    exit: Option<&Vec<bpf_insn>>,
    index: Option<u32>,
) -> io::Result<Vec<(OwnedFd, OwnedFd)>> {
    let attach = |template: &[bpf_insn], attach_type| -> io::Result<(OwnedFd, OwnedFd)> {
        let instructions = patch(template, index);
        let program = TracingProgram {
            instructions: &instructions,
            attach_type,
            btf_id: function.btf_id,
            module_btf,
        };
        let program = program.load()?;
        let link = syscall::attach_tracing(program.as_fd())?;
        Ok((program, link))
    };
    let mut attached = Vec::with_capacity(2);
    if let Some(exit) = exit {
        attached.push(attach(exit, libbpf_sys::BPF_TRACE_FEXIT)?);
    }
    attached.push(attach(entry, libbpf_sys::BPF_TRACE_FENTRY)?);
    Ok(attached)
}
