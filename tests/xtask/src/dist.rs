//! `cargo xtask dist`: builds ipft as one static file, and checks the libraries that both builds need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::progress::{output_of, step};
use crate::{build, packages, workspace};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Libraries that the ordinary release binary may need: parts of the C library, and the compiler's support for
/// unwinding.
const ALLOWED: [&str; 4] = ["libc.so.6", "libm.so.6", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];

/// Builds and checks both binaries; the static one is `dist/ipft` in the target folder, with its debug
/// information beside it.
pub fn run() -> Result<()> {
    packages::install(&[packages::BUILD, packages::TEST])?;
    let ordinary = build::release()?;
    let libraries = needed(&ordinary)?;
    let foreign = foreign_libraries(&libraries);
    ensure!(
        foreign.is_empty(),
        "{} needs more than libc: {}",
        ordinary.display(),
        foreign.join(", ")
    );
    println!("{}: needs {}", ordinary.display(), libraries.join(", "));

    let finished = build_static()?;
    let headers = output_of(Command::new("readelf").args(["-lW"]).arg(&finished))?;
    ensure!(
        !headers.contains("INTERP"),
        "{} asks for an interpreter, so it is not static",
        finished.display()
    );
    let libraries = needed(&finished)?;
    ensure!(
        libraries.is_empty(),
        "{} is not static: it needs {}",
        finished.display(),
        libraries.join(", ")
    );
    let version = output_of(Command::new(&finished).arg("--version"))?;
    let kind = output_of(Command::new("file").args(["-b"]).arg(&finished))?;
    println!("{}: {}", finished.display(), kind.trim());
    println!("{}", version.trim());
    Ok(())
}

fn build_static() -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    // With --target the flags do not apply to build scripts, which load libclang and the like.
    cargo.args(["build", "--release", "--package", "ipft", "--target", TARGET]);
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only");
    cargo.env("CARGO_PROFILE_RELEASE_STRIP", "none");
    step("build ipft, static").run(cargo)?;
    let built = workspace::target().join(TARGET).join("release/ipft");
    let folder = workspace::target().join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
    let (new, finished) = (folder.join("ipft.new"), folder.join("ipft"));
    // gdb and perf look for a program's .debug file in its folder.
    let debug = folder.join("ipft.debug");
    let mut keep = Command::new("objcopy");
    keep.args(["--only-keep-debug", "--compress-debug-sections"])
        .args([&built, &debug]);
    step("put the debug information aside").run(keep)?;
    let mut strip = Command::new("objcopy");
    strip
        .arg("--strip-all")
        .arg(format!("--add-gnu-debuglink={}", debug.display()));
    strip.args([&built, &new]);
    step("strip").run(strip)?;
    fs::rename(&new, &finished).with_context(|| format!("rename {}", new.display()))?;
    Ok(finished)
}

/// Returns the shared libraries that a program needs.
fn needed(program: &Path) -> Result<Vec<String>> {
    let dynamic = output_of(Command::new("readelf").env("LC_ALL", "C").arg("-dW").arg(program))?;
    let name = |line: &str| {
        line.split_once("(NEEDED)")?
            .1
            .split_once('[')?
            .1
            .split_once(']')
            .map(|(name, _)| name.to_owned())
    };
    Ok(dynamic.lines().filter_map(name).collect())
}

fn foreign_libraries(needed: &[String]) -> Vec<&str> {
    needed
        .iter()
        .map(String::as_str)
        .filter(|name| !ALLOWED.contains(name))
        .collect()
}
