//! The plugin on the SDK's built-in traces. It runs natively here: as a library, without ipft.

use ipft_plugin::testing;
use plugin::Entries;

#[test]
fn it_counts_the_entries_of_every_trace() {
    for recording in testing::traces() {
        let ran = testing::run(Entries::default(), &recording, &[("top", "0")]).unwrap();
        let rows = ran
            .text()
            .lines()
            .skip(1)
            .filter(|line| line.starts_with(' '));
        let counted: usize = rows
            .map(|row| row[..12].trim().parse::<usize>().unwrap())
            .sum();

        let functions: usize = recording
            .chunks
            .iter()
            .map(|chunk| chunk.functions.len())
            .sum();
        let events = recording.chunks.iter().flat_map(|chunk| &chunk.events);
        let entries =
            events.filter(|event| event.is_entry() && (event.function as usize) < functions);
        assert_eq!(counted, entries.count(), "{}", recording.name);
    }
}

#[test]
fn a_negative_number_of_functions_is_refused() {
    let error =
        testing::run(Entries::default(), &testing::traces()[0], &[("top", "-1")]).unwrap_err();
    assert!(error.to_string().contains("cannot be negative"), "{error}");
}
