//! Processes items in threads: calls of the kernel that take long, and that compute or wait. It imports nothing.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// There may be more threads than CPUs: each trampoline that is attached needs a lock (`direct_mutex` in
/// `kernel/trace/ftrace.c`). While an earlier trace is detached, its holder waits for a grace period of RCU, some 0.13 s,
/// and all that wait for the lock meanwhile go next: as many as there are threads.
const THREADS: usize = 16;

/// Processes each item in a few threads, and returns the results in order.
pub(super) fn in_parallel<I: Sync, T: Send>(items: &[I], work: impl Fn(&I) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::with_capacity(items.len()));
    let run = || loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(item) = items.get(index) else {
            break;
        };
        let result = work(item);
        results
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push((index, result));
    };
    std::thread::scope(|scope| {
        for _ in 1..THREADS.min(items.len()) {
            // If a thread cannot be started, the others process its items.
            let _ = std::thread::Builder::new().spawn_scoped(scope, run);
        }
        run();
    });
    let mut results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}
