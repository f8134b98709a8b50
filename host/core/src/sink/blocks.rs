//! Storage in blocks that never move, handed out and taken back in the order of their age.
//!
//! A block keeps its place for as long as it is there, so that an index into it stays good while older blocks go. The
//! place of one that has gone is given to a later one: places never run out in a trace without end.

use std::collections::VecDeque;

/// Blocks, each at a place of its own.
#[derive(Debug)]
pub(super) struct Blocks<T> {
    /// By place; what a place that is not in use holds is empty.
    places: Vec<T>,
    /// The places in use, the oldest first.
    used: VecDeque<u32>,
    unused: Vec<u32>,
}

impl<T> Default for Blocks<T> {
    fn default() -> Self {
        Blocks {
            places: Vec::new(),
            used: VecDeque::new(),
            unused: Vec::new(),
        }
    }
}

impl<T: Default> Blocks<T> {
    /// Adds a block and returns its place.
    pub(super) fn add(&mut self, block: T) -> u32 {
        let place = match self.unused.pop() {
            Some(place) => {
                self.places[place as usize] = block;
                place
            }
            None => {
                self.places.push(block);
                (self.places.len() - 1) as u32
            }
        };
        self.used.push_back(place);
        place
    }

    /// Takes the oldest block out.
    pub(super) fn take_oldest(&mut self) -> Option<T> {
        let place = self.used.pop_front()?;
        self.unused.push(place);
        Some(std::mem::take(&mut self.places[place as usize]))
    }

    /// Index of the oldest block.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.used.front().copied()
    }

    /// Index of the newest block.
    pub(super) fn newest(&self) -> Option<u32> {
        self.used.back().copied()
    }

    /// The newest block.
    pub(super) fn newest_mut(&mut self) -> Option<&mut T> {
        let place = *self.used.back()?;
        self.places.get_mut(place as usize)
    }

    /// Returns all blocks, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.used.iter().map(|place| (*place, &self.places[*place as usize]))
    }

    /// Returns the number of blocks.
    pub(super) fn len(&self) -> usize {
        self.used.len()
    }

    /// The block at a place, if there ever was one.
    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)
    }

    /// The bytes that it can come to take to know one block more; what the blocks hold is not part of it.
    pub(super) fn bytes(&self) -> usize {
        let items = |len: usize, capacity: usize| if len < capacity { capacity } else { 2 * capacity.max(4) };
        items(self.places.len(), self.places.capacity()) * size_of::<T>()
            + items(self.used.len(), self.used.capacity()) * size_of::<u32>()
            + items(self.unused.len(), self.unused.capacity()) * size_of::<u32>()
    }
}

impl<T> std::ops::Index<usize> for Blocks<T> {
    type Output = T;

    #[inline]
    fn index(&self, place: usize) -> &T {
        &self.places[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_leave_in_order_and_their_slots_are_reused() {
        let mut blocks = Blocks::default();
        for block in 1..=3 {
            blocks.add(block);
        }
        assert_eq!((blocks.take_oldest(), blocks.take_oldest()), (Some(1), Some(2)));
        let places = [blocks.add(4), blocks.add(5)];
        assert!(places.iter().all(|place| *place < 2), "{places:?}");
        assert_eq!(blocks.iter().map(|(_, block)| *block).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!((blocks.oldest(), blocks.newest()), (Some(2), Some(places[1])));
        for block in 3..=5 {
            assert_eq!(blocks.take_oldest(), Some(block));
        }
        assert_eq!((blocks.take_oldest(), blocks.len()), (None, 0));
        assert_eq!(blocks.newest_mut(), None);
    }
}
