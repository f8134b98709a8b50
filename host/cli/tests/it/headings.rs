//! Tests that packets have the same names in plugins as in `-o text`.

use std::collections::BTreeMap;

use ipft_core::sink::{Jsonl, Text, TextOptions};
use ipft_plugin::testing::Recording;
use ipft_plugin::{Headings, Trace};
use support::canned::{all, draw};

#[test]
fn plugins_name_packets_as_the_text_does() {
    let canned = all().into_iter().find(|canned| canned.name == "followed");
    let canned = canned.expect("there is such a trace");
    let text = draw(&canned, |output| Text::new(output, TextOptions::default()));
    let lines = draw(&canned, Jsonl::new);
    let Recording { trace, chunks, .. } = Recording::from_jsonl(lines.as_bytes()).expect("a recording");
    let headings = Headings::new(&trace);
    let mut names = BTreeMap::new();
    for chunk in &chunks {
        for event in &chunk.events {
            let start = event.payload_offset as usize;
            let payload = &chunk.payload[start..start + event.payload_len as usize];
            if let Some(heading) = headings.of(&trace, payload) {
                names.entry(event.packet).or_insert(heading);
            }
        }
    }
    // Numbers are identities in this trace.
    let mut compared = 0;
    for line in text
        .lines()
        .filter(|line| line.starts_with('#') && !line.ends_with('+'))
    {
        let (number, heading) = line[1..].split_once("  ").expect("a number and a heading");
        let heading = heading.split("   ").next().expect("a part");
        if heading.starts_with("packet ") || heading.starts_with("made of ") {
            continue;
        }
        let packet: u64 = number.parse().expect("a number");
        assert_eq!(names.get(&packet).map(String::as_str), Some(heading), "{line}");
        compared += 1;
    }
    assert!(compared >= 13, "{compared}");
    assert!(!Headings::new(&Trace::default()).are_there());
}

#[test]
fn plugins_word_ends_as_the_text_does() {
    let canned = all().into_iter().find(|canned| canned.name == "followed");
    let lines = draw(&canned.expect("there is such a trace"), Jsonl::new);
    let recording = Recording::from_jsonl(lines.as_bytes()).expect("a recording");
    let Recording { mut trace, chunks, .. } = recording;
    trace.functions = chunks.iter().flat_map(|chunk| chunk.functions.clone()).collect();
    let events = chunks.iter().flat_map(|chunk| &chunk.events);
    let ends: Vec<String> = events
        .filter_map(ipft_plugin::End::of)
        .map(|end| end.words(&trace))
        .collect();
    let expected = [
        "dropped NETFILTER_DROP in nft_do_chain",
        "delivered",
        "released",
        "joined",
        "released",
        "dropped",
        "dropped reason 5",
        "discarded NO_SOCKET in icmp_rcv",
    ];
    assert_eq!(ends, expected);
}
