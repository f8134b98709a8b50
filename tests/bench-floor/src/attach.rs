//! The mechanisms, each with a program that does nothing.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::str::FromStr;

use anyhow::{Context, Result, anyhow, ensure};
use ipft_core::kernel::Candidate;

use crate::bpf::{self, Load};

/// An attach mechanism, named as by `ipft -b`; `-graph` attaches to entries and returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Kprobe,
    KprobeMulti,
    KprobeSession,
    Ftrace,
    FtraceGraph,
    FentryMulti,
    FentryMultiGraph,
}

const NAMES: [(&str, Mechanism); 7] = [
    ("kprobe", Mechanism::Kprobe),
    ("kprobe-multi", Mechanism::KprobeMulti),
    ("kprobe-session", Mechanism::KprobeSession),
    ("ftrace", Mechanism::Ftrace),
    ("ftrace-graph", Mechanism::FtraceGraph),
    ("fentry-multi", Mechanism::FentryMulti),
    ("fentry-multi-graph", Mechanism::FentryMultiGraph),
];

impl Mechanism {
    pub(crate) fn names() -> [&'static str; 7] {
        NAMES.map(|(name, _)| name)
    }
}

impl FromStr for Mechanism {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = NAMES.into_iter().find(|(name, _)| *name == text);
        let found = found.ok_or_else(|| anyhow!("no mechanism '{text}': it is one of {}", Self::names().join(", ")));
        found.map(|(_, mechanism)| mechanism)
    }
}

/// Attached programs; dropping it detaches them.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    pub(crate) functions: usize,
    descriptors: Vec<OwnedFd>,
}

/// Attaches an empty program to all of the functions that the kernel accepts.
pub(crate) fn attach(mechanism: Mechanism, functions: &[Candidate]) -> Result<Attached> {
    let attached = match mechanism {
        Mechanism::Kprobe => kprobe(functions),
        Mechanism::KprobeMulti => kprobe_multi(functions, libbpf_sys::BPF_TRACE_KPROBE_MULTI),
        Mechanism::KprobeSession => kprobe_multi(functions, libbpf_sys::BPF_TRACE_KPROBE_SESSION),
        Mechanism::Ftrace => ftrace(functions, false),
        Mechanism::FtraceGraph => ftrace(functions, true),
        Mechanism::FentryMulti => fentry_multi(functions, BPF_TRACE_FENTRY_MULTI),
        Mechanism::FentryMultiGraph => fentry_multi(functions, BPF_TRACE_FSESSION_MULTI),
    }?;
    ensure!(
        attached.functions > 0,
        "the kernel accepted none of {} functions",
        functions.len()
    );
    Ok(attached)
}

/// Return value of a kprobe session's entry: 1 skips the return, as for a packet that is not traced.
const NO_RETURN_WANTED: i32 = 1;

/// Values of `enum bpf_attach_type` in 7.x.
const BPF_TRACE_FENTRY_MULTI: u32 = 59;
const BPF_TRACE_FSESSION_MULTI: u32 = 61;

const KPROBE: Load<'static> = Load {
    kind: libbpf_sys::BPF_PROG_TYPE_KPROBE,
    attach_type: 0,
    returns: 0,
    btf_id: 0,
    module: None,
};

fn kprobe(functions: &[Candidate]) -> Result<Attached> {
    let path = "/sys/bus/event_source/devices/kprobe/type";
    let pmu = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let pmu = pmu.trim().parse().with_context(|| format!("read {path}"))?;
    let program = bpf::load(KPROBE).context("load a program")?;
    let mut attached = Attached::default();
    for function in functions {
        let event = bpf::attach_kprobe(pmu, function.address, program.as_fd()).ok();
        attached.functions += usize::from(event.is_some());
        attached.descriptors.extend(event);
    }
    attached.descriptors.push(program);
    Ok(attached)
}

fn kprobe_multi(functions: &[Candidate], attach_type: u32) -> Result<Attached> {
    let session = attach_type == libbpf_sys::BPF_TRACE_KPROBE_SESSION;
    let program = bpf::load(Load {
        attach_type,
        returns: if session { NO_RETURN_WANTED } else { 0 },
        ..KPROBE
    })
    .context("load a program")?;
    let addresses: Vec<u64> = functions.iter().map(|function| function.address).collect();
    let mut attached = Attached::default();
    link(&mut attached, &addresses, &mut |addresses| {
        bpf::link_kprobe_multi(program.as_fd(), attach_type, addresses)
    });
    attached.descriptors.push(program);
    Ok(attached)
}

/// Links all functions that the kernel accepts: bisects those that it refuses.
fn link<T>(attached: &mut Attached, what: &[T], call: &mut impl FnMut(&[T]) -> io::Result<OwnedFd>) {
    match call(what) {
        Ok(link) => {
            attached.functions += what.len();
            attached.descriptors.push(link);
        }
        Err(_) if what.len() > 1 => {
            let (left, right) = what.split_at(what.len() / 2);
            link(attached, left, call);
            link(attached, right, call);
        }
        Err(_) => {}
    }
}

/// Returns functions with a BTF id.
fn has_id(function: &&Candidate) -> bool {
    function.btf_id != 0 && !function.ambiguous && !function.name.contains('.')
}

fn tracing(attach_type: u32, btf_id: u32, module: Option<BorrowedFd<'_>>) -> Load<'_> {
    Load {
        kind: libbpf_sys::BPF_PROG_TYPE_TRACING,
        attach_type,
        returns: 0,
        btf_id,
        module,
    }
}

fn ftrace(functions: &[Candidate], returns: bool) -> Result<Attached> {
    let modules = bpf::module_btfs();
    let mut attached = Attached::default();
    let types: &[u32] = if returns {
        &[libbpf_sys::BPF_TRACE_FEXIT, libbpf_sys::BPF_TRACE_FENTRY]
    } else {
        &[libbpf_sys::BPF_TRACE_FENTRY]
    };
    for function in functions.iter().filter(has_id) {
        let module = match function.module.as_str() {
            "vmlinux" => None,
            name => match modules.get(name) {
                Some(module) => Some(module.as_fd()),
                None => continue,
            },
        };
        let one = |attach_type: &u32| {
            let program = bpf::load(tracing(*attach_type, function.btf_id, module))?;
            Ok([bpf::attach_tracing(program.as_fd())?, program])
        };
        let done: io::Result<Vec<_>> = types.iter().map(one).collect();
        if let Ok(done) = done {
            attached.functions += 1;
            attached.descriptors.extend(done.into_iter().flatten());
        }
    }
    Ok(attached)
}

fn fentry_multi(functions: &[Candidate], attach_type: u32) -> Result<Attached> {
    let modules = bpf::module_btfs();
    let mut attached = Attached::default();
    let mut functions: Vec<&Candidate> = functions.iter().filter(has_id).collect();
    functions.sort_by(|one, other| one.module.cmp(&other.module));
    for group in functions.chunk_by(|one, other| one.module == other.module) {
        let module = match group[0].module.as_str() {
            "vmlinux" => None,
            name => match modules.get(name) {
                Some(module) => Some(module.as_fd()),
                None => continue,
            },
        };
        // A session through trampolines cannot skip returns: its programs always return 0.
        let program = bpf::load(tracing(attach_type, 0, module)).context("load a program")?;
        let ids: Vec<u32> = group.iter().map(|function| function.btf_id).collect();
        link(&mut attached, &ids, &mut |ids| {
            bpf::link_tracing_multi(program.as_fd(), attach_type, ids)
        });
        attached.descriptors.push(program);
    }
    Ok(attached)
}
