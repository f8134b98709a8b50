//! Builds ipft itself, through cargo: the development build for guests and tests, the release build for what is measured,
//! shown or given away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::progress::step;
use crate::{packages, workspace};

/// What cargo builds of the development build beside ipft: with a test, the crates have the features that `cargo test
/// --workspace` gives them. With others, cargo would compile them twice.
const BESIDE: [&str; 3] = ["--workspace", "--test", "e2e"];

/// The path of ipft's development build, built if it is not up to date.
pub fn development() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || ipft("debug", &BESIDE))
}

/// The path of the ipft that guests run: the development build without its debug information, which is most of it.
pub fn for_guests() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || {
        let (built, stripped) = (development()?, workspace::vm().join("ipft"));
        let changed = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
        if changed(&stripped).is_some_and(|stripped| changed(&built).is_some_and(|built| built <= stripped)) {
            return Ok(stripped);
        }
        fs::create_dir_all(workspace::vm()).context("make the folder for guests")?;
        // Several processes may do so at once, and none may see half a file.
        let new = workspace::vm().join(format!("ipft.{}", std::process::id()));
        let mut objcopy = Command::new("objcopy");
        objcopy.arg("--strip-debug").args([&built, &new]);
        step("strip ipft").run(objcopy)?;
        fs::rename(&new, &stripped).with_context(|| format!("make {}", stripped.display()))?;
        Ok(stripped)
    })
}

/// [`for_guests`], and the program of the end-to-end tests, in one go.
pub fn for_guests_and_tests() -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--workspace", "--bin", "ipft", "--test", "e2e"]);
    step("build ipft and the tests").run(cargo)?;
    for_guests().map(drop)
}

/// The path of ipft's release binary, built if it is not up to date.
pub fn release() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || ipft("release", &["--release", "--package", "ipft"]))
}

/// Tests that boot guests do so in several threads, and one question to cargo is enough: the answer is kept in `built`.
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
