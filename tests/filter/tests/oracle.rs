//! The filter's compiler against libpcap's, over whole and cut packets.

use filter_oracle::packets::{self, Frame};
use filter_oracle::random::Random;
use filter_oracle::{TestNames, expressions, libpcap, machine};
use ipft_core::filter::{self, Problem, Verdict};

/// Composed expressions by default. FILTER_EXPRESSIONS sets another number.
const COMPOSED: u32 = 20_000;

fn frames(seed: u64, count: usize) -> Vec<Frame> {
    let mut random = Random::new(seed);
    (0..count).map(|_| packets::frame(&mut random)).collect()
}

/// Returns the first difference from libpcap over the frames.
fn compare(expression: &str, frames: &[Frame]) -> Result<(), String> {
    let theirs = libpcap::Filter::compile(expression, false).map_err(|error| format!("libpcap refuses it: {error}"))?;
    let ours = match filter::compile(expression, &TestNames) {
        Ok(ours) => Some(ours),
        Err(error) if *error.problem() == Problem::Never => None,
        Err(error) => return Err(format!("refused: {error}")),
    };
    for Frame { bytes, length } in frames {
        let expected = theirs.matches(bytes, *length);
        let found = ours
            .as_ref()
            .map_or(Verdict::NoMatch, |ours| ours.judge(bytes, *length));
        if (found == Verdict::Match) != expected {
            return Err(format!("libpcap says {expected}, we say {found:?}, for {bytes:02x?}"));
        }
        let Some(ours) = &ours else { continue };
        let run = machine::run(ours, bytes, *length);
        if run != Ok(found) {
            return Err(format!(
                "the instructions say {run:?}, the meaning is {found:?}, for {bytes:02x?}"
            ));
        }
    }
    Ok(())
}

#[test]
fn table_means_the_same_as_in_libpcap() {
    let frames = frames(0x9e37_79b9, 2000);
    let table: Vec<&str> = expressions::table().collect();
    assert!(table.len() >= 400, "{} expressions", table.len());
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|expression| Some(format!("[{expression}] {}", compare(expression, &frames).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn composed_expressions_mean_the_same_as_in_libpcap() {
    let count = std::env::var("FILTER_EXPRESSIONS").map_or(COMPOSED, |text| text.parse().expect("a number"));
    let frames = frames(0x51_51, 200);
    let mut random = Random::new(0xda_7a);
    let (mut compared, mut refused) = (0, 0);
    for _ in 0..count {
        let expression = expressions::compose(&mut random, 3);
        // Some combinations are refused by both: `vlan` behind `mpls`, MAC addresses behind `pppoes`.
        match libpcap::Filter::compile(&expression, false) {
            Err(_) => {
                assert!(
                    filter::compile(&expression, &TestNames).is_err(),
                    "only libpcap refuses [{expression}]"
                );
                refused += 1;
            }
            Ok(_) => {
                if let Err(difference) = compare(&expression, &frames) {
                    panic!("[{expression}] {difference}");
                }
                compared += 1;
            }
        }
    }
    println!("{compared} compared, {refused} refused by both");
    assert!(compared > count / 2, "only {compared} of {count} could be compared");
}

#[test]
fn mac_addresses_that_are_not_there_match_nothing() {
    let mut random = Random::new(7);
    let mut frame = packets::frame(&mut random);
    frame.bytes.resize(60, 0);
    frame.bytes[..14].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0]);
    for (expression, expected) in [
        ("ether host 00:00:00:00:00:00", Verdict::NoMatch),
        ("not ether host 00:00:00:00:00:00", Verdict::Match),
        ("ether[0] = 0", Verdict::NoMatch),
        ("ether[0] & 1 = 0", Verdict::NoMatch),
        ("not ether broadcast", Verdict::Match),
        ("multicast or broadcast", Verdict::NoMatch),
        ("byte 6 = 0", Verdict::NoMatch),
        ("ether proto 0x0800", Verdict::Match),
        ("ether[12:2] = 0x0800", Verdict::Match),
        ("ip and not ether src 00:00:00:00:00:00", Verdict::Match),
    ] {
        let filter = filter::compile(expression, &TestNames).expect("it is accepted");
        let length = frame.length;
        assert_eq!(
            filter.judge_without_mac(&frame.bytes, length),
            expected,
            "[{expression}]"
        );
        assert_eq!(
            machine::run_with(&filter, &frame.bytes, length, false),
            Ok(expected),
            "[{expression}]"
        );
    }
}

#[test]
fn differences_from_libpcap_are_those_listed() {
    for (expression, why) in expressions::REFUSED_HERE {
        assert!(
            libpcap::Filter::compile(expression, false).is_ok(),
            "libpcap refuses [{expression}]: {why}"
        );
        assert!(
            filter::compile(expression, &TestNames).is_err(),
            "[{expression}] is not refused: {why}"
        );
    }
    for (expression, why) in expressions::ACCEPTED_ONLY_HERE {
        assert!(
            libpcap::Filter::compile(expression, false).is_err(),
            "libpcap accepts [{expression}]: {why}"
        );
        if let Err(error) = filter::compile(expression, &TestNames) {
            panic!("[{expression}] is refused: {why}\n{error}");
        }
    }
    let frames = frames(0x0dd, 3000);
    for (expression, why) in expressions::DIFFERENT {
        let theirs = libpcap::Filter::compile(expression, false).expect("libpcap accepts it");
        let ours = filter::compile(expression, &TestNames).expect("it is accepted");
        let differs = |Frame { bytes, length }: &Frame| {
            (ours.judge(bytes, *length) == Verdict::Match) != theirs.matches(bytes, *length)
        };
        assert!(frames.iter().any(differs), "[{expression}] means the same: {why}");
    }
}
