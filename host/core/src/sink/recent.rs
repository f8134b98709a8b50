//! What is known of packets that are not printed yet. Some never are, because no traced function sees them, so the oldest
//! half is forgotten once more are known than wait to be printed. Imports `seeded`.

use hashbrown::HashMap;

use crate::seeded::Seeded;

/// Something about each packet.
#[derive(Debug)]
pub(super) struct Recent<T> {
    newer: HashMap<u64, T, Seeded>,
    older: HashMap<u64, T, Seeded>,
}

/// Packets of each half at most, where no more wait to be printed: 3 MB in a table that is just full.
pub(super) const MOST: usize = 1 << 16;

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent {
            newer: HashMap::default(),
            older: HashMap::default(),
        }
    }
}

impl<T> Recent<T> {
    /// Remembers something about a packet. `waiting` is the number of packets that are still to be printed.
    pub(super) fn add(&mut self, packet: u64, known: T, waiting: usize) {
        if self.newer.len() >= waiting.max(MOST) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(packet, known);
    }

    /// Returns whether nothing is remembered.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.newer.is_empty() && self.older.is_empty()
    }

    /// Returns what is known of a packet, and forgets it.
    pub(super) fn take(&mut self, packet: u64) -> Option<T> {
        self.newer.remove(&packet).or_else(|| self.older.remove(&packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oldest_packets_are_forgotten() {
        let mut recent = Recent::default();
        let all = 2 * MOST as u64 + 1;
        for packet in 0..all {
            recent.add(packet, packet + 1, 7);
        }
        assert_eq!(recent.take(0), None);
        assert_eq!(recent.take(all - MOST as u64 - 1), Some(all - MOST as u64));
        assert_eq!(recent.take(all - 1), Some(all));
        assert_eq!(recent.take(all - 1), None);
    }

    #[test]
    fn packets_that_wait_are_not_forgotten() {
        let mut recent = Recent::default();
        let all = 3 * MOST as u64;
        for packet in 0..all {
            recent.add(packet, packet, packet as usize + 1);
        }
        assert!((0..all).all(|packet| recent.take(packet) == Some(packet)));
    }
}
