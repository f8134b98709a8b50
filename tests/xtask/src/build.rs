//! Builds ipft itself, through cargo.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Result, ensure};

use crate::progress::step;
use crate::{packages, workspace};

/// The path of ipft's release binary, built if it is not up to date.
pub fn release() -> Result<PathBuf> {
    // Tests that boot guests do so in several threads, and one question to cargo is enough.
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    packages::install(&[packages::BUILD])?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--package", "ipft"]);
    step("build ipft").run(cargo)?;
    let path = workspace::target().join("release/ipft");
    ensure!(path.is_file(), "cargo built no {}", path.display());
    *built = Some(path.clone());
    Ok(path)
}

/// The path of the benchmark's program that attaches programs which do nothing, built if it is not up to date.
pub fn bench_floor() -> Result<PathBuf> {
    packages::install(&[packages::BUILD])?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--package", "bench-floor"]);
    step("build bench-floor").run(cargo)?;
    let path = workspace::target().join("release/bench-floor");
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}

/// The path of the benchmark's program that puts events through the sinks, built if it is not up to date.
pub fn bench_sinks() -> Result<PathBuf> {
    packages::install(&[packages::BUILD])?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--package", "bench-sinks"]);
    step("build bench-sinks").run(cargo)?;
    let path = workspace::target().join("release/bench-sinks");
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}
