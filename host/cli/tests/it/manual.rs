//! Checks that the manual for extensions shows the program's output and the examples, word for word.
//!
//! `UPDATE_GOLDEN=1 cargo test -p ipft --test it manual` updates the page.

use std::fs;
use std::path::{Path, PathBuf};

use ipft_core::extension::generate;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Returns the page with another block of C below this heading.
fn with_block(page: &str, name: &str, text: &str) -> String {
    let heading = format!("<!-- {name} -->\n");
    let (before, rest) = page.split_once(&heading).unwrap_or_else(|| panic!("no {heading}"));
    let (_, after) = rest.split_once("<!-- end -->\n").expect("the block ends");
    format!("{before}{heading}```c\n{}\n```\n<!-- end -->\n{after}", text.trim_end())
}

#[test]
fn the_manual_shows_skeleton_and_examples_as_they_are() {
    let path = project("docs/src/extensions.md");
    let page = fs::read_to_string(&path).unwrap();
    let mut expected = with_block(&page, "ipft --gen bpf-module-skeleton", &generate::skeleton());
    for example in ["docs/examples/gso.c", "docs/examples/owner.c"] {
        let text = fs::read_to_string(project(example)).unwrap();
        expected = with_block(&expected, example, &text);
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &expected).unwrap();
        return;
    }
    assert!(
        page == expected,
        "docs/src/extensions.md shows something else; UPDATE_GOLDEN=1 cargo test -p ipft --test it manual writes it anew"
    );
}

/// The skeleton begins with the header, so the page with the skeleton shows both.
#[test]
fn the_skeleton_begins_with_the_header() {
    assert!(generate::skeleton().starts_with(generate::HEADER));
    assert!(generate::HEADER.trim_end().ends_with("#endif"));
}
