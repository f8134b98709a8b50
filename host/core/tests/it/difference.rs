//! Tests of the comparison of two traces.

use ipft_core::event::*;
use ipft_core::sink::Sink;
use ipft_core::sink::difference::{self, Profile, Side};
use support::canned::{Canned, Script, golden};
use support::days::{FUNCTIONS, ICMP, day};

fn profile(canned: &Canned, memory: u64) -> Profile {
    let mut profile = Profile::new(memory);
    profile.start(&canned.trace).unwrap();
    for batch in &canned.batches {
        profile.events(batch).unwrap();
    }
    profile.finish(&canned.summary).unwrap();
    profile
}

fn compare(good: Script, bad: Script, top: usize) -> String {
    let profiles = [good.can("good"), bad.can("bad")].map(|canned| profile(&canned, 1 << 20));
    let [first, second] = [("good.ipft", &profiles[0]), ("bad\u{1b}.ipft", &profiles[1])];
    let side = |(name, profile)| Side { name, profile };
    let mut out = Vec::new();
    difference::write(&mut out, side(first), side(second), top).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn a_bad_day_differs_in_drops_and_times() {
    let mut bad = day(&FUNCTIONS, true, 800, 4, 40_000);
    bad.summary.losses = vec![Loss {
        kind: LossKind::BufferFull,
        cpu: None,
        count: 1234,
    }];
    golden("difference.txt", &compare(day(&FUNCTIONS, true, 1000, 0, 500), bad, 10));
}

#[test]
fn two_days_of_another_length_are_alike() {
    let text = compare(
        day(&FUNCTIONS, true, 1000, 5, 500),
        day(&FUNCTIONS, true, 500, 5, 500),
        10,
    );
    assert!(
        text.ends_with("\n\nPackets ended alike and entered the same functions.\n"),
        "{text}"
    );
}

#[test]
fn ends_that_no_trace_has_are_not_alike() {
    let text = compare(
        day(&FUNCTIONS, false, 100, 5, 500),
        day(&FUNCTIONS, false, 50, 5, 500),
        10,
    );
    assert!(text.ends_with("\n\nPackets entered the same functions.\n"), "{text}");
}

#[test]
fn only_the_lines_that_change_most_are_shown() {
    let text = compare(
        day(&FUNCTIONS, true, 100, 0, 500),
        day(&FUNCTIONS, true, 100, 4, 500),
        1,
    );
    let ends = text
        .split("\n\n")
        .find(|part| part.starts_with("How packets ended"))
        .unwrap();
    assert_eq!(ends.lines().count(), 3, "{ends}");
    assert!(ends.ends_with("and 1 more (--top 0 shows all)"), "{ends}");
}

#[test]
fn what_one_trace_could_not_see_is_no_difference() {
    let fewer = &FUNCTIONS[..ICMP as usize];
    let text = compare(day(fewer, false, 100, 0, 500), day(&FUNCTIONS, true, 100, 4, 500), 10);
    assert!(!text.contains("icmp_send"), "{text}");
    assert!(
        text.contains("\nNot compared: 1 function that the trace of good.ipft could not see.\n"),
        "{text}"
    );
    assert!(
        text.contains(r"Decisions are not compared: the trace of good.ipft has none"),
        "{text}"
    );
    assert!(
        text.contains(r"How packets ended is not compared: only the trace of bad\x1b.ipft followed"),
        "{text}"
    );
}

#[test]
fn a_trace_without_packets_is_compared_with_nothing() {
    let text = compare(day(&FUNCTIONS, true, 0, 0, 0), day(&FUNCTIONS, true, 3, 0, 0), 10);
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn more_packets_than_memory_are_still_counted() {
    let canned = day(&FUNCTIONS, true, 1000, 0, 500).can("many");
    let few = profile(&canned, 64 * 100);
    assert!(few.has_forgotten());
    assert_eq!(few.packets(), 1000);
    assert!(!profile(&canned, 1 << 20).has_forgotten());
}
