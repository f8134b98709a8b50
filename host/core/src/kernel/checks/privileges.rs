//! Privileges of this process: its capabilities, and the consequences of missing ones. Imports `kernel` alone.

use super::super::{Root, symbols, tracefs};
use super::{Check, read};
use std::fs;
use std::io::Read;

/// A capability that tracing needs (include/uapi/linux/capability.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capability {
    /// Name in the kernel.
    pub(super) name: &'static str,
    bit: u32,
}

/// Passes the mode of tracefs, which only root may enter.
pub(super) const CAP_DAC_READ_SEARCH: Capability = Capability {
    name: "CAP_DAC_READ_SEARCH",
    bit: 2,
};
const CAP_DAC_OVERRIDE: Capability = Capability {
    name: "CAP_DAC_OVERRIDE",
    bit: 1,
};
/// Stands for CAP_BPF and CAP_PERFMON, as before 5.8.
const CAP_SYS_ADMIN: Capability = Capability {
    name: "CAP_SYS_ADMIN",
    bit: 21,
};
/// Shows addresses in `/proc/kallsyms` where kernel.kptr_restrict is 1 (kernel/ksyms_common.c, `kallsyms_show_value`).
pub(super) const CAP_SYSLOG: Capability = Capability {
    name: "CAP_SYSLOG",
    bit: 34,
};
/// Lets programs be attached to functions and read the kernel's memory (`perfmon_capable`).
pub(super) const CAP_PERFMON: Capability = Capability {
    name: "CAP_PERFMON",
    bit: 38,
};
/// Lets programs be loaded (`bpf_capable`).
pub(super) const CAP_BPF: Capability = Capability {
    name: "CAP_BPF",
    bit: 39,
};

/// Privileges that a process without root needs, in words for the user.
pub(super) const REMEDY: &str = "run ipft as root, for example with sudo; or give it CAP_BPF, CAP_PERFMON, CAP_SYSLOG \
                                 and CAP_DAC_READ_SEARCH";

impl Capability {
    /// Returns whether it is in this set, as `/proc/PID/status` writes it.
    fn is_in(self, set: u64) -> bool {
        set >> self.bit & 1 == 1
    }

    #[cfg(test)]
    pub(super) fn mask(self) -> u64 {
        1 << self.bit
    }
}

/// A field of `/proc/self/status`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(str::trim)
}

/// Returns the effective capabilities of this process; `None` if unknown.
fn effective(status: &str) -> Option<u64> {
    u64::from_str_radix(field(status, "CapEff")?, 16).ok()
}

/// Returns whether this process has a capability; true if unknown.
pub(super) fn has_capability(root: &Root, capability: Capability) -> bool {
    let status = read(root, "/proc/self/status").unwrap_or_default();
    effective(&status).is_none_or(|set| capability.is_in(set))
}

/// Those of CAP_BPF and CAP_PERFMON that this process lacks, by name, where CAP_SYS_ADMIN does not stand for them.
pub fn missing_capabilities(root: &Root) -> Vec<&'static str> {
    let status = read(root, "/proc/self/status").unwrap_or_default();
    match effective(&status) {
        Some(set) => missing(set),
        None => Vec::new(),
    }
}

/// Returns whether this process has CAP_SYS_ADMIN, as far as known.
pub fn is_administrator(root: &Root) -> bool {
    has_capability(root, CAP_SYS_ADMIN)
}

fn missing(set: u64) -> Vec<&'static str> {
    if CAP_SYS_ADMIN.is_in(set) {
        return Vec::new();
    }
    [CAP_BPF, CAP_PERFMON]
        .into_iter()
        .filter(|capability| !capability.is_in(set))
        .map(|capability| capability.name)
        .collect()
}

/// Returns whether the mode of root's file does not prevent access.
pub(super) fn passes_modes(root: &Root) -> bool {
    has_capability(root, CAP_DAC_READ_SEARCH) || has_capability(root, CAP_DAC_OVERRIDE)
}

pub(super) fn privileges(root: &Root) -> Check {
    const NAME: &str = "privileges";
    let status = read(root, "/proc/self/status").unwrap_or_default();
    let Some(capabilities) = effective(&status) else {
        return Check::warning(
            NAME,
            "cannot tell which capabilities this process has (/proc/self/status)",
            "mount /proc: mount -t proc proc /proc",
        );
    };
    // The second word of `Uid:` is the effective one.
    let user = field(&status, "Uid")
        .and_then(|text| text.split_whitespace().nth(1))
        .unwrap_or("?");
    let missing = missing(capabilities);
    if !missing.is_empty() {
        let missing = missing.join(" and ");
        let found = if user == "0" {
            format!("root, but without {missing}, which loading tracing programs needs")
        } else {
            format!("not root (user id {user}), and without {missing}, which loading tracing programs needs")
        };
        return Check::failure(NAME, found, REMEDY);
    }
    // A map that is not the whole range is a container's. Its capabilities do not reach the kernel.
    let map = read(root, "/proc/self/uid_map").unwrap_or_default();
    let map: Vec<&str> = map.split_whitespace().collect();
    if !map.is_empty() && map != ["0", "0", "4294967295"] {
        return Check::failure(
            NAME,
            "root inside a user namespace only (a rootless container)",
            "run ipft as root of the host",
        );
    }
    Check::ok(
        NAME,
        if user == "0" {
            "root"
        } else {
            "not root, with the capabilities that loading tracing programs needs"
        },
    )
}

pub(super) fn addresses(root: &Root) -> Check {
    const NAME: &str = "kernel addresses";
    // Per-CPU variables come first and are at 0 even when shown; some 20 KiB later, the first function tells.
    let mut shown = None;
    let read = fs::File::open(root.path("/proc/kallsyms")).and_then(|file| {
        symbols::read_kallsyms(file.take(64 << 10), |symbol| {
            shown = shown.or(Some(symbol.address() != 0))
        })
    });
    match (read, shown) {
        (Ok(()), Some(true)) => Check::ok(NAME, "shown to this process"),
        (Ok(()), _) if tracefs::file(root, "available_filter_functions_addrs").is_ok() => {
            Check::ok(NAME, "hidden in /proc/kallsyms; tracefs tells those that matter")
        }
        (Ok(()), _) => Check::warning(
            NAME,
            "hidden from this process: the kprobe-multi and kprobe-session backends do not work, and functions whose \
             names occur twice cannot be traced",
            if has_capability(root, CAP_SYSLOG) {
                "show them to processes with CAP_SYSLOG: sysctl kernel.kptr_restrict=1"
            } else {
                "run ipft as root, or give it CAP_SYSLOG, with kernel.kptr_restrict at 0 or 1"
            },
        ),
        (Err(error), _) => Check::warning(
            NAME,
            format!("cannot read /proc/kallsyms: {error}"),
            "use a kernel that is built with CONFIG_KALLSYMS=y",
        ),
    }
}
