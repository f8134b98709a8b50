//! Runs one row in its own guest.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::figures::{self, Figures};
use super::rows::Row;
use crate::vm::Guest;

const SCRIPT: &str = include_str!("../../guest/bench.sh");

/// The slowest row attaches thousands of programs one by one, four times.
const TIMEOUT: Duration = Duration::from_secs(2400);

pub(super) fn measure(row: &Row, ipft: &Path, floor: &Path, without_floor: bool) -> Result<Figures> {
    let script = format!(
        "PATH=$PATH:$PWD\nset -- {} {} -t {}\n{SCRIPT}",
        row.floor.filter(|_| !without_floor).unwrap_or("none"),
        row.backend.map_or(String::new(), |backend| format!("-b {backend}")),
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
