//! Runs a function in every thread of the process.
//!
//! Credentials belong to threads, and only a thread changes its own (capset(2)). There are threads already when the
//! trace is ready to start: one for signals, those that compile plugins, those of a native plugin. As the C library does for
//! setuid(2), and libpsx for capabilities, each gets a signal and takes the steps in its handler.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{capabilities, landlock};

/// How long a thread may take to respond.
const PATIENCE: Duration = Duration::from_secs(10);

/// The steps of each thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// Capabilities that it keeps.
    pub(super) kept: u64,
    /// Landlock's rules, if the kernel has any.
    pub(super) landlock: Option<RawFd>,
    /// The user and the group that it becomes, if any.
    pub(super) user: Option<(u32, u32)>,
}

/// Names of the steps, for errors. The handler passes their index to the waiting thread.
const NAMES: [&str; 6] = [
    "forbid new privileges (PR_SET_NO_NEW_PRIVS)",
    "limit files (Landlock)",
    "clear the ambient capabilities",
    "keep what the outputs need (PR_SET_KEEPCAPS)",
    "switch to the user of --user",
    "drop the capabilities",
];

impl Steps {
    /// Takes the steps in the calling thread; async-signal-safe. The number of the step that failed, with `errno`.
    fn take(&self) -> Result<(), (i32, i32)> {
        // The arguments are whole words, which a variable number of arguments does not convert to.
        const NONE: libc::c_ulong = 0;
        const ONE: libc::c_ulong = 1;
        const CLEAR_ALL: libc::c_ulong = libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong;
        let check = |step: i32, result: libc::c_long| match result {
            0 => Ok(()),
            _ => Err((step, errno())),
        };
        // SAFETY: the call takes integers.
        let forbidden = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, ONE, NONE, NONE, NONE) };
        check(0, forbidden.into())?;
        if let Some(ruleset) = self.landlock {
            check(1, landlock::restrict_thread(ruleset))?;
        }
        capabilities::limit_bounding_set(self.kept);
        // SAFETY: the call takes integers.
        let cleared = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, CLEAR_ALL, NONE, NONE, NONE) };
        check(2, cleared.into())?;
        if let Some((user, group)) = self.user {
            if self.kept != 0 {
                // Who stops being root loses all capabilities otherwise.
                // SAFETY: the call takes integers.
                let kept = unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, ONE, NONE, NONE, NONE) };
                check(3, kept.into())?;
            }
            check(4, become_user(user, group))?;
        }
        check(5, capabilities::limit_to(self.kept))
    }
}

/// Makes the calling thread one of this user, with this group and no other; async-signal-safe. The C library's functions
/// of these names are none of that: they signal all threads themselves. 0, or -1 with `errno` set.
fn become_user(user: u32, group: u32) -> libc::c_long {
    let none: *const libc::gid_t = std::ptr::null();
    // SAFETY: the calls take integers, and a list without entries.
    unsafe {
        match libc::syscall(libc::SYS_setgroups, 0usize, none) {
            0 => {}
            failed => return failed,
        }
        // The user last, as only root changes groups.
        match libc::syscall(libc::SYS_setresgid, group, group, group) {
            0 => libc::syscall(libc::SYS_setresuid, user, user, user),
            failed => failed,
        }
    }
}

fn errno() -> i32 {
    // SAFETY: the location is the calling thread's own.
    unsafe { *libc::__errno_location() }
}

/// One at a time.
static BUSY: Mutex<()> = Mutex::new(());
/// The handler's job; null when there is none.
static STEPS: AtomicPtr<Steps> = AtomicPtr::new(std::ptr::null_mut());
/// The thread that answered last.
static ANSWERED: AtomicI32 = AtomicI32::new(0);
/// The step that failed and its `errno`, if one did in the thread that answered.
static FAILED: AtomicI32 = AtomicI32::new(0);

extern "C" fn handle(_signal: libc::c_int) {
    let before = errno();
    let steps = STEPS.load(Ordering::Acquire);
    // SAFETY: who sets the pointer keeps what it points to until it is null again and every signal is answered.
    if let Some(steps) = unsafe { steps.as_ref() } {
        let failed = match steps.take() {
            Ok(()) => 0,
            Err((step, errno)) => (step + 1) << 16 | errno,
        };
        FAILED.store(failed, Ordering::Relaxed);
        // SAFETY: the call takes nothing.
        let thread = unsafe { libc::syscall(libc::SYS_gettid) };
        ANSWERED.store(thread as i32, Ordering::Release);
    }
    // SAFETY: the location is the calling thread's own.
    unsafe { *libc::__errno_location() = before };
}

/// Takes the steps in every thread, the calling one last.
pub(super) fn in_each(steps: &Steps) -> Result<(), (&'static str, io::Error)> {
    let _one = BUSY.lock().unwrap_or_else(PoisonError::into_inner);
    let signal = libc::SIGRTMAX() - 1;
    let failed = |source| ("reach every thread", source);
    // SAFETY: all-zero is valid for this struct of integers and a nullable pointer.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handle as *const () as usize;
    // System calls that it interrupts go on; it may run on the small stack that Rust gives threads for overflows.
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
    // SAFETY: as above.
    let mut before: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: both are valid, and the handler is async-signal-safe: it makes system calls and stores integers.
    if unsafe { libc::sigaction(signal, &raw const action, &raw mut before) } != 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    STEPS.store(std::ptr::from_ref(steps).cast_mut(), Ordering::Release);
    let result = in_others(signal);
    STEPS.store(std::ptr::null_mut(), Ordering::Release);
    if result.is_ok() {
        // After a failure a thread may yet have the signal before it, which would end the process.
        // SAFETY: it is what the kernel had.
        unsafe { libc::sigaction(signal, &raw const before, std::ptr::null_mut()) };
    }
    result?;
    steps.take().map_err(named)
}

fn named((step, errno): (i32, i32)) -> (&'static str, io::Error) {
    let name = NAMES.get(step as usize).copied().unwrap_or("drop privileges");
    (name, io::Error::from_raw_os_error(errno))
}

/// Signals every other thread and waits for each, until there is none that has not answered: one may have been made by a
/// thread that had not.
fn in_others(signal: i32) -> Result<(), (&'static str, io::Error)> {
    let failed = |source| ("reach every thread", source);
    // SAFETY: the calls take nothing.
    let (process, own) = unsafe { (libc::getpid(), libc::syscall(libc::SYS_gettid) as i32) };
    let mut done = BTreeSet::from([own]);
    loop {
        let mut news = false;
        for entry in std::fs::read_dir("/proc/self/task").map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(thread) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if !done.insert(thread) {
                continue;
            }
            news = true;
            ANSWERED.store(0, Ordering::Relaxed);
            // SAFETY: the call takes integers, and the signal has a handler.
            if unsafe { libc::syscall(libc::SYS_tgkill, process, thread, signal) } != 0 {
                match io::Error::last_os_error() {
                    gone if gone.raw_os_error() == Some(libc::ESRCH) => continue,
                    error => return Err(failed(error)),
                }
            }
            wait_for(thread)?;
        }
        if !news {
            return Ok(());
        }
    }
}

fn wait_for(thread: i32) -> Result<(), (&'static str, io::Error)> {
    let since = Instant::now();
    let task = format!("/proc/self/task/{thread}");
    loop {
        if ANSWERED.load(Ordering::Acquire) == thread {
            return match FAILED.load(Ordering::Relaxed) {
                0 => Ok(()),
                failed => Err(named(((failed >> 16) - 1, failed & 0xffff))),
            };
        }
        if since.elapsed() > PATIENCE {
            return Err((
                "reach every thread",
                io::Error::new(io::ErrorKind::TimedOut, "a thread blocks all signals"),
            ));
        }
        std::thread::sleep(Duration::from_micros(100));
        // It may have ended instead.
        if since.elapsed() > Duration::from_millis(5) && std::fs::symlink_metadata(&task).is_err() {
            return Ok(());
        }
    }
}
