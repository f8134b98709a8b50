//! The `ftrace` backend: fentry and fexit programs, through BPF trampolines (5.5 and later on x86-64). The kernel
//! requires one program per function, so starting is slow; the cost per packet is lower than with any kprobe.
//!
//! There is one template for each place where a packet can be. libbpf relocates it; the backend writes each function's
//! index into the instructions and loads them, on all CPUs: the verifier of a privileged user takes no lock that two
//! programs share (`bpf_check` in `kernel/bpf/verifier.c`, since 5.2).

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ipft_bpf::wire::{Config, FUNCTION_PLACE, FunctionSource};
use libbpf_sys::bpf_insn;

use super::parallel::in_parallel;
use super::program_key::ProgramKey;
use super::programs::{Programs, Selected};
use super::reason::{self, Mechanism};
use super::syscall::{self, ModuleBtfs, RawProgram};
use super::{Attached, Backend, Layer, ProbeError, Progress, Refused, Request, Target, check_any, objection};
use crate::event::Tracer;
use crate::kernel::{self, Candidate};

/// fentry and fexit.
#[derive(Debug)]
pub struct Ftrace;

const NAME: &str = "ftrace";

/// The module of functions that are not in a module.
const KERNEL: &str = "vmlinux";

const SHADOWED: &str = "another symbol bears its name, and this kernel (before 6.4) may take that for it; a kprobe backend \
                        sees it";

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

    fn attach<'a>(&self, request: &Request<'a>) -> Result<Attached<'a>, ProbeError> {
        let returns = request.tracer == Tracer::FunctionGraph;
        let config = request.config(FunctionSource::Cookie);
        let mut refused = Vec::new();
        let mut wanted: Vec<(Target<'a>, ProgramKey)> = Vec::new();
        let shadowed = shadowed(request);
        let modules = ModuleBtfs::open();
        // Before loading the templates: functions without types cannot represent one.
        let untyped = |function: &Candidate| match function.module.as_str() {
            KERNEL => None,
            module => modules.get(module).err(),
        };
        for target in &request.targets {
            let function = target.function;
            let is_shadowed = function.module != KERNEL && shadowed.contains(function.name.as_str());
            if let Some(reason) = objection(function).or(is_shadowed.then_some(SHADOWED)) {
                refused.push(Refused::new(*target, reason));
            } else if let Some(reason) = untyped(function) {
                refused.push(Refused::new(*target, reason));
            } else {
                wanted.push((*target, ProgramKey::of(target)));
            }
        }
        if wanted.is_empty() {
            check_any(NAME, request, 0, &refused)?;
        }

        let keys: BTreeSet<ProgramKey> = wanted.iter().map(|(_, key)| *key).collect();
        let returning = returns.then_some(ProgramKey::Return);
        let selected: Vec<Selected> = keys.iter().copied().chain(returning).map(Selected::template).collect();
        let programs = Programs::load(request.ftrace_object(), config, request, &selected)?;
        let exit = returning.map(|key| programs.instructions(key)).transpose()?;
        let by_key: BTreeMap<ProgramKey, &[bpf_insn]> = (keys.iter())
            .map(|key| programs.instructions(*key).map(|template| (*key, template)))
            .collect::<Result<_, _>>()?;
        request.progress.begin(wanted.len());
        let outcomes = in_parallel(&wanted, |(target, key)| {
            if request.progress.is_cancelled() {
                return Err(NotAttached::Later);
            }
            request.progress.step();
            let function = target.function;
            let module_btf = match function.module.as_str() {
                KERNEL => None,
                module => Some(modules.get(module).map_err(NotAttached::Module)?),
            };
            let entry = by_key.get(key).copied().unwrap_or_default();
            let exit = target.index.and(exit);
            attach_one(function, module_btf, entry, exit, target.index).map_err(NotAttached::Kernel)
        });

        let mut layer = Layer {
            programs,
            own_programs: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            return_links: Vec::new(),
            backend: NAME,
            attached: 0,
        };
        let mut accepted = BTreeSet::new();
        for ((target, key), outcome) in wanted.iter().zip(outcomes) {
            let function = target.function;
            let reason = match outcome {
                Ok(attached) => {
                    for (program, link) in attached {
                        layer.own_programs.push(program);
                        layer.links.push(link);
                    }
                    layer.attached += u32::from(!target.is_silent());
                    accepted.insert(*key);
                    continue;
                }
                Err(NotAttached::Later) => continue,
                Err(NotAttached::Module(reason)) => reason,
                Err(NotAttached::Kernel(error)) => {
                    reason::of_function(request.root, Mechanism::Trampoline, &error, function)
                }
            };
            refused.push(Refused::new(*target, reason));
        }
        if request.progress.is_cancelled() {
            layer.detach(&Progress::default());
            return Err(ProbeError::Stopped);
        }
        // It may be the program that is refused, and not the functions.
        wanted.retain(|(_, key)| !accepted.contains(key));
        if !wanted.is_empty()
            && let Err(error) = try_templates(request, config, &wanted, returns)
        {
            layer.detach(&Progress::default());
            return Err(error);
        }
        check_any(NAME, request, layer.attached, &refused)?;
        Ok(Attached {
            layer,
            refused,
            without_return: Vec::new(),
        })
    }
}

/// Returns names of modules' functions that other symbols share, if this kernel would confuse them: it would create a
/// trampoline for one and attach it to the other.
fn shadowed<'a>(request: &Request<'a>) -> HashSet<&'a str> {
    if !kernel::trampolines_go_by_name(request.root) {
        return HashSet::new();
    }
    let all = request.targets.iter().map(|target| target.function);
    let of_modules = all.filter(|function| function.module != KERNEL);
    kernel::shared_names(request.root, of_modules.map(|function| function.name.as_str()))
}

/// The reason why a function is not attached.
enum NotAttached {
    /// The user has stopped it.
    Later,
    /// Its module has no types.
    Module(String),
    /// The kernel refused.
    Kernel(io::Error),
}

/// Number of functions tried per template.
const REPRESENTATIVES: usize = 4;

/// Returns functions to load each needed template with, named as libbpf requires: in modules only if the kernel itself
/// has none, as searching the modules' BTF takes longer.
fn representatives(wanted: &[(Target<'_>, ProgramKey)]) -> Vec<(ProgramKey, Vec<String>)> {
    let mut found: Vec<(ProgramKey, Vec<String>)> = Vec::new();
    let is_kernels = |target: &Target<'_>| target.function.module == KERNEL;
    let (kernels, modules): (Vec<&_>, Vec<&_>) = wanted.iter().partition(|(target, _)| is_kernels(target));
    for (target, program) in kernels.into_iter().chain(modules) {
        let function = target.function;
        if function.arguments > 6 {
            continue;
        }
        let name = match is_kernels(target) {
            true => function.name.clone(),
            false => format!("{}:{}", function.module, function.name),
        };
        match found.iter_mut().find(|(found, _)| found == program) {
            Some((_, names)) if names.len() < REPRESENTATIVES => names.push(name),
            Some(_) => {}
            None => found.push((*program, vec![name])),
        }
    }
    found
}

/// Loads templates as they are, with the first function that the kernel accepts for each: an error says what the verifier
/// has against one.
fn try_templates(
    request: &Request<'_>,
    config: Config,
    wanted: &[(Target<'_>, ProgramKey)],
    returns: bool,
) -> Result<(), ProbeError> {
    let representatives = representatives(wanted);
    let mut result = Ok(());
    for attempt in 0..REPRESENTATIVES {
        let mut selected: Vec<Selected> = (representatives.iter())
            .filter_map(|(key, functions)| {
                Some(Selected {
                    target: Some(functions.get(attempt).or(functions.last())?.clone()),
                    ..Selected::plain(*key)
                })
            })
            .collect();
        if returns && let Some(target) = selected.first().map(|entry| entry.target.clone()) {
            selected.push(Selected {
                target,
                ..Selected::plain(ProgramKey::Return)
            });
        }
        result = Programs::load(request.ftrace_object(), config, request, &selected).map(drop);
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Writes the function's index into its place: the first half of a 64-bit load.
fn patch(template: &[bpf_insn], index: Option<u32>) -> Vec<bpf_insn> {
    const LOAD_64: u8 = (libbpf_sys::BPF_LD | libbpf_sys::BPF_IMM | libbpf_sys::BPF_DW) as u8;
    let mut instructions = template.to_vec();
    for instruction in &mut instructions {
        let is_constant = instruction.code == LOAD_64 && instruction.src_reg() == 0;
        if is_constant && instruction.imm == FUNCTION_PLACE as i32 {
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
    exit: Option<&[bpf_insn]>,
    index: Option<u32>,
) -> io::Result<Vec<(OwnedFd, OwnedFd)>> {
    let attach = |template: &[bpf_insn], attach_type| -> io::Result<(OwnedFd, OwnedFd)> {
        let instructions = patch(template, index);
        let program = RawProgram {
            name: c"ipft",
            kind: libbpf_sys::BPF_PROG_TYPE_TRACING,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::PacketArgument;

    fn candidate(name: &str, module: &str, arguments: u8) -> Candidate {
        Candidate {
            name: name.into(),
            module: module.into(),
            address: 0xffff_ffff_8100_0000,
            position: 0,
            argument: PacketArgument::Pointer,
            unsure: false,
            btf_id: 1,
            arguments,
            trampoline: true,
            ambiguous: false,
        }
    }

    fn key(function: &Candidate) -> ProgramKey {
        ProgramKey::entry(function, super::super::identity::role(function), false)
    }

    fn representatives_of(functions: &[Candidate]) -> Vec<(ProgramKey, Vec<String>)> {
        let targets = super::super::targets(functions, 0, &[], false);
        let wanted: Vec<_> = (targets.into_iter())
            .map(|target| (target, ProgramKey::of(&target)))
            .collect();
        representatives(&wanted)
    }

    #[test]
    fn functions_of_modules_alone_have_representatives() {
        let functions = [candidate("veth_xmit", "veth", 2), candidate("long", "veth", 7)];
        let expected = (key(&functions[0]), vec!["veth:veth_xmit".to_owned()]);
        assert_eq!(representatives_of(&functions), [expected]);
        assert_eq!(representatives_of(&functions[1..]), []);
    }

    #[test]
    fn the_kernels_own_functions_represent_first() {
        let functions = [candidate("veth_xmit", "veth", 2), candidate("ip_rcv", "vmlinux", 4)];
        let expected = vec!["ip_rcv".to_owned(), "veth:veth_xmit".to_owned()];
        assert_eq!(representatives_of(&functions), [(key(&functions[0]), expected)]);
    }
}
