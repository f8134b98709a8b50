//! The system call by which `faulty` tells its supervisor that from now on calls count: what the loader did before
//! is not ipft's. Without a supervisor it does nothing.

/// The first argument of a `getpriority` that is the mark. No other is asked for such a thing.
pub const MARK: u32 = 0x6970_6674;

/// Says that calls count from now on.
pub fn mark() {
    // SAFETY: it reads a number and touches no memory of ours; a wrong argument is an error.
    unsafe { libc::syscall(libc::SYS_getpriority, MARK as libc::c_long, 0 as libc::c_long) };
}
