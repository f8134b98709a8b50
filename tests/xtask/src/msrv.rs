//! `cargo xtask msrv`: checks that the workspace builds with the oldest Rust that `rust-version` allows.
//!
//! If that is the Rust in use, every other build has shown it, and nothing is built.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::progress::{output_of, step};
use crate::workspace;

/// Runs the check.
pub fn run() -> Result<()> {
    let manifest = workspace::root().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| format!("read {}", manifest.display()))?;
    let oldest = rust_version(&text).context("the workspace's Cargo.toml has no rust-version")?;
    let used = output_of(Command::new("rustc").arg("--version").current_dir(workspace::root()))?;
    if is_version(&used, oldest) {
        println!("rust-version is {oldest}, and all is built with {}", used.trim());
        return Ok(());
    }
    // In its own target folder: the two compilers would otherwise rebuild everything alternately.
    let mut check = Command::new("rustup");
    check
        .args([
            "run",
            "--install",
            oldest,
            "cargo",
            "check",
            "--workspace",
            "--all-targets",
            "--locked",
        ])
        .current_dir(workspace::root())
        .env_remove("CARGO")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env("CARGO_TARGET_DIR", workspace::target().join("msrv"));
    step(format!("check with Rust {oldest}")).run(check)
}

/// Returns the value of `rust-version = "..."`.
fn rust_version(manifest: &str) -> Option<&str> {
    let value = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "))?;
    Some(value.trim().trim_matches('"'))
}

/// Returns whether the output of `rustc --version` has this version, ignoring the patch release.
fn is_version(printed: &str, version: &str) -> bool {
    let number = printed.split_whitespace().nth(1).unwrap_or_default();
    number == version || number.strip_prefix(version).is_some_and(|rest| rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_rust_is_read_from_the_manifest() {
        assert_eq!(rust_version("a = 1\nrust-version = \"1.95\"\n"), Some("1.95"));
        assert_eq!(rust_version("[workspace]\n"), None);
    }

    #[test]
    fn a_patch_release_is_the_same_version() {
        assert!(is_version("rustc 1.95.0 (59807616e 2026-04-14)", "1.95"));
        assert!(!is_version("rustc 1.951.0", "1.95"));
        assert!(!is_version("rustc 1.96.0", "1.95"));
        assert!(!is_version("", "1.95"));
    }
}
