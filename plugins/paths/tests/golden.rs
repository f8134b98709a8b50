//! Golden tests: the output of `paths` for the built-in traces.

use std::path::Path;

use ipft_plugin::testing::{golden, run, traces};
use paths::Paths;

#[test]
fn every_trace_matches_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/plugins");
    for recording in traces() {
        let ran = run(Paths::default(), &recording, &[]).expect("it draws every trace");
        assert_eq!(ran.text().find(|c: char| c.is_control() && c != '\n'), None);
        // 512 functions are 512 lines that differ only in their numbers.
        if recording.name != "deepest" {
            golden(folder.join(format!("paths-{}.txt", recording.name)), &ran.output);
        }
    }
}

#[test]
fn rare_paths_are_hidden_and_counted() {
    let many = traces()
        .into_iter()
        .find(|recording| recording.name == "many")
        .expect("it is there");
    let ran = run(Paths::default(), &many, &[("top", "1")]).expect("it draws every trace");
    assert!(
        ran.text()
            .contains("7,076 packets (98.88 %) took this path, 1 left it at `ip_rcv_core`, 71 at `ipt_do_table"),
        "{}",
        ran.text()
    );
    assert!(
        ran.text()
            .contains("Paths that are not shown (`top=0` shows all): 3, which 80 packets took."),
        "{}",
        ran.text()
    );
    let all = run(Paths::default(), &many, &[("top", "0")]).expect("it draws every trace");
    assert_eq!(all.text().matches("\nPath ").count(), 4);
}
