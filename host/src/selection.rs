//! Which events of a recording are drawn.

use std::collections::HashSet;

use rustc_hash::FxBuildHasher;

use crate::cli;
use crate::event::{Batch, Event, Trace};
use crate::recording::layout::BlockHeader;

/// A selection, ready for the events of one trace.
#[derive(Debug)]
pub struct Selection {
    packets: Vec<u64>,
    /// By the function's index; empty if all are wanted.
    functions: Vec<bool>,
    from: Option<Moment>,
    to: Option<Moment>,
    /// How many events are still wanted.
    left: u64,
    /// The packets that were selected, if they have to be counted.
    seen: Option<HashSet<u64, FxBuildHasher>>,
}

/// A moment in the trace's time, as far as it is known.
#[derive(Clone, Copy, Debug)]
enum Moment {
    At(u64),
    /// After the first event, which was not seen yet.
    Since(u64),
}

impl Selection {
    /// What is wanted of this trace. Packets are counted if nobody else has.
    pub fn new(wanted: &cli::Selection, trace: &Trace, count: bool) -> Self {
        let all = wanted.filter.function.is_none() && wanted.filter.module.is_none();
        let functions = trace.functions.iter();
        let mut packets = wanted.packets.clone();
        packets.sort_unstable();
        let moment = |moment: cli::Moment| match moment {
            cli::Moment::Timestamp(timestamp) => Moment::At(timestamp),
            cli::Moment::Since(since) => Moment::Since(since),
            cli::Moment::Wall(time) => {
                let at = i128::from(time) - i128::from(trace.clock_offset);
                Moment::At(at.clamp(0, u64::MAX.into()) as u64)
            }
        };
        Selection {
            packets,
            functions: match all {
                true => Vec::new(),
                false => functions
                    .map(|function| wanted.filter.matches(&function.name, &function.module))
                    .collect(),
            },
            from: wanted.from.map(moment),
            to: wanted.to.map(moment),
            left: wanted.limit.unwrap_or(u64::MAX),
            seen: count.then(HashSet::default),
        }
    }

    /// Whether a block may have events that are wanted. The blocks have to come in their order: the first one begins the
    /// trace.
    pub fn wants(&mut self, block: &BlockHeader) -> bool {
        for moment in [&mut self.from, &mut self.to].into_iter().flatten() {
            if let Moment::Since(since) = *moment {
                *moment = Moment::At(block.first.saturating_add(since));
            }
        }
        self.left > 0
            && !matches!(self.from, Some(Moment::At(from)) if block.last < from)
            && !matches!(self.to, Some(Moment::At(to)) if block.first > to)
    }

    /// Whether nothing that comes can be wanted.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// How many packets were selected, if they were counted.
    pub fn packets(&self) -> Option<u64> {
        self.seen.as_ref().map(|seen| seen.len() as u64)
    }

    /// Takes out of the batch what is not wanted.
    pub fn apply(&mut self, batch: &mut Batch) {
        let mut events = std::mem::take(&mut batch.events);
        events.retain(|event| self.left > 0 && self.is_wanted(event) && self.take());
        batch.events = events;
        if !self.packets.is_empty() {
            let packets = &self.packets;
            (batch.captures).retain(|capture| packets.binary_search(&capture.packet).is_ok());
        }
        if let Some(seen) = &mut self.seen {
            let mut last = 0;
            for event in &batch.events {
                if event.packet != last {
                    last = event.packet;
                    seen.insert(last);
                }
            }
        }
    }

    fn take(&mut self) -> bool {
        self.left -= 1;
        true
    }

    fn is_wanted(&self, event: &Event) -> bool {
        (self.packets.is_empty() || self.packets.binary_search(&event.packet).is_ok())
            && (self.functions.is_empty() || self.functions.get(event.function as usize) == Some(&true))
            && !matches!(self.from, Some(Moment::At(from)) if event.timestamp < from)
            && !matches!(self.to, Some(Moment::At(to)) if event.timestamp > to)
    }
}
