//! Determines why the kernel refused: from the operation and the error code, and for ambiguous codes by further checks.
//! The only place that translates codes into causes and remedies. It imports `kernel::checks`.

use std::io;

use super::{Buffer, syscall};
use crate::kernel::checks;
use crate::kernel::{Candidate, Root};

/// A cause in the machine or its settings, which affects every backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}\n{remedy}")]
pub struct Reason {
    /// The problem.
    pub cause: String,
    /// The remedy, in the imperative.
    pub remedy: String,
}

impl Reason {
    pub(super) fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Reason {
            cause: cause.into(),
            remedy: remedy.into(),
        }
    }
}

/// ENOTSUPP of include/linux/errno.h, which has no name in user space.
pub(super) const ENOTSUPP: i32 = 524;

/// Returns the code of an error of libbpf-rs, which only passes on its text.
pub(super) fn code(error: &libbpf_rs::Error) -> Option<i32> {
    let text = format!("{error:#}");
    let (_, rest) = text.rsplit_once("(os error ")?;
    rest.split_once(')')?.0.parse().ok()
}

/// Returns whether a kernel returns this code for unknown kinds of programs or links.
pub(super) fn is_unknown_mechanism(code: Option<i32>) -> bool {
    matches!(
        code,
        None | Some(libc::EINVAL | libc::EOPNOTSUPP | libc::ENOENT | libc::ESRCH | libc::E2BIG | ENOTSUPP)
    )
}

/// Returns the cause in the machine for an object with programs and maps that could not be loaded.
pub(super) fn of_load(root: &Root, buffer: &Buffer, code: i32) -> Option<Reason> {
    match code {
        libc::ENOMEM => Some(out_of_memory(ring_of(buffer))),
        libc::EPERM => Some(not_permitted(root, ring_of(buffer))),
        code => of_any_call(root, code),
    }
}

/// Returns the cause in the machine for a failure of any call.
pub(super) fn of_any_call(root: &Root, code: i32) -> Option<Reason> {
    match code {
        libc::ENOMEM => Some(out_of_memory(None)),
        libc::EPERM => lacking(root),
        libc::EACCES => lacking(root),
        libc::EMFILE => Some(Reason::new(
            format!("too many open files: this process may have {}", most_files()),
            "raise the limit (ulimit -Hn), or trace fewer functions with -r or --module-regex",
        )),
        libc::ENFILE => Some(Reason::new(
            "too many open files on this machine (fs.file-max)",
            "raise the limit: sysctl fs.file-max=1000000",
        )),
        libc::ENOSYS => Some(Reason::new(
            "bpf(2) or perf_event_open(2) is not there: the kernel lacks it, or a seccomp filter hides it",
            "use a kernel with CONFIG_BPF_SYSCALL=y and CONFIG_PERF_EVENTS=y, outside of a container that hides them",
        )),
        _ => None,
    }
}

fn ring_of(buffer: &Buffer) -> Option<u32> {
    match *buffer {
        Buffer::Ring { bytes, .. } => Some(bytes),
        Buffer::Perf { .. } => None,
    }
}

/// Returns the kernel's error for a ring buffer of this size alone, if it refuses one.
fn refusal_of_ring(bytes: u32) -> Option<i32> {
    syscall::ring_buffer(bytes).err().and_then(|error| error.raw_os_error())
}

/// Size up to which a ring buffer is not named as the cause.
const MODEST: u32 = 4 << 20;

fn out_of_memory(ring: Option<u32>) -> Reason {
    const MEMORY: &str = "free memory, or raise the limit of the control group (memory.max)";
    match ring {
        Some(bytes) if bytes > MODEST => Reason::new(
            format!(
                "not enough memory for the BPF programs and maps, of which the ring buffer takes {}",
                size(bytes)
            ),
            format!("take a smaller one, such as --ring-size 4M; or {MEMORY}"),
        ),
        _ => Reason::new("not enough memory for the BPF programs and maps", MEMORY),
    }
}

fn not_permitted(root: &Root, ring: Option<u32>) -> Reason {
    if let Some(reason) = lacking(root) {
        return reason;
    }
    // Before 5.11 maps are charged to locked memory, and one that exceeds the limit fails with EPERM
    // (kernel/bpf/syscall.c, bpf_charge_memlock).
    if locked_memory_counts() {
        let ring = ring.map_or(String::new(), |bytes| {
            format!(" (the ring buffer takes {})", size(bytes))
        });
        return Reason::new(
            format!(
                "the BPF maps{ring} exceed the limit of locked memory ({}), which this kernel counts them by",
                most_locked()
            ),
            "raise the limit: ulimit -l unlimited; or run ipft as root, or with CAP_SYS_RESOURCE, and without \
             --no-set-rlimit",
        );
    }
    Reason::new(
        "the kernel forbids it to this process, which has the capabilities",
        "see what forbids it: a seccomp filter (of a container), kernel lockdown, or a security module (dmesg)",
    )
}

/// Returns whether the kernel refuses a ring buffer above the limit of locked memory, and accepts a small one.
fn locked_memory_counts() -> bool {
    /// Larger limits do not restrict maps of this size, and a test should not allocate that much memory.
    const MOST: u64 = 256 << 20;

    let Some(limit) = limit(rustix::process::Resource::Memlock, 1).filter(|limit| *limit < MOST) else {
        return false;
    };
    let larger = (limit + 1).next_power_of_two().max(2 * u64::from(SMALL)) as u32;
    refusal_of_ring(larger) == Some(libc::EPERM) && refusal_of_ring(SMALL) != Some(libc::EPERM)
}

fn lacking(root: &Root) -> Option<Reason> {
    let missing = checks::missing_capabilities(root);
    (!missing.is_empty()).then(|| {
        Reason::new(
            format!("this process lacks {}", missing.join(" and ")),
            "run ipft as root, or give it what 'ipft doctor' says",
        )
    })
}

/// Level of Debian's and Ubuntu's kernels above those of mainline, at which perf_event_open(2) requires CAP_SYS_ADMIN,
/// regardless of CAP_PERFMON.
fn paranoid(root: &Root) -> Option<Reason> {
    if checks::is_administrator(root) {
        return None;
    }
    let path = root.path("/proc/sys/kernel/perf_event_paranoid");
    let level: i32 = std::fs::read_to_string(path).ok()?.trim().parse().ok()?;
    (level > 2).then(|| {
        Reason::new(
            format!("kernel.perf_event_paranoid is {level}, which lets only CAP_SYS_ADMIN make kprobes"),
            "sysctl kernel.perf_event_paranoid=2, or run ipft as root",
        )
    })
}

/// The smallest ring buffer.
const SMALL: u32 = 4096;

fn size(bytes: u32) -> String {
    match bytes {
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes >> 10),
    }
}

fn limit(resource: rustix::process::Resource, unit: u64) -> Option<u64> {
    rustix::process::getrlimit(resource).current.map(|most| most / unit)
}

fn most_locked() -> String {
    limit(rustix::process::Resource::Memlock, 1024).map_or("none".to_owned(), |most| format!("{most} KiB"))
}

fn most_files() -> String {
    limit(rustix::process::Resource::Nofile, 1).map_or("no limit".to_owned(), |most| most.to_string())
}

/// Mechanism of probing a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    /// A perf kprobe.
    Kprobe,
    /// A kprobe-multi link.
    KprobeMulti,
    /// A BPF trampoline.
    Trampoline,
}

impl Mechanism {
    /// Returns the feature that the kernel lacks for the mechanism, if it returns this code for everything.
    pub(super) fn lacks(self, code: i32) -> Option<&'static str> {
        match (self, code) {
            // The link type exists and CONFIG_FPROBE is off (kernel/trace/bpf_trace.c).
            (Mechanism::KprobeMulti, libc::EOPNOTSUPP) => Some("the kernel was built without CONFIG_FPROBE"),
            _ => None,
        }
    }
}

/// Returns the reason why the kernel refused one function, in words for the user.
pub(super) fn of_function(root: &Root, mechanism: Mechanism, error: &io::Error, function: &Candidate) -> String {
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    match (mechanism, code) {
        (Mechanism::Trampoline, ENOTSUPP) if function.arguments > 6 => {
            "trampolines of this kernel take six arguments at most".into()
        }
        (Mechanism::Trampoline, ENOTSUPP) => "trampolines of this kernel cannot serve its arguments".into(),
        (Mechanism::Trampoline, libc::EINVAL) => "the kernel does not allow a trampoline there".into(),
        (Mechanism::Kprobe, libc::EINVAL) => {
            "the kernel cannot put a kprobe there (its text is excluded from probing)".into()
        }
        (Mechanism::Kprobe, libc::EADDRNOTAVAIL | libc::ENOENT) => "no such symbol, or several of that name".into(),
        (Mechanism::KprobeMulti, libc::EINVAL | libc::ENOENT | libc::ESRCH) => {
            "the kernel has no ftrace site at its address".into()
        }
        // The kernel returns this if another user changes the function or its trampoline, and if ftrace is off.
        (_, libc::EBUSY) => match checks::switched_off(root, mechanism == Mechanism::Kprobe) {
            Some((cause, remedy)) => format!("{cause}; switch it on: {remedy}"),
            None => "the function is in use by another tracer or a live patch that does not share".into(),
        },
        // Only this call checks the level. The verifier also returns EACCES for a program.
        (Mechanism::Kprobe, libc::EACCES) => match lacking(root).or_else(|| paranoid(root)) {
            Some(reason) => format!("{}; {}", reason.cause, reason.remedy),
            None => error.to_string(),
        },
        (_, code) => match of_any_call(root, code) {
            Some(reason) => format!("{}; {}", reason.cause, reason.remedy),
            None => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::Tree;
    use crate::probe::testing::candidate;

    const ALL: &str = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";

    fn machine() -> Tree {
        Tree::new()
            .with("/proc/self/status", ALL)
            .with("/proc/sys/kernel/ftrace_enabled", "1\n")
    }

    fn said(tree: &Tree, mechanism: Mechanism, code: i32) -> String {
        let error = io::Error::from_raw_os_error(code);
        of_function(&tree.root(), mechanism, &error, &candidate("ip_rcv"))
    }

    #[test]
    fn codes_survive_libbpf() {
        let error = libbpf_rs::Error::from_raw_os_error(libc::ENOMEM);
        assert_eq!(code(&error), Some(libc::ENOMEM));
        let context = libbpf_rs::ErrorExt::context(error, "no map");
        assert_eq!(code(&context), Some(libc::ENOMEM));
    }

    #[test]
    fn missing_capability_is_named() {
        let tree = machine().with("/proc/self/status", "Uid:\t1\t1\t1\t1\nCapEff:\t0000008000000000\n");
        let buffer = Buffer::Ring { bytes: SMALL, count: 1 };
        let reason = of_load(&tree.root(), &buffer, libc::EPERM).unwrap();
        assert!(reason.cause.contains("CAP_PERFMON"), "{reason}");
        assert!(!reason.cause.contains("CAP_BPF"), "{reason}");
        assert!(said(&tree, Mechanism::Kprobe, libc::EACCES).contains("CAP_PERFMON"));
    }

    #[test]
    fn a_paranoid_kernel_is_reported_with_its_level() {
        // CAP_PERFMON (38) and CAP_BPF (39).
        let user = || machine().with("/proc/self/status", "Uid:\t1\t1\t1\t1\nCapEff:\t000000c000000000\n");
        let reported =
            |tree: &Tree| said(tree, Mechanism::Kprobe, libc::EACCES).contains("kernel.perf_event_paranoid is 3");
        assert!(reported(&user().with("/proc/sys/kernel/perf_event_paranoid", "3\n")));
        assert!(!reported(&user().with("/proc/sys/kernel/perf_event_paranoid", "2\n")));
        assert!(
            !reported(&machine().with("/proc/sys/kernel/perf_event_paranoid", "3\n")),
            "root may"
        );
    }

    #[test]
    fn a_verifier_rejection_is_not_a_machine_problem() {
        let tree = machine().with("/proc/sys/kernel/perf_event_paranoid", "3\n");
        let buffer = Buffer::Ring { bytes: SMALL, count: 1 };
        assert_eq!(of_load(&tree.root(), &buffer, libc::EACCES), None);
    }

    #[test]
    fn memory_and_files_are_not_a_version_problem() {
        let tree = machine();
        for (code, word) in [(libc::ENOMEM, "memory"), (libc::EMFILE, "open files")] {
            assert!(!is_unknown_mechanism(Some(code)));
            let reason = of_any_call(&tree.root(), code).unwrap();
            assert!(reason.cause.contains(word), "{reason}");
            assert!(said(&tree, Mechanism::Kprobe, code).contains(word));
        }
        assert!(out_of_memory(Some(32 << 20)).to_string().contains("32 MiB"));
        assert!(out_of_memory(Some(32 << 20)).to_string().contains("--ring-size"));
    }

    #[test]
    fn a_busy_function_differs_from_ftrace_off() {
        let busy = said(&machine(), Mechanism::Trampoline, libc::EBUSY);
        assert!(busy.contains("another tracer"), "{busy}");
        let off = machine().with("/proc/sys/kernel/ftrace_enabled", "0\n");
        let off = said(&off, Mechanism::Trampoline, libc::EBUSY);
        assert!(off.contains("sysctl kernel.ftrace_enabled=1"), "{off}");
    }
}
