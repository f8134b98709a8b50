//! `cargo xtask sanitize`: runs tests of `unsafe` code under valgrind's memcheck.
//!
//! Miri is stricter, but can run neither Lua nor libbpf, which most of that code calls. The selection is the code that
//! unit tests reach without a kernel: Lua's interface, the inbox of the perf buffer, the native plugins' structs. Tests
//! that wait for the limit of Lua's instructions are skipped: under valgrind that takes too long.

use anyhow::{Result, bail};

use crate::progress::step;
use crate::{packages, workspace};

/// Runs the tests whose names contain one of these.
const TESTS: [&str; 4] = ["extension::lua", "stream::perf", "stream::decode", "host::native"];
/// Skips those whose names contain one of these.
const SLOW: [&str; 5] = [
    "interrupted",
    "does_not_end",
    "outlives",
    "without_end",
    "an_address_finds",
];

/// A memory error is the test program's exit code. Leaks are not reported: many allocations live as long as the
/// program.
const VALGRIND: &str = "valgrind --quiet --error-exitcode=99 --leak-check=no --fair-sched=yes";

/// Builds the tests and runs them.
pub fn run() -> Result<()> {
    packages::install(&[packages::BUILD, packages::PROFILE])?;
    let mut compile = workspace::cargo();
    compile.args(["test", "--workspace", "--lib", "--no-run"]);
    step("build the tests").run(compile)?;
    let machine = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let runner = format!("CARGO_TARGET_{}_RUNNER", machine.to_uppercase().replace('-', "_"));
    let mut cargo = workspace::cargo();
    cargo
        .args(["test", "--workspace", "--lib", "--no-fail-fast", "--"])
        .args(TESTS)
        .args(SLOW.iter().flat_map(|name| ["--skip", name]))
        .arg("--test-threads=1")
        .env(runner, VALGRIND);
    let status = cargo.status()?;
    if !status.success() {
        bail!("a test failed, or memory was used wrongly; what valgrind found is above ({status})");
    }
    Ok(())
}
