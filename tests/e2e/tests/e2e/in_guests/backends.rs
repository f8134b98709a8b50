//! Backends complement each other, and functions of modules loaded during a trace belong to it.

use std::collections::BTreeSet;

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::Recording;
use xtask::kernel::Kernel;

/// The kernel on which the cheapest backend skips functions that others attach, and one where it does not.
const KERNELS: [Kernel; 2] = [Kernel::V7_2, Kernel::V6_12];

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 2] = [const { Shared::new() }; 2];
    let place = KERNELS
        .iter()
        .position(|other| *other == kernel)
        .expect("a kernel of the test");
    RUNS[place].left(|| {
        let name = format!("backends-{}", kernel.series());
        guest::run(&name, kernel, &[], include_str!("../../../guest/backends.sh"))
    })
}

fn recording(kernel: Kernel, name: &str) -> Recording {
    let said = left(kernel).text(&format!("{name}.err"));
    assert_eq!(left(kernel).exit(name), 0, "{name}: {said}");
    Recording::read(&left(kernel).path(&format!("{name}.out")))
        .unwrap_or_else(|error| panic!("{name}: {error:#}\n{said}"))
}

/// Returns the functions that could not be attached.
fn skipped(recording: &Recording) -> BTreeSet<(String, String)> {
    let skipped = recording.summary.skipped.iter();
    skipped.map(|one| (one.name.clone(), one.module.clone())).collect()
}

#[test]
fn the_default_attaches_all_that_kprobe_multi_does() {
    for kernel in KERNELS {
        let multi = recording(kernel, "multi");
        for name in ["default", "graph"] {
            let all = recording(kernel, name);
            let missing: Vec<_> = skipped(&all).difference(&skipped(&multi)).cloned().collect();
            assert!(missing.is_empty(), "{}: {name} lacks {missing:?}", kernel.series());
            // A packet has no mark at that point. A compiler suffix is part of the name on some kernels.
            let received = |name: &str| name.starts_with("__netif_receive_skb_core");
            assert!(
                all.trace.functions.iter().any(|function| received(&function.name)),
                "{}: {name}",
                kernel.series()
            );
            assert!(
                !skipped(&all).iter().any(|(skipped, _)| received(skipped)),
                "{}: {name}",
                kernel.series()
            );
            assert_eq!(
                all.summary.packets,
                multi.summary.packets,
                "{}: {name}",
                kernel.series()
            );
        }
    }
}

#[test]
fn verbose_output_counts_functions_per_backend() {
    let said = left(Kernel::V7_2).text("default.err");
    for backend in ["fentry-multi", "kprobe-multi"] {
        assert!(said.contains(&format!("Functions attached by {backend}: ")), "{said}");
    }
}

/// Returns the functions that the default attaches with trampolines of their own.
fn hot(kernel: Kernel) -> Vec<String> {
    let said = left(kernel).text("datagrams.err");
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("Attached by ftrace, as most packets pass them: "));
    let names = line.into_iter().flat_map(|names| names.split(", "));
    names.map(str::to_owned).collect()
}

#[test]
fn most_events_of_a_datagram_come_from_trampolines() {
    let hot = hot(Kernel::V6_12);
    let recording = recording(Kernel::V6_12, "datagrams");
    assert_eq!(recording.trace.backend, "kprobe-multi, ftrace");
    let of_kernel = recording.events.iter().filter(|event| event.module == "vmlinux");
    let (passed, others): (Vec<&str>, Vec<&str>) = of_kernel
        .map(|event| event.function.as_str())
        .partition(|name| hot.iter().any(|hot| hot == name));
    assert!(recording.summary.packets >= 10, "{}", recording.summary.packets);
    let named: BTreeSet<&str> = others.iter().copied().collect();
    assert!(passed.len() >= 3 * others.len(), "{} of these: {named:?}", others.len());
    assert_eq!(left(Kernel::V6_12).text("datagrams.left"), "");
}

#[test]
fn trampolines_for_many_functions_need_no_others() {
    assert!(hot(Kernel::V7_2).is_empty());
    let recording = recording(Kernel::V7_2, "datagrams");
    assert_eq!(recording.trace.backend, "fentry-multi, kprobe-multi");
}

#[test]
fn functions_of_one_module_are_traced_with_ftrace() {
    for kernel in KERNELS {
        let veth = recording(kernel, "module");
        assert!(veth.summary.attached > 0, "{}", kernel.series());
    }
}

/// NAT's functions, and some on the way of every packet.
const FEW: &str = "^(nf_nat_|ip_output$|ip_rcv$)";

fn modules(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("one of the kernels")].left(|| {
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/modules.sh"));
        guest::run(&format!("modules-{}", kernel.series()), kernel, &[], &script)
    })
}

/// Returns a trace of [`modules`], and its messages.
fn of_modules(kernel: Kernel, name: &str) -> (Recording, String) {
    let left = modules(kernel);
    let said = left.text(&format!("{name}.err"));
    assert_eq!(left.exit(name), 0, "{said}");
    let recording = Recording::read(&left.path(&format!("{name}.out")));
    (recording.unwrap_or_else(|error| panic!("{error:#}\n{said}")), said)
}

fn module_loaded_during_a_trace_is_traced(kernel: Kernel) {
    let (late, said) = of_modules(kernel, "late");
    assert!(
        said.contains("functions of module nf_nat, loaded during the trace"),
        "{said}"
    );
    assert!(late.events.iter().any(|event| event.module == "nf_nat"), "{said}");
    let left = modules(kernel);
    assert_eq!(left.text("late.left"), "");
    // The recording of the same trace gives the same lines.
    assert!(
        left.text("late.out") == left.text("replayed.out"),
        "the replay differs from the trace"
    );
}

/// As in docs/src/backends.md: kprobes release a module, and it is traced again when it is loaded again.
fn traced_module_is_kept_except_by_kprobes(kernel: Kernel) {
    let (removed, said) = of_modules(kernel, "removed");
    let kprobes = matches!(kernel, Kernel::V5_10 | Kernel::V6_1);
    let used = removed.trace.backend.split(", ").any(|backend| backend == "kprobe");
    assert_eq!(used, kprobes, "{}", removed.trace.backend);
    let left = |name: &str| modules(kernel).text(name).trim().to_owned();
    assert_eq!(left("removed.stayed"), if kprobes { "no" } else { "yes" });
    assert_eq!(left("removed.rmmod") == "0", kprobes);
    assert_eq!(
        said.contains("functions of module dummy, loaded during the trace"),
        kprobes,
        "{said}"
    );
    let seen = removed.events.iter().any(|event| event.function == "dummy_xmit");
    assert!(seen, "the module's function was not seen\n{said}");
    assert_eq!(left("removed.freed"), "0");
}

ipft_e2e::on_every_kernel!(
    module_loaded_during_a_trace_is_traced,
    traced_module_is_kept_except_by_kprobes
);
