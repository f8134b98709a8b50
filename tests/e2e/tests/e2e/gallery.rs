//! The project's plugins as components, in the host: each passes the authors' check, and its output in the sandbox is
//! identical to the native one (a `usize` has 32 bits there), for traces and recordings alike. No guest is needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ipft_plugin::testing::{self, Recording};
use ipft_plugin::{Describe, Plugin};
use xtask::{build, plugins, workspace};

fn ipft(arguments: &[&Path]) -> Output {
    let cache = workspace::target().join("e2e/cache");
    let mut command = Command::new(build::development().unwrap());
    // Root's cache does not depend on this.
    command.arg("plugin").args(arguments).env("XDG_CACHE_HOME", cache);
    command.output().unwrap()
}

fn component(name: &str) -> PathBuf {
    plugins::gallery().unwrap().join(format!("{name}.wasm"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Real and synthetic traces, in the format of `-o jsonl`.
fn recordings() -> Vec<PathBuf> {
    let folder = workspace::root().join("tests/golden");
    let mut recordings: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .collect();
    recordings.push(workspace::root().join("plugins/report/tests/ping-through-nat.jsonl"));
    assert!(recordings.len() > 5, "{recordings:?}");
    recordings
}

fn draws_the_same<P: Plugin + Describe + Default>(name: &str) {
    for path in recordings() {
        let recording = Recording::read(&path).unwrap();
        let natively = testing::run(P::default(), &recording, &[]).unwrap();
        let output = ipft(&[Path::new("run"), &component(name), &path]);
        let shown = path.display();
        assert!(output.status.success(), "{shown}: {}", text(&output.stderr));
        assert!(!output.stdout.is_empty(), "{shown}: nothing was drawn");
        assert!(
            output.stdout == natively.output,
            "{shown}: in the sandbox\n{}\nand natively\n{}",
            text(&output.stdout),
            text(&natively.output)
        );
    }
}

/// The recordings of `tests/fixtures` have the traces whose text is in `tests/golden`.
fn draws_recordings_alike(name: &str) {
    let folder = workspace::root().join("tests/fixtures/recording-1.0");
    let mut recordings: Vec<PathBuf> = (std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .collect();
    recordings.sort();
    assert!(recordings.len() > 5, "{recordings:?}");
    for recording in recordings {
        let trace = recording.file_stem().unwrap().to_string_lossy().into_owned();
        let text_file = workspace::root().join(format!("tests/golden/{trace}.jsonl"));
        let recorded = ipft(&[Path::new("run"), &component(name), &recording]);
        assert!(recorded.status.success(), "{trace}: {}", text(&recorded.stderr));
        assert!(!recorded.stdout.is_empty(), "{trace}: nothing was drawn");
        let written = ipft(&[Path::new("run"), &component(name), &text_file]);
        assert!(
            recorded.stdout == written.stdout,
            "{trace}: from the recording\n{}\nand from -o jsonl\n{}",
            text(&recorded.stdout),
            text(&written.stdout)
        );
    }
}

fn passes_the_check(name: &str) {
    let output = ipft(&[Path::new("check"), &component(name)]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("All is well."), "{said}");
    // Pictures are deterministic, and no plugin uses the network.
    for word in ["failed", "complained", "something else", "the network"] {
        assert!(!said.contains(word), "{said}");
    }
}

macro_rules! plugins {
    ($($name:ident: $plugin:ty),*) => {$(
        mod $name {
            #[test]
            fn passes_the_check_of_authors() {
                super::passes_the_check(stringify!($name));
            }

            #[test]
            fn draws_in_the_sandbox_what_it_draws_natively() {
                super::draws_the_same::<$plugin>(stringify!($name));
            }

            #[test]
            fn draws_a_recording_as_the_trace() {
                super::draws_recordings_alike(stringify!($name));
            }
        }
    )*};
}

plugins! {
    flame: ::flame::Flame,
    latency: ::latency::Latency,
    paths: ::paths::Paths,
    report: ::report::Page,
    story: ::story::Story,
    timeline: ::timeline::Timeline
}
