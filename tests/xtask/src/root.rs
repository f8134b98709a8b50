//! The guests' root file system: a small Debian with the tools that tests and people use on networks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::progress::{Step, step};
use crate::{apt, cache, kernel, workspace};

/// Its libraries must not be older than those of the machine that builds ipft, so it is Debian's newest stable.
const SUITE: &str = "trixie";

const PACKAGES: &str = "bpftool,conntrack,ethtool,iproute2,iptables,iputils-ping,jq,kmod,libelf1t64,netcat-openbsd,nftables,\
                        procps,strace,tcpdump,time,zlib1g";

/// Raise it when [`image`] makes something else of the same packages.
const RECIPE: u32 = 2;

/// What guests mount something on, beside what Debian has: they do so while they cannot write to it yet.
const MOUNT_POINTS: [&str; 3] = ["guest", "out", "usr/lib/modules"];

/// The path of the root's ext4 image, built if it is not there. Guests write to a snapshot of it, never to the file.
pub fn image() -> Result<PathBuf> {
    let parent = workspace::vm().join("root");
    let folder = cache::folder(
        &parent,
        "root",
        (SUITE, PACKAGES, RECIPE),
        || step("guests' root file system"),
        build,
    )?;
    Ok(folder.join("root.img"))
}

fn build(step: &Step, folder: &Path) -> Result<()> {
    let (archive, tree) = (folder.join("root.tar"), folder.join("tree"));
    let mut bootstrap = Command::new("mmdebstrap");
    // Without root, mmdebstrap finds a way of its own to act like it; a tar is what it can make in each of them.
    bootstrap
        .args(["--variant=minbase", "--architectures=amd64", "--format=tar"])
        .arg(format!("--include={PACKAGES}"))
        .args(
            ["man", "doc", "info", "locale", "lintian"]
                .map(|part| format!("--dpkgopt=path-exclude=/usr/share/{part}/*")),
        )
        .arg(SUITE)
        .arg(&archive)
        .arg(apt::source_line(SUITE)?)
        .current_dir(folder);
    step.run(bootstrap).context("make a Debian tree for the guests")?;
    fs::create_dir(&tree).with_context(|| format!("make the folder {}", tree.display()))?;
    let mut unpack = Command::new("tar");
    // The guest's kernel fills /dev, and only root could make the devices here.
    unpack
        .args(["-x", "--exclude=./dev/*", "-f"])
        .arg(&archive)
        .arg("-C")
        .arg(&tree);
    step.run(unpack)?;
    fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))?;
    for name in MOUNT_POINTS {
        let folder = tree.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("make the folder {}", folder.display()))?;
    }
    step.detail("making the image");
    kernel::make_ext4(step, &tree, &folder.join("root.img"), 512)?;
    fs::remove_dir_all(&tree).with_context(|| format!("remove {}", tree.display()))
}
