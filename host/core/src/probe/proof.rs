//! Verifies that attached programs run. A kernel whose ftrace or kprobes are disabled accepts probes without an error
//! and never calls them, and other causes have the same effect: so ipft sends itself a packet, over a private pair of
//! sockets, and checks how often the kernel has run the programs. It imports `kernel`.
//!
//! The packet has no mark, so no event comes of it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use super::{Attached, ProbeError, Reason, Request, syscall};
use crate::kernel::{Candidate, checks};

/// Functions that a datagram between two local sockets passes: it is queued, received and freed. All but the last two are
/// exported and called from other files, so that no compiler can have inlined them there (`net/unix/af_unix.c`,
/// `net/core/datagram.c`, `net/core/skbuff.c`).
const PASSED: [&str; 5] = [
    "consume_skb",
    "skb_queue_tail",
    "skb_copy_datagram_iter",
    "kfree_skbmem",
    "skb_release_head_state",
];

/// How long a program may take until its run is visible. The datagram itself takes microseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Returns whether ipft's own packet passes the function.
pub(super) fn is_passed(function: &Candidate) -> bool {
    function.module == "vmlinux" && PASSED.contains(&function.name.as_str())
}

/// Returns the disabled feature that the backend needs. `kprobes`: whether it consists of kprobes.
pub(super) fn refuse_if_switched_off(
    request: &Request<'_>,
    backend: &'static str,
    kprobes: bool,
) -> Result<(), ProbeError> {
    if let Some((cause, remedy)) = checks::switched_off(request.root, false) {
        return Err(ProbeError::Machine {
            what: "no probe would run",
            reason: Reason::new(cause, format!("switch it on: {remedy}")),
        });
    }
    match checks::switched_off(request.root, kprobes) {
        Some((cause, remedy)) => Err(ProbeError::Silent {
            backend,
            cause: format!("{cause}; switch them on: {remedy}"),
        }),
        None => Ok(()),
    }
}

/// Sends a packet through the attached functions. Fails if none of the programs runs; an unknown result (without
/// CAP_SYS_ADMIN, which counting needs, or if the packet passes no attached function) is not an error.
pub(super) fn prove(attached: &Attached<'_>, request: &Request<'_>) -> Result<(), ProbeError> {
    let is_attached = |function: &Candidate| {
        let mut refused = attached.refused.iter();
        !refused.any(|refused| std::ptr::eq(refused.target.function, function))
    };
    let all = request.targets.iter().map(|target| target.function);
    if !all.filter(|function| is_passed(function)).any(is_attached) {
        return Ok(());
    }
    let layer = &attached.layer;
    // Off again when this is closed; counting costs each BPF program of the machine two looks at the clock meanwhile.
    let Ok(_counting) = syscall::count_runs() else {
        return Ok(());
    };
    let programs = layer.programs.loaded();
    let own = layer.own_programs.iter().map(AsFd::as_fd);
    let programs: Vec<BorrowedFd<'_>> = programs.into_iter().chain(own).collect();
    match fires(|| programs.iter().any(|program| syscall::runs(*program) > 0), PATIENCE) {
        Ok(true) | Err(_) => Ok(()),
        Ok(false) => {
            refuse_if_switched_off(request, layer.backend, layer.backend == "kprobe")?;
            Err(ProbeError::Silent {
                backend: layer.backend,
                cause: "a packet passed the functions, and the kernel called none of the programs".to_owned(),
            })
        }
    }
}

/// Returns whether a program has run after a packet was sent. Fails if none can be sent.
fn fires(has_run: impl Fn() -> bool, patience: Duration) -> io::Result<bool> {
    let (from, to) = UnixDatagram::pair()?;
    let start = Instant::now();
    loop {
        from.send(b"ipft")?;
        to.recv(&mut [0; 8])?;
        if has_run() {
            return Ok(true);
        }
        if start.elapsed() >= patience {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::Tree;
    use std::cell::Cell;

    #[test]
    fn packets_are_sent_until_something_runs() {
        let looks = Cell::new(0);
        let third = || {
            looks.set(looks.get() + 1);
            looks.get() == 3
        };
        assert!(fires(third, Duration::from_secs(60)).unwrap());
        assert!(!fires(|| false, Duration::ZERO).unwrap());
    }

    fn refusal(tree: &Tree, kprobes: bool) -> Option<ProbeError> {
        let root = tree.root();
        let request = Request {
            root: &root,
            targets: Vec::new(),
            tracer: crate::event::Tracer::Function,
            mark: 1,
            mask: 1,
            following: None,
            buffer: &super::super::Buffer::Ring { bytes: 4096, count: 1 },
            extension: None,
            record_bytes: 0,
            max_events_per_second: 0,
            contexts: None,
            fields: 0,
            progress: &super::super::Progress::default(),
            maps: super::super::Maps::from([]),
        };
        refuse_if_switched_off(&request, "any", kprobes).err()
    }

    #[test]
    fn ftrace_off_rules_out_every_backend() {
        let off = Tree::new().with("/proc/sys/kernel/ftrace_enabled", "0\n");
        for kprobes in [false, true] {
            let error = refusal(&off, kprobes).unwrap();
            assert!(matches!(error, ProbeError::Machine { .. }), "{error}");
            assert!(error.to_string().contains("sysctl kernel.ftrace_enabled=1"), "{error}");
        }
        let on = Tree::new().with("/proc/sys/kernel/ftrace_enabled", "1\n");
        assert!(refusal(&on, true).is_none());
    }

    #[test]
    fn kprobes_off_rules_out_kprobes_alone() {
        let off = Tree::new()
            .with("/proc/sys/kernel/ftrace_enabled", "1\n")
            .with("/sys/kernel/debug/kprobes/enabled", "0\n");
        assert!(refusal(&off, false).is_none());
        let error = refusal(&off, true).unwrap();
        assert!(matches!(error, ProbeError::Silent { .. }), "{error}");
        assert!(error.to_string().contains("echo 1"), "{error}");
    }
}
