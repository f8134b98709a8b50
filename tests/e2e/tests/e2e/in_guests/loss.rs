//! Losses of full buffers and of the limit of events per second are counted: seen events plus counted losses are the
//! generated events, on every CPU.

use std::collections::BTreeMap;

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Kind, Recording};
use xtask::kernel::Kernel;

/// Functions that a datagram enters once each while it is sent.
const FUNCTIONS: [&str; 4] = ["ip_send_skb", "ip_output", "ip_finish_output2", "dev_hard_start_xmit"];

/// Datagrams that each CPU sends.
const FLOODS: [u64; 2] = [3000, 2000];

/// Events that a CPU may record at once and per second where they are limited.
const LIMIT: u64 = 500;

/// A ring buffer with the perf kprobes of old kernels, and with the newest backend.
const KERNELS: [Kernel; 2] = [Kernel::V5_10, Kernel::V6_12];

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 2] = [const { Shared::new() }; 2];
    let run = KERNELS.iter().position(|each| *each == kernel);
    RUNS[run.expect("one of the kernels")].left(|| {
        let script = format!(
            "FUNCTIONS='^({})$'\nFLOOD_0={}\nFLOOD_1={}\nLIMIT={LIMIT}\n{}",
            FUNCTIONS.join("|"),
            FLOODS[0],
            FLOODS[1],
            include_str!("../../../guest/loss.sh")
        );
        guest::run(&format!("loss-{}", kernel.series()), kernel, &[], &script)
    })
}

fn recording(kernel: Kernel, name: &str) -> Recording {
    assert_eq!(left(kernel).exit(name), 0);
    Recording::read(&left(kernel).path(&format!("{name}.out"))).unwrap()
}

/// Counts the entries on each CPU.
fn made() -> BTreeMap<u32, u64> {
    let calls = FLOODS.map(|datagrams| datagrams * FUNCTIONS.len() as u64);
    (0..).zip(calls).collect()
}

/// Returns the sum of seen events and losses per CPU. A loss without a CPU fails.
fn seen_and_lost(recording: &Recording, kind: Kind, loss: &str) -> BTreeMap<u32, u64> {
    let mut sums = seen(recording, kind);
    for lost in &recording.lost {
        assert_eq!(lost.kind, loss);
        *sums.entry(lost.cpu.expect("the CPU of the loss")).or_default() += lost.count;
    }
    sums
}

/// Counts the events per CPU.
fn seen(recording: &Recording, kind: Kind) -> BTreeMap<u32, u64> {
    let mut sums = BTreeMap::new();
    for event in recording.events.iter().filter(|event| event.kind == kind) {
        *sums.entry(event.cpu).or_default() += 1;
    }
    sums
}

/// Checks that stderr reports the losses of the trace: their sum, and each.
fn check_report(report: &str, recording: &Recording) {
    let lost = recording.summary.lost;
    if lost == 0 {
        assert!(!report.contains("Lost"), "{report}");
        return;
    }
    assert!(report.contains(&format!("Lost {lost} events:\n")), "{report}");
    for loss in &recording.lost {
        let cpu = loss.cpu.expect("the CPU of the loss");
        let line = format!("  {} on CPU {cpu}: ", loss.count);
        assert!(
            report.lines().any(|each| each.starts_with(&line)),
            "no '{line}' in {report}"
        );
    }
    let remedy = match recording.lost.iter().any(|loss| loss.kind == "rate-limit") {
        true => "raise --max-events-per-second",
        false => "--ring-size",
    };
    assert!(report.contains(remedy), "it does not say what to try: {report}");
}

fn a_buffer_that_is_large_enough_loses_nothing(kernel: Kernel) {
    for name in ["large", "large-perf"] {
        let recording = recording(kernel, name);
        assert!(recording.lost.is_empty(), "{name}: {:?}", recording.lost);
        assert_eq!(seen_and_lost(&recording, Kind::Entry, "buffer-full"), made(), "{name}");
        check_report(&left(kernel).text(&format!("{name}.err")), &recording);
    }
}

fn a_full_ring_buffer_counts_what_it_loses(kernel: Kernel) {
    check_small(kernel, "small-ring");
}

fn a_full_perf_buffer_counts_what_it_loses(kernel: Kernel) {
    check_small(kernel, "small-perf");
}

fn check_small(kernel: Kernel, name: &str) {
    let recording = recording(kernel, name);
    assert!(recording.summary.lost > 0, "nothing was lost, so nothing was shown");
    assert_eq!(seen_and_lost(&recording, Kind::Entry, "buffer-full"), made());
    check_report(&left(kernel).text(&format!("{name}.err")), &recording);
}

/// A call whose entry is lost has no return. So each call either returns, or has lost one of its ends.
fn a_call_loses_one_of_its_ends_or_none(kernel: Kernel) {
    let recording = recording(kernel, "small-ring-graph");
    assert!(recording.summary.lost > 0, "nothing was lost, so nothing was shown");
    let sums = seen_and_lost(&recording, Kind::Return, "buffer-full");
    assert_eq!(sums, made());
    let unpaired = recording
        .events
        .iter()
        .find(|event| event.kind == Kind::Return && event.duration.is_none());
    assert!(unpaired.is_none(), "its entry was lost, and yet: {unpaired:?}");
    check_report(&left(kernel).text("small-ring-graph.err"), &recording);
}

/// A call whose entry is over the limit has no return, and all other calls have one.
fn events_over_the_limit_are_counted_exactly(kernel: Kernel) {
    for (name, kind) in [("limited", Kind::Entry), ("limited-graph", Kind::Return)] {
        let recording = recording(kernel, name);
        assert_eq!(seen_and_lost(&recording, kind, "rate-limit"), made(), "{name}");
        assert_eq!(seen(&recording, Kind::Entry), seen(&recording, kind), "{name}");
        for (cpu, events) in seen(&recording, kind) {
            let made = made()[&cpu];
            assert!(
                (LIMIT / 2..made).contains(&events),
                "{name}: {events} of {made} events on CPU {cpu}"
            );
        }
        let report = left(kernel).text(&format!("{name}.err"));
        check_report(&report, &recording);
        let warning = format!("more than {LIMIT} events per second");
        assert_eq!(report.matches(&warning).count(), 1, "{report}");
    }
}

fn other_work_goes_on_in_a_limited_flood(kernel: Kernel) {
    let lines = left(kernel).text("limited.work").lines().count();
    assert!(lines > 20, "another process wrote {lines} lines during the flood");
}

fn what_does_not_fit_into_memory_is_printed_early_and_not_lost(kernel: Kernel) {
    let left = left(kernel);
    assert_eq!(left.exit("early"), 0);
    let (output, report) = (left.text("early.out"), left.text("early.err"));
    let (headers, rows): (Vec<&str>, Vec<&str>) = output
        .lines()
        .filter(|line| *line != "===")
        .partition(|line| line.starts_with("Timestamp"));
    assert_eq!(headers.len(), 1);
    assert_eq!(rows.len() as u64, 2 * made().values().sum::<u64>(), "{report}");
    assert!(!report.contains("Lost"), "{report}");
    let reported: Vec<&str> = report.lines().filter(|line| line.contains("--max-memory")).collect();
    assert_eq!(reported.len(), 1, "{report}");
    assert!(
        report.contains(" packets were printed before the trace ended"),
        "{report}"
    );
}

ipft_e2e::on_kernels!(
    [on_5_10: V5_10, on_6_12: V6_12],
    a_buffer_that_is_large_enough_loses_nothing,
    a_call_loses_one_of_its_ends_or_none,
    a_full_perf_buffer_counts_what_it_loses,
    a_full_ring_buffer_counts_what_it_loses,
    events_over_the_limit_are_counted_exactly,
    other_work_goes_on_in_a_limited_flood,
    what_does_not_fit_into_memory_is_printed_early_and_not_lost,
);
