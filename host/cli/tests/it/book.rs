//! Checks the book and the README: every page is in the table of contents, and every link is valid.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<_> = fs::read_dir(root().join("docs/src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.push(root().join("README.md"));
    pages
}

/// Returns the page without its code blocks.
fn prose(text: &str) -> String {
    let mut inside = false;
    text.lines()
        .filter(|line| {
            let fence = line.trim_start().starts_with("```");
            inside ^= fence;
            !inside && !fence
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Returns the targets of `[text](target)`.
fn links(prose: &str) -> Vec<&str> {
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .collect()
}

/// Returns mdBook's anchors of headings: lower case, words joined by `-`, punctuation removed.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim())
        .map(|heading| {
            heading
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() })
                .collect()
        })
        .collect()
}

#[test]
fn every_page_is_in_the_table_of_contents() {
    let summary = fs::read_to_string(root().join("docs/src/SUMMARY.md")).unwrap();
    let listed: BTreeSet<_> = links(&summary).into_iter().map(String::from).collect();
    let mut found: BTreeSet<_> = pages()
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_string())
        .collect();
    found.remove("SUMMARY.md");
    found.remove("README.md");
    assert_eq!(listed, found);
}

#[test]
fn every_link_within_the_project_leads_somewhere() {
    let mut dead = Vec::new();
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&prose(&text))
            .into_iter()
            .filter(|link| !link.starts_with("https://"))
        {
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                page.clone()
            } else {
                page.parent().unwrap().join(file)
            };
            // A picture is not text.
            match fs::read(&target).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) {
                Ok(text) if anchor.is_empty() || anchors(&text).contains(anchor) => {}
                _ => dead.push(format!("{}: {link}", page.display())),
            }
        }
    }
    assert!(seen > 10, "only {seen} links were found");
    assert!(dead.is_empty(), "{dead:#?}");
}

#[test]
fn the_manual_shows_the_example_scripts_as_they_are() {
    let page = fs::read_to_string(root().join("docs/src/lua.md")).unwrap();
    let script = fs::read_to_string(root().join("docs/examples/gso.lua")).unwrap();
    assert!(
        page.contains(&format!("```lua\n{script}```\n")),
        "docs/src/lua.md has another gso.lua"
    );
}
