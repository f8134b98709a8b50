//! Storage of a trace: its packets and their calls, with entries and returns paired.
//!
//! The number of events is bounded: those of the first packets are kept, the others counted. Where packets are
//! followed, a packet also has what it was made of, and its end.

use ipft_plugin::{End as PacketEnd, Event};
use rustc_hash::{FxHashMap, FxHashSet};

/// Maximum of open calls searched for a return's entry.
const DEEPEST: usize = 512;

/// Packets without an event between one and the one that it was made of, at most.
const FARTHEST: usize = 64;

/// A call of a function, or one half of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Nanoseconds; the time of the return if the entry was not seen.
    pub(crate) start: u64,
    pub(crate) end: End,
    pub(crate) function: u32,
    pub(crate) cpu: u32,
    pub(crate) thread: u32,
    /// Row of the entry's fields, counted from 1; 0 for none.
    pub(crate) fields: u32,
    /// Row of the return's fields, as `fields`.
    pub(crate) return_fields: u32,
    /// Index of the packet's event that began the call.
    at: u32,
    context: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// No return was seen.
    Missing,
    /// The return was seen, the entry was not.
    Orphan,
    /// The return was seen.
    Returned {
        /// Duration in nanoseconds.
        duration: u64,
        /// Index of the packet's event that ended the call.
        at: u32,
    },
}

/// An event as the journal takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) skb: u64,
    pub(crate) timestamp: u64,
    /// Of a return: timestamp of its entry, 0 if unknown. `None` for an entry.
    pub(crate) returned: Option<u64>,
    /// Distinguishes calls that may be open at once: calls of one context nest.
    pub(crate) context: u64,
    pub(crate) function: u32,
    pub(crate) cpu: u32,
    pub(crate) thread: u32,
    pub(crate) fields: u32,
}

/// A packet.
#[derive(Debug, Default)]
pub(crate) struct Packet {
    pub(crate) identity: u64,
    /// Address of the sk_buff at its first event with one, else 0.
    pub(crate) skb: u64,
    /// In the order of their events.
    pub(crate) calls: Vec<Call>,
    /// Whether there were more events.
    pub(crate) cut: bool,
    /// What it is, in words; empty if no function saw its addresses.
    pub(crate) heading: String,
    pub(crate) lineage: Lineage,
    events: u32,
    /// Per context, the indices in `calls` of open calls.
    open: FxHashMap<u64, Vec<u32>>,
}

/// What a packet was made of, and how it ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lineage {
    /// The other packet, and the function that made this one.
    pub(crate) parent: Option<(u64, u32)>,
    /// The packet that it became part of.
    pub(crate) whole: Option<u64>,
    pub(crate) end: Option<PacketEnd>,
}

/// Where an event is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// In this packet.
    In(usize),
    /// Nowhere: the journal is full.
    Full,
}

/// The packets of a trace, in the order of their first events.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) packets: Vec<Packet>,
    numbers: FxHashMap<u64, usize>,
    /// Of packets that have no event yet. All are dropped when there are too many.
    unseen: FxHashMap<u64, Lineage>,
    limit: u64,
    kept: u64,
    /// Events that were not kept.
    pub(crate) events_left_out: u64,
    left_out: FxHashSet<u64>,
}

impl Journal {
    /// Keeps `limit` events, and up to as many again for packets that have begun.
    pub(crate) fn new(limit: u64) -> Self {
        Journal {
            limit,
            ..Journal::default()
        }
    }

    /// Returns whether an event of this packet can be stored. Otherwise counts it as left out.
    pub(crate) fn room(&mut self, identity: u64) -> Room {
        if let Some(&number) = self.numbers.get(&identity) {
            if self.kept < self.limit.saturating_mul(2) {
                self.kept += 1;
                return Room::In(number);
            }
            self.packets[number].cut = true;
        } else if self.kept < self.limit {
            self.kept += 1;
            let number = self.packets.len();
            self.numbers.insert(identity, number);
            self.packets.push(Packet {
                identity,
                lineage: self.unseen.remove(&identity).unwrap_or_default(),
                ..Packet::default()
            });
            return Room::In(number);
        } else if (self.left_out.len() as u64) < self.limit {
            // Bounded as well; above the limit the number of packets is a lower bound.
            self.left_out.insert(identity);
        }
        self.events_left_out += 1;
        Room::Full
    }

    /// Takes what an event says of a packet besides its calls.
    pub(crate) fn note(&mut self, event: &Event) {
        if self.kept >= self.limit && !self.numbers.contains_key(&event.packet) {
            return;
        }
        if self.unseen.len() as u64 >= self.limit {
            self.unseen.clear();
        }
        let lineage = match self.numbers.get(&event.packet) {
            Some(&number) => &mut self.packets[number].lineage,
            None => self.unseen.entry(event.packet).or_default(),
        };
        match event.kind {
            Event::BORN => lineage.parent = Some((event.spare, event.function)),
            Event::JOINED => lineage.whole = Some(event.spare),
            _ => lineage.end = PacketEnd::of(event),
        }
    }

    /// Returns the number of a packet, or of the one that it was made of, and so on, if no function saw it.
    pub(crate) fn nearest(&self, identity: u64) -> Option<usize> {
        let parent = |identity: &u64| Some(self.unseen.get(identity)?.parent?.0);
        // In a broken recording, packets may be made of each other.
        let above = std::iter::successors(Some(identity), parent).take(FARTHEST);
        above.into_iter().find_map(|identity| self.number(identity))
    }

    /// Returns the number of a packet that has an event.
    pub(crate) fn number(&self, identity: u64) -> Option<usize> {
        self.numbers.get(&identity).copied()
    }

    /// Number of packets without a stored event.
    pub(crate) fn packets_left_out(&self) -> u64 {
        self.left_out.len() as u64
    }
}

impl Packet {
    /// Adds an event.
    pub(crate) fn add(&mut self, seen: &Seen) {
        if self.skb == 0 {
            self.skb = seen.skb;
        }
        let at = self.events;
        self.events += 1;
        let open = self.open.entry(seen.context).or_default();
        let mut end = End::Missing;
        if let Some(entry) = seen.returned {
            let is_entry = |position: &&u32| {
                let call = &self.calls[**position as usize];
                call.function == seen.function && call.start == entry
            };
            // The last one, unless events were lost.
            if let Some(back) = open.iter().rev().take(DEEPEST).position(|position| is_entry(&position)) {
                let depth = open.len() - 1 - back;
                let call = &mut self.calls[open[depth] as usize];
                call.end = End::Returned {
                    duration: seen.timestamp.saturating_sub(entry),
                    at,
                };
                call.return_fields = seen.fields;
                open.truncate(depth);
                return;
            }
            end = End::Orphan;
        } else {
            open.push(self.calls.len() as u32);
        }
        self.calls.push(Call {
            start: seen.timestamp,
            end,
            function: seen.function,
            cpu: seen.cpu,
            thread: seen.thread,
            fields: seen.fields,
            return_fields: 0,
            at,
            context: seen.context,
        });
    }

    /// Returns the enclosing call of each call, as an index.
    ///
    /// Only calls whose return was seen can enclose others: the end of the others is unknown.
    pub(crate) fn parents(&self) -> Vec<Option<usize>> {
        let mut open: FxHashMap<u64, Vec<(usize, u32)>> = FxHashMap::default();
        let mut parents = Vec::with_capacity(self.calls.len());
        for (position, call) in self.calls.iter().enumerate() {
            let stack = open.entry(call.context).or_default();
            while stack.last().is_some_and(|(_, end)| *end < call.at) {
                stack.pop();
            }
            parents.push(stack.last().map(|(around, _)| *around));
            if let End::Returned { at, .. } = call.end {
                stack.push((position, at));
            }
        }
        parents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds a packet from a sketch: `+a` enters, `-a5` returns from the call entered at position 5, `-a` from an
    /// unknown one. A leading number is the context.
    fn packet(sketch: &[&str]) -> Packet {
        let mut packet = Packet::default();
        for (time, word) in (1..).zip(sketch) {
            let bytes = word.as_bytes();
            packet.add(&Seen {
                skb: 0,
                timestamp: time,
                returned: (bytes[1] == b'-').then(|| word[3..].parse().unwrap_or(0)),
                context: u64::from(bytes[0]),
                function: u32::from(bytes[2]),
                cpu: 0,
                thread: 0,
                fields: 0,
            });
        }
        packet
    }

    fn ends(packet: &Packet) -> Vec<Option<u64>> {
        let duration = |call: &Call| match call.end {
            End::Returned { duration, .. } => Some(duration),
            End::Missing | End::Orphan => None,
        };
        packet.calls.iter().map(duration).collect()
    }

    #[test]
    fn calls_nest_within_their_context() {
        let packet = packet(&["0+a", "1+b", "0+c", "1-b2", "0-c3", "0+d", "0-d6", "0-a1"]);
        assert_eq!(ends(&packet), [Some(7), Some(2), Some(2), Some(1)]);
        assert_eq!(packet.parents(), [None, None, Some(0), Some(0)]);
    }

    #[test]
    fn a_call_without_a_return_encloses_no_call() {
        let packet = packet(&["0+a", "0+b", "0+c", "0-c3", "0-a1", "0+d"]);
        assert_eq!(ends(&packet), [Some(4), None, Some(1), None]);
        assert_eq!(packet.parents(), [None, Some(0), Some(0), None]);
    }

    #[test]
    fn a_return_without_an_entry_stands_at_its_return() {
        let packet = packet(&["0-a", "0+b", "0-c", "0-a1", "0-b2"]);
        let orphans: Vec<bool> = packet.calls.iter().map(|call| call.end == End::Orphan).collect();
        assert_eq!(orphans, [true, false, true, true]);
        assert_eq!(packet.parents(), [None, None, Some(1), Some(1)]);
    }

    #[test]
    fn parents_are_found_across_packets_without_events() {
        let born = |packet, parent| Event {
            packet,
            kind: Event::BORN,
            spare: parent,
            ..Event::default()
        };
        let mut journal = Journal::new(100);
        journal.room(1);
        // A chain that begins with a packet that has an event, one that ends nowhere, and a circle.
        for (packet, parent) in [(2, 1), (3, 2), (5, 4), (6, 7), (7, 6)] {
            journal.note(&born(packet, parent));
        }
        let nearest = [1, 2, 3, 4, 5, 6].map(|packet| journal.nearest(packet));
        assert_eq!(nearest, [Some(0), Some(0), Some(0), None, None, None]);
        journal.room(3);
        assert_eq!(
            (journal.number(3), journal.packets[1].lineage.parent),
            (Some(1), Some((2, 0)))
        );
    }

    #[test]
    fn a_full_journal_finishes_packets_and_counts_others() {
        let mut journal = Journal::new(2);
        assert_eq!(journal.room(7), Room::In(0));
        assert_eq!(journal.room(8), Room::In(1));
        assert_eq!(journal.room(9), Room::Full);
        assert_eq!(journal.room(7), Room::In(0));
        assert_eq!(journal.room(7), Room::In(0));
        assert!(!journal.packets[0].cut);
        assert_eq!(journal.room(7), Room::Full);
        assert!(journal.packets[0].cut && !journal.packets[1].cut);
        assert_eq!(journal.room(9), Room::Full);
        assert_eq!((journal.events_left_out, journal.packets_left_out()), (3, 1));
    }
}
