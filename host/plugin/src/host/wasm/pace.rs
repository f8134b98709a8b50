//! The time limit of a plugin's call, for everything that waits on its behalf. Imports nothing of the crate.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Interval of checking the limit.
pub(super) const TICK: Duration = Duration::from_millis(20);

/// Why a plugin must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("the time is over")]
    TimeOut,
    #[error("stopped")]
    Stopped,
}

/// The clock of one plugin.
#[derive(Debug)]
pub(super) struct Pace {
    /// Deadline of the current call.
    deadline: Mutex<Instant>,
    /// Stops the plugin.
    stop: Arc<AtomicBool>,
}

impl Pace {
    pub(super) fn new(stop: Arc<AtomicBool>) -> Self {
        Pace {
            deadline: Mutex::new(Instant::now()),
            stop,
        }
    }

    /// Starts a call with a time limit.
    pub(super) fn begin(&self, limit: Duration) {
        *self.lock() = Instant::now() + limit;
    }

    /// Adds time that the plugin is not charged for.
    pub(super) fn add(&self, time: Duration) {
        *self.lock() += time;
    }

    /// Returns the remaining time of the current call.
    pub(super) fn left(&self) -> Duration {
        self.lock().saturating_duration_since(Instant::now())
    }

    /// Returns whether the call may continue.
    pub(super) fn check(&self) -> Result<(), Interrupted> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Interrupted::Stopped);
        }
        match self.left() {
            Duration::ZERO => Err(Interrupted::TimeOut),
            _ => Ok(()),
        }
    }

    /// Waits for a future while the call may continue. Otherwise drops it and leaves its thread behind.
    pub(super) async fn within<T>(&self, future: impl Future<Output = T>) -> Result<T, Interrupted> {
        let mut future = pin!(future);
        loop {
            let wait = self.left().clamp(Duration::from_millis(1), TICK);
            if let Ok(result) = tokio::time::timeout(wait, &mut future).await {
                return Ok(result);
            }
            self.check()?;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use wasmtime_wasi::runtime::in_tokio;

    use super::*;

    #[test]
    fn waiting_ends_at_the_time_limit_or_by_a_stop() {
        let stop = Arc::new(AtomicBool::new(false));
        let pace = Pace::new(stop.clone());
        pace.begin(Duration::from_millis(50));
        let start = Instant::now();
        let waited = in_tokio(async { pace.within(pending::<()>()).await });
        assert_eq!(waited, Err(Interrupted::TimeOut));
        assert!((40..5000).contains(&start.elapsed().as_millis()));
        pace.begin(Duration::from_secs(1000));
        stop.store(true, Ordering::Relaxed);
        let waited = in_tokio(async { pace.within(pending::<()>()).await });
        assert_eq!(waited, Err(Interrupted::Stopped));
        // A ready value is returned, however late.
        assert_eq!(in_tokio(async { pace.within(ready(5)).await }), Ok(5));
    }
}
