//! Paths: the workspace, cargo's target folder, and the subfolder of this crate.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the workspace's root folder.
pub fn root() -> PathBuf {
    // Cargo sets this for `cargo run` and `cargo test`, so a checkout that was moved after the build still works.
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let found = package.and_then(|folder| {
        folder
            .ancestors()
            .find(|at| at.join("tests/xtask").is_dir())
            .map(PathBuf::from)
    });
    found.unwrap_or_else(|| {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        own.ancestors().nth(2).unwrap_or(own).to_path_buf()
    })
}

/// Returns cargo's target folder, absolute: the one that this program was built into.
pub fn target() -> PathBuf {
    if let Some(chosen) = env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
        return std::path::absolute(&chosen).unwrap_or_else(|_| chosen.into());
    }
    // A configuration file may have moved it. Cargo tags its target folder for backup programs.
    let own = env::current_exe().ok();
    let tagged = own
        .as_deref()
        .and_then(|own| own.ancestors().find(|at| at.join("CACHEDIR.TAG").is_file()));
    tagged.map_or_else(|| root().join("target"), Path::to_path_buf)
}

/// Returns the folder of everything for guests.
pub fn vm() -> PathBuf {
    target().join("vm")
}

/// Returns a cargo command in the workspace's root with the same target folder.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).env("CARGO_TARGET_DIR", target());
    cargo
}
