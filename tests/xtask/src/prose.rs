//! `cargo xtask prose`: checks text for people: pages, comments, messages, names of tests.
//!
//! codespell checks the spelling. Words to avoid, each with its replacement, are in `docs/contributing/words.txt`. The
//! name of a test has at most [`LONGEST_NAME`] letters.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::{output_of, step};
use crate::{packages, workspace};

/// The list of words, relative to the workspace's root.
const WORDS: &str = "docs/contributing/words.txt";

/// The longest name of a test, in bytes.
const LONGEST_NAME: usize = 50;

/// False positives of codespell: `crate` is Rust's, the others are names in kernels and formats.
const SPELT_RIGHT: &str =
    "crate,ser,te,ans,fo,nd,ba,hist,statics,inout,mut,parms,iif,oif,vlan,ue,strat,wit,inforce,modul,addressings,tha";

/// Excluded files: output of programs, generated code, third-party texts.
const SKIPPED: [&str; 8] = [
    "docs/licenses/",
    "docs/contributing/words.txt",
    "tests/golden/",
    "tests/fixtures/",
    "tests/fuzz/seeds/",
    "LICENSE",
    "Cargo.lock",
    "tests/xtask/src/prose.rs",
];

/// File name endings of the checked files.
const CHECKED: [&str; 9] = [".rs", ".md", ".sh", ".c", ".h", ".wit", ".toml", ".lua", ".py"];

/// Where a word is the name of a user of the system.
const USERS: [&str; 3] = ["--user nobody", "chown nobody", "\"nobody\""];

/// Checks every tracked file.
pub fn run() -> Result<()> {
    packages::install(&[packages::PROSE])?;
    let root = workspace::root();
    let listed = output_of(Command::new("git").args(["ls-files", "-z"]).current_dir(&root))?;
    let files: Vec<&str> = listed.split('\0').filter(|file| is_checked(file)).collect();
    let words = Words::read(&root.join(WORDS))?;
    let mut found = Vec::new();
    for file in &files {
        // A tracked file may be removed but not yet committed.
        if let Ok(text) = fs::read_to_string(root.join(file)) {
            found.extend(words.check(file, &text));
            if file.ends_with(".rs") {
                found.extend(long_names(file, &text));
            }
        }
    }
    let mut codespell = Command::new("codespell");
    codespell
        .args(["--ignore-words-list", SPELT_RIGHT])
        .args(&files)
        .current_dir(&root);
    let spelling = step("check the spelling").run(codespell);
    for finding in &found {
        println!("{finding}");
    }
    spelling?;
    if !found.is_empty() {
        bail!("{} places to rewrite; {WORDS} says how", found.len());
    }
    Ok(())
}

fn is_checked(file: &str) -> bool {
    CHECKED.iter().any(|ending| file.ends_with(ending)) && !SKIPPED.iter().any(|skipped| file.starts_with(skipped))
}

/// A place to rewrite.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    file: String,
    /// Counted from 1.
    line: usize,
    found: String,
    instead: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        write!(to, "{}:{}: {}: {}", self.file, self.line, self.found, self.instead)
    }
}

/// Phrases in lower case, each with its replacement.
struct Words(Vec<(String, String)>);

impl Words {
    fn read(path: &Path) -> Result<Words> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let words = lines.map(|line| {
            let (word, instead) = line
                .split_once('\t')
                .with_context(|| format!("{}: no tab in '{line}'", path.display()))?;
            Ok((word.to_lowercase(), instead.to_owned()))
        });
        Ok(Words(words.collect::<Result<_>>()?))
    }

    fn check(&self, file: &str, text: &str) -> Vec<Finding> {
        let mut found = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let mut line = line.to_lowercase();
            for user in USERS {
                line = line.replace(user, "");
            }
            for (word, instead) in &self.0 {
                if has_word(&line, word) {
                    found.push(Finding {
                        file: file.to_owned(),
                        line: number + 1,
                        found: word.clone(),
                        instead: instead.clone(),
                    });
                }
            }
        }
        found
    }
}

/// Returns whether a line contains a phrase as whole words. Underscores separate words: names of tests are sentences.
fn has_word(line: &str, word: &str) -> bool {
    let line = line.replace('_', " ");
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

fn long_names(file: &str, text: &str) -> Vec<Finding> {
    let mut is_test = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
            is_test = false;
            let name = rest.split(['(', '<']).next().unwrap_or_default();
            if name.len() > LONGEST_NAME {
                found.push(Finding {
                    file: file.to_owned(),
                    line: number + 1,
                    found: name.to_owned(),
                    instead: format!("{} letters, at most {LONGEST_NAME}", name.len()),
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let words = Words(vec![
            ("told".into(), "reported".into()),
            ("this room".into(), "here".into()),
        ]);
        words.check("a.md", text).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_word_is_found_whole_in_any_case() {
        assert_eq!(lines("Told.\nretold\ntolds\nfn it_is_told()\n(told)"), [1, 4, 5]);
    }

    #[test]
    fn a_user_is_called_by_its_name() {
        let words = Words(vec![("nobody".into(), "no user".into())]);
        let found = words.check("a.sh", "ipft --user nobody\nnobody reads it\n");
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn a_phrase_is_found() {
        assert_eq!(lines("no room\nin this room, then"), [2]);
    }

    #[test]
    fn a_test_name_that_is_too_long_is_found() {
        let name = "x".repeat(LONGEST_NAME + 1);
        let text = format!("#[test]\nfn short() {{\n}}\n#[test]\n#[ignore]\nfn {name}() {{\n}}\nfn {name}() {{}}\n");
        let found: Vec<usize> = long_names("a.rs", &text).iter().map(|finding| finding.line).collect();
        assert_eq!(found, [6]);
    }

    #[test]
    fn the_list_of_words_can_be_read() {
        assert!(!Words::read(&workspace::root().join(WORDS)).unwrap().0.is_empty());
    }
}
