//! Compares the SDK with `ipft` itself: it reads its recordings, and formats values the same way.
#![cfg(feature = "testing")]

use std::path::{Path, PathBuf};

use ipft_plugin::testing::{Recording, traces};
use ipft_plugin::{Batch, Fields, Trace, text};

const NAMES: [&str; 9] = [
    "empty",
    "function",
    "graph",
    "two-contexts",
    "lossy",
    "hostile",
    "fields",
    "tagged",
    "bits",
];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(name)
}

fn read(name: &str) -> Recording {
    Recording::read(golden(&format!("{name}.jsonl"))).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Calls `visit` with every batch and, like the host, everything known by then.
fn batches(recording: &Recording, mut visit: impl FnMut(&Batch)) -> Trace {
    let mut trace = recording.trace.clone();
    for chunk in &recording.chunks {
        trace.functions.extend(chunk.functions.iter().cloned());
        trace.names.extend(chunk.names.iter().cloned());
        visit(&Batch {
            trace: &trace,
            events: &chunk.events,
            payload: &chunk.payload,
        });
    }
    trace
}

/// Formats the fields like the aggregate.
fn shown(fields: Fields) -> String {
    let shown: String = fields
        .map(|field| format!(" {}: {field}", text::visible(field.name)))
        .collect();
    if shown.is_empty() {
        shown
    } else {
        format!(" ({shown} )")
    }
}

#[test]
fn fields_read_as_in_the_aggregate() {
    let mut compared = 0;
    for name in NAMES {
        let recording = read(name);
        let aggregate = std::fs::read_to_string(golden(&format!("{name}.txt"))).expect("a golden file");
        // The aggregate groups events by packet; only the set of lines matters here.
        let mut expected: Vec<&str> = aggregate
            .lines()
            .filter_map(|line| line.find(" ( ").map(|start| &line[start..]))
            .collect();
        let mut actual = Vec::new();
        batches(&recording, |batch| {
            let lines = batch.events.iter().map(|event| shown(batch.fields(event)));
            actual.extend(lines.filter(|line| !line.is_empty()));
        });
        expected.sort_unstable();
        actual.sort_unstable();
        assert_eq!(actual, expected, "{name}");
        compared += actual.len();
    }
    assert!(compared > 10);
}

#[test]
fn recordings_come_back_as_they_were() {
    for name in NAMES {
        let lines = std::fs::read_to_string(golden(&format!("{name}.jsonl"))).expect("a golden file");
        let lines: Vec<serde_json::Value> = lines
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let recording = read(name);
        let mut events = lines.iter().filter(|line| line["type"] == "event");
        let trace = batches(&recording, |batch| {
            for event in batch.events {
                let line = events.next().expect("as many events");
                let hex = |value| text::hex(value).to_string();
                assert_eq!(line["packet"], hex(event.packet));
                assert_eq!(line["skb"].as_str().map_or(hex(0), str::to_owned), hex(event.skb));
                assert_eq!(line["timestamp"], event.timestamp);
                assert_eq!(line["function"], batch.function(event).name.as_str());
                assert_eq!(line["module"], batch.function(event).module.as_str());
                assert_eq!(line["kind"], if event.is_entry() { "entry" } else { "return" });
                assert_eq!(line["duration"].as_u64(), event.duration());
                assert_eq!([&line["cpu"], &line["thread"]], [event.cpu, event.thread]);
                let fields: Vec<String> = batch
                    .fields(event)
                    .map(|field| format!("{}:{}", text::json(field.name), field.json()))
                    .collect();
                let fields: serde_json::Value = match fields.is_empty() {
                    true => serde_json::Value::Null,
                    false => serde_json::from_str(&format!("{{{}}}", fields.join(","))).expect("JSON"),
                };
                assert_eq!(line["fields"], fields, "{name}");
            }
        });
        assert!(events.next().is_none());
        assert_eq!(lines[0]["kernel"], trace.kernel_release.as_str());
        assert_eq!(
            lines[0]["clock_offset"]["nanoseconds"],
            trace.clock_offset.rem_euclid(1_000_000_000)
        );
        let last = lines.last().expect("a summary");
        assert_eq!(last["events"], recording.summary.events);
        assert_eq!(last["lost"], recording.summary.lost());
        assert_eq!(
            last["skipped"].as_array().map(Vec::len),
            Some(recording.summary.skipped.len())
        );
    }
}

#[test]
fn every_kind_of_field_has_its_text() {
    let traces = traces();
    let fields = traces.iter().find(|trace| trace.name == "fields").expect("it is there");
    let mut lines = Vec::new();
    batches(fields, |batch| {
        lines.extend(batch.events.iter().map(|event| shown(batch.fields(event))));
    });
    assert_eq!(
        lines[0],
        " ( len: 2688 delta: -5 wide: -9000000000000000000 cloned: true dev.name: veth0 sk: 0xffff8da1f50b7f00 raw: dead00 \
         mark: 0xdeadbeef verdict: ACCEPT gso: TCPV4|DODGY|0x40 saddr: 192.0.2.1 daddr6: 2001:db8::1 source: \
         00:1a:2b:3c:4d:5e sport: 443 spi: 305419896 tstamp: 12.000000345 caller: kfree_skb+0x12 pkt_type: 5 level: -1 )"
    );
    assert_eq!(lines[3], "");
}
