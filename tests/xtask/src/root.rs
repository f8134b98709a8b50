//! The guests' root file system: a small Debian with network tools for tests and people.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::progress::{Step, step};
use crate::{apt, cache, kernel, workspace};

/// Debian's newest stable, because its libraries must not be older than those of the machine that builds ipft.
const SUITE: &str = "trixie";

const PACKAGES: &str = "bpftool,conntrack,ethtool,iproute2,iptables,iputils-ping,jq,kmod,libelf1t64,netcat-openbsd,nftables,\
                        procps,strace,tcpdump,time,wireguard-tools,zlib1g";

/// Version of the image; raise it when [`image`] changes for the same packages.
const RECIPE: u32 = 2;

/// Mount points of guests besides Debian's: they are needed while the root is still read-only.
const MOUNT_POINTS: [&str; 3] = ["guest", "out", "usr/lib/modules"];

/// Returns the path of the root's ext4 image, building it if needed. Guests write to a snapshot of it, never to the
/// file.
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
    // Without root, mmdebstrap selects another mode; all of them can produce a tar.
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
    // The guest's kernel fills /dev, and creating devices here needs root.
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
