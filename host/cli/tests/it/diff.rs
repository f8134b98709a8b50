//! Runs the built `ipft diff` on generated recordings.

use std::fs;
use std::path::Path;
use std::process::Command;

use support::canned::{Script, golden};
use support::days::{FUNCTIONS, day};

use crate::recorded::{Ran, record};

fn diff(folder: &Path, words: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipft"));
    let output = command.arg("diff").args(words).current_dir(folder).output();
    output.expect("ipft runs").into()
}

/// Writes both days to a folder.
fn days(good: Script, bad: Script) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    record(&good.can("good"), &folder.path().join("good.ipft"));
    record(&bad.can("bad"), &folder.path().join("bad.ipft"));
    folder
}

/// The page of the book shows this comparison.
#[test]
fn a_bad_day_is_compared_as_the_book_shows() {
    let folder = days(
        day(&FUNCTIONS, true, 3214, 0, 500),
        day(&FUNCTIONS, true, 2988, 4, 40_000),
    );
    let ran = diff(folder.path(), &["good.ipft", "bad.ipft"]);
    assert_eq!((ran.code, ran.said.as_str()), (Some(0), ""));
    golden("diff.txt", &ran.out);
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/recording.md");
    let page = fs::read_to_string(page).expect("the page is there");
    assert!(page.contains(&ran.out), "the page shows:\n{}", ran.out);
}

#[test]
fn a_cut_recording_is_compared_and_reported() {
    let folder = days(day(&FUNCTIONS, true, 100, 0, 500), day(&FUNCTIONS, true, 100, 4, 500));
    let cut = folder.path().join("bad.ipft");
    let bytes = fs::read(&cut).expect("it is there");
    fs::write(&cut, &bytes[..bytes.len() / 2]).expect("it can be cut");
    let ran = diff(folder.path(), &["good.ipft", "bad.ipft"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.out.starts_with(
            "   good.ipft     bad.ipft
"
        ),
        "{ran:?}"
    );
    assert!(ran.said.contains("bad.ipft"), "{ran:?}");
}

#[test]
fn a_recording_without_packets_is_named() {
    let folder = days(day(&FUNCTIONS, true, 0, 0, 0), day(&FUNCTIONS, true, 9, 0, 0));
    let ran = diff(folder.path(), &["good.ipft", "bad.ipft"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.said.starts_with("good.ipft has no packets"), "{ran:?}");
}

#[test]
fn what_is_no_pair_of_recordings_is_refused() {
    let folder = days(day(&FUNCTIONS, true, 9, 0, 0), day(&FUNCTIONS, true, 9, 0, 0));
    fs::write(folder.path().join("text"), "no recording").expect("it can be written");
    for (words, code, says) in [
        (&["good.ipft"][..], 2, "<SECOND>"),
        (&["good.ipft", "good.ipft"], 2, "the same file"),
        (&["good.ipft", "missing.ipft"], 1, "missing.ipft"),
        (&["text", "good.ipft"], 1, "text"),
        (&["good.ipft", "bad.ipft", "--top", "all"], 2, "--top"),
    ] {
        let ran = diff(folder.path(), words);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(code), ""),
            "{words:?}: {}",
            ran.said
        );
        assert!(ran.said.contains(says), "{words:?}: {}", ran.said);
    }
}
