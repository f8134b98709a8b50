//! Things that are built once and kept: every kernel's images, the guests' root, the guests' programs.
//!
//! A thing is a folder, `NAME-KEY`; the key is a hash of all that decides its content, so a changed recipe is a new
//! folder. It is built under a temporary name and renamed when it is complete: an interrupted run leaves nothing that
//! a later one could take for finished. A lock file lets one process build while others wait for it.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::progress::Step;

/// The folder `NAME-KEY` in `parent`, built by `build` if it is not there. `recipe` is what decides its content.
pub fn folder(
    parent: &Path,
    name: &str,
    recipe: impl Hash,
    step: impl FnOnce() -> Step,
    build: impl FnOnce(&Step, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let mut hasher = DefaultHasher::new();
    recipe.hash(&mut hasher);
    let finished = parent.join(format!("{name}-{:016x}", hasher.finish()));
    if finished.is_dir() {
        return Ok(finished);
    }
    fs::create_dir_all(parent).with_context(|| format!("make the folder {}", parent.display()))?;
    let step = step();
    let lock_path = parent.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).with_context(|| format!("make the lock file {}", lock_path.display()))?;
    if lock.try_lock().is_err() {
        step.detail("another process is at it; waiting");
        lock.lock().with_context(|| format!("lock {}", lock_path.display()))?;
    }
    // The process that held the lock may have built it.
    if finished.is_dir() {
        return Ok(finished);
    }
    remove_older(parent, name)?;
    let unfinished = parent.join(format!("{name}-unfinished"));
    fs::create_dir(&unfinished).with_context(|| format!("make the folder {}", unfinished.display()))?;
    let built = build(&step, &unfinished);
    if built.is_err() {
        // Best effort: the next run removes it as well, and the error of the build is the one to report.
        let _ = fs::remove_dir_all(&unfinished);
    }
    built?;
    fs::rename(&unfinished, &finished).with_context(|| format!("rename {}", unfinished.display()))?;
    Ok(finished)
}

/// Removes what an older recipe or an interrupted run left: `NAME-KEY` and `NAME-unfinished`.
fn remove_older(parent: &Path, name: &str) -> Result<()> {
    for entry in fs::read_dir(parent).with_context(|| format!("read {}", parent.display()))? {
        let entry = entry.with_context(|| format!("read {}", parent.display()))?;
        let file_name = entry.file_name();
        let rest = file_name
            .to_str()
            .and_then(|text| text.strip_prefix(name))
            .and_then(|rest| rest.strip_prefix('-'));
        let is_key = |rest: &str| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if rest.is_some_and(|rest| rest == "unfinished" || is_key(rest)) {
            fs::remove_dir_all(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}
