//! Attaches the program that sees drops, once per trace that follows packets. Imports `programs` and `syscall`.
//!
//! It is attached last, as it shares the maps of the other programs; before that, a packet that is dropped is reported as
//! released.

use std::os::fd::{BorrowedFd, OwnedFd};

use ipft_bpf::wire::FunctionSource;

use super::program_key::ProgramKey;
use super::programs::Programs;
use super::{Maps, ProbeError, Request, syscall};

/// The attached program. Dropping it detaches.
#[derive(Debug)]
pub(super) struct Drops {
    /// Closed first.
    _link: OwnedFd,
    programs: Programs,
}

impl Drops {
    /// Attaches. `maps` are those of the trace.
    pub(super) fn attach(request: &Request<'_>, maps: Maps) -> Result<Drops, ProbeError> {
        let request = Request {
            maps,
            ..request.clone()
        };
        let programs = Programs::load_dropped(request.config(FunctionSource::Cookie), &request)?;
        let link = syscall::attach_raw_tracepoint(programs.program(ProgramKey::Dropped)?, c"kfree_skb");
        let link = link.map_err(|source| ProbeError::Libbpf {
            what: "cannot attach to the tracepoint skb:kfree_skb",
            code: source.raw_os_error(),
            source,
            log: String::new(),
        })?;
        Ok(Drops { _link: link, programs })
    }

    /// Returns the loaded program.
    pub(super) fn program(&self) -> Option<BorrowedFd<'_>> {
        self.programs.program(ProgramKey::Dropped).ok()
    }
}
