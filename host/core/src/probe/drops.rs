//! Attaches the program that sees drops: that of packets which are followed, or, in a trace of drops, that of all.
//! Imports `programs` and `syscall`.
//!
//! The former is attached last, as it shares the maps of the other programs; before that, a packet that is dropped is
//! reported as released. The latter is all that its trace attaches, or is attached beside the former, for the packets
//! that are not followed.

use std::os::fd::{BorrowedFd, OwnedFd};

use ipft_bpf::wire::FunctionSource;

use super::program_key::ProgramKey;
use super::programs::Programs;
use super::{Following, Layer, Maps, ProbeError, Request, SelectionPlace, syscall};
use crate::filter;

/// Packets that were dropped at a place for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropCount {
    /// Where the kernel says that it dropped them: an address.
    pub location: u64,
    /// The kernel's reason, 0 if it tells none.
    pub reason: u32,
    /// Their number.
    pub count: u64,
}

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
        let link = attach(programs.program(ProgramKey::Dropped)?)?;
        Ok(Drops { _link: link, programs })
    }

    /// Returns the loaded program.
    pub(super) fn program(&self) -> Option<BorrowedFd<'_>> {
        self.programs.program(ProgramKey::Dropped).ok()
    }
}

/// The attached program that sees the drops of packets that are not followed. Dropping it detaches.
#[derive(Debug)]
pub(super) struct Others {
    /// Closed first.
    _link: OwnedFd,
    programs: Programs,
}

impl Others {
    /// Attaches. `maps` are those of the trace. What selects its packets does not count here; at most `per_place` drops
    /// are sent per second of each place.
    pub(super) fn attach(request: &Request<'_>, maps: Maps, per_place: u32) -> Result<Others, ProbeError> {
        let everything = filter::compile("", &filter::SystemNames);
        let everything = everything.map_err(|error| ProbeError::Link(error.to_string()))?;
        let place = SelectionPlace {
            sample: 1,
            drops: per_place,
            ..SelectionPlace::default()
        };
        let request = Request {
            maps,
            mark: 0,
            mask: 0,
            following: request.following.map(|following| Following {
                filter: &everything,
                inner: None,
                condition: None,
                place: &place,
                ..following
            }),
            ..request.clone()
        };
        let programs = Programs::load_drops(request.config(FunctionSource::Cookie), &request)?;
        let link = attach(programs.program(ProgramKey::Drop)?)?;
        Ok(Others { _link: link, programs })
    }

    /// Returns the loaded program.
    pub(super) fn program(&self) -> Option<BorrowedFd<'_>> {
        self.programs.program(ProgramKey::Drop).ok()
    }

    /// Returns how many packets were dropped so far where and why.
    pub(super) fn counts(&self) -> Vec<DropCount> {
        self.programs.drop_counts()
    }
}

/// The name of what a trace of drops attaches to, in the place of a backend's.
const TRACEPOINT: &str = "skb:kfree_skb";

/// Attaches the program of a trace of drops.
pub(super) fn attach_alone(request: &Request<'_>) -> Result<Layer, ProbeError> {
    let programs = Programs::load_drops(request.config(FunctionSource::Cookie), request)?;
    let link = attach(programs.program(ProgramKey::Drop)?)?;
    Ok(Layer {
        programs,
        own_programs: Vec::new(),
        events: Vec::new(),
        links: vec![link],
        return_links: Vec::new(),
        backend: TRACEPOINT,
        attached: 0,
    })
}

fn attach(program: BorrowedFd<'_>) -> Result<OwnedFd, ProbeError> {
    syscall::attach_raw_tracepoint(program, c"kfree_skb").map_err(|source| ProbeError::Libbpf {
        what: "cannot attach to the tracepoint skb:kfree_skb",
        code: source.raw_os_error(),
        source,
        log: String::new(),
    })
}
