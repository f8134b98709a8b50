//! What the machine itself must have: system packages, and the compiler's WebAssembly target.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::{output_of, step};

/// To build ipft. From autoconf on it is for the libelf that libbpf-sys brings: Debian's own static libelf cannot be linked
/// any more (13's refers to functions that are in none of its archives).
pub const BUILD: &[&str] = &[
    "clang",
    "llvm",
    "pkg-config",
    "make",
    "gcc",
    "libc6-dev",
    "autoconf",
    "automake",
    "autopoint",
    "bison",
    "flex",
    "gawk",
];

/// To build the fuzzers, beside [`BUILD`]: libFuzzer is C++.
pub const FUZZ: &[&str] = &["g++"];

/// To make guests and boot them.
pub const GUEST: &[&str] = &[
    "qemu-system-x86",
    "seabios",
    "mmdebstrap",
    // mmdebstrap needs it where it is not root.
    "uidmap",
    "debian-archive-keyring",
    "kmod",
    "xz-utils",
    "zstd",
    "e2fsprogs",
    "util-linux",
    "gcc",
    "libc6-dev",
];

/// To run the demo on this machine's own kernel.
pub const NATIVE: &[&str] = &["iproute2", "iptables", "iputils-ping", "netcat-openbsd"];

/// To build plugins from the templates: in C, JavaScript and Python. Some distributions' Node.js brings npm along; it
/// then says so to dpkg.
pub const PLUGINS: &[&str] = &[
    "clang",
    "lld",
    "make",
    "wasi-libc",
    "libclang-rt-dev-wasm32",
    "nodejs",
    "npm",
    "python3",
    "python3-venv",
];

/// To look at results, in tests and by hand.
pub const TEST: &[&str] = &["jq", "file", "binutils"];

/// To look at the pages that plugins make.
pub const BROWSER: &[&str] = &["chromium", "chromium-driver"];

/// To count what ipft's user side executes.
pub const PROFILE: &[&str] = &["valgrind"];

/// To check the spelling of what people read.
pub const PROSE: &[&str] = &["codespell", "git"];

/// The target that plugins are built for.
const WASM_TARGET: &str = "wasm32-wasip2";

/// Installs those of the packages that are missing: through apt as root, else the error says with which command.
pub fn install(groups: &[&[&str]]) -> Result<()> {
    let mut wanted: Vec<&str> = groups.concat();
    wanted.sort_unstable();
    wanted.dedup();
    let missing = missing(&wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    if output_of(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!(
            "system packages are missing, and only root can install them. Run this, then try again:\n\n  sudo apt-get \
             update && sudo apt-get install --yes --no-install-recommends {}\n",
            missing.join(" ")
        );
    }
    let step = step(format!("install {}", missing.join(" ")));
    step.run(apt_get(&["update"]))?;
    let mut install = apt_get(&["install", "--yes", "--no-install-recommends"]);
    install.args(&missing);
    step.run(install)
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    // Another apt that is at work (a fresh machine's first upgrade) is waited for.
    command
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Those of the packages that are not installed.
fn missing<'a>(wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    // dpkg-query exits with 1 when it does not know one of the names, and lists the others all the same.
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${db:Status-Status} ${Package} ${Provides}\n"])
        .output()
        .with_context(|| {
            format!(
                "run dpkg-query: set-up works on Debian and Ubuntu. Needed here: {}",
                wanted.join(" ")
            )
        })?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let installed: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("installed "))
        .flat_map(|names| names.split([' ', ',']))
        .collect();
    Ok(wanted
        .iter()
        .filter(|name| !installed.contains(name))
        .copied()
        .collect())
}

/// Adds the compiler's target for plugins if it is not there.
pub fn add_wasm_target() -> Result<()> {
    let sysroot = output_of(
        Command::new("rustc")
            .current_dir(crate::workspace::root())
            .args(["--print", "sysroot"]),
    )?;
    if Path::new(sysroot.trim()).join("lib/rustlib").join(WASM_TARGET).is_dir() {
        return Ok(());
    }
    if Command::new("rustup").arg("--version").output().is_err() {
        bail!(
            "the compiler lacks the target {WASM_TARGET}, and there is no rustup to add it: install Rust with rustup"
        );
    }
    let mut add = Command::new("rustup");
    add.current_dir(crate::workspace::root())
        .args(["target", "add", WASM_TARGET]);
    step(format!("add the target {WASM_TARGET}")).run(add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_names_what_a_build_needs() {
        let readme = std::fs::read_to_string(crate::workspace::root().join("README.md")).unwrap();
        let named = readme.lines().find_map(|line| line.strip_prefix("apt-get install "));
        assert_eq!(named, Some(BUILD.join(" ").as_str()));
    }

    #[test]
    fn what_the_guide_for_plugins_needs_is_installed_before_the_tests() {
        let guide = std::fs::read_to_string(crate::workspace::root().join("docs/src/plugin-authors.md")).unwrap();
        let mut named: Vec<&str> = guide
            .lines()
            .filter_map(|line| line.split("apt-get install ").nth(1))
            .flat_map(|rest| rest.split('`').next().unwrap_or_default().split_whitespace())
            .collect();
        named.sort_unstable();
        let mut installed = PLUGINS.to_vec();
        installed.sort_unstable();
        assert_eq!(named, installed);
    }
}
