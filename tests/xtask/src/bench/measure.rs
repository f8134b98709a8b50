//! Runs one row in its own guest.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::figures::{self, Figures};
use super::rows::Row;
use crate::vm::Guest;

const SCRIPT: &str = include_str!("../../guest/bench.sh");

/// The slowest row attaches thousands of programs one by one, twice.
const TIMEOUT: Duration = Duration::from_secs(1200);

pub(super) fn measure(row: &Row, ipft: &Path, floor: &Path, without_floor: bool) -> Result<Figures> {
    let script = format!(
        "PATH=$PATH:$PWD\nset -- {} -b {} -t {}\n{SCRIPT}",
        if without_floor { "none" } else { row.floor },
        row.backend,
        row.tracer.name()
    );
    let output = Guest::new(row.kernel)
        .icount(true)
        .ipft(ipft)
        .file(floor)
        .timeout(TIMEOUT)
        .run_script(&script)?;
    ensure!(
        output.status == 0,
        "the guest's script failed (exit code {}):\n{}",
        output.status,
        output.stderr.trim_end()
    );
    figures::parse(&output.stdout).with_context(|| format!("read the figures:\n{}", output.stdout.trim_end()))
}
