//! Checks that the manual for extensions shows the program's output and the examples, word for word.
//!
//! `UPDATE_GOLDEN=1 cargo test -p ipft --test it manual` updates the page.

use std::fs;
use std::path::{Path, PathBuf};

use ipft_core::extension::generate;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Returns the page with another block of a language below this heading.
fn with_block(page: &str, name: &str, language: &str, text: &str) -> String {
    let heading = format!("<!-- {name} -->\n");
    let (before, rest) = page.split_once(&heading).unwrap_or_else(|| panic!("no {heading}"));
    let (_, after) = rest.split_once("<!-- end -->\n").expect("the block ends");
    format!(
        "{before}{heading}```{language}\n{}\n```\n<!-- end -->\n{after}",
        text.trim_end()
    )
}

#[test]
fn the_manual_shows_skeleton_and_examples_as_they_are() {
    let example = |name: &'static str| (name, fs::read_to_string(project(name)).unwrap());
    for (path, language, blocks) in [
        (
            "docs/src/extensions.md",
            "c",
            vec![
                ("ipft --gen bpf-module-skeleton", generate::skeleton()),
                example("docs/examples/gso.c"),
                example("docs/examples/owner.c"),
            ],
        ),
        (
            "docs/src/lua-fields.md",
            "lua",
            vec![example("docs/examples/gso-fields.lua")],
        ),
    ] {
        let page = fs::read_to_string(project(path)).unwrap();
        let expected = (blocks.iter()).fold(page.clone(), |page, (name, text)| {
            with_block(&page, name, language, text)
        });
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(project(path), &expected).unwrap();
            continue;
        }
        assert!(
            page == expected,
            "{path} shows something else; UPDATE_GOLDEN=1 cargo test -p ipft --test it manual writes it anew"
        );
    }
}

/// The skeleton begins with the header, so the page with the skeleton shows both.
#[test]
fn the_skeleton_begins_with_the_header() {
    assert!(generate::skeleton().starts_with(generate::HEADER));
    assert!(generate::HEADER.trim_end().ends_with("#endif"));
}
