//! Messages, streams and exit codes of `ipft`, in a guest that can trace and in one that cannot.

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

/// Returns the message of a failed run: nothing on stdout, and this exit code.
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

/// Checks that the message has all the words.
fn says(run: &str, message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{run} does not say '{word}': {message}");
    }
}

#[test]
fn wrong_usage_names_the_option_and_its_values() {
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
fn wrong_usage_is_refused_for_a_plain_user_too() {
    says("plain-usage", &refusal("plain-usage", 2), &["--mark"]);
}

#[test]
fn a_filter_without_a_match_is_refused() {
    says("no-function", &refusal("no-function", 1), &["ipft -l"]);
}

#[test]
fn a_plain_user_sees_root_and_capabilities_named() {
    says(
        "plain-trace",
        &refusal("plain-trace", 1),
        &["root", "CAP_BPF", "CAP_PERFMON"],
    );
}

#[test]
fn a_kernel_without_btf_is_refused_by_name() {
    says("no-btf", &refusal("no-btf", 1), &["BTF", "CONFIG_DEBUG_INFO_BTF"]);
}

#[test]
fn missing_tracefs_is_reported_with_a_mount_command() {
    says(
        "no-tracefs",
        &refusal("no-tracefs", 1),
        &["tracefs", "mount -t tracefs"],
    );
}

#[test]
fn lockdown_is_reported_by_name() {
    says("lockdown", &refusal("lockdown", 1), &["lockdown"]);
}

#[test]
fn doctor_lists_working_backends_and_fixes() {
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
        ("plain-doctor", &["root", "CAP_BPF"][..]),
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
        // The old keys, in the old order, which jq preserves.
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
fn a_closed_reader_ends_the_trace_cleanly() {
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
    // 128 + SIGINT, as a shell reports it.
    assert_eq!(left().exit("twice"), 130);
}

/// Returns the output of a trace that ended itself, with the message that says why.
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
fn a_duration_ends_the_trace_under_a_flood() {
    let said = left().text("flood.err");
    assert_eq!(left().exit("flood"), 0, "{said}");
    assert!(said.lines().any(|line| line == "Stopped after 5s"), "{said}");
    // There was more than could be read, and the last line is there nevertheless.
    assert!(said.contains("buffer full"), "{said}");
    let last = left().text("flood.out").lines().last().map(str::to_owned);
    assert!(last.is_some_and(|line| line.starts_with("{\"type\":\"summary\"")));
}

#[test]
fn an_event_limit_ends_the_trace() {
    assert_eq!(limited("events", "Stopped after 5 events").events.len(), 5);
}

#[test]
fn a_packet_limit_ends_the_trace_with_all_its_packets() {
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
fn the_probe_server_accepts_once_the_trace_is_ready() {
    let refused: u32 = left().text("probe.refused").trim().parse().unwrap();
    assert!(refused > 0, "it accepted from the first moment on");
    assert_eq!(left().exit("probe"), 0);
    // Packets after the first accepted connection are all traced.
    let recording = Recording::read(&left().path("probe.out")).unwrap();
    let sent = recording.events.iter().filter(|event| event.function == "ip_send_skb");
    assert_eq!(sent.count(), 3);
    assert_ne!(left().exit("probe-after"), 0, "it still accepts");
}

#[test]
fn probe_server_uses_loopback_or_the_given_address() {
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
fn nothing_stays_attached_after_any_end() {
    assert_eq!(left().text("all.left"), "");
}

/// On a machine that can trace, the guest tests cover the rest.
#[test]
fn a_refused_trace_gives_the_reason_of_doctor() {
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
    // The message names something that doctor names.
    let named = ["root", "tracefs", "BTF", "lockdown", "kprobe", "CONFIG_"];
    let named = named
        .iter()
        .any(|word| message.contains(word) && diagnosis.contains(word));
    assert!(named, "{message}\n{diagnosis}");
}
