//! What is known of packets that had no event yet. Some never have one, because no traced function sees them, so the
//! oldest half is forgotten when there are too many. Imports `seeded`.

use hashbrown::HashMap;

use crate::seeded::Seeded;

/// Something about each packet.
#[derive(Debug)]
pub(super) struct Recent<T> {
    newer: HashMap<u64, T, Seeded>,
    older: HashMap<u64, T, Seeded>,
    /// Packets of each half, at most.
    most: usize,
}

/// As in [`Recent`], where memory allows it.
pub(super) const MOST: usize = 1 << 16;
/// Packets of each half that are remembered in any case.
const LEAST: usize = 64;

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Recent {
            newer: HashMap::default(),
            older: HashMap::default(),
            most: MOST,
        }
    }
}

impl<T: Default> Recent<T> {
    /// Remembers as many packets as so many bytes hold, but at most [`MOST`] in each half.
    pub(super) fn within(bytes: usize) -> Self {
        // A full table has a power of two of places, and while it grows the one before it is there, too.
        let place = size_of::<(u64, T)>() + 1;
        let places = bytes / (5 * place / 2);
        let power = places.checked_ilog2().map_or(0, |log| 1 << log);
        Recent {
            most: (power / 8 * 7).clamp(LEAST, MOST),
            ..Recent::default()
        }
    }

    /// The bytes that it can come to take.
    pub(super) fn bytes(&self) -> usize {
        let place = size_of::<(u64, T)>() + 1;
        (self.most * 8 / 7).next_power_of_two() * place / 2 * 5
    }

    /// Returns what is known of a packet, to be changed.
    pub(super) fn of(&mut self, packet: u64) -> &mut T {
        let known = self.older.remove(&packet);
        if self.newer.len() >= self.most && !self.newer.contains_key(&packet) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.entry(packet).or_insert_with(|| known.unwrap_or_default())
    }

    /// Returns whether nothing is known.
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
            *recent.of(packet) += packet + 1;
        }
        assert_eq!(recent.take(0), None);
        assert_eq!(recent.take(all - MOST as u64 - 1), Some(all - MOST as u64));
        assert_eq!(recent.take(all - 1), Some(all));
        assert_eq!(recent.take(all - 1), None);
        // What is known of a packet in the older half is not lost by a change.
        let older = all - 2;
        *recent.of(older) += 5;
        assert_eq!(recent.take(older), Some(older + 6));
    }

    #[test]
    fn the_limit_of_memory_is_kept() {
        for bytes in [20_000, 100_000, 1_000_000, usize::MAX] {
            let mut recent = Recent::<[u64; 4]>::within(bytes);
            assert!(recent.bytes() <= bytes && recent.most <= MOST);
            assert!(bytes == usize::MAX || recent.bytes() > bytes / 4, "{bytes}");
            for packet in 0..3 * MOST as u64 {
                recent.of(packet);
            }
            let taken = recent.newer.allocation_size() + recent.older.allocation_size();
            assert!(taken <= recent.bytes(), "{taken} of {bytes}");
        }
    }
}
