//! The clocks of a trace: that of its events, and its offset to the calendar.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds from `CLOCK_MONOTONIC`'s zero to 1970.
pub fn clock_offset() -> i64 {
    nanoseconds(ClockId::Realtime) - nanoseconds(ClockId::Monotonic)
}

/// The time as events have it.
pub fn monotonic() -> u64 {
    nanoseconds(ClockId::Monotonic).unsigned_abs()
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
