//! Recordings of real traces: a replay equals the live output, and a full disk or a killed process leaves the part
//! recorded so far.

use ipft_e2e::guest::{self, Left, Shared};
use serde_json::Value;
use xtask::kernel::Kernel;

/// A few functions on the packets' way.
const FEW: &str = "^(ip_output|ip_finish_output2|dev_hard_start_xmit|ip_rcv|ip_local_deliver|tcp_v4_rcv|icmp_rcv)$";

/// Sizes of the recording at which ipft is killed.
const KILLED: [u64; 5] = [1000, 10_000, 40_000, 90_000, 200_000];

fn left() -> &'static Left {
    static RUN: Shared = Shared::new();
    RUN.left(|| {
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/recording.sh"));
        guest::run_with_plugins("recording", Kernel::V6_12, &[], &script)
    })
}

/// Returns a run's stderr, if it ended with this exit code.
fn said(run: &str, code: i32) -> String {
    let said = left().text(&format!("{run}.err"));
    assert_eq!(left().exit(run), code, "{run}: {said}");
    said
}

/// Returns the lines of a type.
fn of_type<'a>(jsonl: &'a str, wanted: &str) -> Vec<&'a str> {
    let start = format!("{{\"type\":\"{wanted}\"");
    jsonl.lines().filter(|line| line.starts_with(&start)).collect()
}

/// Returns the number of events in the summary.
fn counted(jsonl: &str) -> u64 {
    let summaries = of_type(jsonl, "summary");
    let [summary] = summaries[..] else {
        panic!("{summaries:?}");
    };
    let summary: Value = serde_json::from_str(summary).unwrap();
    summary["events"].as_u64().unwrap()
}

#[test]
fn a_replay_equals_the_live_output() {
    said("live", 0);
    said("again", 0);
    said("again-flame", 0);
    let live = left().text("live.out");
    assert!(live.lines().count() > 100, "{live}");
    assert!(live == left().text("again.out"), "other JSON");
    let picture = left().text("live.svg");
    assert!(
        picture.contains("ip_rcv") && picture.trim_end().ends_with("</svg>"),
        "{picture}"
    );
    assert!(picture == left().text("again.svg"), "another picture");
}

#[test]
fn a_failing_recording_is_refused_before_attaching() {
    let said = said("nowhere", 1);
    assert!(said.contains("cannot record to /no/such/folder/x"), "{said}");
    assert!(!said.contains("Trace ready!"), "{said}");
    assert_eq!(left().text("nowhere.out"), "");
}

#[test]
fn a_full_disk_names_the_file_and_keeps_a_valid_part() {
    let message = said("full", 1);
    let reported = message.lines().filter(|line| line.contains("No space left on device"));
    let reported: Vec<&str> = reported.collect();
    assert_eq!(reported.len(), 1, "{message}");
    assert!(reported[0].starts_with("ipft: /tmp/small/full.ipft: "), "{message}");
    // The other output has all events, up to those sent later.
    let live = left().text("full.out");
    let events = of_type(&live, "event");
    assert_eq!(counted(&live), events.len() as u64);
    assert!(events.iter().any(|event| event.contains("\"tcp_v4_rcv\"")), "{message}");
    let again = left().text("full-again.out");
    let message = said("full-again", 1);
    assert!(message.contains("/tmp/small/full.ipft was cut"), "{message}");
    let recorded = of_type(&again, "event");
    assert!(recorded.len() > 1000, "{} events", recorded.len());
    assert!(events.starts_with(&recorded), "other events");
    assert_eq!(counted(&again), recorded.len() as u64);
    assert_eq!(left().text("files"), "full.ipft\n");
}

#[test]
fn a_blocked_stdout_costs_a_recording_no_event() {
    let message = said("stuck", 1);
    assert!(
        message.contains("its reader took nothing for 2 s after the signal"),
        "{message}"
    );
    said("stuck-again", 0);
    let again = left().text("stuck-again.out");
    let events = of_type(&again, "event").len();
    // Far more than a pipe holds.
    assert!(events > 3000, "{events} events");
    assert_eq!(counted(&again), events as u64);
}

#[test]
fn a_killed_trace_leaves_a_readable_recording() {
    for size in KILLED {
        let run = format!("killed-{size}");
        let message = said(&run, 1);
        assert!(message.contains("killed.ipft was cut"), "{run}: {message}");
        let drawn = left().text(&format!("{run}.out"));
        let events = of_type(&drawn, "event");
        assert_eq!(counted(&drawn), events.len() as u64, "{run}");
        let bytes: u64 = left().text(&format!("{run}.size")).trim().parse().unwrap();
        assert!(bytes > size, "{run} has {bytes} bytes");
        for event in [events.first(), events.last()].into_iter().flatten() {
            let event: Value = serde_json::from_str(event).unwrap();
            assert!(event["function"].as_str().unwrap().starts_with("ip_"), "{event}");
        }
    }
    let last = left().text(&format!("killed-{}.out", KILLED[4]));
    assert!(of_type(&last, "event").len() > 1000);
}

#[test]
fn a_ring_keeps_the_end_within_its_file_limit() {
    said("ring", 0);
    said("ring-again", 0);
    let parts = left().text("parts");
    let parts: Vec<(&str, u64)> = parts
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, size)| (name, size.parse().unwrap()))
        .collect();
    let [(first, large), (second, _)] = parts[..] else {
        panic!("{parts:?}");
    };
    assert!(first >= "r.000002.ipft" && second > first, "{parts:?}");
    // A file ends with the block that fills it, which has about half a megabyte at most.
    assert!((64 << 10..1 << 20).contains(&large), "{parts:?}");
    let live = left().text("ring.out");
    let all = of_type(&live, "event");
    let again = left().text("ring-again.out");
    let kept = of_type(&again, "event");
    assert!(kept.len() > 1000 && kept.len() < all.len(), "{} events", kept.len());
    assert!(all.ends_with(&kept), "other events");
    assert_eq!(counted(&again), kept.len() as u64);
}

#[test]
fn nothing_stays_attached() {
    assert_eq!(left().text("all.left"), "");
}
