//! Kernels for guests: Debian's own, fetched from its mirror and made into images.
//!
//! A finished kernel is a folder with `vmlinuz`, `boot.cpio` (the modules that reach the disks, for the initramfs),
//! `modules.img` (ext4, all modules) and `release`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;
use std::thread;

use anyhow::{Context, Error, Result, bail, ensure};

use crate::apt::Repository;
use crate::progress::{Step, output_of, step};
use crate::{cache, cpio, workspace};

/// A kernel of the test matrix. Together they cover every attach mechanism; each lacks the newest one of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kernel {
    /// Debian 11. No BTF of modules, no `bpf_get_func_ip`, no ring of batched wake-ups on perf kprobes.
    V5_10,
    /// Debian 12. Has kprobe-multi's link type, and no FPROBE to back it.
    V6_1,
    /// Debian 13. Has kprobe sessions.
    V6_12,
    /// Debian 13, backports.
    V6_18,
    /// Debian unstable. Has tracing-multi links.
    V7_2,
}

/// Version of the images; raise it when [`Kernel::images`] changes for the same packages.
const RECIPE: u32 = 1;

/// Modules that the guest's init loads for its disks and its ports. Built into some of the kernels.
const BOOT_MODULES: [&str; 3] = ["virtio_pci", "virtio_blk", "virtio_console"];

impl Kernel {
    /// All kernels, oldest first.
    pub const ALL: [Kernel; 5] = [Kernel::V5_10, Kernel::V6_1, Kernel::V6_12, Kernel::V6_18, Kernel::V7_2];

    /// Returns the series as for `--kernel`: "6.12".
    pub fn series(self) -> &'static str {
        match self {
            Kernel::V5_10 => "5.10",
            Kernel::V6_1 => "6.1",
            Kernel::V6_12 => "6.12",
            Kernel::V6_18 => "6.18",
            Kernel::V7_2 => "7.2",
        }
    }

    fn suite(self) -> &'static str {
        match self {
            Kernel::V5_10 => "bullseye",
            Kernel::V6_1 => "bookworm",
            Kernel::V6_12 => "trixie",
            Kernel::V6_18 => "trixie-backports",
            Kernel::V7_2 => "sid",
        }
    }

    /// Returns the folder with this kernel's images, fetching and building them if needed.
    pub fn images(self) -> Result<PathBuf> {
        let parent = workspace::vm().join("kernels");
        let name = format!("kernel-{}", self.series());
        cache::folder(
            &parent,
            &name,
            (RECIPE, self.suite()),
            || step(format!("kernel {}", self.series())),
            |step, folder| {
                self.build(step, folder)
                    .with_context(|| format!("fetch kernel {}", self.series()))
            },
        )
    }

    /// Returns [`Kernel::images`] of several kernels, fetched in parallel: most of the time is network.
    pub fn fetch(kernels: &[Kernel]) -> Result<()> {
        thread::scope(|scope| {
            let threads: Vec<_> = kernels.iter().map(|kernel| scope.spawn(|| kernel.images())).collect();
            let results: Vec<_> = threads.into_iter().map(thread::ScopedJoinHandle::join).collect();
            for result in results {
                result.map_err(|_| Error::msg("fetching a kernel panicked"))??;
            }
            Ok(())
        })
    }

    fn build(self, step: &Step, folder: &Path) -> Result<()> {
        let scratch = folder.join("scratch");
        step.detail("package lists");
        let repository = Repository::open(step, &scratch, self.suite())?;
        step.detail("looking the package up");
        let image = self.choose(repository.search("^linux-image-[0-9].*cloud-amd64$")?)?;
        let mut packages = vec![image];
        // Newer packagings split the image: the kernel is in linux-binary-*, the list of what is built in in linux-base-*.
        let mut at = 0;
        while at < packages.len() {
            for name in repository.depends(&packages[at])? {
                if is_part(&name) && !packages.contains(&name) {
                    packages.push(name);
                }
            }
            at += 1;
        }
        let tree = scratch.join("tree");
        repository.unpack(step, &packages, &tree)?;
        build_images(step, &tree, folder)?;
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))
    }

    /// The newest package of this series. Debian replaces point releases, so no name is ever written down; and where
    /// a suite has moved on to newer series, the oldest of those stands in.
    fn choose(self, found: Vec<String>) -> Result<String> {
        let mut images: Vec<String> = found;
        images.retain(|name| !name.contains("unsigned") && !name.contains("dbg"));
        images.sort_by_key(|name| numbers(name));
        let wanted = numbers(self.series());
        let series = |name: &String| numbers(name).into_iter().take(2).collect::<Vec<_>>();
        if let Some(image) = images.iter().rfind(|name| series(name) == wanted) {
            return Ok(image.clone());
        }
        let Some(next) = images.iter().map(series).find(|series| *series > wanted) else {
            bail!(
                "Debian's suite {} has no kernel {} or newer; it has: {}",
                self.suite(),
                self.series(),
                images.join(" ")
            );
        };
        let image = images
            .into_iter()
            .rfind(|name| series(name) == next)
            .context("find a newer kernel")?;
        eprintln!(
            "xtask: {} has no kernel {} any more; {image} stands in for it",
            self.suite(),
            self.series()
        );
        Ok(image)
    }
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Kernel> {
        let found = Kernel::ALL.into_iter().find(|kernel| kernel.series() == text);
        found.with_context(|| {
            format!(
                "no kernel '{text}': it is one of {}",
                Kernel::ALL.map(Kernel::series).join(", ")
            )
        })
    }
}

/// Returns whether a package is a part of one kernel: `linux-modules-7.2.13...`, but not the tools in `linux-base`.
fn is_part(name: &str) -> bool {
    let release = ["linux-base-", "linux-binary-", "linux-modules-"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix));
    release.is_some_and(|release| release.starts_with(|first: char| first.is_ascii_digit()))
}

/// Returns the numbers in a name, in order, to compare versions.
fn numbers(name: &str) -> Vec<u64> {
    let digits = name.split(|character: char| !character.is_ascii_digit());
    digits
        .filter(|digits| !digits.is_empty())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

fn build_images(step: &Step, tree: &Path, folder: &Path) -> Result<()> {
    let places = [tree.join("lib/modules"), tree.join("usr/lib/modules")];
    let modules = places
        .iter()
        .find(|place| place.is_dir())
        .context("find the modules in the kernel's package")?;
    let mut releases = fs::read_dir(modules).with_context(|| format!("read {}", modules.display()))?;
    let release = releases
        .next()
        .context("find the kernel's release in its package")??
        .file_name();
    let release = release
        .to_str()
        .context("the kernel's release is not UTF-8")?
        .to_owned();
    ensure!(
        releases.next().is_none(),
        "the kernel's package has modules of several releases"
    );
    let own = modules.join(&release);
    let kernels = [
        tree.join("boot").join(format!("vmlinuz-{release}")),
        own.join("vmlinuz"),
    ];
    let kernel = kernels
        .iter()
        .find(|path| path.is_file())
        .context("find the kernel itself in its package")?;
    fs::copy(kernel, folder.join("vmlinuz")).with_context(|| format!("copy {}", kernel.display()))?;
    // modprobe in the guest would decompress at a tenth of the speed, at each boot.
    step.detail("decompressing modules");
    for (pattern, program) in [("*.ko.xz", "xz -d -q"), ("*.ko.zst", "zstd -d -q --rm")] {
        let mut decompress = Command::new("sh");
        let script = r#"find "$1" -name "$2" -print0 | xargs -0 -r -n 64 $3"#;
        decompress.args(["-c", script, "sh"]).arg(&own).args([pattern, program]);
        step.run(decompress)?;
    }
    // depmod and modprobe only look in BASE/lib/modules.
    let base = tree.join("base");
    fs::create_dir_all(base.join("lib/modules")).context("make a folder for the modules")?;
    fs::rename(&own, base.join("lib/modules").join(&release)).context("move the modules")?;
    let mut depmod = Command::new("depmod");
    depmod.arg("-b").arg(&base).arg(&release);
    step.run(depmod)?;
    write_boot_modules(&base, &release, &folder.join("boot.cpio"))?;
    step.detail("making the modules' image");
    make_ext4(
        step,
        &base.join("lib/modules").join(&release),
        &folder.join("modules.img"),
        16,
    )?;
    fs::write(folder.join("release"), &release).context("write the kernel's release")
}

fn write_boot_modules(base: &Path, release: &str, to: &Path) -> Result<()> {
    let mut order: Vec<PathBuf> = Vec::new();
    for module in BOOT_MODULES {
        let mut modprobe = Command::new("modprobe");
        modprobe
            .arg("-d")
            .arg(base)
            .args(["-S", release, "--show-depends", module]);
        // "insmod PATH", or "builtin NAME"
        for line in output_of(&mut modprobe)?.lines() {
            if let Some(path) = line.strip_prefix("insmod ").map(|path| PathBuf::from(path.trim()))
                && !order.contains(&path)
            {
                order.push(path);
            }
        }
    }
    let mut archive = cpio::Archive::new(Vec::new());
    archive.folder("boot", 0o755)?;
    let mut list = String::new();
    for path in &order {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .context("a module's name is not UTF-8")?;
        archive.tree(&format!("boot/{name}"), path)?;
        list.push_str(name);
        list.push('\n');
    }
    archive.file("boot/modules", 0o644, list.as_bytes())?;
    fs::write(to, archive.finish()?).with_context(|| format!("write {}", to.display()))
}

/// Makes an ext4 image of a folder, with the given MiB to spare. It is sparse, and has no journal: an image is thrown
/// away and never recovered.
pub fn make_ext4(step: &Step, folder: &Path, image: &Path, spare_mib: u64) -> Result<()> {
    let used = output_of(
        Command::new("du")
            .args(["-s", "--apparent-size", "--block-size=4096"])
            .arg(folder),
    )?;
    let used: u64 = used
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .context("read du's output")?;
    let files = output_of(Command::new("du").args(["-s", "--inodes"]).arg(folder))?;
    let files: u64 = files
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .context("read du's output")?;
    // Each file wastes half a block on average, and takes an inode of 256 bytes; a fifth is for the tables.
    let mib = (used + files) * 4096 * 6 / 5 / (1 << 20) + spare_mib + 8;
    let mut make = Command::new("mke2fs");
    make.args([
        "-q",
        "-F",
        "-t",
        "ext4",
        "-O",
        "^has_journal,^metadata_csum,^resize_inode",
        "-m",
        "0",
    ])
    .args([
        "-E",
        "lazy_itable_init=0,root_owner=0:0",
        "-N",
        &(files + 4096).to_string(),
        "-d",
    ])
    .arg(folder)
    .arg(image)
    .arg(format!("{mib}M"));
    step.run(make)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: &[&str]) -> Vec<String> {
        of.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn point_releases_are_compared_as_numbers() {
        let found = names(&[
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64",
            "linux-image-6.1.0-50-cloud-amd64-unsigned",
            "linux-image-6.12.107+deb13-cloud-amd64",
        ]);
        assert_eq!(Kernel::V6_1.choose(found).unwrap(), "linux-image-6.1.0-50-cloud-amd64");
    }

    #[test]
    fn a_removed_series_is_replaced_by_the_next() {
        let found = names(&[
            "linux-image-7.4.2+deb14-cloud-amd64",
            "linux-image-7.3.9+deb14-cloud-amd64",
        ]);
        assert_eq!(
            Kernel::V7_2.choose(found).unwrap(),
            "linux-image-7.3.9+deb14-cloud-amd64"
        );
        let error = Kernel::V7_2
            .choose(names(&["linux-image-6.18.1-cloud-amd64"]))
            .unwrap_err();
        assert!(error.to_string().contains("no kernel 7.2 or newer"), "{error}");
    }

    #[test]
    fn an_unknown_series_is_refused_with_a_list() {
        assert_eq!("6.12".parse::<Kernel>().unwrap(), Kernel::V6_12);
        let error = "6.2".parse::<Kernel>().unwrap_err().to_string();
        assert_eq!(error, "no kernel '6.2': it is one of 5.10, 6.1, 6.12, 6.18, 7.2");
    }
}
