//! `cargo xtask faults`: runs ipft with injected faults (`tests/faults`), and prints the results.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::kernel::Kernel;
use crate::progress::step;
use crate::vm::Guest;
use crate::{packages, workspace};

/// Longer than any walk takes.
const GUEST_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// Walks through the fault places: of replays here, or with `--live` of a trace in a guest. Passes unknown arguments on
/// to the walk.
pub fn run(arguments: &[String]) -> Result<()> {
    let mut kernel = None;
    let mut rest = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--live" => kernel = kernel.or(Some(Kernel::V6_12)),
            "--kernel" => kernel = Some(words.next().context("--kernel needs a value")?.parse()?),
            "--most" | "--step" | "--seconds" | "--only" => {
                rest.push(word.clone());
                rest.push(words.next().with_context(|| format!("{word} needs a value"))?.clone());
            }
            _ => bail!("faults has no option {word}; `cargo xtask help` lists them"),
        }
    }
    packages::install(&[packages::BUILD])?;
    let mut cargo = workspace::cargo();
    // With the features of the test builds, so that nothing is compiled twice.
    cargo.args(["test", "--workspace", "--test", "walk", "--no-run"]);
    step("build ipft with faults").run(cargo)?;
    let programs = workspace::target().join("debug");
    let code = match kernel {
        None => here(&programs, &rest)?,
        Some(kernel) => in_guest(kernel, &programs, &rest)?,
    };
    ensure!(code == 0, "the walk found something wrong (exit code {code})");
    Ok(())
}

fn here(programs: &std::path::Path, rest: &[String]) -> Result<i32> {
    let plugin = workspace::root().join("tests/fixtures/complete-0.1.0.wasm");
    let status = Command::new(programs.join("walk"))
        .arg("--plugin")
        .arg(plugin)
        .args(rest)
        .status()
        .context("run the walk")?;
    Ok(status.code().unwrap_or(1))
}

fn in_guest(kernel: Kernel, programs: &std::path::Path, rest: &[String]) -> Result<i32> {
    let program = |name: &str| -> PathBuf { programs.join(name) };
    let mut command = vec!["./walk".to_owned(), "--live".to_owned()];
    command.extend_from_slice(rest);
    Guest::new(kernel)
        .timeout(GUEST_TIMEOUT)
        // The guest runs no other ipft.
        .ipft(program("faulty"))
        .file(program("faulty"))
        .file(program("walk"))
        .pass_through(command)
}
