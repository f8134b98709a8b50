//! Tests of the time line: its events, and that Perfetto and Chrome can read it.
//!
//! The expected output is in `tests/golden/plugins/timeline-*`; `UPDATE_GOLDEN=1 cargo test -p timeline` updates it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use ipft_plugin::Event;
use ipft_plugin::testing::{self, Recording};
use serde_json::Value;
use timeline::Timeline;

/// Traces with more events are checked without a golden file.
const SMALL: usize = 1000;

/// Returns every built-in trace and its time line.
static DRAWN: LazyLock<Vec<(Recording, Value)>> = LazyLock::new(|| {
    let drawn = |recording: Recording| {
        let (_, value) = draw(&recording);
        (recording, value)
    };
    testing::traces().into_iter().map(drawn).collect()
});

fn draw(recording: &Recording) -> (String, Value) {
    let ran = testing::run(Timeline::default(), recording, &[]).expect("the plugin draws every trace");
    let text = ran.text().to_owned();
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", recording.name));
    (text, value)
}

fn of<'a>(drawn: &'a Value, phase: &str) -> Vec<&'a Value> {
    let events = drawn["traceEvents"].as_array().expect("a list of events");
    events.iter().filter(|event| event["ph"] == phase).collect()
}

fn place(event: &Value) -> (u64, u64) {
    let number = |key: &str| event[key].as_u64().unwrap_or_else(|| panic!("{key} of {event}"));
    (number("pid"), number("tid"))
}

fn micros(value: &Value) -> f64 {
    value.as_f64().filter(|value| *value >= 0.0).expect("a time")
}

#[test]
fn every_small_trace_matches_its_golden_file() {
    for recording in testing::traces() {
        let events: usize = recording.chunks.iter().map(|chunk| chunk.events.len()).sum();
        if events <= SMALL {
            let name = format!("../../tests/golden/plugins/timeline-{}.json", recording.name);
            testing::golden(
                Path::new(env!("CARGO_MANIFEST_DIR")).join(name),
                draw(&recording).0.as_bytes(),
            );
        }
    }
}

#[test]
fn every_event_has_the_keys_of_its_phase() {
    for (recording, drawn) in DRAWN.iter() {
        assert_eq!(drawn["displayTimeUnit"], "ns");
        assert!(drawn["otherData"].is_object());
        for event in drawn["traceEvents"].as_array().expect("a list of events") {
            assert!(event["name"].is_string(), "{event}");
            place(event);
            match event["ph"].as_str().expect("a phase") {
                "M" => assert!(
                    event["args"]["name"].is_string() || event["args"]["sort_index"].is_u64(),
                    "{event}"
                ),
                "X" => {
                    micros(&event["ts"]);
                    micros(&event["dur"]);
                    assert!(event["cat"].is_string() && event["args"]["cpu"].is_u64(), "{event}");
                }
                "i" => {
                    micros(&event["ts"]);
                    assert!(
                        ["t", "p", "g"].contains(&event["s"].as_str().expect("a scope")),
                        "{event}"
                    );
                }
                other => panic!("{}: an event of phase {other}", recording.name),
            }
        }
    }
}

#[test]
fn packets_and_tracks_are_named_before_their_events() {
    for (recording, drawn) in DRAWN.iter() {
        let (mut processes, mut tracks, mut ids) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for event in drawn["traceEvents"].as_array().expect("a list of events") {
            let (process, track) = place(event);
            match event["name"].as_str() {
                // A packet whose addresses are seen later gets a second name.
                Some("process_name") if event["ph"] == "M" => {
                    processes.insert(process);
                }
                Some("thread_name") if event["ph"] == "M" => {
                    assert!(tracks.insert((process, track)));
                    assert!(ids.insert(track), "two tracks have the number {track}");
                }
                _ if event["ph"] == "M" => {}
                _ => {
                    assert!(processes.contains(&process), "{event}");
                    assert!(event["s"] == "g" || tracks.contains(&(process, track)), "{event}");
                }
            }
        }
        let packets: BTreeSet<u64> = recording
            .chunks
            .iter()
            .flat_map(|chunk| &chunk.events)
            .filter(|event| event.kind <= Event::RETURN)
            .map(|event| event.packet)
            .collect();
        // And one for the trace itself.
        assert_eq!(processes.len(), packets.len() + 1, "{}", recording.name);
    }
}

#[test]
fn followed_packets_are_named_and_have_their_ends() {
    let (_, drawn) = DRAWN
        .iter()
        .find(|(recording, _)| recording.name == "followed")
        .expect("there is such a trace");
    let names = of(drawn, "M");
    let names: Vec<&str> = names
        .iter()
        .filter_map(|event| event["args"]["name"].as_str())
        .collect();
    let with = |part: &str| names.iter().filter(|name| name.contains(part)).count();
    assert_eq!(
        with("packet 1, 10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1, 3028 B, 0x"),
        1
    );
    assert_eq!(with("frag 1480, 1500 B, made of packet 1 by ip_copy_metadata, 0x"), 1);
    assert_eq!(
        with("frag 1480, 1500 B, made of packet 0x0000000000000003 by skb_clone, 0x"),
        1
    );
    let notes: Vec<&Value> = of(drawn, "i").into_iter().filter(|event| event["s"] == "p").collect();
    let said: Vec<&str> = notes.iter().filter_map(|event| event["name"].as_str()).collect();
    let expected = [
        "sent",
        "part of packet 1",
        "joined",
        "delivered",
        "dropped NETFILTER_DROP in nft_do_chain",
        "forwarded",
        "dropped",
        "dropped reason 99",
        "released",
        "discarded NO_SOCKET in icmp_rcv",
        "part of packet 1",
    ];
    assert_eq!(said, expected);
}

#[test]
fn no_event_is_missing() {
    for (recording, drawn) in DRAWN.iter() {
        let events = recording.chunks.iter().flat_map(|chunk| &chunk.events);
        let known = events.filter(|event| event.is_entry() || event.is_return()).count();
        let instants = of(drawn, "i").iter().filter(|event| event["s"] == "t").count();
        assert_eq!(2 * of(drawn, "X").len() + instants, known, "{}", recording.name);
        if !recording.trace.has_returns() {
            assert_eq!(of(drawn, "X").len(), 0, "{}", recording.name);
        }
    }
}

#[test]
fn the_slices_of_a_track_nest() {
    for (recording, drawn) in DRAWN.iter() {
        let mut tracks: BTreeMap<(u64, u64), Vec<(f64, f64)>> = BTreeMap::new();
        for slice in of(drawn, "X") {
            let (start, length) = (micros(&slice["ts"]), micros(&slice["dur"]));
            tracks.entry(place(slice)).or_default().push((start, start + length));
        }
        for (track, mut slices) in tracks {
            slices.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
            let mut open: Vec<f64> = Vec::new();
            for (start, end) in slices {
                // Within the precision of floating-point numbers.
                let near = end.abs() * 1e-12;
                while open.last().is_some_and(|around| *around <= start + near) {
                    open.pop();
                }
                assert!(
                    open.last().is_none_or(|around| end <= around + near),
                    "{} {track:?}",
                    recording.name
                );
                open.push(end);
            }
        }
    }
}

#[test]
fn missed_events_leave_a_mark_where_they_are_missing() {
    let mut recording = testing::traces()
        .into_iter()
        .find(|recording| recording.chunks.iter().any(|chunk| !chunk.events.is_empty()))
        .expect("there is a trace with events");
    let last = recording.chunks.len();
    recording.chunks.push(testing::Chunk {
        missed: 17,
        ..testing::Chunk::default()
    });
    recording.summary.missed = 17;
    assert!(last > 0);
    let (_, drawn) = draw(&recording);
    let marks = of(&drawn, "i")
        .into_iter()
        .filter(|event| event["s"] == "g")
        .collect::<Vec<_>>();
    let [mark] = marks[..] else {
        panic!("one mark: {marks:?}")
    };
    assert_eq!(mark["name"], "17 events are missing here: the plugin was too slow");
    assert_eq!(drawn["otherData"]["missed"], "17");
}

#[test]
fn quiet_packets_are_dropped_without_losing_events() {
    let (recording, _) = DRAWN
        .iter()
        .find(|(recording, _)| recording.name == "many")
        .expect("there is such a trace");
    let options = [("packets", "100")];
    let ran = testing::run(Timeline::default(), recording, &options).expect("the plugin draws");
    let drawn: Value = serde_json::from_str(ran.text()).expect("it is JSON");
    let events = recording.chunks.iter().map(|chunk| chunk.events.len()).sum::<usize>();
    let instants = of(&drawn, "i").len();
    assert_eq!(2 * of(&drawn, "X").len() + instants, events);
    let error = testing::run(Timeline::default(), recording, &[("packets", "0")]).expect_err("none is too few");
    assert!(error.to_string().contains("from 1 to"), "{error}");
}
