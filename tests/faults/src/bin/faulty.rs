//! ipft with an allocator that fails once and a clock that jumps at some time, as set by the environment
//! (`faults::environment`).

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use faults::{environment, marker};

/// Allocations and readings so far, counted while the other two are not 0.
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static READINGS: AtomicU64 = AtomicU64::new(0);
/// The allocation that fails, and the first reading that is off.
static FAILING: AtomicU64 = AtomicU64::new(0);
static WRONG: AtomicU64 = AtomicU64::new(0);
/// Seconds.
static STEP: AtomicI64 = AtomicI64::new(0);

struct Failing;

fn fails() -> bool {
    let failing = FAILING.load(Relaxed);
    failing != 0 && ALLOCATIONS.fetch_add(1, Relaxed) + 1 == failing
}

// SAFETY: every call is passed to the system's allocator with the arguments it came with, or answered with null, which
// says that there is no memory.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: as in `dealloc`, and the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Overrides libc's function, which the standard library calls: the program's own symbol precedes that of a library.
///
/// # Safety
///
/// That of `clock_gettime(3)`: `time` is where a `timespec` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> libc::c_int {
    // SAFETY: the arguments are those of the caller, who keeps the contract.
    let result = unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) } as libc::c_int;
    let wrong = WRONG.load(Relaxed);
    if result == 0 && wrong != 0 && READINGS.fetch_add(1, Relaxed) + 1 >= wrong {
        // SAFETY: the call succeeded, so that it wrote to it.
        let time = unsafe { &mut *time };
        time.tv_sec = time.tv_sec.saturating_add(STEP.load(Relaxed)).max(0);
    }
    result
}

fn number<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn main() -> ExitCode {
    let failing = number(environment::ALLOCATION);
    let wrong = number(environment::CLOCK);
    STEP.store(number(environment::CLOCK_STEP).unwrap_or(0), Relaxed);
    // Once a trace has begun, it opens no more files.
    let counts = std::env::var_os(environment::COUNTS).map(std::fs::File::create);
    let code = ipft::program::main_with_start(std::env::args_os(), || {
        marker::mark();
        WRONG.store(wrong.unwrap_or(u64::MAX), Relaxed);
        FAILING.store(failing.unwrap_or(u64::MAX), Relaxed);
    });
    FAILING.store(0, Relaxed);
    WRONG.store(0, Relaxed);
    if let Some(counts) = counts {
        let text = format!("{} {}", ALLOCATIONS.load(Relaxed), READINGS.load(Relaxed));
        if counts.and_then(|mut file| file.write_all(text.as_bytes())).is_err() {
            return ExitCode::from(99);
        }
    }
    code
}
