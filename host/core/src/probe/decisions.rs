//! Attaches the programs that see the verdicts of netfilter about packets which are followed. Imports `programs` and
//! `syscall`.
//!
//! They are attached last, as they share the maps of the other programs, each pair for itself: a firewall has nf_tables,
//! or ip_tables, or both. The functions are those of modules, and what they get is described by the modules' BTF.

use std::os::fd::{BorrowedFd, OwnedFd};

use ipft_bpf::wire::FunctionSource;

use super::program_key::ProgramKey;
use super::programs::Programs;
use super::{Maps, ProbeError, Request, syscall};
use crate::kernel::Root;

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Firewall {
    Nft,
    Iptables,
    Ip6tables,
}

impl Firewall {
    const ALL: [Firewall; 3] = [Firewall::Nft, Firewall::Iptables, Firewall::Ip6tables];

    /// Returns the part of its programs' names.
    pub(super) fn program(self) -> &'static str {
        match self {
            Firewall::Nft => "nft",
            Firewall::Iptables => "ipt",
            Firewall::Ip6tables => "ip6t",
        }
    }

    fn module(self) -> &'static str {
        match self {
            Firewall::Nft => "nf_tables",
            Firewall::Iptables => "ip_tables",
            Firewall::Ip6tables => "ip6_tables",
        }
    }
}

/// A module whose verdicts are not seen, and the reason.
#[derive(Debug)]
pub struct Unseen {
    /// The module.
    pub module: &'static str,
    /// The reason.
    pub reason: UnseenReason,
}

/// The reason why a module's verdicts are not seen.
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
    programs: Vec<(Firewall, Programs)>,
}

impl Decisions {
    /// Attaches what can be. `maps` returns those of the trace.
    pub(super) fn attach(
        request: &Request<'_>,
        maps: impl Fn() -> Result<Maps, ProbeError>,
    ) -> (Decisions, Vec<Unseen>) {
        let mut decisions = Decisions::default();
        let mut unseen = Vec::new();
        for firewall in Firewall::ALL {
            let module = firewall.module();
            let attached = check(request.root, module).and_then(|()| Ok(attach(request, maps()?, firewall)?));
            match attached {
                Ok((links, programs)) => {
                    decisions._links.extend(links);
                    decisions.programs.push((firewall, programs));
                }
                Err(reason) => unseen.push(Unseen { module, reason }),
            }
        }
        (decisions, unseen)
    }

    /// Returns the loaded programs.
    pub(super) fn programs(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.programs.iter().flat_map(|(firewall, programs)| {
            [ProgramKey::Judging(*firewall), ProgramKey::Judged(*firewall)]
                .into_iter()
                .filter_map(|key| programs.program(key).ok())
        })
    }
}

fn check(root: &Root, module: &str) -> Result<(), UnseenReason> {
    let has_types = root.path("/sys/kernel/btf").join(module).exists();
    let is_loaded = root.path("/sys/module").join(module).exists();
    match (has_types, is_loaded) {
        (true, _) => Ok(()),
        (false, true) => Err(UnseenReason::NoTypes),
        (false, false) => Err(UnseenReason::NotLoaded),
    }
}

fn attach(request: &Request<'_>, maps: Maps, firewall: Firewall) -> Result<(Vec<OwnedFd>, Programs), ProbeError> {
    let request = Request {
        maps,
        ..request.clone()
    };
    let keys = [ProgramKey::Judging(firewall), ProgramKey::Judged(firewall)];
    let programs = Programs::load_decided(request.config(FunctionSource::Cookie), &request, keys)?;
    // The return first: an entry whose return is not seen would be remembered in vain.
    let links: Result<Vec<OwnedFd>, ProbeError> =
        keys.into_iter().rev().map(|key| link(programs.program(key)?)).collect();
    Ok((links?, programs))
}

fn link(program: BorrowedFd<'_>) -> Result<OwnedFd, ProbeError> {
    syscall::attach_tracing(program).map_err(|source| ProbeError::Libbpf {
        what: "cannot attach to a function of netfilter",
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
        assert!(matches!(check(&root, "nf_tables"), Err(UnseenReason::NotLoaded)));
        std::fs::create_dir_all(folder.path().join("sys/module/nf_tables")).unwrap();
        assert!(matches!(check(&root, "nf_tables"), Err(UnseenReason::NoTypes)));
        std::fs::create_dir_all(folder.path().join("sys/kernel/btf")).unwrap();
        std::fs::write(folder.path().join("sys/kernel/btf/nf_tables"), "").unwrap();
        assert!(check(&root, "nf_tables").is_ok());
    }
}
