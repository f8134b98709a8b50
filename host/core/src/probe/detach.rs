//! Closes what is attached. The kernel takes up to 0.1 s for each probe, which is minutes for all of them, and a process
//! that ends waits for that, too, however it ends. So child processes hold the descriptors and close them, and ours only
//! waits for the children: a signal can end it at once, and the children finish without it. Imports nothing of the crate
//! but its progress.
//!
//! Between fork and exit, a child makes system calls and nothing else: it is a copy of one thread of many.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::progress::Progress;

/// Fewer descriptors than this are closed by ourselves.
const FEW: usize = 64;

/// Children, or threads where there can be no children. Those that wait for a grace period of RCU share it.
const PARTS: usize = 16;

/// Closes all descriptors, group after group. Returns when the kernel has detached everything.
pub(super) fn close(groups: Vec<Vec<OwnedFd>>, progress: &Progress) {
    let total = groups.iter().map(Vec::len).sum();
    progress.begin(total);
    let groups = match total {
        0..FEW => groups,
        _ => match in_children(groups, progress) {
            Ok(()) => return,
            Err(groups) => groups,
        },
    };
    for group in groups {
        close_in_threads(group, progress);
    }
}

/// Lets one child close all descriptors, one after the other, and returns at once. Without a child, closes them here.
///
/// The kernel does not do more of them at a time (`direct_mutex` in `kernel/trace/ftrace.c`), and others that need this
/// lock get it in between.
pub(super) fn leave(groups: Vec<Vec<OwnedFd>>) {
    let own: Vec<RawFd> = groups.iter().flatten().map(AsRawFd::as_raw_fd).collect();
    let (Some(counter), Ok((wait, hold))) = (Counter::new(), std::io::pipe()) else {
        return;
    };
    let keep = kept(&own, &wait, &hold);
    // SAFETY: the child only makes system calls and never returns.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: this is the child; the descriptors are open, and its copies have no other owner.
        unsafe { child(&own, &keep, wait.as_raw_fd(), hold.as_raw_fd(), counter.get()) }
    }
    // The child closes nothing before these are closed here, so that its references are the last.
    drop(groups);
    drop((wait, hold));
}

/// Returns what a child keeps open, in ascending order.
fn kept(own: &[RawFd], wait: &impl AsRawFd, hold: &impl AsRawFd) -> Vec<RawFd> {
    let mut keep: Vec<RawFd> = own
        .iter()
        .copied()
        .chain([wait.as_raw_fd(), hold.as_raw_fd()])
        .collect();
    keep.sort_unstable();
    keep
}

fn close_in_threads(descriptors: Vec<OwnedFd>, progress: &Progress) {
    let chunk = descriptors.len().div_ceil(PARTS).max(1);
    let mut rest = descriptors;
    std::thread::scope(|scope| {
        while !rest.is_empty() {
            let part = rest.split_off(rest.len().saturating_sub(chunk));
            let close = move || {
                for descriptor in part {
                    drop(descriptor);
                    progress.step();
                }
            };
            // A thread that cannot be made leaves its part to be closed here and now.
            let _ = std::thread::Builder::new().spawn_scoped(scope, close);
        }
    });
}

/// A number that we share with our children.
struct Counter(NonNull<AtomicUsize>);

impl Counter {
    fn new() -> Option<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<AtomicUsize>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        match start {
            libc::MAP_FAILED => None,
            start => NonNull::new(start.cast()).map(Counter),
        }
    }

    fn get(&self) -> &AtomicUsize {
        // SAFETY: the mapping is zeroed, aligned to a page, lives as long as `self`, and is only used atomically.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing borrowed from it outlives `self`.
        unsafe { libc::munmap(self.0.as_ptr().cast(), size_of::<AtomicUsize>()) };
    }
}

/// Gives the descriptors back if there can be no children.
fn in_children(groups: Vec<Vec<OwnedFd>>, progress: &Progress) -> Result<(), Vec<Vec<OwnedFd>>> {
    let (Some(counter), Ok((wait, hold))) = (Counter::new(), std::io::pipe()) else {
        return Err(groups);
    };
    // What each child closes, in order, and what it keeps open until then.
    let parts: Vec<(Vec<RawFd>, Vec<RawFd>)> = (0..PARTS)
        .map(|part| {
            let own: Vec<RawFd> = groups
                .iter()
                .flat_map(|group| {
                    let chunk = group.len().div_ceil(PARTS).max(1);
                    group.chunks(chunk).nth(part).unwrap_or_default()
                })
                .map(AsRawFd::as_raw_fd)
                .collect();
            let keep = kept(&own, &wait, &hold);
            (own, keep)
        })
        .collect();
    let mut children = Vec::with_capacity(PARTS);
    for (own, keep) in parts.iter().filter(|(own, _)| !own.is_empty()) {
        // SAFETY: the child only makes system calls and never returns.
        match unsafe { libc::fork() } {
            // SAFETY: this is the child; the descriptors are open, and its copies have no other owner.
            0 => unsafe { child(own, keep, wait.as_raw_fd(), hold.as_raw_fd(), counter.get()) },
            // The children that there are hold what they keep, so nothing is closed twice; ours are the last references
            // to the rest, and wait below.
            ..0 => break,
            pid => children.push(pid),
        }
    }
    if children.is_empty() {
        return Err(groups);
    }
    let served = children.len();
    // No child begins before all of the others, and ourselves, have closed what is not theirs.
    let mut orphans = Vec::new();
    for group in groups {
        let chunk = group.len().div_ceil(PARTS).max(1);
        for (index, descriptor) in group.into_iter().enumerate() {
            match index / chunk {
                part if part < served => drop(descriptor),
                _ => orphans.push(descriptor),
            }
        }
    }
    drop((wait, hold));
    let already = orphans.len();
    close_in_threads(orphans, progress);
    let mut pause = Duration::from_millis(1);
    while !children.is_empty() {
        children.retain(|pid| {
            // SAFETY: the call takes integers and a null pointer.
            let ended = unsafe { libc::waitpid(*pid, std::ptr::null_mut(), libc::WNOHANG) };
            ended == 0
        });
        progress.set(already + counter.get().load(Ordering::Relaxed));
        if !children.is_empty() {
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Closes everything but `keep` (in ascending order), waits until every copy of `hold` is closed, and closes `own`.
///
/// # Safety
///
/// To be called in a child process alone: it closes descriptors regardless of who owns them, and ends the process.
unsafe fn child(own: &[RawFd], keep: &[RawFd], wait: RawFd, hold: RawFd, counter: &AtomicUsize) -> ! {
    // SAFETY: calls that take integers, and pointers to memory that outlives them.
    unsafe {
        // The terminal's signals, and those of a second `kill`, are for the parent.
        libc::setsid();
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE] {
            libc::signal(signal, libc::SIG_IGN);
        }
        libc::prctl(libc::PR_SET_NAME, c"ipft-detach".as_ptr());
        let mut next = 0;
        for &kept in keep {
            close_between(next, kept);
            next = kept + 1;
        }
        close_between(next, RawFd::MAX);
        libc::close(hold);
        while libc::read(wait, [0u8; 1].as_mut_ptr().cast(), 1) > 0 {}
        for &descriptor in own {
            libc::close(descriptor);
            counter.fetch_add(1, Ordering::Relaxed);
        }
        libc::_exit(0)
    }
}

/// Closes all descriptors from `first` to the one before `end`.
///
/// # Safety
///
/// As for [`child`].
unsafe fn close_between(first: RawFd, end: RawFd) {
    if first >= end {
        return;
    }
    // SAFETY: calls that take integers.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, end - 1, 0) != 0 {
            // Before 5.9.
            for descriptor in first..end.min(1 << 20) {
                libc::close(descriptor);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// The write ends of a pipe, and its read end, which gives 0 when all of them are closed.
    fn ends(count: usize) -> (Vec<OwnedFd>, std::io::PipeReader) {
        let (read, write) = std::io::pipe().unwrap();
        let ends = (0..count).map(|_| write.try_clone().unwrap().into()).collect();
        (ends, read)
    }

    #[track_caller]
    fn closes(counts: &[usize]) {
        let (groups, mut reads): (Vec<_>, Vec<_>) = counts.iter().map(|count| ends(*count)).unzip();
        let progress = Progress::default();
        close(groups, &progress);
        assert_eq!(progress.total(), counts.iter().sum::<usize>());
        assert_eq!(progress.done(), progress.total());
        for read in &mut reads {
            assert_eq!(read.read(&mut [0]).unwrap(), 0);
        }
    }

    #[test]
    fn everything_is_closed_when_it_returns() {
        closes(&[]);
        closes(&[0, 5]);
        closes(&[100, 3, 0, 250]);
        closes(&[FEW]);
    }
}
