//! Writes cpio archives of the "newc" form, which the kernel unpacks as an initramfs.
//!
//! The format is in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`. Archives may follow one
//! another in one file: the kernel unpacks all of them, a later file replacing an earlier one.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;

/// An archive being written; [`Archive::finish`] completes it.
pub struct Archive<W> {
    to: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    /// Starts an archive.
    pub fn new(to: W) -> Archive<W> {
        Archive { to, inode: 0 }
    }

    /// Adds a folder. Parents come first, and paths have no leading slash.
    pub fn folder(&mut self, path: &str, permissions: u32) -> Result<()> {
        self.header(path, FOLDER | permissions, 0)
    }

    /// Adds a file with this content.
    pub fn file(&mut self, path: &str, permissions: u32, content: &[u8]) -> Result<()> {
        self.header(path, FILE | permissions, content.len() as u64)?;
        self.to.write_all(content)?;
        self.pad(content.len() as u64)
    }

    /// Adds a file or a folder recursively, following symbolic links, with its permissions.
    pub fn tree(&mut self, path: &str, from: &Path) -> Result<()> {
        let about = fs::metadata(from).with_context(|| format!("read {}", from.display()))?;
        let permissions = about.permissions().mode() & 0o7777;
        if about.is_dir() {
            self.folder(path, permissions)?;
            let mut entries = fs::read_dir(from)
                .and_then(|entries| {
                    entries
                        .map(|entry| Ok(entry?.file_name()))
                        .collect::<io::Result<Vec<_>>>()
                })
                .with_context(|| format!("read the folder {}", from.display()))?;
            entries.sort();
            for name in entries {
                let text = name
                    .to_str()
                    .with_context(|| format!("{}: a name in it is not UTF-8", from.display()))?;
                self.tree(&format!("{path}/{text}"), &from.join(text))?;
            }
            return Ok(());
        }
        ensure!(about.is_file(), "{} is neither a file nor a folder", from.display());
        let mut content = fs::File::open(from).with_context(|| format!("open {}", from.display()))?;
        self.header(path, FILE | permissions, about.len())?;
        let copied = io::copy(&mut content, &mut self.to).with_context(|| format!("copy {}", from.display()))?;
        ensure!(copied == about.len(), "{} changed while it was copied", from.display());
        self.pad(copied)
    }

    /// Writes the end mark and returns the writer.
    pub fn finish(mut self) -> Result<W> {
        self.inode = 0;
        self.header("TRAILER!!!", 0, 0)?;
        Ok(self.to)
    }

    fn header(&mut self, path: &str, mode: u32, size: u64) -> Result<()> {
        let Ok(size) = u32::try_from(size) else {
            bail!("{path}: an initramfs holds no file of 4 GiB or more")
        };
        self.inode += 1;
        let links = if mode & FOLDER == 0 { 1 } else { 2 };
        // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        write!(
            self.to,
            "070701{:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{size:08x}",
            self.inode, 0, 0, 0
        )?;
        write!(
            self.to,
            "{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}",
            0,
            0,
            0,
            0,
            path.len() + 1,
            0
        )?;
        self.to.write_all(path.as_bytes())?;
        self.to.write_all(&[0])?;
        // The header's 110 bytes and the name are padded together.
        self.pad(110 + path.len() as u64 + 1)
    }

    fn pad(&mut self, length: u64) -> Result<()> {
        let zeros = [0_u8; 3];
        Ok(self.to.write_all(&zeros[..(length.wrapping_neg() % 4) as usize])?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_begin_at_multiples_of_four() {
        let mut archive = Archive::new(Vec::new());
        archive.folder("a", 0o755).unwrap();
        archive.file("a/one", 0o644, b"1").unwrap();
        archive.file("a/five", 0o755, b"12345").unwrap();
        let bytes = archive.finish().unwrap();
        let members: Vec<usize> = (0..bytes.len() - 6)
            .filter(|&at| &bytes[at..at + 6] == b"070701")
            .collect();
        assert_eq!(members.len(), 4);
        assert!(members.iter().all(|at| at % 4 == 0), "{members:?}");
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_header_says_mode_size_and_the_name_with_its_zero() {
        let mut archive = Archive::new(Vec::new());
        archive.file("run", 0o755, b"hello").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(&bytes[14..22], b"000081ed");
        assert_eq!(&bytes[54..62], b"00000005");
        assert_eq!(&bytes[94..102], b"00000004");
        assert_eq!(&bytes[110..114], b"run\0");
        assert_eq!(&bytes[116..121], b"hello");
    }
}
