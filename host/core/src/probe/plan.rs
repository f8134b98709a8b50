//! Distributes the functions to backends.
//!
//! The cheapest backend that works comes first, and what it cannot attach goes to those behind it: a name that BTF does
//! not have is no obstacle to a kprobe. Each of them is a layer of one attachment. A function is in one layer only, and
//! all layers share the first one's maps, so a packet has one identity wherever it is seen. A backend that the user
//! named is used alone. It imports what `probe` may.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::{
    Attached, BACKENDS, Backend, Buffer, Kprobe, KprobeMulti, KprobeSession, Layer, Maps, ProbeError, Progress,
    Refused, Request, attach, detach, loss,
};
use crate::event::{Loss, SkippedFunction};

/// The backends that take what another could not, in their order. They attach by address, which every function has. All
/// backends keep the tables of packets in the same way.
static COMPLETING: [&dyn Backend; 3] = [&KprobeSession, &KprobeMulti, &Kprobe];

/// Everything that is attached for one trace. Dropping it detaches; so does the end of the process.
#[derive(Debug)]
pub struct Attachment {
    first: Layer,
    more: Vec<Layer>,
    /// The functions that could not be attached, or not with their returns.
    pub skipped: Vec<SkippedFunction>,
}

impl Attachment {
    fn new(attached: Attached<'_>) -> Self {
        let skipped = attached.refused.iter().chain(&attached.without_return);
        Attachment {
            skipped: skipped.map(Refused::skipped).collect(),
            first: attached.layer,
            more: Vec::new(),
        }
    }

    /// Attached functions per backend.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The backends that take part, by name.
    pub fn backends(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for layer in self.layers() {
            if !names.contains(&layer.backend) {
                names.push(layer.backend);
            }
        }
        names.join(", ")
    }

    /// Returns the number of attached functions.
    pub fn attached(&self) -> u32 {
        self.layers().map(|layer| layer.attached).sum()
    }

    /// Returns the maps that events come out of: several if there are several ring buffers.
    pub fn buffer_maps(&self, buffer: &Buffer) -> Vec<BorrowedFd<'_>> {
        self.first.programs.buffer_maps(buffer)
    }

    /// The maps that further programs of this trace share.
    pub fn maps(&self) -> Result<Maps, ProbeError> {
        self.first.programs.shared_maps()
    }

    /// Packets that were given an identity so far.
    pub fn packets(&self) -> u64 {
        self.first.programs.cpus().iter().map(|cpu| cpu.packets).sum()
    }

    /// Returns the kernel's losses so far, without the ways that lost nothing.
    pub fn losses(&self) -> Vec<Loss> {
        let mut losses = loss::counted(&self.first.programs);
        losses.extend(sum(self.missed_by_kernel()));
        losses.retain(|loss| loss.count > 0);
        losses
    }

    /// Returns the kernel's losses of these functions so far, before any of ipft's programs ran.
    pub fn missed_by_kernel(&self) -> impl Iterator<Item = Loss> {
        self.layers().flat_map(loss::missed_by_kernel)
    }

    /// Detaches everything, and returns when the kernel has.
    pub fn detach(self, progress: &Progress) {
        let mut programs = Vec::new();
        let mut all: Vec<Vec<OwnedFd>> = Vec::new();
        for layer in self.more.into_iter().chain([self.first]) {
            let (own, groups) = layer.into_descriptors();
            programs.push(own);
            all.extend(groups);
        }
        detach::close(all, progress);
        drop(programs);
    }
}

/// Losses without a CPU, added up by kind.
pub fn sum(losses: impl IntoIterator<Item = Loss>) -> Vec<Loss> {
    let mut sums: Vec<Loss> = Vec::new();
    for loss in losses {
        match sums.iter_mut().find(|sum| (sum.kind, sum.cpu) == (loss.kind, loss.cpu)) {
            Some(sum) => sum.count = sum.count.saturating_add(loss.count),
            None => sums.push(loss),
        }
    }
    sums
}

/// Attaches to more functions of a trace that `backend` began: with that, and what it leaves out with others.
pub fn attach_beside(
    backend: &dyn Backend,
    request: &Request<'_>,
) -> Result<Attachment, Vec<(&'static str, ProbeError)>> {
    let others = COMPLETING
        .into_iter()
        .filter(|other| other.suits(request.tracer) && other.name() != backend.name());
    attach_in_order(request, std::iter::once(backend).chain(others))
}

/// Attaches with this backend alone.
pub fn attach_with(backend: &dyn Backend, request: &Request<'_>) -> Result<Attachment, ProbeError> {
    attach(backend, request).map(Attachment::new)
}

/// Attaches with the first backend that works for the tracer, and what that leaves out with those that follow. An error
/// says why none of them works.
pub fn attach_with_any(request: &Request<'_>) -> Result<Attachment, Vec<(&'static str, ProbeError)>> {
    let suitable = BACKENDS.into_iter().filter(|backend| backend.suits(request.tracer));
    attach_in_order(request, suitable)
}

fn attach_in_order<'b>(
    request: &Request<'_>,
    backends: impl Iterator<Item = &'b dyn Backend>,
) -> Result<Attachment, Vec<(&'static str, ProbeError)>> {
    let mut failures = Vec::new();
    for backend in backends {
        match attach(backend, request) {
            Ok(attached) => return Ok(complete(request, attached, &failures)),
            // The others would meet the same.
            Err(error @ (ProbeError::Machine { .. } | ProbeError::Stopped)) => {
                return Err(vec![(backend.name(), error)]);
            }
            Err(error) => failures.push((backend.name(), error)),
        }
    }
    Err(failures)
}

/// Lets other backends attach what the first could not. Those that failed before are not tried again.
fn complete<'a>(request: &Request<'a>, attached: Attached<'a>, failures: &[(&'static str, ProbeError)]) -> Attachment {
    let Attached {
        layer: first,
        mut refused,
        mut without_return,
    } = attached;
    let mut more = Vec::new();
    for backend in COMPLETING {
        let name = backend.name();
        let tried = name == first.backend || failures.iter().any(|(failed, _)| *failed == name);
        if refused.is_empty() || tried || !backend.suits(request.tracer) {
            continue;
        }
        let maps = match request.maps.is_empty() {
            true => first.programs.shared_maps(),
            false => Ok(request.maps.clone()),
        };
        let Ok(maps) = maps else {
            break;
        };
        let rest = Request {
            targets: refused.iter().map(|refused| refused.target).collect(),
            maps,
            ..request.clone()
        };
        match backend.attach(&rest) {
            Ok(attached) => {
                more.push(attached.layer);
                refused = attached.refused;
                without_return.extend(attached.without_return);
            }
            // The reasons per function are still valid.
            Err(ProbeError::NothingAttached { .. } | ProbeError::NoFunctions) => {}
            Err(error) => {
                for refused in &mut refused {
                    refused.reason = format!("{}; {error}", refused.reason);
                }
            }
        }
    }
    Attachment {
        skipped: refused.iter().chain(&without_return).map(Refused::skipped).collect(),
        first,
        more,
    }
}
