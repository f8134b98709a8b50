//! Golden tests: the output of `story` for the built-in traces.

use std::path::Path;

use ipft_plugin::testing::{Recording, golden, run, traces};
use story::Story;

#[test]
fn every_trace_matches_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/plugins");
    for recording in traces() {
        let ran = run(Story::default(), &recording, &[("top", "20")]).expect("it draws every trace");
        assert_eq!(ran.text().find(|c: char| c.is_control() && c != '\n'), None);
        golden(folder.join(format!("story-{}.txt", recording.name)), &ran.output);
    }
}

#[test]
fn long_stories_have_a_line_per_step() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let recording = Recording::read(folder.join("followed.jsonl")).expect("it is a recording");
    let ran = run(Story::default(), &recording, &[("long", "true")]).expect("it draws every trace");
    golden(folder.join("plugins/story-long.txt"), &ran.output);
}

#[test]
fn the_chain_that_drops_a_packet_is_named() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let recording = Recording::read(folder.join("decided.jsonl")).expect("it is a recording");
    let ran = run(Story::default(), &recording, &[]).expect("it draws every trace");
    golden(folder.join("plugins/story-decided.txt"), &ran.output);
}

#[test]
fn packets_beyond_the_limit_have_several_stories() {
    let many = traces()
        .into_iter()
        .find(|recording| recording.name == "many")
        .expect("it is there");
    let whole = run(Story::default(), &many, &[]).expect("it draws every trace");
    let parts = run(Story::default(), &many, &[("packets", "10")]).expect("it draws every trace");
    let lines = |text: &str| text.lines().filter(|line| line.contains("taken to be over")).count();
    assert_eq!((lines(whole.text()), lines(parts.text())), (0, 1));
}
