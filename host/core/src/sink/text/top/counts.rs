//! What `ipft top` counts beside packets: flows, drops and functions, in tables of bounded size. Imports `event` and
//! `seeded`.

use hashbrown::HashMap;

use crate::event::Event;
use crate::seeded::Seeded;
use crate::sink::tuple::FlowKey;

/// Flows, at most.
pub(super) const MOST_FLOWS: usize = 1 << 12;
/// Flows that are forgotten at once, so that finding the oldest ones costs each little.
const FORGOTTEN_FLOWS: usize = MOST_FLOWS / 4;
/// Places and reasons of drops, at most.
const MOST_DROPS: usize = 1 << 12;

/// What was seen of a flow. Packets that were made of others are not counted beside these.
#[derive(Clone, Copy, Debug)]
pub struct FlowCount {
    /// Addresses and ports.
    pub key: FlowKey,
    /// Its packets.
    pub packets: u64,
    /// Bytes in them, where they were seen first.
    pub bytes: u64,
    /// Packets, or copies and parts of them, that were lost.
    pub drops: u64,
    /// When a packet began or was lost.
    pub(super) last: u64,
}

/// The flows.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows {
    table: HashMap<FlowKey, FlowCount, Seeded>,
    /// Flows that were forgotten.
    pub(super) forgotten: u64,
}

impl Flows {
    /// Returns what was seen of a flow, to be changed.
    pub(super) fn of(&mut self, key: FlowKey, now: u64) -> &mut FlowCount {
        if self.table.len() >= MOST_FLOWS && !self.table.contains_key(&key) {
            self.forget_oldest();
        }
        let flow = self.table.entry(key).or_insert(FlowCount {
            key,
            packets: 0,
            bytes: 0,
            drops: 0,
            last: now,
        });
        flow.last = flow.last.max(now);
        flow
    }

    fn forget_oldest(&mut self) {
        let mut times: Vec<u64> = self.table.values().map(|flow| flow.last).collect();
        let (_, oldest, _) = times.select_nth_unstable(FORGOTTEN_FLOWS - 1);
        let oldest = *oldest;
        let before = self.table.len();
        self.table.retain(|_, flow| flow.last > oldest);
        self.forgotten += (before - self.table.len()) as u64;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &FlowCount> {
        self.table.values()
    }
}

/// Drops in one function for one reason.
#[derive(Clone, Debug)]
pub struct DropCount {
    /// The kernel's number of the reason.
    pub(super) reason: u32,
    pub(super) function: u32,
    pub(super) count: u64,
    /// A payload of the last packet that has its addresses, if one has.
    pub(super) payload: Vec<u8>,
    /// Number of the last packet.
    pub(super) packet: u64,
}

impl DropCount {
    /// Returns the number of drops.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns a number that no other row of the table has.
    pub fn key(&self) -> u64 {
        drop_key(self.reason, self.function)
    }
}

/// Returns the number of a row.
pub(super) fn drop_key(reason: u32, function: u32) -> u64 {
    u64::from(reason) << 32 | u64::from(function)
}

/// The drops, by function and reason.
#[derive(Clone, Debug, Default)]
pub(super) struct DropCounts {
    table: HashMap<(u32, u32), DropCount, Seeded>,
    /// Drops that are in no row, because the table is full.
    pub(super) others: u64,
}

impl DropCounts {
    /// Counts a drop of a packet, which has this payload.
    pub(super) fn count(&mut self, function: u32, reason: u32, packet: u64, payload: &[u8]) {
        let key = (function, reason);
        if self.table.len() >= MOST_DROPS && !self.table.contains_key(&key) {
            self.others += 1;
            return;
        }
        let row = self.table.entry(key).or_insert(DropCount {
            reason,
            function,
            count: 0,
            payload: Vec::new(),
            packet,
        });
        row.count += 1;
        row.packet = packet;
        if !payload.is_empty() {
            row.payload.clear();
            row.payload.extend_from_slice(payload);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &DropCount> {
        self.table.values()
    }
}

/// What was seen of a function.
#[derive(Clone, Copy, Debug, Default)]
pub struct FunctionCount {
    /// The index in the trace's table.
    pub(super) function: u32,
    /// Packets that entered it, each time.
    pub count: u64,
    /// Nanoseconds from entries to returns, where returns are traced, with the functions that were called meanwhile.
    pub time: u64,
}

impl FunctionCount {
    /// Returns the index in the trace's table.
    pub fn function(&self) -> u32 {
        self.function
    }

    #[inline]
    pub(super) fn add(&mut self, event: &Event) {
        match event.duration() {
            Some(duration) => self.time = self.time.saturating_add(duration),
            None if event.kind == crate::event::EventKind::ENTRY => self.count += 1,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flows_seen_longest_ago_are_forgotten() {
        let mut flows = Flows::default();
        let key = |port| FlowKey::test(port);
        for port in 0..MOST_FLOWS as u16 {
            flows.of(key(port), u64::from(port)).packets += 1;
        }
        flows.of(key(0), 1_000_000);
        assert_eq!((flows.table.len(), flows.forgotten), (MOST_FLOWS, 0));
        flows.of(key(60_000), 1_000_001);
        assert_eq!(flows.forgotten, FORGOTTEN_FLOWS as u64);
        assert_eq!(flows.table.len(), MOST_FLOWS - FORGOTTEN_FLOWS + 1);
        assert!(flows.table.contains_key(&key(0)) && !flows.table.contains_key(&key(1)));
    }

    #[test]
    fn drops_beyond_the_table_are_counted() {
        let mut drops = DropCounts::default();
        for function in 0..MOST_DROPS as u32 + 5 {
            drops.count(function, 1, 1, &[]);
        }
        drops.count(0, 1, 9, &[3]);
        assert_eq!((drops.table.len(), drops.others), (MOST_DROPS, 5));
        assert_eq!((drops.table[&(0, 1)].count, drops.table[&(0, 1)].packet), (2, 9));
    }
}
