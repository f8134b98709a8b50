//! A machine without problems, and with one at a time.

use super::super::testing::Tree;
use super::privileges::{CAP_BPF, CAP_PERFMON};
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

/// Returns the only check with a problem.
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
fn a_missing_root_is_reported() {
    let status = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n";
    fails(
        machine().with("/proc/self/status", status),
        "not root (user id 1000), and without CAP_BPF and CAP_PERFMON",
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
    let both = CAP_BPF.mask() | CAP_PERFMON.mask();
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
fn each_missing_feature_has_its_own_message() {
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
fn disabled_features_are_reported_with_a_remedy() {
    fails(
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
fn hidden_addresses_do_not_matter_if_tracefs_has_them() {
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

#[test]
fn missing_capability_is_the_one_that_is_named() {
    let status = format!("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t{:016x}\n", CAP_BPF.mask());
    let check = first_failure(&machine().with("/proc/self/status", &status).root()).unwrap();
    assert!(check.found.contains("CAP_PERFMON"), "{check:?}");
    assert!(!check.found.contains("CAP_BPF"), "{check:?}");
}

#[test]
fn hidden_addresses_are_shown_by_a_capability() {
    let both = CAP_BPF.mask() | CAP_PERFMON.mask();
    let status = format!("Uid:\t1000\t1000\t1000\t1000\nCapEff:\t{both:016x}\n");
    warns(
        machine()
            .with("/proc/self/status", &status)
            .with("/proc/kallsyms", "0000000000000000 T _text\n"),
        "hidden",
        "CAP_SYSLOG",
    );
}
