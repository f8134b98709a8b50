//! Tests of the data in the page: it matches the golden files, is complete, and is bounded.
//!
//! The expected output is in `tests/golden/plugins/report-*`; `UPDATE_GOLDEN=1 cargo test -p report --test golden`
//! updates it.

use std::path::{Path, PathBuf};

use ipft_plugin::testing::{self, Recording};
use report::Page;
use serde_json::Value;

/// Traces with more events are checked without a golden file.
const SMALL: usize = 1000;

fn golden_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/golden/plugins/report-{name}.json"))
}

fn data(recording: &Recording, options: &[(&str, &str)]) -> (String, Value) {
    let mut all = vec![("format", "json")];
    all.extend(options);
    let ran = testing::run(Page::default(), recording, &all).expect("the plugin draws every trace");
    let text = ran.text().to_owned();
    let value = serde_json::from_str(&text).expect("it is JSON");
    (text, value)
}

fn events(recording: &Recording) -> usize {
    recording.chunks.iter().map(|chunk| chunk.events.len()).sum()
}

fn named(name: &str) -> Recording {
    let found = testing::traces().into_iter().find(|recording| recording.name == name);
    found.unwrap_or_else(|| panic!("there is a trace '{name}'"))
}

/// Returns the calls of all packets, each as its eight numbers.
fn calls(data: &Value) -> Vec<Vec<i64>> {
    let packets = data["packets"].as_array().expect("packets").iter();
    let lists = packets.map(|packet| packet["calls"].as_array().expect("calls"));
    let number = |value: &Value| value.as_i64().expect("a whole number");
    lists
        .flat_map(|list| list.chunks(8).map(|call| call.iter().map(number).collect()))
        .collect()
}

#[test]
fn every_small_trace_matches_its_golden_file() {
    for recording in testing::traces().iter().filter(|recording| events(recording) <= SMALL) {
        let (text, _) = data(recording, &[]);
        // One line per key and per packet.
        let lines = text.replace(",\"", ",\n\"").replace("},{\"id\"", "},\n{\"id\"") + "\n";
        testing::golden(golden_file(&recording.name), lines.as_bytes());
    }
}

#[test]
fn no_event_is_missing_from_the_page() {
    for recording in testing::traces() {
        let (_, data) = data(&recording, &[]);
        let ends: i64 = calls(&data).iter().map(|call| if call[1] >= 0 { 2 } else { 1 }).sum();
        let known = recording.chunks.iter().flat_map(|chunk| &chunk.events);
        let known = known.filter(|event| event.is_entry() || event.is_return()).count();
        let left_out = data["left_out"]["events"].as_i64().expect("a number");
        assert_eq!(ends + left_out, known as i64, "{}", recording.name);
        assert_eq!(left_out, 0, "{}", recording.name);
    }
}

#[test]
fn every_index_in_a_call_is_valid() {
    for recording in testing::traces() {
        let (_, data) = data(&recording, &[]);
        let count = |key: &str| data[key].as_array().expect("a list").len() as i64;
        let (functions, rows, layers) = (count("functions"), count("rows"), count("layers"));
        for packet in data["packets"].as_array().expect("packets") {
            let one = serde_json::json!({ "packets": [packet] });
            for (position, call) in calls(&one).iter().enumerate() {
                assert_eq!(call.len(), 8);
                assert!(call[1] >= -2 && call[2] < functions, "{}: {call:?}", recording.name);
                assert!((0..=position as i64).contains(&call[5]), "{}: {call:?}", recording.name);
                assert!(call[6] <= rows && call[7] <= rows, "{}: {call:?}", recording.name);
            }
        }
        for function in data["functions"].as_array().expect("functions") {
            assert!((0..layers).contains(&function[2].as_i64().expect("a layer")));
        }
        for row in data["rows"].as_array().expect("rows") {
            for pair in row.as_array().expect("a row").chunks(2) {
                assert!(pair[0].as_i64().expect("a name") < count("fields"));
                assert!(pair[1].as_i64().expect("a text") < count("texts"));
            }
        }
    }
}

#[test]
fn excess_events_are_counted_and_kept_packets_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ping-through-nat.jsonl");
    let recording = Recording::read(&path).expect("the recording can be read");
    let (_, all) = data(&recording, &[]);
    let (_, some) = data(&recording, &[("events", "230")]);
    assert_eq!(all["packets"].as_array().map(Vec::len), Some(4));
    // The limit ends within the third packet, which is kept to its end.
    assert_eq!(some["packets"].as_array().map(Vec::len), Some(3));
    assert_eq!(some["packets"][2], all["packets"][2]);
    assert_eq!(
        some["left_out"],
        serde_json::json!({ "events": 40, "packets": 1, "limit": 230 })
    );
    let (_, cut) = data(&recording, &[("events", "50")]);
    assert_eq!(cut["packets"][0]["cut"], 1);
    assert_eq!(cut["left_out"]["events"], 368);
}

#[test]
fn an_invalid_limit_is_refused() {
    for limit in ["0", "-1", "5000001"] {
        let error = testing::run(Page::default(), &named("empty"), &[("events", limit)]).expect_err("it is refused");
        assert!(error.to_string().contains("from 1 to 5000000"), "{error}");
    }
}

#[test]
fn missed_events_are_reported() {
    let mut recording = named("empty");
    recording.chunks = vec![testing::Chunk {
        missed: 41,
        ..testing::Chunk::default()
    }];
    assert_eq!(data(&recording, &[]).1["missed"], "41");
    recording.summary.missed = 43;
    assert_eq!(data(&recording, &[]).1["missed"], "43");
}
