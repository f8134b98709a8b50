//! Progress of attaching or detaching: backends count, and the display reads. Imports nothing of the crate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A count that grows, of a known total, and the user's wish to stop.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicUsize,
    total: AtomicUsize,
    stop: Arc<AtomicBool>,
}

impl Progress {
    /// One that ends early when `stop` becomes true.
    pub fn until(stop: Arc<AtomicBool>) -> Self {
        Progress {
            stop,
            ..Progress::default()
        }
    }

    /// Begins anew, with so many steps.
    pub(super) fn begin(&self, total: usize) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
    }

    /// One step is done.
    pub(super) fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the number of finished steps.
    pub(super) fn set(&self, done: usize) {
        self.done.store(done, Ordering::Relaxed);
    }

    /// Returns whether the user wants to stop.
    pub(super) fn is_cancelled(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Returns the number of finished steps.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Returns the total number of steps.
    pub fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }
}
