//! Plugins in real traces: several at once, one with kernel code, and failing ones.

use std::collections::BTreeMap;
use std::path::Path;

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Kind, Recording};
use xtask::kernel::Kernel;
use xtask::plugins;

/// A few functions on the packets' way.
const FEW: &str = "^(ip_output|ip_finish_output2|dev_hard_start_xmit|ip_rcv|ip_local_deliver|tcp_v4_rcv|icmp_rcv)$";

fn left() -> &'static Left {
    static RUN: Shared = Shared::new();
    RUN.left(|| {
        let complete = plugins::of_tests()?.join("complete.wasm");
        let files: [&Path; 1] = [&complete];
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/plugins.sh"));
        guest::run_with_plugins("plugins", Kernel::V6_12, &files, &script)
    })
}

/// Returns a run's stderr, if it ended with this exit code.
fn said(run: &str, code: i32) -> String {
    let said = left().text(&format!("{run}.err"));
    assert_eq!(left().exit(run), code, "{run}: {said}");
    assert!(!said.contains("Lost"), "{run}: {said}");
    said
}

fn recording(run: &str) -> Recording {
    Recording::read(&left().path(&format!("{run}.out"))).unwrap_or_else(|error| panic!("{run}: {error:#}"))
}

#[test]
fn a_flame_graph_a_table_and_json_are_made_at_once() {
    let said = said("all", 0);
    let graph = left().text("f.svg");
    assert!(
        graph.contains("<svg") && graph.trim_end().ends_with("</svg>"),
        "{graph}"
    );
    for function in ["ip_rcv", "ip_output", "tcp_v4_rcv"] {
        assert!(graph.contains(function), "no {function}");
        // The table is not mixed with the JSON.
        assert!(said.contains(function), "no {function} in {said}");
    }
    let json = left().text("all.out");
    let events: Vec<serde_json::Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.len() > 100, "{} events", events.len());
}

#[test]
fn kernel_code_of_a_plugin_adds_fields_to_all_outputs() {
    said("complete", 0);
    let lines: Vec<serde_json::Value> = left()
        .text("complete.out")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let events: Vec<_> = lines.iter().filter(|line| line["type"] == "event").collect();
    assert!(!events.is_empty());
    let mut expected = String::new();
    for event in &events {
        let fields = &event["fields"];
        let length = fields["length"].as_u64().unwrap_or_else(|| panic!("{event}"));
        // Every packet has at least an IP header.
        assert!(length >= 20, "{event}");
        assert_eq!(fields["twice"], 2 * length, "{event}");
        assert_eq!(fields["word"], format!("is {length}?"), "{event}");
        let function = event["function"].as_str().unwrap();
        expected += &format!("{function} length={length} twice={} word=is {length}?\n", 2 * length);
    }
    expected += &format!("{0} of {0} events\n", events.len());
    assert_eq!(left().text("complete.txt"), expected);
}

#[test]
fn a_plugin_replaces_the_ordinary_output() {
    said("alone", 0);
    let drawn = left().text("alone.out");
    assert!(drawn.contains("ip_rcv"), "{drawn}");
    // The ordinary output starts with a packet's address.
    assert!(!drawn.contains("0xffff"), "{drawn}");
}

#[test]
fn a_failing_plugin_is_named_and_costs_no_event() {
    for (run, words) in [("trap", "unreachable"), ("loop", "--plugin-timeout")] {
        let said = said(run, 1);
        let reported = said.lines().find(|line| line.starts_with("ipft: complete: "));
        assert!(reported.is_some(), "{run}: {said}");
        assert!(said.contains(words), "{run}: {said}");
        assert!(!left().has(&format!("{run}.txt")), "{run} left a file");
        // The other plugin and the JSON have all events: a ping and its reply at least.
        let recording = recording(run);
        let mut entries = BTreeMap::<&str, usize>::new();
        for event in recording.events.iter().filter(|event| event.kind == Kind::Entry) {
            *entries.entry(&event.function).or_default() += 1;
        }
        assert!(
            entries["icmp_rcv"] >= 2 && entries["tcp_v4_rcv"] >= 4,
            "{run}: {entries:?}"
        );
        let drawn = left().text(&format!("{run}-paths.txt"));
        assert!(drawn.contains("icmp_rcv"), "{run}: {drawn}");
        assert!(!said.contains("missed"), "{run}: {said}");
    }
}

#[test]
fn the_cache_is_roots_and_nothing_else_is_left() {
    said("all", 0);
    assert_eq!(left().text("cache"), "700 0\n");
    let files = left().text("files");
    for file in files.lines() {
        assert!(!file.starts_with(".tmp") && !file.contains("killed.txt"), "{files}");
    }
    assert_eq!(left().text("all.left"), "");
}

#[test]
fn packets_that_a_filter_selects_have_names_and_ends() {
    said("named", 0);
    let paths = left().text("named.out");
    for name in [" > 10.1.0.2 icmp echo request id ", " icmp echo reply id "] {
        assert!(paths.lines().any(|line| line.contains(name)), "{name}: {paths}");
    }
    let delivered = paths.lines().filter(|line| line.ends_with(" delivered")).count();
    assert!(delivered >= 1, "{paths}");
}
