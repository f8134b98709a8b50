//! Builds plugins as components: those in `plugins`, and those of the tests in `tests/plugins`.
//!
//! A plugin's folder, package and file have the same name.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::progress::step;
use crate::{packages, workspace};

/// Their target and profile.
const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "plugin";

/// Returns a folder with `NAME.wasm` of each plugin in `plugins`, building them if needed.
pub fn gallery() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || build("plugins", "plugins"))
}

/// Returns the same for the plugins of the tests.
pub fn of_tests() -> Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || build("tests/plugins", "test-plugins"))
}

/// Returns cargo's output folder.
pub fn built() -> PathBuf {
    workspace::target().join(TARGET).join(PROFILE)
}

/// Tests that boot guests call this in several threads, and one cargo run is enough.
fn once(built: &Mutex<Option<PathBuf>>, build: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    let mut built = built.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    match &*built {
        Some(path) => Ok(path.clone()),
        None => Ok(built.insert(build()?).clone()),
    }
}

/// Builds every package in a folder of the workspace, and copies the components to a folder in the target folder.
fn build(sources: &str, components: &str) -> Result<PathBuf> {
    packages::add_wasm_target()?;
    let names = names(&workspace::root().join(sources))?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--profile", PROFILE, "--target", TARGET]);
    for name in &names {
        cargo.args(["--package", name]);
    }
    step(format!("build {sources}")).run(cargo)?;
    // Separate from cargo's other files: a guest, or a package, takes the whole folder.
    let folder = workspace::target().join(components);
    fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
    for name in &names {
        let from = built().join(format!("{}.wasm", name.replace('-', "_")));
        let to = folder.join(format!("{name}.wasm"));
        // Several processes may do this at once, and none may see an incomplete file.
        let beside = workspace::target().join(format!("{components}-{name}.{}", std::process::id()));
        fs::copy(&from, &beside).with_context(|| format!("copy {}", from.display()))?;
        fs::rename(&beside, &to).with_context(|| format!("make {}", to.display()))?;
    }
    Ok(folder)
}

/// Returns the names of the packages in a folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
        if path.join("Cargo.toml").is_file() {
            let name = path.file_name().and_then(|name| name.to_str());
            names.push(name.context("read a plugin's name")?.to_owned());
        }
    }
    ensure!(!names.is_empty(), "there is no plugin in {}", folder.display());
    names.sort_unstable();
    Ok(names)
}
