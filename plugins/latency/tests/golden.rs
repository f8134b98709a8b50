//! Golden tests: the output of `latency` for the built-in traces.

use std::path::Path;

use ipft_plugin::testing::{golden, run, traces};
use latency::Latency;

#[test]
fn every_trace_matches_its_golden_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/plugins");
    for recording in traces() {
        let between = [
            ("from", "ip_rcv"),
            ("to", "kfree_skb_reason"),
            ("by", "p99"),
            ("top", "3"),
        ];
        for (name, options) in [("", &[][..]), ("-between", &between)] {
            let ran = run(Latency::default(), &recording, options).expect("it draws every trace");
            assert_eq!(ran.text().find(|c: char| c.is_control() && c != '\n'), None);
            golden(
                folder.join(format!("latency-{}{name}.txt", recording.name)),
                &ran.output,
            );
        }
    }
}

#[test]
fn from_without_to_is_refused() {
    for option in ["from", "to"] {
        let error = run(Latency::default(), &traces()[0], &[(option, "ip_rcv")]).expect_err("it is refused");
        assert!(
            error
                .to_string()
                .starts_with(&format!("the option '{option}' is of use with")),
            "{error}"
        );
    }
}
