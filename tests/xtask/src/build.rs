//! Builds ipft through cargo: the development build for guests and tests, the release build for measurements, demos and
//! packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::progress::step;
use crate::{packages, workspace};

/// Targets of the development build besides ipft: with a test, the crates have the features of `cargo test
/// --workspace`. Other features would compile them twice.
const BESIDE: [&str; 3] = ["--workspace", "--test", "e2e"];

/// Returns the path of ipft's development build, building it if needed.
pub fn development() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || ipft("debug", &BESIDE))
}

/// Returns the path of the ipft for guests: the development build without debug information, which is most of its size.
pub fn for_guests() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || {
        let (built, stripped) = (development()?, workspace::vm().join("ipft"));
        let changed = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
        if changed(&stripped).is_some_and(|stripped| changed(&built).is_some_and(|built| built <= stripped)) {
            return Ok(stripped);
        }
        fs::create_dir_all(workspace::vm()).context("make the folder for guests")?;
        // Several processes may do this at once, and none may see an incomplete file.
        let new = workspace::vm().join(format!("ipft.{}", std::process::id()));
        let mut objcopy = Command::new("objcopy");
        objcopy.arg("--strip-debug").args([&built, &new]);
        step("strip ipft").run(objcopy)?;
        fs::rename(&new, &stripped).with_context(|| format!("make {}", stripped.display()))?;
        Ok(stripped)
    })
}

/// Builds [`for_guests`] and the program of the end-to-end tests together.
pub fn for_guests_and_tests() -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--workspace", "--bin", "ipft", "--test", "e2e"]);
    step("build ipft and the tests").run(cargo)?;
    for_guests().map(drop)
}

/// Returns the path of ipft's release binary, building it if needed.
pub fn release() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || ipft("release", &["--release", "--package", "ipft"]))
}

/// Tests that boot guests call this in several threads, and one cargo run is enough: `built` caches the result.
fn once(built: &Mutex<Option<PathBuf>>, build: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    let mut built = built.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match &*built {
        Some(path) => Ok(path.clone()),
        None => Ok(built.insert(build()?).clone()),
    }
}

fn ipft(folder: &str, arguments: &[&str]) -> Result<PathBuf> {
    packages::install(&[packages::BUILD])?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--bin", "ipft"]).args(arguments);
    step("build ipft").run(cargo)?;
    let path = workspace::target().join(folder).join("ipft");
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}

/// Returns the path of bench-floor, which attaches empty programs, building it if needed.
pub fn bench_floor() -> Result<PathBuf> {
    packages::install(&[packages::BUILD])?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--package", "bench-floor"]);
    step("build bench-floor").run(cargo)?;
    let path = workspace::target().join("release/bench-floor");
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}

/// Returns the path of bench-sinks, which runs events through the sinks, building it if needed.
pub fn bench_sinks() -> Result<PathBuf> {
    packages::install(&[packages::BUILD])?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--package", "bench-sinks"]);
    // callgrind finds functions by their names.
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "none");
    step("build bench-sinks").run(cargo)?;
    let path = workspace::target().join("release/bench-sinks");
    ensure!(path.is_file(), "cargo built no {}", path.display());
    Ok(path)
}
