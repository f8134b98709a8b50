//! A sample of the walk: every n-th place of replays, for at most a minute. `cargo xtask faults` visits all places.

use std::path::Path;
use std::time::Duration;

use faults::scenario;
use faults::supervisor::Meanwhile;
use faults::walk::{Options, Walk, faults};

#[test]
fn every_fault_is_reported_and_leaves_whole_files() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/complete-0.1.0.wasm");
    let options = Options {
        most: 1000,
        step: 37,
        time: Duration::from_secs(60),
        only: None,
    };
    let faults = faults();
    let walk = Walk {
        faulty: Path::new(env!("CARGO_BIN_EXE_faulty")),
        folder: folder.path(),
        meanwhile: &|| -> Box<dyn Meanwhile> { Box::new(()) },
        check: &|| Ok(()),
        threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let report = walk
        .walk(&scenario::replays(&plugin), &faults, &options)
        .expect("the walk ends");
    println!("{}{} runs left out", report.tables(&faults), report.left_out);
    assert!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
    // Otherwise the test would prove nothing.
    let sum = |part: fn(&faults::walk::Counts) -> u64| report.counts.values().map(part).sum::<u64>();
    let reported = [
        sum(|counts| counts.failed),
        sum(|counts| counts.aborted),
        sum(|counts| counts.unharmed),
    ];
    assert!(
        report.left_out > 0 || reported.iter().all(|runs| *runs >= 10),
        "{reported:?}"
    );
    assert!(reported.iter().sum::<u64>() > 0, "no run in a minute");
}
