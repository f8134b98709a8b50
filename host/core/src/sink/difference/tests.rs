use super::*;

#[test]
fn the_percentile_is_a_value_that_was_measured() {
    assert_eq!(percentile(&[], 50), None);
    assert_eq!(percentile(&[7], 99), Some(7));
    let hundred: Vec<u64> = (1..=100).collect();
    assert_eq!(
        (percentile(&hundred, 50), percentile(&hundred, 99)),
        (Some(50), Some(99))
    );
}

#[test]
fn none_and_few_packets_are_written_differently() {
    assert_eq!([0.0, 0.01, 0.1, 12.34].map(rate), ["-", "< 0.1", "0.1", "12.3"]);
}

#[test]
fn a_long_name_of_a_column_keeps_its_end() {
    assert_eq!(column("good.ipft"), "good.ipft");
    assert_eq!(column("/var/tmp/2026-11-30.ipft"), "~-11-30.ipft");
}
