//! Of which packets others were made, until their journeys are printed. Imports `event` and `seeded`.

use hashbrown::HashMap;

use crate::event::Event;
use crate::seeded::Seeded;

/// The birth of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Birth {
    /// The packet that it was made of.
    pub(super) parent: u64,
    /// The function that made it, or [`crate::event::NO_FUNCTION`].
    pub(super) function: u32,
}

/// Births of packets that are not printed yet. Some never are, because no traced function sees them, so the oldest half is
/// forgotten when there are too many.
#[derive(Debug, Default)]
pub(super) struct Births {
    newer: HashMap<u64, Birth, Seeded>,
    older: HashMap<u64, Birth, Seeded>,
}

/// Births of each half, at most: 3 MB in a table that is just full.
const MOST: usize = 1 << 16;

impl Births {
    /// Remembers a birth.
    pub(super) fn add(&mut self, event: &Event) {
        if self.newer.len() >= MOST {
            self.older = std::mem::take(&mut self.newer);
        }
        let birth = Birth {
            parent: event.spare,
            function: event.function,
        };
        self.newer.insert(event.packet, birth);
    }

    /// Returns the birth of a packet, and forgets it.
    pub(super) fn take(&mut self, packet: u64) -> Option<Birth> {
        self.newer.remove(&packet).or_else(|| self.older.remove(&packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;

    fn born(packet: u64) -> Event {
        Event {
            packet,
            skb: 8,
            timestamp: 1,
            entry_timestamp: 0,
            function: 3,
            cpu: 0,
            kind: EventKind::BORN,
            thread: 0,
            payload_offset: 0,
            payload_len: 0,
            spare: packet + 1,
        }
    }

    #[test]
    fn only_the_oldest_births_are_forgotten() {
        let mut births = Births::default();
        let all = 3 * MOST as u64;
        for packet in 0..all {
            births.add(&born(packet));
        }
        let expected = |packet| Birth {
            parent: packet + 1,
            function: 3,
        };
        assert_eq!(births.take(0), None);
        assert_eq!(
            births.take(all - MOST as u64 - 1),
            Some(expected(all - MOST as u64 - 1))
        );
        assert_eq!(births.take(all - 1), Some(expected(all - 1)));
        assert_eq!(births.take(all - 1), None);
    }
}
