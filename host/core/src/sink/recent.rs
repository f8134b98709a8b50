//! What is known of packets that are not printed yet. Some never are, because no traced function sees them, so the oldest
//! half is forgotten once so many are known. Imports `seeded`.

use hashbrown::HashMap;

use crate::seeded::Seeded;

/// Something about each packet.
#[derive(Debug)]
pub(super) struct Recent<T> {
    newer: HashMap<u64, T, Seeded>,
    older: HashMap<u64, T, Seeded>,
}

/// Packets of each half, at most: 3 MB in a table that is just full.
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
    /// Remembers something about a packet.
    pub(super) fn add(&mut self, packet: u64, known: T) {
        if self.newer.len() >= MOST {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(packet, known);
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
            recent.add(packet, packet + 1);
        }
        assert_eq!(recent.take(0), None);
        assert_eq!(recent.take(all - MOST as u64 - 1), Some(all - MOST as u64));
        assert_eq!(recent.take(all - 1), Some(all));
        assert_eq!(recent.take(all - 1), None);
    }
}
