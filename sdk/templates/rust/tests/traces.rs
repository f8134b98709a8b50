//! The plugin on the traces that the SDK brings. It runs natively here: as a library, without ipft.

use ipft_plugin::testing;
use plugin::Entries;

#[test]
fn it_counts_the_entries_of_every_trace() {
    for recording in testing::traces() {
        let ran = testing::run(Entries::default(), &recording, &[("top", "0")]).unwrap();
        let events = recording.chunks.iter().flat_map(|chunk| &chunk.events);
        let entries = events.filter(|event| event.is_entry()).count();

        let mut lines = ran.text().lines();
        assert_eq!(lines.next(), Some("     ENTERED  FUNCTION"));
        let counted: usize = lines
            .filter_map(|line| line.get(..12)?.trim().parse::<usize>().ok())
            .sum();
        assert_eq!(counted, entries, "{}", recording.name);
    }
}

#[test]
fn a_negative_number_of_functions_is_refused() {
    let error =
        testing::run(Entries::default(), &testing::traces()[0], &[("top", "-1")]).unwrap_err();
    assert!(error.to_string().contains("cannot be negative"), "{error}");
}
