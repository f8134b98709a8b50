//! Distributes the functions to backends.
//!
//! The cheapest backend that works takes most of them, and what it cannot attach goes to those behind it: a name that
//! BTF does not have is no obstacle to a kprobe. Where a trampoline of its own costs a packet less than that backend,
//! the functions that nearly every packet passes get one each (`ftrace`): for all functions, the start and the end
//! would take minutes. Each backend is a layer of one attachment. A function is in one layer only, and all layers share
//! the maps of the first, so a packet has one identity wherever it is seen. A backend that the user named is used
//! alone. It imports what `probe` may.

use std::os::fd::{BorrowedFd, OwnedFd};

use ipft_bpf::wire::{FIELD_NETFILTER, FIELD_TC};

use super::decisions::{Decisions, Unseen};
use super::drops::{self, DropCount, Drops, Others};
use super::{
    Attached, BACKENDS, Backend, Buffer, Ftrace, Kprobe, KprobeMulti, KprobeSession, Layer, Maps, ProbeError, Progress,
    Refused, Request, Target, attach, detach, loss, objection,
};
use crate::event::{Loss, SkippedFunction, Tracer};
use crate::kernel;

/// The backends that take what another could not, in their order. They attach by address, which every function has. All
/// backends keep the tables of packets in the same way.
static COMPLETING: [&dyn Backend; 3] = [&KprobeSession, &KprobeMulti, &Kprobe];

/// Everything that is attached for one trace. Dropping it detaches; so does the end of the process.
#[derive(Debug)]
pub struct Attachment {
    /// The functions that nearly every packet passes, where they have a backend of their own.
    hot: Option<Hot>,
    main: Layer,
    more: Vec<Layer>,
    /// The functions that could not be attached, or not with their returns.
    pub skipped: Vec<SkippedFunction>,
    /// What sees drops, where packets are followed.
    drops: Option<Drops>,
    /// The reason why drops are not seen, although packets are followed.
    pub drops_missing: Option<ProbeError>,
    /// What sees the drops of other packets, if they are requested.
    other_drops: Option<Others>,
    /// The reason why those are not seen, although they are requested.
    pub other_drops_missing: Option<ProbeError>,
    /// What sees verdicts, if they are requested and packets are followed.
    decisions: Decisions,
    /// What decides without being seen, although its verdicts are requested.
    pub unseen: Vec<Unseen>,
}

/// Functions that nearly every packet passes.
#[derive(Debug)]
struct Hot {
    layer: Layer,
    /// The selected ones.
    names: Vec<String>,
}

impl Attachment {
    /// One of this layer, without drops and decisions.
    fn of(main: Layer) -> Self {
        Attachment {
            hot: None,
            main,
            more: Vec::new(),
            skipped: Vec::new(),
            drops: None,
            drops_missing: None,
            other_drops: None,
            other_drops_missing: None,
            decisions: Decisions::default(),
            unseen: Vec::new(),
        }
    }

    fn new(attached: Attached<'_>) -> Self {
        let skipped = attached.refused.iter().chain(&attached.without_return);
        Attachment {
            skipped: skipped.map(Refused::skipped).collect(),
            ..Attachment::of(attached.layer)
        }
    }

    /// Attaches what sees drops and, if they are requested, verdicts, if packets are followed. Without it, dropped packets
    /// are reported as released.
    fn with_drops(mut self, request: &Request<'_>) -> Self {
        // Programs that share the maps of a trace share what it attached.
        if request.following.is_some() && request.maps.is_empty() {
            match self.maps().and_then(|maps| Drops::attach(request, maps)) {
                Ok(drops) => self.drops = Some(drops),
                Err(error) => self.drops_missing = Some(error),
            }
            if let Some(per_place) = request.following.and_then(|following| following.place.other_drops) {
                match self.maps().and_then(|maps| Others::attach(request, maps, per_place)) {
                    Ok(others) => self.other_drops = Some(others),
                    Err(error) => self.other_drops_missing = Some(error),
                }
            }
            if request.fields & (FIELD_NETFILTER | FIELD_TC) != 0 {
                (self.decisions, self.unseen) = Decisions::attach(request, || self.maps());
            }
        }
        self
    }

    /// Attached functions per backend, beginning with the one that has most of them.
    pub fn layers(&self) -> impl Iterator<Item = &Layer> {
        let hot = self.hot.iter().map(|hot| &hot.layer);
        std::iter::once(&self.main).chain(hot).chain(&self.more)
    }

    /// The backend of most functions.
    pub fn backend(&self) -> &'static str {
        self.main.backend
    }

    /// The names of the functions that have a cheaper backend than the others, as nearly every packet passes them.
    pub fn hot(&self) -> &[String] {
        self.hot.as_ref().map_or(&[], |hot| &hot.names)
    }

    /// The layer that made the maps, which the others share.
    fn first(&self) -> &Layer {
        self.hot.as_ref().map_or(&self.main, |hot| &hot.layer)
    }

    /// Returns whether verdicts of netfilter are seen.
    pub fn sees_netfilter(&self) -> bool {
        self.decisions.sees_netfilter()
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
        self.first().programs.buffer_maps(buffer)
    }

    /// The maps that further programs of this trace share.
    pub fn maps(&self) -> Result<Maps, ProbeError> {
        self.first().programs.shared_maps()
    }

    /// Returns how often the filter could not judge a packet so far, because bytes that it needs are not at the
    /// packet's head.
    pub fn unjudged(&self) -> u64 {
        self.first().programs.unjudged()
    }

    /// Returns how often a packet was left out so far as its flow is not of the sample.
    pub fn left_out(&self) -> u64 {
        self.first().programs.left_out()
    }

    /// Returns how often a packet was left out so far by the limit of packets per second.
    pub fn over_rate(&self) -> u64 {
        self.first().programs.over_rate()
    }

    /// Returns how often it was not known so far of which process or control group a packet is.
    pub fn undecided(&self) -> u64 {
        self.first().programs.undecided()
    }

    /// Returns how many packets were dropped so far where and why, in a trace of drops.
    pub fn drop_counts(&self) -> Vec<DropCount> {
        match &self.other_drops {
            Some(others) => others.counts(),
            None => self.first().programs.drop_counts(),
        }
    }

    /// Returns how many packets are followed at the moment.
    pub fn followed(&self) -> u64 {
        self.first().programs.followed()
    }

    /// Packets that were given an identity so far.
    pub fn packets(&self) -> u64 {
        self.first().programs.cpus().iter().map(|cpu| cpu.packets).sum()
    }

    /// Returns the kernel's losses so far, without the ways that lost nothing.
    pub fn losses(&self) -> Vec<Loss> {
        let mut losses = loss::counted(&self.first().programs);
        losses.extend(sum(self.missed_by_kernel()));
        losses.extend(
            self.drops
                .iter()
                .filter_map(Drops::program)
                .chain(self.other_drops.iter().filter_map(Others::program))
                .chain(self.decisions.programs())
                .map(loss::missed_by_tracepoint),
        );
        losses = sum(losses);
        losses.retain(|loss| loss.count > 0);
        losses
    }

    /// Returns the kernel's losses of these functions so far, before any of ipft's programs ran.
    pub fn missed_by_kernel(&self) -> impl Iterator<Item = Loss> {
        self.layers().flat_map(loss::missed_by_kernel)
    }

    /// Detaches everything. Returns when the kernel has, but for the functions of [`Attachment::hot`]: a child process
    /// detaches these, as each takes the kernel some 0.1 s.
    pub fn detach(self, progress: &Progress) {
        drop(self.decisions);
        drop(self.drops);
        drop(self.other_drops);
        let mut programs = Vec::new();
        let mut all: Vec<Vec<OwnedFd>> = Vec::new();
        for layer in self.more.into_iter().chain([self.main]) {
            let (own, groups) = layer.into_descriptors();
            programs.push(own);
            all.extend(groups);
        }
        detach::close(all, progress);
        if let Some(hot) = self.hot {
            hot.layer.leave();
        }
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
    attach_in_order(request, std::iter::once(backend).chain(others), false)
}

/// Attaches what sees drops, and nothing else. Needs a [`Request::following`], of the packets whose drops are seen.
pub fn attach_to_drops(request: &Request<'_>) -> Result<Attachment, ProbeError> {
    drops::attach_alone(request).map(Attachment::of)
}

/// Attaches with this backend alone.
pub fn attach_with(backend: &dyn Backend, request: &Request<'_>) -> Result<Attachment, ProbeError> {
    attach(backend, request).map(|attached| Attachment::new(attached).with_drops(request))
}

/// Attaches with the first backend that works for the tracer, hot functions in a cheaper way, and what is left out with
/// the backends that follow. An error says why none of them works.
pub fn attach_with_any(request: &Request<'_>) -> Result<Attachment, Vec<(&'static str, ProbeError)>> {
    let suitable = BACKENDS.into_iter().filter(|backend| backend.suits(request.tracer));
    attach_in_order(request, suitable, true).map(|attachment| attachment.with_drops(request))
}

/// Returns the backend that attaches the other functions if hot ones have trampolines of their own, out of those that
/// work for entries.
pub fn mixed(working: &[&'static dyn Backend]) -> Option<&'static dyn Backend> {
    let first = working.iter().find(|backend| backend.suits(Tracer::Function))?;
    let has_trampolines = working.iter().any(|backend| backend.name() == Ftrace.name());
    (has_trampolines && first.gains_from_trampolines(Tracer::Function)).then_some(*first)
}

fn attach_in_order<'b>(
    request: &Request<'_>,
    backends: impl Iterator<Item = &'b dyn Backend>,
    mut may_mix: bool,
) -> Result<Attachment, Vec<(&'static str, ProbeError)>> {
    let mut failures = Vec::new();
    let mut hot = None;
    let mut rest = request.clone();
    for backend in backends {
        if may_mix && backend.gains_from_trampolines(request.tracer) {
            may_mix = false;
            hot = attach_hot(request, &mut rest);
        }
        match attach(backend, &rest) {
            Ok(attached) => {
                return Ok(Attachment {
                    hot,
                    ..complete(&rest, attached, &failures)
                });
            }
            // The others would meet the same.
            Err(error @ (ProbeError::Machine { .. } | ProbeError::Stopped)) => {
                failures = vec![(backend.name(), error)];
                break;
            }
            Err(error) => failures.push((backend.name(), error)),
        }
    }
    if let Some(hot) = hot {
        hot.layer.leave();
    }
    Err(failures)
}

/// Attaches the hot functions, and takes them from `rest`, which shares their maps from then on. Does nothing where
/// that has no use or does not work: another backend then takes all.
fn attach_hot<'a>(request: &Request<'a>, rest: &mut Request<'a>) -> Option<Hot> {
    let is_hot = |target: &Target<'_>| kernel::is_hot(target.function) && objection(target.function).is_none();
    let (targets, cold): (Vec<Target<'a>>, Vec<Target<'a>>) = request.targets.iter().partition(|target| is_hot(target));
    // An extension would be verified with each function.
    let useless = targets.is_empty() || cold.iter().all(Target::is_silent) || request.extension.is_some();
    if useless {
        return None;
    }
    let names = (targets.iter().filter(|target| !target.is_silent()))
        .map(|target| target.function.name.clone())
        .collect::<Vec<_>>();
    let request = Request {
        targets,
        ..request.clone()
    };
    let attached = attach(&Ftrace, &request).ok()?;
    let Ok(maps) = attached.layer.programs.shared_maps() else {
        attached.layer.leave();
        return None;
    };
    let is_refused = |name: &String| (attached.refused.iter()).any(|refused| refused.target.function.name == *name);
    rest.targets = cold;
    rest.targets
        .extend(attached.refused.iter().map(|refused| refused.target));
    rest.maps = maps;
    Some(Hot {
        names: names.into_iter().filter(|name| !is_refused(name)).collect(),
        layer: attached.layer,
    })
}

/// Lets other backends attach what the first could not. Those that failed before are not tried again.
fn complete<'a>(request: &Request<'a>, attached: Attached<'a>, failures: &[(&'static str, ProbeError)]) -> Attachment {
    let Attached {
        layer: main,
        mut refused,
        mut without_return,
    } = attached;
    let mut more = Vec::new();
    for backend in COMPLETING {
        let name = backend.name();
        let tried = name == main.backend || failures.iter().any(|(failed, _)| *failed == name);
        if refused.is_empty() || tried || !backend.suits(request.tracer) {
            continue;
        }
        let maps = match request.maps.is_empty() {
            true => main.programs.shared_maps(),
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
        more,
        ..Attachment::of(main)
    }
}
