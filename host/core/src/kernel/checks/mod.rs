//! What tracing needs of the machine, checked by reading files: for `ipft doctor`, and for the message that a run ends
//! with when something is missing.
//!
//! Each check looks at one thing and says what it found, and what would mend it. None of them tries anything: whether
//! a mechanism works is found out by using it, which is the probes' business.

mod privileges;
mod switches;
mod tracing;

use super::Root;
use super::release::{release, version};
use privileges::{addresses, privileges};
pub use privileges::{is_administrator, missing_capabilities};
use std::fs;
use std::io;
pub use switches::switched_off;
use switches::{ftrace, kprobes};
use tracing::tracing;

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// No problem.
    Ok,
    /// Something will be missing, or some mechanism will not work.
    Warning,
    /// No trace without it.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Subject of the check, in a word or two.
    pub name: &'static str,
    /// The result.
    pub status: Status,
    /// The finding, as a sentence without its full stop.
    pub found: String,
    /// The remedy, if one is needed and exists.
    pub remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Check {
            name,
            status: Status::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    fn warning(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Check {
            name,
            status: Status::Warning,
            found: found.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn failure(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Check {
            status: Status::Failure,
            ..Check::warning(name, found, remedy)
        }
    }
}

/// Checks whose failure rules out any trace, in the order of fixing: a later one may fail only because of an earlier
/// one.
const ESSENTIAL: [fn(&Root) -> Check; 7] = [privileges, kernel, types, lockdown, kprobes, tracing, ftrace];

/// Conditions that rule out some mechanism, or hide some functions.
const HELPFUL: [fn(&Root) -> Check; 3] = [jit, addresses, module_types];

/// Runs all checks.
pub fn run(root: &Root) -> Vec<Check> {
    ESSENTIAL.iter().chain(&HELPFUL).map(|check| check(root)).collect()
}

/// The first thing that rules out any trace, if there is one: the message to end a run with. It costs a few small
/// files.
pub fn first_failure(root: &Root) -> Option<Check> {
    ESSENTIAL
        .iter()
        .map(|check| check(root))
        .find(|check| check.status == Status::Failure)
}

fn read(root: &Root, path: &str) -> io::Result<String> {
    fs::read_to_string(root.path(path))
}

/// A file that holds one number.
fn number(root: &Root, path: &str) -> Option<i64> {
    read(root, path).ok()?.trim().parse().ok()
}

/// Before 5.5 there is no `bpf_probe_read_kernel` and no fentry, and every program we have uses one of the two.
const OLDEST: (u32, u32) = (5, 5);
/// The oldest that we test.
const OLDEST_TESTED: (u32, u32) = (5, 10);

fn kernel(root: &Root) -> Check {
    const NAME: &str = "kernel";
    let release = release(root);
    let (major, minor) = OLDEST;
    match version(&release) {
        None => Check::warning(
            NAME,
            format!("cannot tell its version from {release:?}"),
            format!("ipft needs Linux {major}.{minor} or later"),
        ),
        Some(version) if version < OLDEST => Check::failure(
            NAME,
            format!("Linux {release} is too old"),
            format!("ipft needs Linux {major}.{minor} or later"),
        ),
        Some(version) if version < OLDEST_TESTED => Check::warning(
            NAME,
            format!("Linux {release} is older than any that ipft is tested on"),
            format!("Linux {}.{} and later are tested", OLDEST_TESTED.0, OLDEST_TESTED.1),
        ),
        Some(_) => Check::ok(NAME, format!("Linux {release}")),
    }
}

fn types(root: &Root) -> Check {
    const NAME: &str = "type information";
    match fs::metadata(root.path("/sys/kernel/btf/vmlinux")) {
        Ok(_) => Check::ok(NAME, "/sys/kernel/btf/vmlinux"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Check::failure(
            NAME,
            "the kernel has no type information (BTF): /sys/kernel/btf/vmlinux does not exist",
            "use a kernel that is built with CONFIG_DEBUG_INFO_BTF=y, and see that /sys is mounted",
        ),
        Err(error) => Check::failure(
            NAME,
            format!("cannot look at /sys/kernel/btf/vmlinux: {error}"),
            "see that /sys is mounted: mount -t sysfs sysfs /sys",
        ),
    }
}

fn module_types(root: &Root) -> Check {
    const NAME: &str = "types of modules";
    let loaded = read(root, "/proc/modules").unwrap_or_default();
    let total = loaded.lines().count();
    let without: Vec<&str> = loaded
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| !name.contains('/') && !root.path("/sys/kernel/btf").join(name).exists())
        .collect();
    if without.is_empty() {
        return Check::ok(NAME, format!("{total} modules are loaded, all with BTF"));
    }
    let mut names = without.iter().take(3).copied().collect::<Vec<_>>().join(", ");
    if without.len() > 3 {
        names += ", ...";
    }
    Check::warning(
        NAME,
        format!(
            "{} of {total} modules that are loaded have no BTF ({names})",
            without.len()
        ),
        "functions of such modules are not traced, but for those of 5.10 that ipft knows; \
         a kernel built with CONFIG_DEBUG_INFO_BTF_MODULES=y (5.11 or later) tells them all",
    )
}

fn lockdown(root: &Root) -> Check {
    const NAME: &str = "lockdown";
    let Ok(text) = read(root, "/sys/kernel/security/lockdown") else {
        return Check::ok(NAME, "not in this kernel, or not to be seen");
    };
    let mode = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or(text.trim(), |(mode, _)| mode);
    if mode == "confidentiality" {
        Check::failure(
            NAME,
            "the kernel is locked down in confidentiality mode, which forbids to read kernel memory",
            "boot with lockdown=integrity or lockdown=none (Secure Boot may enforce the stricter mode)",
        )
    } else {
        Check::ok(NAME, format!("mode {mode:?} lets programs trace"))
    }
}

fn jit(root: &Root) -> Check {
    const NAME: &str = "BPF compiler";
    match number(root, "/proc/sys/net/core/bpf_jit_enable") {
        Some(0) => Check::warning(
            NAME,
            "switched off: programs run slowly, and the fentry backends not at all",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        Some(_) => Check::ok(NAME, "switched on"),
        // A network namespace of its own may not see the file.
        None => Check::ok(NAME, "not to be seen"),
    }
}

#[cfg(test)]
mod tests;
