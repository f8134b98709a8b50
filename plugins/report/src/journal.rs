//! What a report keeps of a trace: its packets and their calls, with entries and returns paired.
//!
//! It keeps a bounded number of events. Those of packets that came first are kept; what is left out is counted.

use rustc_hash::{FxHashMap, FxHashSet};

/// The most open calls that are looked through for a return's entry.
const DEEPEST: usize = 512;

/// One call of a function, or one end of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Nanoseconds. Of a return whose entry was not seen: when it returned.
    pub(crate) start: u64,
    pub(crate) end: End,
    pub(crate) function: u32,
    pub(crate) cpu: u32,
    pub(crate) thread: u32,
    /// The number of the entry's row of fields, from 1; 0 if it has none.
    pub(crate) fields: u32,
    /// As `fields`, of the return.
    pub(crate) return_fields: u32,
    /// Position of the packet's event that began it.
    at: u32,
    context: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nobody saw it return.
    Missing,
    /// It returned, and nobody saw its entry.
    Orphan,
    /// It returned.
    Returned {
        /// Nanoseconds that it took.
        duration: u64,
        /// Position of the packet's event that ended it.
        at: u32,
    },
}

/// One event, as the journal takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) skb: u64,
    pub(crate) timestamp: u64,
    /// Of a return: the timestamp of its entry, 0 if that is not known. `None` of an entry.
    pub(crate) returned: Option<u64>,
    /// A number that tells apart what can be open at once: calls of one context nest.
    pub(crate) context: u64,
    pub(crate) function: u32,
    pub(crate) cpu: u32,
    pub(crate) thread: u32,
    pub(crate) fields: u32,
}

/// One packet.
#[derive(Debug, Default)]
pub(crate) struct Packet {
    pub(crate) identity: u64,
    /// Address of the sk_buff at its first event that tells one, else 0.
    pub(crate) skb: u64,
    /// In the order of their events.
    pub(crate) calls: Vec<Call>,
    /// There were more events.
    pub(crate) cut: bool,
    events: u32,
    /// Positions in `calls` of those that have not returned, by context.
    open: FxHashMap<u64, Vec<u32>>,
}

/// Where an event belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// With this packet.
    In(usize),
    /// Nowhere: the journal is full.
    Full,
}

/// The packets of a trace, in the order of their first events.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) packets: Vec<Packet>,
    numbers: FxHashMap<u64, usize>,
    limit: u64,
    kept: u64,
    /// Events that were not kept.
    pub(crate) events_left_out: u64,
    left_out: FxHashSet<u64>,
}

impl Journal {
    /// Keeps `limit` events, and lets packets that it has begun end: up to as many again.
    pub(crate) fn new(limit: u64) -> Self {
        Journal {
            limit,
            ..Journal::default()
        }
    }

    /// Whether there is room for an event of this packet. If there is none, the event is counted as left out.
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
                ..Packet::default()
            });
            return Room::In(number);
        } else if (self.left_out.len() as u64) < self.limit {
            // Bounded as all else is; past that the number of packets is a lower bound.
            self.left_out.insert(identity);
        }
        self.events_left_out += 1;
        Room::Full
    }

    /// Packets none of whose events were kept.
    pub(crate) fn packets_left_out(&self) -> u64 {
        self.left_out.len() as u64
    }
}

impl Packet {
    /// Takes an event.
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
            // Unless something was lost it is the last.
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

    /// For each call, the position of the call that it happened in.
    ///
    /// Only a call whose return was seen can have others in it: nobody knows where another one would have ended.
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

    /// A packet from a sketch: `+a` enters, `-a5` returns from the call that was entered at position 5, `-a` from one
    /// that is not known. A number in front is the context.
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
    fn calls_are_inside_the_calls_around_them_by_context() {
        let packet = packet(&["0+a", "1+b", "0+c", "1-b2", "0-c3", "0+d", "0-d6", "0-a1"]);
        assert_eq!(ends(&packet), [Some(7), Some(2), Some(2), Some(1)]);
        assert_eq!(packet.parents(), [None, None, Some(0), Some(0)]);
    }

    #[test]
    fn a_call_without_a_return_has_nothing_inside() {
        let packet = packet(&["0+a", "0+b", "0+c", "0-c3", "0-a1", "0+d"]);
        assert_eq!(ends(&packet), [Some(4), None, Some(1), None]);
        assert_eq!(packet.parents(), [None, Some(0), Some(0), None]);
    }

    #[test]
    fn a_return_without_an_entry_is_kept_where_it_happened() {
        let packet = packet(&["0-a", "0+b", "0-c", "0-a1", "0-b2"]);
        let orphans: Vec<bool> = packet.calls.iter().map(|call| call.end == End::Orphan).collect();
        assert_eq!(orphans, [true, false, true, true]);
        assert_eq!(packet.parents(), [None, None, Some(1), Some(1)]);
    }

    #[test]
    fn a_full_journal_lets_known_packets_end_and_counts_the_rest() {
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
