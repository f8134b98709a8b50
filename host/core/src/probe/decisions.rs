//! Attaches the programs that see verdicts about packets which are followed: of netfilter, traffic control and XDP.
//! Imports `programs` and `syscall`.
//!
//! They are attached last, as they share the maps of the other programs, each pair for itself: a firewall has nf_tables,
//! or ip_tables, or both. The functions of netfilter are those of modules, and what they get is described by the modules'
//! BTF.

use std::os::fd::{BorrowedFd, OwnedFd};

use ipft_bpf::wire::{FIELD_NETFILTER, FIELD_TC, FunctionSource};

use super::program_key::ProgramKey;
use super::programs::Programs;
use super::{Maps, ProbeError, Request, syscall};
use crate::kernel::Root;

/// A function that decides, by the part that its programs' names have of it (`bpf/src/program/decided.bpf.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Judge(&'static str);

impl Judge {
    /// Returns the part of its programs' names.
    pub(super) fn program(self) -> &'static str {
        self.0
    }
}

/// What decides.
#[derive(Debug)]
struct Subject {
    /// Its module, or its name if it is part of the kernel.
    name: &'static str,
    /// Whether it is a module.
    is_module: bool,
    /// The field that requests its verdicts.
    field: u32,
    /// Its functions, as kernels have them, newer ones first.
    ways: &'static [&'static [Judge]],
}

const SUBJECTS: [Subject; 6] = [
    Subject {
        name: "nf_tables",
        is_module: true,
        field: FIELD_NETFILTER,
        ways: &[&[Judge("nft")]],
    },
    Subject {
        name: "ip_tables",
        is_module: true,
        field: FIELD_NETFILTER,
        ways: &[&[Judge("ipt")]],
    },
    Subject {
        name: "ip6_tables",
        is_module: true,
        field: FIELD_NETFILTER,
        ways: &[&[Judge("ip6t")]],
    },
    Subject {
        name: "generic XDP",
        is_module: false,
        field: FIELD_TC,
        ways: &[&[Judge("xdp")], &[Judge("xdp_before")]],
    },
    Subject {
        name: "filters of traffic control",
        is_module: false,
        field: FIELD_TC,
        ways: &[&[Judge("tc")], &[Judge("tc_in"), Judge("tc_before")]],
    },
    Subject {
        name: "actions of traffic control",
        is_module: false,
        field: FIELD_TC,
        ways: &[&[Judge("action")]],
    },
];

/// What decides without being seen, and the reason.
#[derive(Debug)]
pub struct Unseen {
    /// The module, or what it is.
    pub module: &'static str,
    /// The reason.
    pub reason: UnseenReason,
}

/// The reason why verdicts are not seen.
#[derive(Debug, thiserror::Error)]
pub enum UnseenReason {
    /// It is not there.
    #[error("the module is not loaded; load it before the trace, or its verdicts are not shown")]
    NotLoaded,
    /// Nothing says what its functions get.
    #[error("this kernel does not describe the types of its modules (BTF, Linux 5.11)")]
    NoTypes,
    /// Something else.
    #[error("{0}")]
    Refused(#[from] ProbeError),
}

/// The attached programs. Dropping it detaches.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    /// Closed first.
    _links: Vec<OwnedFd>,
    programs: Vec<(Judge, Programs)>,
    /// Whether some of netfilter are among them.
    sees_netfilter: bool,
}

impl Decisions {
    /// Attaches what can be. `maps` returns those of the trace.
    pub(super) fn attach(
        request: &Request<'_>,
        maps: impl Fn() -> Result<Maps, ProbeError>,
    ) -> (Decisions, Vec<Unseen>) {
        let mut decisions = Decisions::default();
        let mut unseen = Vec::new();
        for subject in SUBJECTS.iter().filter(|subject| request.fields & subject.field != 0) {
            let attached = check(request.root, subject).and_then(|()| Ok(attach_any(request, &maps, subject.ways)?));
            match attached {
                Ok(attached) => {
                    decisions.sees_netfilter |= subject.field == FIELD_NETFILTER;
                    for (judge, links, programs) in attached {
                        decisions._links.extend(links);
                        decisions.programs.push((judge, programs));
                    }
                }
                Err(reason) => unseen.push(Unseen {
                    module: subject.name,
                    reason,
                }),
            }
        }
        (decisions, unseen)
    }

    /// Returns whether verdicts of netfilter are seen.
    pub(super) fn sees_netfilter(&self) -> bool {
        self.sees_netfilter
    }

    /// Returns the loaded programs.
    pub(super) fn programs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.programs.iter().flat_map(|(judge, programs)| {
            [ProgramKey::Judging(*judge), ProgramKey::Judged(*judge)]
                .into_iter()
                .filter_map(|key| programs.program(key).ok())
        })
    }
}

fn check(root: &Root, subject: &Subject) -> Result<(), UnseenReason> {
    let module = subject.name;
    let has_types = !subject.is_module || root.path("/sys/kernel/btf").join(module).exists();
    let is_loaded = root.path("/sys/module").join(module).exists();
    match (has_types, is_loaded) {
        (true, _) => Ok(()),
        (false, true) => Err(UnseenReason::NoTypes),
        (false, false) => Err(UnseenReason::NotLoaded),
    }
}

type OfJudge = (Judge, Vec<OwnedFd>, Programs);

/// Attaches to all functions of the first of these ways that this kernel has.
fn attach_any(
    request: &Request<'_>,
    maps: impl Fn() -> Result<Maps, ProbeError>,
    ways: &[&[Judge]],
) -> Result<Vec<OfJudge>, ProbeError> {
    let mut refused = None;
    for way in ways {
        let attached: Result<Vec<OfJudge>, ProbeError> =
            way.iter().map(|judge| attach(request, maps()?, *judge)).collect();
        match attached {
            Ok(attached) => return Ok(attached),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    refused.map_or_else(|| Ok(Vec::new()), Err)
}

fn attach(request: &Request<'_>, maps: Maps, judge: Judge) -> Result<OfJudge, ProbeError> {
    let request = Request {
        maps,
        ..request.clone()
    };
    let keys = [ProgramKey::Judging(judge), ProgramKey::Judged(judge)];
    let programs = Programs::load_decided(request.config(FunctionSource::Cookie), &request, keys)?;
    // The return first: an entry whose return is not seen would be remembered in vain.
    let links: Result<Vec<OwnedFd>, ProbeError> =
        keys.into_iter().rev().map(|key| link(programs.program(key)?)).collect();
    Ok((judge, links?, programs))
}

fn link(program: BorrowedFd<'_>) -> Result<OwnedFd, ProbeError> {
    syscall::attach_tracing(program).map_err(|source| ProbeError::Libbpf {
        what: "cannot attach to a function that decides about packets",
        code: source.raw_os_error(),
        source,
        log: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_without_types_is_not_a_missing_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert!(matches!(check(&root, &SUBJECTS[0]), Err(UnseenReason::NotLoaded)));
        std::fs::create_dir_all(folder.path().join("sys/module/nf_tables")).unwrap();
        assert!(matches!(check(&root, &SUBJECTS[0]), Err(UnseenReason::NoTypes)));
        std::fs::create_dir_all(folder.path().join("sys/kernel/btf")).unwrap();
        std::fs::write(folder.path().join("sys/kernel/btf/nf_tables"), "").unwrap();
        assert!(check(&root, &SUBJECTS[0]).is_ok());
        // What is no module needs none.
        assert!(check(&root, &SUBJECTS[3]).is_ok());
    }
}
