//! Cached builds: kernel images, the guests' root file system, the guests' programs.
//!
//! An entry is a folder, `NAME-KEY`; the key is a hash of everything that determines its content, so a changed recipe
//! gives a new folder. It is built under a temporary name and renamed when complete: an interrupted run leaves nothing
//! that looks finished. The temporary name contains the process id, since programs started by a killed process may
//! continue to write. A lock file lets one process build while others wait.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::progress::Step;

/// Returns the folder `NAME-KEY` in `parent`, building it with `build` if needed. `recipe` is the key's input.
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
    remove_older(parent, name);
    let unfinished = parent.join(format!("{name}-unfinished-{}", std::process::id()));
    fs::create_dir(&unfinished).with_context(|| format!("make the folder {}", unfinished.display()))?;
    let built = build(&step, &unfinished);
    if built.is_err() {
        // Best effort: the next run removes it as well, and the build error is the one to report.
        let _ = fs::remove_dir_all(&unfinished);
    }
    built?;
    fs::rename(&unfinished, &finished).with_context(|| format!("rename {}", unfinished.display()))?;
    Ok(finished)
}

/// Removes the remains of older recipes and interrupted runs: `NAME-KEY` and `NAME-unfinished-PROCESS`. Best effort:
/// folders that are still written to are removed the next time.
fn remove_older(parent: &Path, name: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let rest = file_name
            .to_str()
            .and_then(|text| text.strip_prefix(name))
            .and_then(|rest| rest.strip_prefix('-'));
        let is_key = |rest: &str| rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit());
        if rest.is_some_and(|rest| rest.starts_with("unfinished-") || is_key(rest)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;
    use crate::progress::step;

    fn names(parent: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(parent)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".lock"))
            .collect();
        names.sort();
        names
    }

    fn write(folder: &Path, text: &str) -> Result<()> {
        Ok(fs::write(folder.join("content"), text)?)
    }

    #[test]
    fn an_entry_is_built_once_per_recipe_and_whole() {
        let parent = std::env::temp_dir().join(format!("xtask-cache-{}", std::process::id()));
        let begin = || step("test");
        let first = folder(&parent, "thing", 1, begin, |_, to| write(to, "one")).unwrap();
        let again = folder(&parent, "thing", 1, begin, |_, _| bail!("built twice")).unwrap();
        assert_eq!(first, again);
        // An interrupted run's folder, an entry with a longer name, and a build that fails half-way.
        fs::create_dir(parent.join("thing-unfinished-1")).unwrap();
        folder(&parent, "thing-b", 1, begin, |_, to| write(to, "other")).unwrap();
        let failed = folder(&parent, "thing", 2, begin, |_, to| {
            write(to, "half")?;
            bail!("no more")
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        let second = folder(&parent, "thing", 2, begin, |_, to| write(to, "two")).unwrap();
        assert_eq!(fs::read_to_string(second.join("content")).unwrap(), "two");
        assert_eq!(names(&parent).len(), 2, "{:?}", names(&parent));
        fs::remove_dir_all(parent).unwrap();
    }
}
