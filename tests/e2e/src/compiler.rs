//! Runs this machine's compiler, and packs it for guests, which have none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use xtask::workspace;

/// The same compiler as in the build.
fn clang() -> String {
    std::env::var("CLANG").unwrap_or_else(|_| "clang".to_owned())
}

/// Returns a folder with clang, its libraries and their loader: `ld.so --library-path lib clang` runs on any
/// distribution. It takes some 250 MB of a guest's memory.
pub fn packed() -> Result<PathBuf> {
    let folder = workspace::target().join("e2e/clang");
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", &clang()])
        .output()
        .context("look for clang")?;
    ensure!(found.status.success(), "there is no {}", clang());
    let program = PathBuf::from(String::from_utf8(found.stdout)?.trim());
    let needs = Command::new("ldd").arg(&program).output().context("run ldd")?;
    ensure!(needs.status.success(), "ldd cannot read {}", program.display());

    fs::create_dir_all(folder.join("lib"))?;
    copy(&program, &folder.join("clang"))?;
    for line in String::from_utf8(needs.stdout)?.lines() {
        // `libz.so.1 => /lib/libz.so.1 (0x7f...)`, `/lib64/ld-linux-x86-64.so.2 (0x7f...)`, `linux-vdso.so.1 (0x7f...)`
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, "=>", path, _] => copy(Path::new(path), &folder.join("lib").join(name))?,
            [path, _] if path.starts_with('/') => copy(Path::new(path), &folder.join("ld.so"))?,
            _ => {}
        }
    }
    ensure!(
        folder.join("ld.so").is_file(),
        "{} is not linked dynamically",
        program.display()
    );
    Ok(folder)
}

/// Copies a file once.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let known = |path: &Path| fs::metadata(path).and_then(|found| Ok((found.len(), found.modified()?)));
    let source = known(from).with_context(|| format!("look at {}", from.display()))?;
    let done = known(to).is_ok_and(|copy| copy.0 == source.0 && copy.1 >= source.1);
    if !done {
        fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Compiles a source without includes to `folder/name`. Tests of several kernels may want the same object at the same time.
pub fn compile(folder: &Path, name: &str, source: &str, flags: &[&str]) -> Result<PathBuf> {
    static COMPILING: Mutex<()> = Mutex::new(());
    let _one = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::create_dir_all(folder)?;
    let (path, object) = (folder.join(format!("{name}.c")), folder.join(name));
    fs::write(&path, source)?;
    let output = Command::new(clang())
        .args(flags)
        .arg("-c")
        .arg(&path)
        .arg("-o")
        .arg(&object)
        .output()
        .context("run clang")?;
    ensure!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::remove_file(path)?;
    Ok(object)
}
