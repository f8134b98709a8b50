//! How many packets the kernel dropped in a trace of drops, of which not all become events.

use std::sync::{Arc, Mutex, PoisonError};

/// Packets that a function dropped for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropTotal {
    /// Index into [`super::Trace::functions`]; `None` of packets that were freed as parts of others, which is no drop.
    pub function: Option<u32>,
    /// The kernel's reason, 0 if it tells none.
    pub reason: u32,
    /// Their number since the trace began.
    pub count: u64,
}

/// The totals of a trace, which the loop that reads its events brings up to date about once a second, and at its end.
#[derive(Clone, Debug, Default)]
pub struct DropTotals(Arc<Mutex<Vec<DropTotal>>>);

impl DropTotals {
    /// Replaces them.
    pub fn set(&self, totals: Vec<DropTotal>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = totals;
    }

    /// Returns them.
    pub fn get(&self) -> Vec<DropTotal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the number of packets that were dropped.
    pub fn all(&self) -> u64 {
        let totals = self.get();
        let drops = totals.iter().filter(|total| total.function.is_some());
        drops.fold(0, |sum, total| sum.saturating_add(total.count))
    }
}
