//! All users who may trace see the same, whichever source ipft has for function addresses.

use std::collections::BTreeSet;

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::Recording;
use xtask::kernel::Kernel;

/// A kernel whose functions begin with `endbr64`, so that they have two addresses.
fn left() -> &'static Left {
    static RUN: Shared = Shared::new();
    RUN.left(|| guest::run("rights", Kernel::V6_12, &[], include_str!("../../../guest/rights.sh")))
}

/// Returns the source of the addresses, and the functions on the ping's path.
fn seen(name: &str) -> (String, BTreeSet<String>) {
    let said = left().text(&format!("{name}.err"));
    assert_eq!(left().exit(name), 0, "{name}: {said}");
    let recording = Recording::read(&left().path(&format!("{name}.out"))).unwrap();
    assert_eq!(recording.summary.lost, 0, "{name}: {said}");
    let functions = recording.events.iter().map(|event| event.function.clone());
    (said, functions.collect())
}

#[test]
fn hidden_code_and_addresses_lose_no_function() {
    let (said, expected) = seen("root");
    assert!(said.contains("/proc/kcore"), "{said}");
    assert!(expected.len() > 60, "{expected:?}");
    for name in ["few", "hidden"] {
        let (said, functions) = seen(name);
        assert!(!said.contains("/proc/kcore"), "{name}: {said}");
        let missing: Vec<_> = expected.difference(&functions).collect();
        assert!(missing.is_empty(), "{name} did not see {missing:?}");
    }
}
