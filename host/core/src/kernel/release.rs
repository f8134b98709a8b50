//! The version of the running kernel, and bugs that depend on nothing else.

use std::fs;

use super::Root;

/// The first Linux that handles a fault in a BPF program which calls functions of its own. Those before it have the
/// program twice in the tree that the fault handler searches, once without the table of its loads that may fault; when
/// the handler finds that one, it dereferences NULL: 0108a4e9f358, "bpf: ensure main program has an extable". Stable
/// kernels have the correction from some point release on, which a distribution's version does not tell.
const FAULTS_ARE_HANDLED: (u32, u32) = (6, 5);

/// From when on the kernel keeps what the returns of kprobe-multi links go through until none can come any more:
/// 5f81018753df, "fprobe: Release rethook after the ftrace_ops is unregistered" (CVE-2023-53557).
const RETURNS_ARE_HANDLED: (u32, u32) = (6, 5);

/// From when on a trampoline for a module's function is attached to that, and not to whatever symbol has its name and
/// comes first: 31bf1dbccfb0, "bpf: Fix attaching fentry/fexit/fmod_ret/lsm to modules".
const MODULES_ARE_LOOKED_UP: (u32, u32) = (6, 4);

/// From when on the BPF ring buffer has a lock that does not sleep on PREEMPT_RT: 8b62645b09f8, "bpf: Use
/// raw_spinlock_t in ringbuf".
const RING_IS_RAW: (u32, u32) = (6, 12);

/// Output of `uname -r`; empty if unknown.
pub(super) fn release(root: &Root) -> String {
    let release = fs::read_to_string(root.path("/proc/sys/kernel/osrelease")).unwrap_or_default();
    release.trim().to_owned()
}

/// The first two numbers of a release, whatever follows them: `6.12.107+deb13-cloud-amd64`, `7.2-rc1`.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Returns whether the kernel may crash when a BPF program which calls functions of its own reads through a wrong
/// pointer, other than with a helper.
pub fn faults_crash(root: &Root) -> bool {
    version(&release(root)).is_none_or(|version| version < FAULTS_ARE_HANDLED)
}

/// Returns whether the kernel may crash when returns of kprobe-multi links are detached while packets pass. Stable
/// kernels that have the correction are trusted where their third number tells: distributions often leave it at 0.
pub fn detaching_returns_crashes(root: &Root) -> bool {
    let release = release(root);
    let patch = release.split(|character: char| !character.is_ascii_digit()).nth(2);
    let patch: u32 = patch.and_then(|patch| patch.parse().ok()).unwrap_or(0);
    match version(&release) {
        Some((6, 1)) => patch < 40,
        Some((6, 4)) => patch < 5,
        version => version.is_none_or(|version| version < RETURNS_ARE_HANDLED),
    }
}

/// Returns whether the kernel finds a module's function by name alone when it attaches a trampoline.
pub fn trampolines_go_by_name(root: &Root) -> bool {
    version(&release(root)).is_none_or(|version| version < MODULES_ARE_LOOKED_UP)
}

/// Returns whether the BPF ring buffer takes a lock that may sleep, which probes must not.
pub fn ring_buffer_sleeps(root: &Root) -> bool {
    let realtime = fs::read_to_string(root.path("/sys/kernel/realtime")).is_ok_and(|text| text.trim() == "1");
    realtime && version(&release(root)).is_none_or(|version| version < RING_IS_RAW)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::Tree;

    fn linux(release: &str) -> Tree {
        Tree::new().with("/proc/sys/kernel/osrelease", release)
    }

    #[test]
    fn faults_are_allowed_from_the_version_handling_them() {
        assert!(faults_crash(&Tree::new().root()));
        let crashes = |release: &str| faults_crash(&linux(release).root());
        for release in [
            "5.10.0-32-cloud-amd64\n",
            "6.1.0-18-amd64",
            "6.4.16",
            "4.19.0",
            "",
            "linux",
        ] {
            assert!(crashes(release), "{release}");
        }
        for release in ["6.5.0", "6.12.107+deb13-cloud-amd64\n", "7.2-rc1", "10.0"] {
            assert!(!crashes(release), "{release}");
        }
    }

    #[test]
    fn returns_are_detached_if_the_kernel_survives_it() {
        let crashes = |release: &str| detaching_returns_crashes(&linux(release).root());
        for release in [
            "5.19.0-46-generic",
            "6.1.0-18-amd64",
            "6.1.39",
            "6.2.16",
            "6.4.4",
            "6.4.0-rc1",
            "",
        ] {
            assert!(crashes(release), "{release}");
        }
        for release in [
            "6.1.40",
            "6.1.90-1-lts",
            "6.4.5",
            "6.5.0-14-generic",
            "6.12.107+deb13-cloud-amd64",
            "7.2",
        ] {
            assert!(!crashes(release), "{release}");
        }
    }

    #[test]
    fn old_realtime_kernels_avoid_the_ring_buffer() {
        let sleeps = |release: &str, realtime: Option<&str>| {
            let tree = match realtime {
                Some(text) => linux(release).with("/sys/kernel/realtime", text),
                None => linux(release),
            };
            ring_buffer_sleeps(&tree.root())
        };
        assert!(sleeps("5.10.0-32-rt-amd64", Some("1\n")));
        assert!(sleeps("6.6.30-rt30", Some("1")));
        assert!(!sleeps("6.12.1-rt", Some("1\n")));
        assert!(!sleeps("6.6.30", Some("0\n")));
        assert!(!sleeps("5.10.0-32-cloud-amd64", None));
    }
}
