//! Builds ipft itself, through cargo.

use std::env;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Result, ensure};

use crate::progress::step;
use crate::{packages, workspace};

/// Set to `1`, the environment variable that has guests run the development build: it takes a tenth of the release
/// build's time to make, and is too slow for measurements and for floods.
const DEVELOPMENT: &str = "IPFT_DEVELOPMENT_BUILD";

/// The path of the ipft that guests run, built if it is not up to date: the release build, or the development build if
/// `IPFT_DEVELOPMENT_BUILD=1` asks for it.
pub fn for_guests() -> Result<PathBuf> {
    if env::var_os(DEVELOPMENT).is_some_and(|value| value == "1") {
        static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
        ipft(&BUILT, "debug", &[])
    } else {
        release()
    }
}

/// The path of ipft's release binary, built if it is not up to date.
pub fn release() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    ipft(&BUILT, "release", &["--release"])
}

/// Tests that boot guests do so in several threads, and one question to cargo is enough: the answer is kept in `built`.
fn ipft(built: &Mutex<Option<PathBuf>>, folder: &str, arguments: &[&str]) -> Result<PathBuf> {
    let mut built = built.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    packages::install(&[packages::BUILD])?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--package", "ipft"]).args(arguments);
    step("build ipft").run(cargo)?;
    let path = workspace::target().join(folder).join("ipft");
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
