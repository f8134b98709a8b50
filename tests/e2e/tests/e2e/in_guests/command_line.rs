//! What `ipft` answers, on which stream and with which exit code, in a guest that can trace and in one that cannot.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::Recording;
use xtask::build;
use xtask::kernel::Kernel;

fn left() -> &'static Left {
    static RUN: Shared = Shared::new();
    RUN.left(|| {
        let script = include_str!("../../../guest/command_line.sh");
        guest::run("command-line", Kernel::V6_12, &[], script)
    })
}

/// The message of a run that could not do what it was asked: nothing on stdout, and this exit code.
fn refusal(run: &str, code: i32) -> String {
    let message = left().text(&format!("{run}.err"));
    assert_eq!(left().exit(run), code, "{run}: {message}");
    assert_eq!(left().text(&format!("{run}.out")), "", "{run}");
    assert!(
        message.starts_with("ipft: ") || message.starts_with("error: "),
        "{run}: {message}"
    );
    assert!(!message.contains("Trace ready!"), "{run}: {message}");
    message
}

/// Whether the message has all the words.
fn says(run: &str, message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{run} does not say '{word}': {message}");
    }
}

#[test]
fn wrong_usage_is_told_with_the_options_name_and_what_it_takes() {
    for (run, words) in [
        ("mark-zero", &["--mark", "'0'", "1 to 0xffffffff"][..]),
        ("mark-banana", &["--mark", "'banana'", "1 to 0xffffffff"]),
        ("mark-wide", &["--mark", "0x100000000", "0xffffffff"]),
        ("mark-missing", &["-m 0x", "-l"]),
        ("mask-zero", &["--mask", "'0'"]),
        ("mask-disjoint", &["--mark", "--mask"]),
        (
            "backend-nonsense",
            &[
                "--backend",
                "nonsense",
                "kprobe",
                "kprobe-multi",
                "kprobe-session",
                "ftrace",
                "fentry-multi",
            ],
        ),
        (
            "tracer-nonsense",
            &["--tracer", "nonsense", "function", "function_graph"],
        ),
        (
            "output-nonsense",
            &["--output", "nonsense", "aggregate", "json", "jsonl"],
        ),
        ("regex-broken", &["--regex"]),
        ("ring-odd", &["--ring-size", "5000", "4096", "8192"]),
        ("unknown-option", &["--nonsense"]),
    ] {
        says(run, &refusal(run, 2), words);
    }
}

#[test]
fn wrong_usage_is_wrong_for_a_plain_user_too() {
    says("nobody-usage", &refusal("nobody-usage", 2), &["--mark"]);
}

#[test]
fn a_filter_that_no_function_passes_is_no_trace() {
    says("no-function", &refusal("no-function", 1), &["ipft -l"]);
}

#[test]
fn a_plain_user_is_told_about_root_and_capabilities() {
    says(
        "nobody-trace",
        &refusal("nobody-trace", 1),
        &["root", "CAP_BPF", "CAP_PERFMON"],
    );
}

#[test]
fn a_kernel_without_btf_is_told_by_name() {
    says("no-btf", &refusal("no-btf", 1), &["BTF", "CONFIG_DEBUG_INFO_BTF"]);
}

#[test]
fn a_tracefs_that_is_not_mounted_is_told_with_the_command_that_mounts_it() {
    says(
        "no-tracefs",
        &refusal("no-tracefs", 1),
        &["tracefs", "mount -t tracefs"],
    );
}

#[test]
fn lockdown_is_told_by_name() {
    says("lockdown", &refusal("lockdown", 1), &["lockdown"]);
}

#[test]
fn doctor_finds_the_backends_that_work_and_says_what_would_fix_the_others() {
    let healthy = left().text("root-doctor.out");
    assert_eq!(left().exit("root-doctor"), 0, "{healthy}");
    says(
        "root-doctor",
        &healthy,
        &[
            "6.12",
            "BTF",
            "tracefs",
            "kprobe",
            "kprobe-multi",
            "kprobe-session",
            "ftrace",
            "fentry-multi",
        ],
    );
    for (run, words) in [
        ("nobody-doctor", &["root", "CAP_BPF"][..]),
        ("no-btf-doctor", &["BTF"]),
        ("no-tracefs-doctor", &["mount -t tracefs"]),
        ("lockdown-doctor", &["lockdown"]),
    ] {
        let said = left().text(&format!("{run}.out")) + &left().text(&format!("{run}.err"));
        assert_eq!(left().exit(run), 1, "{run}: {said}");
        says(run, &said, words);
    }
}

#[test]
fn json_can_be_piped_into_jq() {
    assert_eq!(left().exit("jq"), 0, "{}", left().text("jq.err"));
    assert_eq!(left().text("jq.reader"), "0\n");
    let lines = left().text("jq.out");
    assert_eq!(lines.lines().count(), 3, "{lines}");
    for line in lines.lines() {
        // The old keys, in the old order, which jq keeps.
        let mut rest = line;
        for key in [
            "packet_id",
            "timestamp",
            "processor_id",
            "module",
            "function",
            "is_return",
        ] {
            let (_, after) = rest
                .split_once(&format!("\"{key}\":"))
                .unwrap_or_else(|| panic!("{key}: {line}"));
            rest = after;
        }
        assert_eq!(rest, "false}", "{line}");
        assert!(
            line.contains("\"module\":\"vmlinux\",\"function\":\"ip_send_skb\""),
            "{line}"
        );
    }
}

#[test]
fn a_reader_that_leaves_ends_the_trace_cleanly() {
    for output in ["json", "jsonl", "aggregate"] {
        let run = format!("head-{output}");
        let said = left().text(&format!("{run}.err"));
        assert_eq!(left().exit(&run), 0, "{run}: {said}");
        assert_eq!(left().text(&format!("{run}.out")).lines().count(), 1, "{run}");
        assert!(!said.contains("ipft: "), "{run}: {said}");
    }
}

#[test]
fn each_of_the_signals_prints_what_was_traced() {
    for signal in ["INT", "TERM", "HUP"] {
        let run = format!("signal-{signal}");
        let (out, said) = (left().text(&format!("{run}.out")), left().text(&format!("{run}.err")));
        assert_eq!(left().exit(&format!("wait-{signal}")), 0, "{run}: {said}");
        assert_eq!(out.lines().count(), 3, "{run}: {out}");
        assert!(
            out.lines().nth(1) == Some("===") && out.contains("ip_send_skb"),
            "{run}: {out}"
        );
        assert!(said.lines().any(|line| line == "Trace ready!"), "{run}: {said}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    assert_ne!(left().text("twice.alive"), "", "it had ended before the second signal");
    // 128 and SIGINT, as the shell sees it.
    assert_eq!(left().exit("twice"), 130);
}

/// A trace that ended itself, with the message that says why.
fn limited(run: &str, why: &str) -> Recording {
    let said = left().text(&format!("{run}.err"));
    assert_eq!(left().exit(&format!("{run}-wait")), 0, "{run}: {said}");
    assert!(said.lines().any(|line| line == why), "{run}: {said}");
    let recording = Recording::read(&left().path(&format!("{run}.out"))).unwrap();
    assert_eq!(recording.summary.events, recording.events.len() as u64, "{run}");
    assert_eq!(recording.summary.lost, 0, "{run}");
    recording
}

#[test]
fn a_duration_ends_the_trace_with_what_was_seen() {
    assert_eq!(limited("duration", "Stopped after 3s").events.len(), 3);
}

#[test]
fn a_flood_does_not_keep_a_duration_from_ending_the_trace() {
    let said = left().text("flood.err");
    assert_eq!(left().exit("flood"), 0, "{said}");
    assert!(said.lines().any(|line| line == "Stopped after 5s"), "{said}");
    // It was more than could be read, and the last line is there all the same.
    assert!(said.contains("buffer full"), "{said}");
    let last = left().text("flood.out").lines().last().map(str::to_owned);
    assert!(last.is_some_and(|line| line.starts_with("{\"type\":\"summary\"")));
}

#[test]
fn a_trace_ends_after_as_many_events_as_were_wanted() {
    assert_eq!(limited("events", "Stopped after 5 events").events.len(), 5);
}

#[test]
fn a_trace_ends_after_the_packets_that_were_wanted_and_has_all_of_them() {
    let recording = limited("packets", "Stopped after 3 packets");
    let mut journeys = BTreeMap::<u64, Vec<&str>>::new();
    for event in &recording.events {
        journeys.entry(event.packet).or_default().push(&event.function);
    }
    assert_eq!(journeys.len(), 3, "{journeys:?}");
    assert_eq!(recording.summary.packets, 3);
    for journey in journeys.values() {
        for function in ["ip_send_skb", "ip_output", "ip_finish_output2"] {
            assert!(journey.contains(&function), "{journey:?}");
        }
    }
}

#[test]
fn the_probe_server_accepts_when_the_trace_is_ready_and_only_then() {
    let refused: u32 = left().text("probe.refused").trim().parse().unwrap();
    assert!(refused > 0, "it accepted from the first moment on");
    assert_eq!(left().exit("probe"), 0);
    // What was sent after the first accepted connection is all there.
    let recording = Recording::read(&left().path("probe.out")).unwrap();
    let sent = recording.events.iter().filter(|event| event.function == "ip_send_skb");
    assert_eq!(sent.count(), 3);
    assert_ne!(left().exit("probe-after"), 0, "it still accepts");
}

#[test]
fn the_probe_server_listens_where_it_is_told_and_on_loopback_by_default() {
    let listening = |run: &str| {
        let lines = left().text(&format!("{run}.listening"));
        let addresses = lines.lines().filter_map(|line| line.split_whitespace().nth(3));
        addresses.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listening("probe"), ["127.0.0.1:13720"]);
    assert_eq!(listening("probe-address"), ["0.0.0.0:13721"]);
    assert!(listening("probe-none").is_empty());
}

#[test]
fn however_it_ended_nothing_stays_attached() {
    assert_eq!(left().text("all.left"), "");
}

/// Where this machine can trace, the guest has shown all there is to show.
#[test]
fn on_this_machine_a_trace_starts_or_is_refused_with_the_reason_that_doctor_gives() {
    let ipft = build::development().unwrap();
    let doctor = Command::new(&ipft).arg("doctor").stdin(Stdio::null()).output().unwrap();
    let diagnosis = String::from_utf8_lossy(&doctor.stdout);
    if doctor.status.success() {
        assert!(diagnosis.contains("BTF"), "{diagnosis}");
        return;
    }
    assert_eq!(doctor.status.code(), Some(1), "{diagnosis}");
    let trace = Command::new(&ipft)
        .args(["-m", "1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&trace.stderr);
    assert_eq!(trace.status.code(), Some(1), "{message}");
    assert!(trace.stdout.is_empty());
    assert!(
        message.starts_with("ipft: ") && message.contains("ipft doctor"),
        "{message}"
    );
    // It names something that doctor names.
    let named = ["root", "tracefs", "BTF", "lockdown", "kprobe", "CONFIG_"];
    let named = named
        .iter()
        .any(|word| message.contains(word) && diagnosis.contains(word));
    assert!(named, "{message}\n{diagnosis}");
}
