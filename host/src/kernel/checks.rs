//! What tracing needs of the machine, checked by reading files: for `ipft doctor`, and for the message that a run ends
//! with when something is missing.
//!
//! Each check looks at one thing and says what it found, and what would mend it. None of them tries anything: whether
//! a mechanism works is found out by using it, which is the probes' business.

use super::release::{release, version};
use super::{Root, symbols, tracefs};
use std::fs;
use std::io::{self, Read};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Something will be missing, or some mechanism will not work.
    Warning,
    /// No trace without it.
    Failure,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at, in a word or two.
    pub name: &'static str,
    /// How it came out.
    pub status: Status,
    /// What was found, as a sentence without its full stop.
    pub found: String,
    /// What would mend it, if it needs mending and something would.
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

/// What rules out any trace, in the order in which one would mend it: what comes later may fail only because of what
/// comes before.
const ESSENTIAL: [fn(&Root) -> Check; 6] = [privileges, kernel, types, lockdown, kprobes, tracing];

/// What rules out some mechanism, or hides some functions.
const HELPFUL: [fn(&Root) -> Check; 4] = [ftrace, jit, addresses, module_types];

/// All checks.
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

const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

fn privileges(root: &Root) -> Check {
    const NAME: &str = "privileges";
    const REMEDY: &str = "run ipft as root, for example with sudo; or give it CAP_BPF, CAP_PERFMON and CAP_SYSLOG";
    let status = read(root, "/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let Some(capabilities) = field("CapEff").and_then(|text| u64::from_str_radix(text, 16).ok()) else {
        return Check::warning(
            NAME,
            "cannot tell which capabilities this process has (/proc/self/status)",
            "mount /proc: mount -t proc proc /proc",
        );
    };
    let has = |capability: u32| capabilities >> capability & 1 == 1;
    // The second word of `Uid:` is the effective one.
    let user = field("Uid")
        .and_then(|text| text.split_whitespace().nth(1))
        .unwrap_or("?");
    let may_trace = has(CAP_SYS_ADMIN) || (has(CAP_BPF) && has(CAP_PERFMON));
    if !may_trace {
        let found = if user == "0" {
            "root, but without the capabilities that tracing needs (CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON)"
                .to_owned()
        } else {
            format!(
                "not root (user id {user}): the kernel lets only root, or who has CAP_BPF and CAP_PERFMON, load tracing programs"
            )
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
            "the capabilities that tracing needs"
        },
    )
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

/// The file that tracefs has if the kernel can trace functions.
const FUNCTIONS: &str = "available_filter_functions";

fn tracing(root: &Root) -> Check {
    const NAME: &str = "tracefs";
    let error = match tracefs::file(root, FUNCTIONS) {
        Ok(path) => match fs::File::open(&path) {
            Ok(_) => return Check::ok(NAME, path.parent().unwrap_or(&path).display().to_string()),
            Err(error) => error,
        },
        Err((_, error)) => error,
    };
    if error.kind() == io::ErrorKind::PermissionDenied {
        return if privileges(root).status == Status::Ok {
            Check::failure(
                NAME,
                "the kernel lets nobody read tracefs, not even root",
                "see what forbids it: kernel lockdown, or a security module such as SELinux or AppArmor",
            )
        } else {
            Check::failure(
                NAME,
                "not allowed to read tracefs",
                "run ipft as root, for example with sudo",
            )
        };
    }
    if tracefs::file(root, "trace").is_ok() {
        return Check::failure(
            NAME,
            "tracefs is mounted, but this kernel cannot trace functions",
            "use a kernel that is built with CONFIG_DYNAMIC_FTRACE=y and CONFIG_FUNCTION_TRACER=y",
        );
    }
    if !root.path(tracefs::MOUNT_POINTS[0]).exists() {
        return Check::failure(
            NAME,
            "this kernel has no tracefs: /sys/kernel/tracing does not exist",
            "use a kernel that is built with CONFIG_FTRACE=y, and see that /sys is mounted",
        );
    }
    let remedy = "mount -t tracefs tracefs /sys/kernel/tracing";
    Check::failure(NAME, "tracefs is not mounted", remedy)
}

fn ftrace(root: &Root) -> Check {
    const NAME: &str = "function tracing";
    match number(root, "/proc/sys/kernel/ftrace_enabled") {
        Some(0) => Check::warning(
            NAME,
            "switched off: probes on functions do not attach, or see nothing",
            "sysctl kernel.ftrace_enabled=1",
        ),
        Some(_) => Check::ok(NAME, "switched on"),
        None => Check::warning(
            NAME,
            "not in this kernel",
            "use a kernel that is built with CONFIG_DYNAMIC_FTRACE=y and CONFIG_FUNCTION_TRACER=y",
        ),
    }
}

fn kprobes(root: &Root) -> Check {
    const NAME: &str = "kprobes";
    if !root.path("/sys/bus/event_source/devices/kprobe/type").exists() {
        let remedy = "use a kernel that is built with CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y";
        return if tracefs::file(root, FUNCTIONS).is_ok() {
            let found = "this kernel has no kprobes: of the backends, only those on fentry can work";
            Check::warning(NAME, found, remedy)
        } else {
            let found = "this kernel has no kprobes, and does not list functions that could be traced without";
            Check::failure(NAME, found, remedy)
        };
    }
    match number(root, "/sys/kernel/debug/kprobes/enabled") {
        Some(0) => Check::warning(
            NAME,
            "all kprobes are switched off",
            "echo 1 > /sys/kernel/debug/kprobes/enabled",
        ),
        _ => Check::ok(NAME, "in this kernel"),
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

fn addresses(root: &Root) -> Check {
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
            "hidden from this process: functions whose names occur twice cannot be traced",
            "run ipft as root with kernel.kptr_restrict at 0 or 1: sysctl kernel.kptr_restrict=1",
        ),
        (Err(error), _) => Check::warning(
            NAME,
            format!("cannot read /proc/kallsyms: {error}"),
            "use a kernel that is built with CONFIG_KALLSYMS=y",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::*;

    /// A machine on which everything is as it should be.
    fn machine() -> Tree {
        Tree::new()
            .with(
                "/proc/self/status",
                "Name:\tipft\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n",
            )
            .with("/proc/self/uid_map", "         0          0 4294967295\n")
            .with("/proc/sys/kernel/osrelease", "6.12.107+deb13-cloud-amd64\n")
            .with("/proc/sys/kernel/ftrace_enabled", "1\n")
            .with("/proc/sys/net/core/bpf_jit_enable", "1\n")
            .with(
                "/proc/kallsyms",
                "0000000000000000 A percpu\nffffffff81000000 T _text\n",
            )
            .with("/proc/modules", "veth 45056 0 - Live 0xffffffffc0000000\n")
            .with("/sys/kernel/btf/vmlinux", "")
            .with("/sys/kernel/btf/veth", "")
            .with("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n")
            .with("/sys/kernel/tracing/available_filter_functions", "ip_rcv\n")
            .with("/sys/kernel/tracing/trace", "")
            .with("/sys/bus/event_source/devices/kprobe/type", "8\n")
    }

    /// The one check that does not come out well.
    fn complaint(tree: &Tree) -> Check {
        let mut bad: Vec<Check> = run(&tree.root())
            .into_iter()
            .filter(|check| check.status != Status::Ok)
            .collect();
        assert_eq!(bad.len(), 1, "{bad:#?}");
        bad.remove(0)
    }

    #[track_caller]
    fn fails(tree: Tree, found: &str, remedy: &str) {
        let check = complaint(&tree);
        assert_eq!(check.status, Status::Failure);
        assert_eq!(Some(&check), first_failure(&tree.root()).as_ref());
        assert!(check.found.contains(found), "{check:?}");
        assert!(
            check.remedy.as_deref().unwrap_or_default().contains(remedy),
            "{check:?}"
        );
    }

    #[track_caller]
    fn warns(tree: Tree, found: &str, remedy: &str) {
        let check = complaint(&tree);
        assert_eq!(check.status, Status::Warning);
        assert_eq!(first_failure(&tree.root()), None);
        assert!(check.found.contains(found), "{check:?}");
        assert!(
            check.remedy.as_deref().unwrap_or_default().contains(remedy),
            "{check:?}"
        );
    }

    #[test]
    fn on_a_machine_that_has_everything_all_is_well() {
        let checks = run(&machine().root());
        assert!(
            checks
                .iter()
                .all(|check| check.status == Status::Ok && check.remedy.is_none()),
            "{checks:#?}"
        );
        assert_eq!(first_failure(&machine().root()), None);
    }

    #[test]
    fn who_is_not_root_is_told_so() {
        let status = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n";
        fails(
            machine().with("/proc/self/status", status),
            "not root (user id 1000)",
            "sudo",
        );
        let status = "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\n";
        fails(
            machine().with("/proc/self/status", status),
            "CAP_BPF and CAP_PERFMON",
            "sudo",
        );
        fails(
            machine().with("/proc/self/uid_map", "0 1000 1\n"),
            "user namespace",
            "root of the host",
        );
    }

    #[test]
    fn two_capabilities_are_as_good_as_root() {
        let both = 1u64 << CAP_BPF | 1 << CAP_PERFMON;
        let status = format!("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t{both:016x}\n");
        let tree = machine().with("/proc/self/status", status);
        assert_eq!(first_failure(&tree.root()), None);
    }

    #[test]
    fn an_old_kernel_is_named() {
        let kernel = |release: &str| machine().with("/proc/sys/kernel/osrelease", release);
        fails(kernel("4.19.0-27-amd64\n"), "Linux 4.19.0-27-amd64 is too old", "5.5");
        warns(kernel("5.8.0\n"), "older than any", "5.10");
        warns(kernel("banana\n"), "cannot tell", "5.5");
        for release in ["5.10.0-32-cloud-amd64", "7.2-rc1", "6.18.15+deb13", "10.0"] {
            assert_eq!(first_failure(&kernel(release).root()), None, "{release}");
        }
    }

    #[test]
    fn each_thing_that_the_kernel_lacks_has_a_message_of_its_own() {
        fails(
            machine().without("/sys/kernel/btf/vmlinux"),
            "no type information",
            "CONFIG_DEBUG_INFO_BTF",
        );
        fails(
            machine().with("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n"),
            "locked down",
            "lockdown=integrity",
        );
        fails(
            machine().without("/sys/kernel/tracing").folder("/sys/kernel/tracing"),
            "tracefs is not mounted",
            "mount -t tracefs tracefs /sys/kernel/tracing",
        );
        fails(machine().without("/sys/kernel/tracing"), "no tracefs", "CONFIG_FTRACE");
        fails(
            machine().without("/sys/kernel/tracing/available_filter_functions"),
            "cannot trace functions",
            "CONFIG_FUNCTION_TRACER",
        );
    }

    #[test]
    fn tracefs_may_be_in_either_place() {
        let tree = machine()
            .without("/sys/kernel/tracing")
            .with("/sys/kernel/debug/tracing/available_filter_functions", "");
        let checks = run(&tree.root());
        assert!(checks.iter().all(|check| check.status == Status::Ok), "{checks:#?}");
    }

    #[test]
    fn a_kernel_without_kprobes_may_still_have_fentry() {
        warns(machine().without("/sys/bus"), "no kprobes", "CONFIG_KPROBES");
        // The message is of the kprobes, which no mount would bring.
        let tree = machine().without("/sys/bus").without("/sys/kernel/tracing");
        let first = first_failure(&tree.root()).unwrap();
        assert_eq!(first.name, "kprobes");
    }

    #[test]
    fn what_is_switched_off_is_a_warning_that_says_how_to_switch_it_on() {
        warns(
            machine().with("/proc/sys/kernel/ftrace_enabled", "0\n"),
            "switched off",
            "sysctl kernel.ftrace_enabled=1",
        );
        warns(
            machine().with("/proc/sys/net/core/bpf_jit_enable", "0\n"),
            "switched off",
            "bpf_jit_enable=1",
        );
        warns(
            machine().with("/sys/kernel/debug/kprobes/enabled", "0\n"),
            "switched off",
            "echo 1",
        );
        warns(
            machine().with("/proc/kallsyms", "0000000000000000 T _text\n"),
            "hidden",
            "kptr_restrict",
        );
    }

    #[test]
    fn hidden_addresses_do_not_matter_where_tracefs_tells_them() {
        let tree = machine()
            .with("/proc/kallsyms", "0000000000000000 T _text\n")
            .with("/sys/kernel/tracing/available_filter_functions_addrs", "");
        assert!(run(&tree.root()).iter().all(|check| check.status == Status::Ok));
    }

    #[test]
    fn modules_without_types_are_counted_and_named() {
        warns(
            machine().with("/proc/modules", "veth 1\nzfs 2\n"),
            "1 of 2 modules that are loaded have no BTF (zfs)",
            "",
        );
    }
}
