//! Determines the available memory: that of the machine, or less if a control group sets a limit.

use std::fs;
use std::path::Path;

use super::Root;

/// Mount point of control groups version 2.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Bytes of memory that this process can come to have at most, of which others may have some. `None` if the system does
/// not say.
pub fn memory(root: &Root) -> Option<u64> {
    [total(root), cgroup_limit(root)].into_iter().flatten().min()
}

/// `MemTotal` of `/proc/meminfo`.
fn total(root: &Root) -> Option<u64> {
    let text = fs::read_to_string(root.path("/proc/meminfo")).ok()?;
    let kibibytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"))?;
    kibibytes.parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest `memory.max` of the process' group and all groups around it. What cannot be read sets no limit: in a
/// container, groups outside its own are not seen.
fn cgroup_limit(root: &Root) -> Option<u64> {
    let text = fs::read_to_string(root.path("/proc/self/cgroup")).ok()?;
    // The line of version 2; those of version 1 have a number and a name.
    let group = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limit = |group: &Path| {
        let text = fs::read_to_string(root.path(CGROUPS).join(group).join("memory.max")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // A process in a group outside its namespace sees a path that climbs.
    Path::new(group)
        .ancestors()
        .filter(|group| !group.starts_with(".."))
        .filter_map(limit)
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::Tree;

    const MEMINFO: &str = "MemTotal:        2014440 kB\nMemFree:          123456 kB\n";
    const TOTAL: u64 = 2_014_440 * 1024;

    fn memory_of(files: &[(&str, &str)]) -> Option<u64> {
        let tree = files
            .iter()
            .fold(Tree::new(), |tree, (path, text)| tree.with(path, text));
        memory(&tree.root())
    }

    #[test]
    fn without_a_control_group_it_is_the_machines() {
        assert_eq!(memory_of(&[("/proc/meminfo", MEMINFO)]), Some(TOTAL));
        let groups = [("/proc/meminfo", MEMINFO), ("/proc/self/cgroup", "4:memory:/a\n")];
        assert_eq!(memory_of(&groups), Some(TOTAL));
        assert_eq!(memory_of(&[]), None);
        assert_eq!(memory_of(&[("/proc/meminfo", "MemTotal: much\n")]), None);
    }

    #[test]
    fn the_tightest_enclosing_group_counts() {
        let limit = |inner, outer, container| {
            memory_of(&[
                ("/proc/meminfo", MEMINFO),
                ("/proc/self/cgroup", "1:name=systemd:/other\n0::/outer/inner\n"),
                ("/sys/fs/cgroup/outer/inner/memory.max", inner),
                ("/sys/fs/cgroup/outer/memory.max", outer),
                ("/sys/fs/cgroup/memory.max", container),
            ])
        };
        assert_eq!(limit("max\n", "max\n", "max\n"), Some(TOTAL));
        assert_eq!(limit("67108864\n", "max\n", "max\n"), Some(64 << 20));
        assert_eq!(limit("max\n", "33554432\n", "67108864\n"), Some(32 << 20));
        assert_eq!(limit("max\n", "max\n", "16777216\n"), Some(16 << 20));
        assert_eq!(limit("99999999999999\n", "nonsense\n", ""), Some(TOTAL));
    }

    #[test]
    fn in_a_container_the_root_of_the_groups_is_its_own() {
        let files = |group| {
            [
                ("/proc/meminfo", MEMINFO),
                ("/proc/self/cgroup", group),
                ("/sys/fs/cgroup/memory.max", "1048576\n"),
            ]
        };
        assert_eq!(memory_of(&files("0::/\n")), Some(1 << 20));
        // It was moved out of the group that its namespace begins at.
        assert_eq!(memory_of(&files("0::/../other\n")), Some(1 << 20));
    }
}
