//! The clocks of a trace: that of its events, and its offset to the calendar.

/// Nanoseconds from `CLOCK_MONOTONIC`'s zero to 1970.
pub fn clock_offset() -> i64 {
    nanoseconds(libc::CLOCK_REALTIME) - nanoseconds(libc::CLOCK_MONOTONIC)
}

/// The time as events have it.
pub fn monotonic() -> u64 {
    nanoseconds(libc::CLOCK_MONOTONIC).unsigned_abs()
}

/// Reads a clock. Not with rustix, which reads the auxiliary vector in a way that ends under valgrind; there
/// `cargo xtask bench sinks` counts instructions.
fn nanoseconds(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable, and these clocks cannot fail.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
