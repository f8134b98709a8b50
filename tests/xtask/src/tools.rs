//! The guests' own programs, statically linked: init, and generators of traffic.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::progress::{Step, step};
use crate::{cache, cpio, workspace};

const INIT: &str = include_str!("../guest/init.c");
const LIBRARY: &str = include_str!("../guest/lib.sh");

/// Programs in the guests' PATH: name and source.
const PROGRAMS: [(&str, &str); 1] = [("udpflood", include_str!("../guest/udpflood.c"))];

/// Returns the path of the initramfs part that all guests share, building it if needed.
pub fn archive() -> Result<PathBuf> {
    let recipe = (INIT, LIBRARY, PROGRAMS);
    let folder = cache::folder(
        &workspace::vm().join("tools"),
        "tools",
        recipe,
        || step("guests' programs"),
        build,
    )?;
    Ok(folder.join("tools.cpio"))
}

fn build(step: &Step, folder: &Path) -> Result<()> {
    let mut archive = cpio::Archive::new(Vec::new());
    for path in ["root", "guest", "guest/bin", "guest/work"] {
        archive.folder(path, 0o755)?;
    }
    archive.file("guest/lib.sh", 0o644, LIBRARY.as_bytes())?;
    archive.file("init", 0o755, &compile(step, folder, "init", INIT)?)?;
    for (name, source) in PROGRAMS {
        archive.file(
            &format!("guest/bin/{name}"),
            0o755,
            &compile(step, folder, name, source)?,
        )?;
    }
    let path = folder.join("tools.cpio");
    fs::write(&path, archive.finish()?).with_context(|| format!("write {}", path.display()))
}

fn compile(step: &Step, folder: &Path, name: &str, source: &str) -> Result<Vec<u8>> {
    let (program, text) = (folder.join(name), folder.join(format!("{name}.c")));
    fs::write(&text, source).with_context(|| format!("write {}", text.display()))?;
    let mut gcc = Command::new("gcc");
    gcc.args(["-O2", "-Wall", "-Wextra", "-static", "-s", "-o"])
        .arg(&program)
        .arg(&text);
    step.run(gcc).with_context(|| format!("compile {name}.c"))?;
    fs::read(&program).with_context(|| format!("read {}", program.display()))
}
