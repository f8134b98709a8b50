//! Builds the project's own plugins: every package in `plugins`, as a component.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};

use crate::progress::step;
use crate::{packages, workspace};

/// The target and the profile that they are built with.
const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "plugin";

/// The names of the plugins: those of their folders, which are those of their packages.
pub fn names() -> Result<Vec<String>> {
    let folder = workspace::root().join("plugins");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))? {
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

/// A folder with `NAME.wasm` of each, built if they are not up to date.
pub fn gallery() -> Result<PathBuf> {
    // Tests that boot guests do so in several threads, and one question to cargo is enough.
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(path) = &*built {
        return Ok(path.clone());
    }
    packages::add_wasm_target()?;
    let names = names()?;
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--profile", PROFILE, "--target", TARGET]);
    for name in &names {
        cargo.args(["--package", name]);
    }
    step("build the plugins").run(cargo)?;
    // Apart from what else cargo leaves there: the folder is what a guest, or a package, takes whole.
    let folder = workspace::target().join("plugins");
    fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
    for name in &names {
        let from = workspace::target()
            .join(TARGET)
            .join(PROFILE)
            .join(format!("{}.wasm", name.replace('-', "_")));
        let to = folder.join(format!("{name}.wasm"));
        // Several processes may do so at once, and none may see half a file.
        let beside = folder.join(format!(".{name}.{}", std::process::id()));
        fs::copy(&from, &beside).with_context(|| format!("copy {}", from.display()))?;
        fs::rename(&beside, &to).with_context(|| format!("make {}", to.display()))?;
    }
    *built = Some(folder.clone());
    Ok(folder)
}
