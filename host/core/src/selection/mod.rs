//! Selects the events of a recording. May import `event`, `recording::layout` and `seeded`.

mod held;
mod wanted;

use std::collections::HashSet;

use crate::event::{Batch, Capture, Event, Function, Trace};
use crate::recording::layout::BlockHeader;
use crate::seeded::Seeded;
use held::Held;
pub use wanted::{Filter, Moment, Wanted};

/// A selection, ready for the events of one trace.
#[derive(Debug)]
pub struct Selection {
    /// Nothing is left out.
    all: bool,
    packets: Vec<u64>,
    /// By the function's index; none if all are wanted.
    functions: Option<Vec<bool>>,
    filter: Filter,
    from: Option<Bound>,
    to: Option<Bound>,
    /// Remaining number of events.
    left: u64,
    /// The packets that were selected, if they have to be known or counted.
    seen: Option<Packets>,
    held: Held,
}

/// Limit of distinguished packets. Above it, all are dropped, and one that continues after that counts again.
#[derive(Debug)]
pub struct Packets {
    known: HashSet<u64, Seeded>,
    most: usize,
    forgotten: u64,
}

impl Packets {
    /// For as many as there is memory for.
    pub fn new(bytes: u64) -> Self {
        // 9 bytes a place in a table that is at least seven sixteenths full, and half as much again while it grows.
        let most = usize::try_from(bytes / 32).unwrap_or(usize::MAX);
        Packets {
            known: HashSet::default(),
            most: most.max(1),
            forgotten: 0,
        }
    }

    /// Returns whether the packet is new.
    pub fn insert(&mut self, packet: u64) -> bool {
        let new = self.known.insert(packet);
        if new && self.known.len() > self.most {
            self.forgotten += self.known.len() as u64 - 1;
            self.known.clear();
            self.known.insert(packet);
        }
        new
    }

    /// Returns whether it is present.
    pub fn contains(&self, packet: u64) -> bool {
        self.known.contains(&packet)
    }

    /// Returns the number of packets.
    pub fn count(&self) -> u64 {
        self.forgotten + self.known.len() as u64
    }

    /// Returns whether some may have been counted more than once.
    pub fn has_forgotten(&self) -> bool {
        self.forgotten > 0
    }
}

/// A moment in the trace's time, as far as it is known.
#[derive(Clone, Copy, Debug)]
enum Bound {
    At(u64),
    /// After the first event, which was not seen yet.
    Since(u64),
}

impl Selection {
    /// Selects from this trace. Packets are counted if no other part does. `memory` limits the bytes for that, and the
    /// same amount again for the first bytes of packets.
    pub fn new(wanted: &Wanted, trace: &Trace, count: bool, memory: u64) -> Self {
        let all_functions = wanted.filter.function.is_none() && wanted.filter.module.is_none();
        let mut packets = wanted.packets.clone();
        packets.sort_unstable();
        let moment = |moment: Moment| match moment {
            Moment::Timestamp(timestamp) => Bound::At(timestamp),
            Moment::Since(since) => Bound::Since(since),
            Moment::Wall(time) => {
                let at = i128::from(time) - i128::from(trace.clock_offset);
                Bound::At(at.clamp(0, u64::MAX.into()) as u64)
            }
        };
        let all = wanted.is_all();
        let mut selection = Selection {
            all,
            packets,
            functions: (!all_functions).then(Vec::new),
            filter: wanted.filter.clone(),
            from: wanted.from.map(moment),
            to: wanted.to.map(moment),
            left: wanted.limit.unwrap_or(u64::MAX),
            seen: (count || !all).then(|| Packets::new(memory)),
            held: Held::new(memory),
        };
        selection.append(&trace.functions);
        selection
    }

    /// Functions that are new.
    pub fn append(&mut self, functions: &[Function]) {
        if let Some(wanted) = &mut self.functions {
            let matches = |function: &Function| self.filter.matches(&function.name, &function.module);
            wanted.extend(functions.iter().map(matches));
        }
    }

    /// Returns whether a block may have events that are wanted, or first bytes of their packets. The blocks have to
    /// come in their order: the first one begins the trace.
    pub fn wants(&mut self, block: &BlockHeader) -> bool {
        for moment in [&mut self.from, &mut self.to].into_iter().flatten() {
            if let Bound::Since(since) = *moment {
                *moment = Bound::At(block.first.saturating_add(since));
            }
        }
        self.left > 0
            && !matches!(self.from, Some(Bound::At(from)) if block.last < from && block.captures == 0)
            && !matches!(self.to, Some(Bound::At(to)) if block.first > to)
    }

    /// Returns whether no further event can be selected.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Returns the number of selected packets, if they were counted.
    pub fn packets(&self) -> Option<u64> {
        self.seen.as_ref().map(Packets::count)
    }

    /// Returns whether there were more packets than memory to distinguish them.
    pub fn has_forgotten(&self) -> bool {
        self.seen.as_ref().is_some_and(Packets::has_forgotten)
    }

    /// Takes out of the batch what is not wanted.
    pub fn apply(&mut self, batch: &mut Batch) {
        if !self.all {
            let mut events = std::mem::take(&mut batch.events);
            events.retain(|event| self.left > 0 && self.is_wanted(event) && self.take());
            batch.events = events;
        }
        let Some(seen) = &mut self.seen else { return };
        let captures = match self.all {
            true => Vec::new(),
            false => std::mem::take(&mut batch.captures),
        };
        let mut last = None;
        for event in &batch.events {
            if last.replace(event.packet) == Some(event.packet) || !seen.insert(event.packet) {
                continue;
            }
            if let Some((capture, bytes)) = self.held.take(event.packet) {
                batch.captures.push(Capture {
                    offset: batch.captured.len() as u32,
                    ..capture
                });
                batch.captured.extend_from_slice(&bytes);
            }
        }
        for capture in captures {
            if seen.contains(capture.packet) {
                batch.captures.push(capture);
            } else if self.packets.is_empty() || self.packets.binary_search(&capture.packet).is_ok() {
                self.held.put(capture, batch.bytes_of(&capture));
            }
        }
    }

    fn take(&mut self) -> bool {
        self.left -= 1;
        true
    }

    fn is_wanted(&self, event: &Event) -> bool {
        (self.packets.is_empty() || self.packets.binary_search(&event.packet).is_ok())
            && (self.functions.as_ref()).is_none_or(|wanted| wanted.get(event.function as usize) == Some(&true))
            && !matches!(self.from, Some(Bound::At(from)) if event.timestamp < from)
            && !matches!(self.to, Some(Bound::At(to)) if event.timestamp > to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_beyond_the_memory_limit_are_counted() {
        let mut packets = Packets::new(32 * 100);
        assert!((1..=100).all(|packet| packets.insert(packet)));
        assert!(!packets.insert(1) && !packets.has_forgotten());
        assert!(packets.insert(101) && packets.has_forgotten());
        assert_eq!(packets.count(), 101);
        assert!(packets.contains(101) && !packets.contains(1));
        assert!(packets.insert(1));
        assert_eq!(packets.count(), 102);
    }
}
