//! Tests of the model of `ipft top`: it says what `-o text` says, and forgets no count.

use ipft_core::event::*;
use ipft_core::sink::top::Model;
use ipft_core::sink::{Sink, Text, TextOptions};
use support::canned::{Canned, Shared, all};

/// Memory that is enough for everything.
const ENOUGH: u64 = 1 << 30;

fn model(canned: &Canned, memory: u64) -> Model {
    let mut model = Model::new(TextOptions::default(), memory);
    model.start(&canned.trace).expect("the model starts");
    canned.batches.iter().for_each(|batch| model.events(batch));
    model
}

/// Returns the trace in one batch, as the text prints what a batch has of a packet together.
fn in_one_batch(canned: &Canned) -> Batch {
    let mut whole = Batch::default();
    for batch in &canned.batches {
        let payload = whole.payload.len() as u32;
        whole.events.extend(batch.events.iter().map(|event| Event {
            payload_offset: event.payload_offset + payload,
            ..*event
        }));
        whole.payload.extend_from_slice(&batch.payload);
        whole.names.clone_from(&batch.names);
    }
    whole
}

/// Returns the lines of the text without explanations, which the text has once and each journey again.
fn without_advice(text: &str) -> Vec<String> {
    let explains = |line: &str| {
        let line = line.trim();
        let mut all = ipft_core::advice::all().iter();
        all.any(|advice| !line.is_empty() && (advice.why == line || advice.remedy == line))
    };
    text.lines().filter(|line| !explains(line)).map(str::to_owned).collect()
}

#[test]
fn journey_is_the_text_of_its_packet() {
    let mut compared = 0;
    for canned in all() {
        let output = Shared::default();
        let mut text = Text::new(output.clone(), TextOptions::default());
        text.start(&canned.trace).unwrap();
        text.events(&in_one_batch(&canned)).unwrap();
        let lines = without_advice(&output.text());
        let mut model = model(&canned, ENOUGH);
        let numbers: Vec<u64> = model.seen().packets().map(|(number, _)| number).collect();
        for number in numbers {
            let journey = without_advice(&model.journey(None, number).expect("it is in memory"));
            let start = lines.iter().position(|line| line.starts_with(&format!("#{number}  ")));
            let Some(start) = start else {
                // The text prints packets that were made and never seen at its end.
                assert_eq!(journey.len(), 1, "{}: {journey:?}", canned.name);
                continue;
            };
            let expected = lines.get(start..start + journey.len()).expect("as many lines");
            assert_eq!(journey, expected, "{}", canned.name);
            let next = lines.get(start + journey.len());
            assert!(
                next.is_none_or(|line| line.starts_with('#')),
                "{}: {next:?}",
                canned.name
            );
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared}");
}

#[test]
fn last_lines_are_those_of_the_text() {
    for canned in all() {
        let output = Shared::default();
        let mut text = Text::new(output.clone(), TextOptions::default());
        text.start(&canned.trace).unwrap();
        canned.batches.iter().for_each(|batch| text.events(batch).unwrap());
        text.finish(&canned.summary).unwrap();
        let summary = String::from_utf8(model(&canned, ENOUGH).summary(&canned.summary)).unwrap();
        assert!(output.text().ends_with(&summary), "{}: {summary}", canned.name);
    }
}

#[test]
fn counts_do_not_depend_on_memory() {
    for canned in all() {
        let (large, small) = (model(&canned, ENOUGH), model(&canned, 0));
        let (one, other) = (large.seen().totals(), small.seen().totals());
        let packets = |totals: ipft_core::sink::top::Totals| (totals.events, totals.packets >= one.packets);
        assert_eq!(packets(one), packets(other), "{}", canned.name);
        assert!(small.seen().packets().count() <= 1);
        let calls = |model: &Model| model.seen().functions().map(|count| count.count).sum::<u64>();
        assert_eq!(calls(&large), calls(&small), "{}", canned.name);
    }
}

#[test]
fn flows_and_drops_count_the_followed_packets() {
    let canned = all().into_iter().find(|canned| canned.name == "followed").unwrap();
    let model = model(&canned, ENOUGH);
    let (seen, words) = (model.seen(), model.words());
    let mut flows: Vec<String> = seen
        .flows()
        .map(|flow| format!("{}: {} {} {}", words.flow(flow), flow.packets, flow.bytes, flow.drops))
        .collect();
    flows.sort();
    let mut drops: Vec<String> = seen
        .drops()
        .map(|drop| {
            let said = words.drops(drop);
            format!(
                "{} {} in {}, {}: {}",
                drop.count(),
                said.reason,
                said.function,
                said.class.name(),
                said.packet
            )
        })
        .collect();
    drops.sort();
    support::canned::golden(
        "top-counts.txt",
        &format!("{}\n\n{}\n", flows.join("\n"), drops.join("\n")),
    );
    let totals = seen.totals();
    let lost = drops.iter().filter(|drop| drop.contains(", lost")).count();
    assert!(totals.dropped as usize >= lost && lost > 0, "{totals:?}");
}

#[test]
fn what_stands_still_keeps_its_packets() {
    let canned = all().into_iter().find(|canned| canned.name == "followed").unwrap();
    let mut model = model(&canned, ENOUGH);
    let frozen = model.seen().clone();
    let before = model.journey(None, 1).unwrap();
    canned.batches.iter().for_each(|batch| model.events(batch));
    assert_eq!(model.journey(Some(&frozen), 1).as_ref(), Some(&before));
    assert_eq!(frozen.totals().events * 2, model.seen().totals().events);
}
