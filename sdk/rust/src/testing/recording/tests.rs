//! Tests of reading recordings.

use super::*;

const TRACE: &str = r#"{"type":"trace","version":1,"kernel":"6.12","tracer":"function","backend":"kprobe","mark":1,"mask":1,"clock_offset":{"seconds":-1,"nanoseconds":5},"command_line":[],"functions":[{"name":"f","module":"m","address":null}],"schema":{"size":4,"fields":[{"name":"a","offset":0,"size":4,"type":"unsigned","format":"plain"}]}}"#;
const EVENT: &str = r#"{"type":"event","packet":"0x01","skb":null,"timestamp":9,"cpu":0,"thread":0,"function":"f","module":"m","function_index":0,"kind":"entry","fields":{"a":7}}"#;
const SUMMARY: &str = r#"{"type":"summary","events":1,"packets":1,"lost":0,"attached":1,"skipped":[]}"#;

fn read(lines: &[&str]) -> Result<Recording, String> {
    Recording::from_jsonl(lines.join("\n").as_bytes()).map_err(|error| error.to_string())
}

const ORPHAN: &str =
    r#"{"type":"born","packet":"0x03","skb":"0x02","timestamp":5,"cpu":0,"thread":7,"function_index":null}"#;

#[test]
fn births_and_ends_are_events() {
    let born = ORPHAN.replace(r#""skb""#, r#""parent":"0x09","skb""#);
    let ended = ORPHAN.replace("born", "ended");
    let released = ended.replace("null}", r#"null,"outcome":"released"}"#);
    let dropped = ended.replace(
        "null}",
        r#"0,"outcome":"dropped","reason_number":12,"reason":"NETFILTER_DROP","class":"unwanted","why":"A rule.","remedy":"nft"}"#,
    );
    let of = |outcome| released.replace("released", outcome);
    let ends = ["delivered", "sent", "forwarded", "joined", "of a later version"].map(of);
    let joined = ORPHAN
        .replace("born", "joined")
        .replace(r#""skb""#, r#""into":"0x08","skb""#);
    let mut lines = vec![TRACE, &born, &released, &dropped, &joined];
    lines.extend(ends.iter().map(String::as_str));
    lines.push(SUMMARY);
    let recording = read(&lines).unwrap();
    assert_eq!(recording.trace.drop_reason(12), Some("NETFILTER_DROP"));
    assert_eq!(recording.trace.fact("drop-classes"), Some("NETFILTER_DROP@f=unwanted"));
    let advice = recording.trace.fact("drop-advice");
    assert_eq!(advice, Some("NETFILTER_DROP@f\tA rule.\tnft\n"));
    assert!(!recording.trace.is_followed());
    let follows = TRACE.replace(r#""mask":1"#, r#""mask":1,"filter":"icmp","follow":true"#);
    let followed = read(&[&follows, SUMMARY]).unwrap().trace;
    assert_eq!((followed.is_followed(), followed.fact("filter")), (true, Some("icmp")));
    let events = recording.chunks.iter().flat_map(|chunk| &chunk.events);
    let events: Vec<_> = events.map(|event| (event.kind, event.function, event.spare)).collect();
    let none = u32::MAX;
    assert_eq!(
        events,
        [
            (Event::BORN, none, 9),
            (Event::ENDED, none, 0),
            (Event::ENDED, 0, 1 << 32 | 12),
            (Event::JOINED, none, 8),
            (Event::ENDED, none, Event::DELIVERED),
            (Event::ENDED, none, Event::SENT),
            (Event::ENDED, none, Event::FORWARDED),
            (Event::ENDED, none, Event::BECAME_PART),
            (Event::ENDED, none, 0)
        ]
    );
}

#[test]
fn a_verdict_is_a_decision_of_its_function() {
    let decided = |kind: &str, decision: &str| {
        format!(
            r#"{{"type":"decided","packet":"0x7","timestamp":5,"cpu":0,"thread":1,"function":"nft ip t c","module":"nf_tables","function_index":0,"kind":"{kind}","decision":"{decision}"}}"#
        )
    };
    let lines = [
        decided("netfilter", "drop"),
        decided("netfilter", "accept"),
        decided("route", "drop"),
        decided("netfilter", "else"),
        decided("xdp", "redirect"),
        decided("tc", "goto_chain"),
    ];
    let mut all = vec![TRACE];
    all.extend(lines.iter().map(String::as_str));
    all.push(SUMMARY);
    let recording = read(&all).unwrap();
    let events = recording.chunks.iter().flat_map(|chunk| &chunk.events);
    let verdicts: Vec<_> = events
        .map(|event| (event.packet, event.function, event.verdict()))
        .collect();
    let expected = ["drop", "accept", "redirect", "goto_chain"].map(|verdict| (7, 0, Some(verdict)));
    assert_eq!(verdicts, expected);
}

#[test]
fn what_is_of_a_later_version_is_passed_over() {
    let later = EVENT.replace(r#""entry""#, r#""decided""#);
    let recording = read(&[TRACE, r#"{"type":"other"}"#, &later, EVENT, SUMMARY]).unwrap();
    let events: usize = recording.chunks.iter().map(|chunk| chunk.events.len()).sum();
    assert_eq!(events, 1);
}

#[test]
fn errors_name_their_line() {
    assert_eq!(read(&[TRACE, EVENT, SUMMARY]).unwrap().trace.clock_offset, -999_999_995);
    for (lines, expected) in [
        (&[][..], "it ends after 0 lines"),
        (&[TRACE, EVENT], "it ends after 2 lines"),
        (&[EVENT], "line 1: the first line is no `trace`"),
        (&[TRACE, TRACE], "line 2: it is a second `trace`"),
        (&[TRACE, SUMMARY, EVENT], "line 3: it comes after the summary"),
        (&[TRACE, "{"], "line 2: EOF"),
        (&[TRACE, ORPHAN], "line 2: a packet that is born has no parent"),
    ] {
        let error = read(lines).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
    for (from, to, expected) in [
        (r#""a":7"#, r#""b":7"#, "other fields than the schema"),
        (r#""a":7"#, r#""a":"x\u001b""#, "of the field `a`"),
        (r#""0x01""#, r#""1\u001b""#, r"`1\x1b` is no identity"),
        (r#""entry""#, r#""return","duration":10"#, "longer than the time"),
    ] {
        let error = read(&[TRACE, &EVENT.replace(from, to), SUMMARY]).unwrap_err();
        assert!(error.starts_with("line 2: ") && error.contains(expected), "{error}");
    }
    for (from, to, expected) in [
        (r#""version":1"#, r#""version":2"#, "version 2"),
        (
            r#""size":4,"fields""#,
            r#""size":4000000000,"fields""#,
            "more than 4096 bytes",
        ),
        ("-1,", "9223372036854775807,", "more than 64 bits"),
    ] {
        let error = read(&[&TRACE.replace(from, to)]).unwrap_err();
        assert!(error.starts_with("line 1: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn a_damaged_recording_is_read_or_refused_safely() {
    let whole = [TRACE, EVENT, SUMMARY].join("\n");
    for length in 0..whole.len() {
        assert!(Recording::from_jsonl(&whole.as_bytes()[..length]).is_err());
    }
    for position in 0..whole.len() {
        for byte in [b'0', b'9', b'"', b'-', 0xff] {
            let mut changed = whole.clone().into_bytes();
            changed[position] = byte;
            let _ = Recording::from_jsonl(&changed[..]);
        }
    }
}
