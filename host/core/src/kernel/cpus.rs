//! Lists the online CPUs. Imports nothing of the crate but [`Root`].

use super::Root;

/// The numbers of the CPUs that are online; `None` if the kernel does not tell.
pub fn online_cpus(root: &Root) -> Option<Vec<u32>> {
    parse(&std::fs::read_to_string(root.path("/sys/devices/system/cpu/online")).ok()?)
}

/// A list such as `0-3,5` (Documentation/admin-guide/cputopology.rst).
fn parse(text: &str) -> Option<Vec<u32>> {
    /// More than any kernel can have (CONFIG_NR_CPUS).
    const MOST: u32 = 1 << 16;

    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        cpus.extend(first..=last.min(MOST));
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_cpus_are_read() {
        assert_eq!(parse("0-2,5\n"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse("0\n"), Some(vec![0]));
        assert_eq!(parse(""), None);
        assert_eq!(parse("0-x"), None);
    }
}
