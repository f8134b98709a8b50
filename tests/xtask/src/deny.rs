//! `cargo xtask deny`: checks ipft's dependencies against `deny.toml`: licences, duplicates, sources, and known
//! vulnerabilities (the RustSec advisories).
//!
//! cargo-deny is built from crates.io once, without optimisation, and cached in the target folder. The advisories are a
//! git repository on GitHub. If it cannot be reached, the other checks run, and the missing one is reported.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use crate::progress::{Step, step};
use crate::{cache, packages, workspace};

/// The version of cargo-deny. A later one may reject what this one accepts.
const VERSION: &str = "0.20.2";

/// Checks that need only the crates themselves.
const OFFLINE: [&str; 3] = ["bans", "licenses", "sources"];

/// Returns the path of cargo-deny, building it if needed.
pub fn program() -> Result<PathBuf> {
    let folder = cache::folder(
        &workspace::target().join("deny"),
        "cargo-deny",
        VERSION,
        || step(format!("build cargo-deny {VERSION}")),
        build,
    )?;
    Ok(folder.join("bin/cargo-deny"))
}

/// Runs all checks that are possible here.
pub fn run() -> Result<()> {
    packages::install(&[packages::BUILD])?;
    let program = program()?;
    // It checks the crates of all systems, including those that no build here needed.
    let mut fetch = workspace::cargo();
    fetch.args(["fetch", "--locked"]);
    step("fetch the crates").run(fetch)?;
    check(&program, &OFFLINE)?;
    println!("{}: nothing to object to", OFFLINE.join(", "));
    let fetched = deny(&program, &["fetch", "db"])?;
    if !fetched.status.success() {
        println!(
            "advisories: NOT CHECKED, they could not be fetched: {}",
            reason(&fetched)
        );
        return Ok(());
    }
    check(&program, &["advisories"])?;
    println!("advisories: nothing to object to");
    Ok(())
}

fn build(step: &Step, folder: &Path) -> Result<()> {
    let made = folder.join("build");
    let mut install = workspace::cargo();
    install
        .args(["install", "cargo-deny", "--version", VERSION, "--locked", "--debug"])
        .arg("--root")
        .arg(folder)
        .env("CARGO_TARGET_DIR", &made)
        .env("CARGO_PROFILE_DEV_DEBUG", "false");
    step.run(install)?;
    std::fs::remove_dir_all(&made).with_context(|| format!("remove {}", made.display()))
}

/// Runs cargo-deny in the workspace's root.
fn deny(program: &Path, arguments: &[&str]) -> Result<Output> {
    let manifest: PathBuf = workspace::root().join("Cargo.toml");
    Command::new(program)
        .args(["--color", "never", "--manifest-path"])
        .arg(manifest)
        .args(arguments)
        .current_dir(workspace::root())
        .output()
        .with_context(|| format!("run {}", program.display()))
}

fn check(program: &Path, what: &[&str]) -> Result<()> {
    let output = deny(program, &[&["check"], what].concat())?;
    if !output.status.success() {
        bail!(
            "cargo-deny objects to a crate; deny.toml has the rules\n{}",
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(())
}

/// Returns its last message: the cause of a failure.
fn reason(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("no reason was given").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn the_last_line_said_is_the_reason() {
        let said = |text: &str| {
            reason(&Output {
                status: ExitStatus::from_raw(256),
                stdout: Vec::new(),
                stderr: text.into(),
            })
        };
        assert_eq!(said("cloning\n  fatal: no such host \n\n"), "fatal: no such host");
        assert_eq!(said(""), "no reason was given");
    }
}
