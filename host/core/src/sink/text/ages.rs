//! The order in which packets came, or were seen last, as a list through a table of them. Imports nothing of the crate.

/// No place in the table.
pub(super) const NONE: u32 = u32::MAX;

/// The neighbours of a packet in the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Neighbours {
    older: u32,
    newer: u32,
}

impl Default for Neighbours {
    fn default() -> Self {
        Neighbours {
            older: NONE,
            newer: NONE,
        }
    }
}

impl Neighbours {
    /// Returns the place of the packet that came next, [`NONE`] if there is none.
    pub(super) fn newer(self) -> u32 {
        self.newer
    }
}

/// A packet of the table.
pub(super) trait Aged {
    /// Returns its neighbours, which are the list's to change.
    fn neighbours(&mut self) -> &mut Neighbours;
}

/// The ends of the list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ages {
    oldest: u32,
    newest: u32,
}

impl Default for Ages {
    fn default() -> Self {
        Ages {
            oldest: NONE,
            newest: NONE,
        }
    }
}

impl Ages {
    /// Returns the place of the oldest packet, [`NONE`] if there is none.
    pub(super) fn oldest(&self) -> u32 {
        self.oldest
    }

    /// Returns whether there are fewer than two packets.
    pub(super) fn has_one_at_most(&self) -> bool {
        self.oldest == self.newest
    }

    /// Appends the packet at this place, as the newest.
    #[inline]
    pub(super) fn link<T: Aged>(&mut self, table: &mut [T], place: u32) {
        let older = std::mem::replace(&mut self.newest, place);
        if let Some(this) = table.get_mut(place as usize) {
            *this.neighbours() = Neighbours { older, newer: NONE };
        }
        match table.get_mut(older as usize) {
            Some(older) => older.neighbours().newer = place,
            None => self.oldest = place,
        }
    }

    /// Removes the packet at this place.
    #[inline]
    pub(super) fn unlink<T: Aged>(&mut self, table: &mut [T], place: u32) {
        let Some(this) = table.get_mut(place as usize) else {
            return;
        };
        let Neighbours { older, newer } = *this.neighbours();
        match table.get_mut(older as usize) {
            Some(older) => older.neighbours().newer = newer,
            None => self.oldest = newer,
        }
        match table.get_mut(newer as usize) {
            Some(newer) => newer.neighbours().older = older,
            None => self.newest = older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Aged for Neighbours {
        fn neighbours(&mut self) -> &mut Neighbours {
            self
        }
    }

    fn order(ages: Ages, table: &[Neighbours]) -> Vec<u32> {
        let next = |at: &u32| Some(table.get(*at as usize)?.newer()).filter(|at| *at != NONE);
        std::iter::successors(Some(ages.oldest()).filter(|at| *at != NONE), next).collect()
    }

    #[test]
    fn any_packet_can_be_removed() {
        for (removed, left) in [(0, [1, 2]), (1, [0, 2]), (2, [0, 1])] {
            let mut ages = Ages::default();
            let mut table = [Neighbours::default(); 3];
            for place in 0..3 {
                ages.link(&mut table, place);
            }
            ages.unlink(&mut table, removed);
            assert_eq!(order(ages, &table), left);
            ages.link(&mut table, removed);
            assert_eq!(order(ages, &table), [left[0], left[1], removed]);
            for place in 0..3 {
                assert!(!ages.has_one_at_most());
                ages.unlink(&mut table, place);
                // Of the last one, nothing is left.
                if ages.has_one_at_most() {
                    break;
                }
            }
            let rest = order(ages, &table);
            assert_eq!(rest.len(), 1);
            ages.unlink(&mut table, rest[0]);
            assert_eq!((ages.oldest(), ages.newest), (NONE, NONE));
        }
    }
}
