//! Counts the drops of a trace of drops by the function that dropped the packets. May import `probe`, and the events.
//!
//! The kernel's side counts by the place that the kernel names, which may be a helper's caller; which function it was
//! is known of the packets that were sent. Where packets of one such place were dropped by several functions, all
//! counts are those of the last one.

use std::collections::HashMap;

use crate::event::{DropTotal, DropTotals, NO_FUNCTION};
use crate::probe::DropCount;

/// Places that are remembered.
const MOST: usize = 4096;

/// The counts of a trace.
pub(super) struct Counting<'a> {
    counts: Box<dyn Fn() -> Vec<DropCount> + 'a>,
    totals: DropTotals,
    functions: HashMap<(u64, u32), u32>,
}

impl<'a> Counting<'a> {
    /// Reads `counts` of the kernel's side, and writes `totals`.
    pub(super) fn new(counts: Box<dyn Fn() -> Vec<DropCount> + 'a>, totals: DropTotals) -> Self {
        Counting {
            counts,
            totals,
            functions: HashMap::new(),
        }
    }

    /// A packet was dropped at a place, by this function; [`NO_FUNCTION`] if it was a part of another one.
    pub(super) fn learn(&mut self, location: u64, reason: u32, function: u32) {
        if self.functions.len() >= MOST {
            self.functions.clear();
        }
        self.functions.insert((location, reason), function);
    }

    /// Brings the totals up to date. `find` returns the function that contains an address, for places none of whose
    /// packets was sent.
    pub(super) fn count(&mut self, mut find: impl FnMut(u64) -> u32) {
        let mut totals: Vec<DropTotal> = Vec::new();
        for count in (self.counts)() {
            // What is found is remembered: it becomes part of the function table, once.
            let function = self.functions.entry((count.location, count.reason));
            let function = *function.or_insert_with(|| find(count.location));
            let function = Some(function).filter(|function| *function != NO_FUNCTION);
            match (totals.iter_mut()).find(|total| (total.function, total.reason) == (function, count.reason)) {
                Some(total) => total.count = total.count.saturating_add(count.count),
                None => totals.push(DropTotal {
                    function,
                    reason: count.reason,
                    count: count.count,
                }),
            }
        }
        self.totals.set(totals);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_one_function_are_added_up() {
        let count = |location, reason, count| DropCount {
            location,
            reason,
            count,
        };
        let totals = DropTotals::default();
        let all = vec![
            count(16, 2, 5),
            count(32, 2, 7),
            count(32, 3, 1),
            count(48, 2, 100),
            count(64, 2, 9),
        ];
        let mut counting = Counting::new(Box::new(move || all.clone()), totals.clone());
        for (location, reason, function) in [(16, 2, 1), (32, 2, 1), (32, 3, 1), (64, 2, NO_FUNCTION)] {
            counting.learn(location, reason, function);
        }
        counting.count(|location| location as u32);
        let total = |function, reason, count| DropTotal {
            function,
            reason,
            count,
        };
        let expected = [
            total(Some(1), 2, 12),
            total(Some(1), 3, 1),
            total(Some(48), 2, 100),
            total(None, 2, 9),
        ];
        assert_eq!(totals.get(), expected);
    }
}
