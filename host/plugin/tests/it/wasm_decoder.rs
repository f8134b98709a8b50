//! Tests of decoder plugins: their fields, and events after invalid results.

use std::sync::{Arc, Mutex};

use ipft_core::event::*;
use ipft_core::extension::decode::{DATA, Decode, Report};
use ipft_plugin_host::decoder::{MAX_NAMES, WasmDecoder};
use ipft_plugin_host::package::Grants;
use support::hostile::*;

/// Returns a decoder with this behaviour, and its messages.
fn decoder(grants: &Grants, at: &str, what: &str) -> (WasmDecoder, Arc<Mutex<Vec<String>>>) {
    let reported = Arc::new(Mutex::new(Vec::new()));
    let tell = reported.clone();
    let decoder = COMPONENT
        .decoder(grants, options(at, what), Messages::default().log())
        .expect("the plugin decodes");
    let tell = Box::new(move |message: &str| tell.lock().unwrap().push(message.to_owned()));
    (WasmDecoder::new(decoder, tell), reported)
}

fn trace() -> Trace {
    Trace {
        tracer: Tracer::FunctionGraph,
        backend: "kprobe".to_owned(),
        functions: Vec::new(),
        schema: Schema {
            tail: true,
            ..Schema::default()
        },
        clock_offset: 0,
        command_line: Vec::new(),
        kernel_release: String::new(),
        mark: 1,
        mask: u32::MAX,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    }
}

/// Returns entries whose payloads begin with these bytes, each with its return; an entry of `None` has no payload.
fn batch(first: &[Option<u8>]) -> Batch {
    let mut batch = Batch::default();
    let event = Event {
        packet: 1,
        skb: 1,
        timestamp: 1,
        entry_timestamp: 0,
        function: 0,
        cpu: 0,
        kind: EventKind::ENTRY,
        thread: 0,
        payload_offset: 0,
        payload_len: 0,
        spare: 0,
    };
    for first in first {
        let (start, length) = (batch.payload.len(), first.map_or(0, |_| DATA));
        batch.payload.extend(first);
        batch.payload.resize(start + length, 0xee);
        batch.events.push(Event {
            payload_offset: start as u32,
            payload_len: length as u32,
            ..event
        });
        batch.events.push(Event {
            kind: EventKind::RETURN,
            ..event
        });
    }
    batch
}

fn values(batch: &Batch) -> Vec<Vec<(String, String)>> {
    let shown = |(name, value): (u32, Value<'_>)| {
        let value = match value {
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => format!("{number:?}"),
            Value::Text(text) => format!("{:?}", String::from_utf8_lossy(text)),
        };
        (batch.names[name as usize].clone(), value)
    };
    let of = |event| Values::new(batch.payload_of(event)).map(shown).collect();
    batch.events.iter().map(of).collect()
}

fn pair(name: &str, value: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), value.to_owned())]
}

#[test]
fn entries_get_the_fields_of_their_payloads() {
    let (mut decoder, reported) = decoder(&grants(), "", "");
    decoder.start(&trace()).expect("it starts");
    let mut first = batch(&[Some(7), None, Some(9)]);
    decoder.decode(&mut first);
    let (seven, zero, nine) = (pair("first", "7"), pair("first", "0"), pair("first", "9"));
    assert_eq!(values(&first), [seven, vec![], zero, vec![], nine, vec![]]);
    // The plugin defines the name again, as a new one.
    let mut second = batch(&[Some(1)]);
    second.names.clone_from(&first.names);
    decoder.decode(&mut second);
    assert_eq!(second.names, ["first", "first"]);
    assert_eq!(values(&second), [pair("first", "1"), vec![]]);
    assert_eq!(decoder.finish(), Report::default());
    assert!(reported.lock().unwrap().is_empty());
}

#[test]
fn built_in_fields_stay_in_front_of_a_plugins() {
    for (what, failed) in [("", 0), ("trap", 3)] {
        let (mut decoder, _) = decoder(&grants(), if failed > 0 { "decode" } else { "" }, what);
        let mut trace = trace();
        trace.schema.size = 8;
        trace.schema.builtin = 8;
        decoder.start(&trace).expect("it starts");
        let mut batch = Batch::default();
        for (first, payload) in batch_with_front(&[4, 5, 6]).into_iter().enumerate() {
            batch.events.push(Event {
                packet: first as u64,
                payload_offset: batch.payload.len() as u32,
                payload_len: payload.len() as u32,
                ..self::batch(&[None]).events[0]
            });
            batch.payload.extend(payload);
        }
        decoder.decode(&mut batch);
        for (event, first) in batch.events.iter().zip([4, 5, 6]) {
            let (front, tail) = batch.payload_of(event).split_at(8);
            assert_eq!(front, [first + 100; 8]);
            let values: Vec<_> = Values::new(tail).collect();
            match failed {
                0 => assert_eq!(values, [(0, Value::Integer(first.into()))]),
                _ => assert!(values.is_empty()),
            }
        }
        assert_eq!(decoder.finish().failed, failed);
    }
}

/// Payloads of eight bytes of built-in fields, followed by those of a kernel side that begin with these.
fn batch_with_front(first: &[u8]) -> Vec<Vec<u8>> {
    let payload = |first: &u8| {
        let mut payload = vec![first + 100; 8];
        payload.push(*first);
        payload.resize(8 + DATA, 0xee);
        payload
    };
    first.iter().map(payload).collect()
}

#[test]
fn values_of_all_types_arrive() {
    let (mut decoder, _) = decoder(&grants(), "decode", "all-types");
    decoder.start(&trace()).expect("it starts");
    let mut batch = batch(&[Some(1)]);
    decoder.decode(&mut batch);
    let expected = [("a", "-1"), ("b\x1b", "0.5"), ("c", "\"t\u{e9}xt\"")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(values(&batch)[0], expected);
}

#[test]
fn more_events_than_a_call_takes_are_all_decoded() {
    let (mut decoder, _) = decoder(&grants(), "", "");
    decoder.start(&trace()).expect("it starts");
    let firsts: Vec<Option<u8>> = (0..10_000).map(|number| Some((number % 251) as u8)).collect();
    let mut batch = batch(&firsts);
    decoder.decode(&mut batch);
    for (decoded, first) in values(&batch).iter().step_by(2).zip(firsts.into_iter().flatten()) {
        assert_eq!(*decoded, pair("first", &first.to_string()));
    }
}

#[test]
fn failed_events_are_counted_and_have_no_fields() {
    for (what, expected) in [
        ("names", format!("more than {MAX_NAMES} names")),
        ("unknown-name", "whose name it had not listed".to_owned()),
        ("unknown-payload", "payloads that are not there".to_owned()),
        ("order", "out of order".to_owned()),
        ("loop", "did not return within".to_owned()),
        ("trap", "it crashed".to_owned()),
        ("allocate", "64 MiB of memory".to_owned()),
        ("recurse", "stack overflow".to_owned()),
        ("exit", "exit".to_owned()),
    ] {
        let mut grants = if what == "loop" { impatient() } else { grants() };
        // A million names take long.
        grants.limits.memory <<= if what == "names" { 2 } else { 0 };
        let (mut decoder, reported) = decoder(&grants, "decode", what);
        decoder.start(&trace()).expect("it starts");
        for _ in 0..2 {
            let mut batch = batch(&[Some(1), Some(2)]);
            decoder.decode(&mut batch);
            assert_eq!(values(&batch), [vec![], vec![], vec![], vec![]], "{what}");
            assert!(batch.payload.is_empty() && batch.names.is_empty(), "{what}");
        }
        let report = decoder.finish();
        assert_eq!(report.failed, 4, "{what}");
        assert_eq!(
            report.messages,
            ["4 events are shown without fields, because the plugin hostile failed at them"]
        );
        let reported = reported.lock().unwrap();
        assert!(
            reported.len() == 1 && reported[0].contains(&expected),
            "{what}: {reported:?}"
        );
        assert!(
            reported[0].starts_with("the plugin hostile failed at an event, which is shown without fields"),
            "{reported:?}"
        );
    }
}

#[test]
fn an_error_loses_only_the_fields_of_its_call() {
    let (mut decoder, reported) = decoder(&grants(), "decode", "error");
    decoder.start(&trace()).expect("it starts");
    for _ in 0..3 {
        decoder.decode(&mut batch(&[Some(1)]));
    }
    assert_eq!(decoder.finish().failed, 3);
    let reported = reported.lock().unwrap();
    assert!(
        reported.len() == 1 && reported[0].contains("it failed: \\u{1b}[2J\\u{202e}bad"),
        "{reported:?}"
    );
}

#[test]
fn an_oversized_payload_loses_only_its_own_fields() {
    for what in ["long-text", "much"] {
        let (mut decoder, reported) = decoder(&grants(), "decode", what);
        decoder.start(&trace()).expect("it starts");
        decoder.decode(&mut batch(&[Some(1), Some(2)]));
        assert_eq!(decoder.finish().failed, 1, "{what}");
        assert!(reported.lock().unwrap()[0].contains("more than 65536 bytes"), "{what}");
    }
}

#[test]
fn a_failing_start_or_finish_is_reported() {
    for what in ["loop", "trap", "error", "allocate"] {
        let (mut decoder, _) = decoder(&impatient(), "start", what);
        let error = decoder.start(&trace()).expect_err("it fails");
        assert!(
            error.starts_with("the plugin hostile was ended in `start`: it "),
            "{error}"
        );
        let mut batch = batch(&[Some(1)]);
        decoder.decode(&mut batch);
        assert_eq!((values(&batch), decoder.finish().failed), (vec![vec![], vec![]], 1));
    }
    let (mut decoder, _) = decoder(&grants(), "finish", "error");
    decoder.start(&trace()).expect("it starts");
    let messages = decoder.finish().messages;
    assert!(messages.len() == 1 && messages[0].contains("`finish`"), "{messages:?}");
}
