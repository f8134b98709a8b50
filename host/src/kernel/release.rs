//! The version of the running kernel, and what of its faults depends on nothing else.

use std::fs;

use super::Root;

/// The first Linux that handles a fault in a BPF program which calls functions of its own. Those before it have the
/// program twice in the tree that the fault handler searches, once without the table of its loads that may fault; when
/// the handler finds that one, it dereferences NULL: 0108a4e9f358, "bpf: ensure main program has an extable". Stable
/// kernels have the correction from some point release on, which a distribution's version does not tell.
const FAULTS_ARE_HANDLED: (u32, u32) = (6, 5);

/// What `uname -r` says; empty if nobody knows.
pub(super) fn release(root: &Root) -> String {
    let release = fs::read_to_string(root.path("/proc/sys/kernel/osrelease")).unwrap_or_default();
    release.trim().to_owned()
}

/// The first two numbers of a release, whatever follows them: `6.12.107+deb13-cloud-amd64`, `7.2-rc1`.
pub(super) fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Whether the kernel may crash when a BPF program which calls functions of its own reads through a wrong pointer,
/// other than with a helper.
pub fn faults_crash(root: &Root) -> bool {
    version(&release(root)).is_none_or(|version| version < FAULTS_ARE_HANDLED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::Tree;

    #[test]
    fn a_kernel_is_trusted_with_faults_only_from_the_version_that_handles_them() {
        assert!(faults_crash(&Tree::new().root()));
        let crashes = |release: &str| {
            let tree = Tree::new().with("/proc/sys/kernel/osrelease", release);
            faults_crash(&tree.root())
        };
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
}
