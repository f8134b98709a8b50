//! Requirements of the machine: system packages, and the compiler's WebAssembly target.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::progress::{output_of, step};

/// For building ipft. From autoconf on for the libelf that libbpf-sys builds: Debian's own static libelf cannot be
/// linked any more (13's refers to functions that are in none of its archives).
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

/// For building the fuzzers, besides [`BUILD`]: libFuzzer is C++.
pub const FUZZ: &[&str] = &["g++"];

/// For making and booting guests.
pub const GUEST: &[&str] = &[
    "qemu-system-x86",
    "seabios",
    "mmdebstrap",
    // mmdebstrap needs it when it does not run as root.
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

/// For the demo on this machine's own kernel.
pub const NATIVE: &[&str] = &["iproute2", "iptables", "iputils-ping", "netcat-openbsd"];

/// For building plugins from the templates: in C, JavaScript and Python. Some distributions' Node.js includes npm and
/// declares that to dpkg.
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

/// For inspecting results, in tests and by hand, a terminal, and the libpcap that filters are compared with.
pub const TEST: &[&str] = &["jq", "file", "binutils", "libpcap-dev", "tmux"];

/// For viewing the pages of plugins.
pub const BROWSER: &[&str] = &["chromium", "chromium-driver"];

/// For counting instructions in user space.
pub const PROFILE: &[&str] = &["valgrind"];

/// For the spelling check.
pub const PROSE: &[&str] = &["codespell", "git"];

/// The target for plugins.
const WASM_TARGET: &str = "wasm32-wasip2";

/// Installs the missing packages: through apt as root, else the error names the command.
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
    // Wait for another running apt (a fresh machine's first upgrade).
    command
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Returns those of the packages that are not installed.
fn missing<'a>(wanted: &[&'a str]) -> Result<Vec<&'a str>> {
    // dpkg-query exits with 1 if it does not know one of the names, but lists the others.
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

/// Installs the compiler's target for plugins if it is missing.
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
    fn packages_of_the_plugin_guide_are_installed() {
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
