//! Obstacles to a trace are named before it is ready; a result without events is explained.

use ipft_e2e::guest::{self, Left, Shared};
use xtask::kernel::Kernel;

fn left() -> &'static Left {
    static RUN: Shared = Shared::new();
    RUN.left(|| guest::run("reasons", Kernel::V6_12, &[], include_str!("../../../guest/reasons.sh")))
}

/// Returns a run's stderr, which has all of the words; its exit code is `exit`.
#[track_caller]
fn says(name: &str, exit: i32, words: &[&str]) -> String {
    let said = left().text(&format!("{name}.err"));
    assert_eq!(left().exit(name), exit, "{name}: {said}");
    for word in words {
        assert!(said.contains(word), "{name} does not say {word:?}: {said}");
    }
    assert!(exit == 0 || !said.contains("Trace ready!"), "{name}: {said}");
    said
}

#[test]
fn missing_capabilities_are_named() {
    says("none", 1, &["CAP_BPF and CAP_PERFMON", "root"]);
    let said = says("bpf-only", 1, &["without CAP_PERFMON"]);
    assert!(!said.contains("without CAP_BPF"), "{said}");
}

#[test]
fn tracefs_of_root_is_reported_with_its_mode() {
    let said = says("no-tracefs", 1, &["mode is 0700", "CAP_DAC_READ_SEARCH"]);
    assert!(!said.contains("not even root"), "{said}");
}

#[test]
fn four_capabilities_are_enough() {
    says("enough", 0, &["Trace ready!"]);
    let doctor = left().text("enough-doctor.out");
    assert_eq!(left().exit("enough-doctor"), 0, "{doctor}");
    says("enough-ftrace", 0, &["trampolines in modules need CAP_SYS_ADMIN"]);
}

#[test]
fn a_ring_without_memory_is_reported_with_its_size() {
    let said = says("memory", 1, &["ring buffer takes 32 MiB", "--ring-size 4M"]);
    assert!(!said.contains("no backend works"), "{said}");
    says("memory-smaller", 0, &["Trace ready!"]);
}

#[test]
fn limit_of_open_files_is_named() {
    let said = left().text("files.err");
    assert!(said.contains("too many open files: this process may have 64"), "{said}");
}

#[test]
fn an_empty_trace_says_what_to_check() {
    says("unmarked", 0, &["No packet with mark 0xdead", "iptables"]);
}

#[test]
fn an_empty_replay_names_the_selection() {
    for (name, words) in [
        ("replay-packet", "--packet 0x1"),
        ("replay-function", "no function of the recording matches -r 'nosuch'"),
        ("replay-from", "--from"),
        ("replay-order", "--to is before --from"),
    ] {
        says(name, 0, &[words]);
    }
}

#[test]
fn disabled_probes_refuse_the_trace() {
    says("ftrace-off", 1, &["ftrace", "sysctl kernel.ftrace_enabled=1"]);
    let doctor = left().text("ftrace-off-doctor.out");
    assert_eq!(left().exit("ftrace-off-doctor"), 1, "{doctor}");
    assert!(doctor.contains("Packets cannot be traced here: ftrace"), "{doctor}");
    says("kprobes-off", 1, &["kprobes are switched off", "echo 1"]);
    says("kprobes-off-any", 0, &["Trace ready!"]);
}

#[test]
fn refused_traces_leave_nothing_behind() {
    assert_eq!(left().text("all.left"), "");
}
