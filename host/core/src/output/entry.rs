//! A name in a folder that is held by its descriptor: the location of an output, independent of later changes to the
//! path. Imports `signals` only.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::signals;

/// Links that are followed before they are taken for a loop, as the kernel does (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// Interval of polling a pipe that has no reader yet.
const PATIENCE: Duration = Duration::from_millis(50);

/// `f_type` of procfs (`PROC_SUPER_MAGIC`, linux/magic.h).
const PROCFS: u64 = 0x9fa0;

/// Error for a file that another user may have created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A symbolic link that another user could have planted.
    #[error(
        "{} is a symbolic link in a folder that other users can write to; give the path of the file itself, or write to a \
         folder of your own",
        .link.display()
    )]
    Link {
        /// The link's name.
        link: PathBuf,
    },
    /// A pipe, device or socket of another user.
    #[error(
        "{} is no file and belongs to another user, in a folder that everybody can write to; give another name",
        .name.display()
    )]
    Foreign {
        /// Its name.
        name: PathBuf,
    },
    /// It is being written.
    #[error("{} is being written by another program; give another name, or end that one first", .name.display())]
    Busy {
        /// Its name.
        name: PathBuf,
    },
    /// A file that has a name which a ring needs.
    #[error("{} is there and is not part of a ring of recordings; move it away, or give another name", .name.display())]
    NotOfRing {
        /// Its name.
        name: PathBuf,
    },
}

impl From<Refused> for io::Error {
    fn from(refused: Refused) -> Self {
        let kind = match refused {
            Refused::Busy { .. } => io::ErrorKind::ResourceBusy,
            Refused::NotOfRing { .. } => io::ErrorKind::AlreadyExists,
            Refused::Link { .. } | Refused::Foreign { .. } => io::ErrorKind::PermissionDenied,
        };
        io::Error::new(kind, refused)
    }
}

/// A name in a folder.
#[derive(Clone, Debug)]
pub struct Entry {
    folder: Arc<OwnedFd>,
    name: OsString,
    /// It is a link of procfs, which leads to an open file and not to a path.
    magic: bool,
}

impl Entry {
    /// Finds the folder that the path leads to. Its last component need not exist; if it is a link that leads somewhere,
    /// the result is what it leads to.
    pub fn find(path: &Path) -> io::Result<Self> {
        Entry::walk(path, true)
    }

    /// As [`Entry::find`], but the last component is the name, also if a link has it.
    pub fn find_name(path: &Path) -> io::Result<Self> {
        Entry::walk(path, false)
    }

    fn walk(path: &Path, follow: bool) -> io::Result<Self> {
        if path.as_os_str().is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut folder = Arc::new(beginning(path)?);
        let mut rest: VecDeque<OsString> = components(path).collect();
        let mut links = 0;
        while let Some(name) = rest.pop_front() {
            let last = rest.is_empty();
            if last && !follow && !is_dots(&name) {
                return Ok(Entry::new(folder, name));
            }
            let found = match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) if last => return Ok(Entry::new(folder, name)),
                found => found?,
            };
            match FileType::from_raw_mode(found.st_mode) {
                FileType::Symlink => {
                    if !is_trusted(&rustix::fs::fstat(&folder)?, &found) {
                        return Err(Refused::Link { link: name.into() }.into());
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    if rustix::fs::fstatfs(&folder)?.f_type as u64 == PROCFS {
                        if last {
                            let magic = true;
                            return Ok(Entry { folder, name, magic });
                        }
                        folder = Arc::new(open_folder(folder.as_fd(), &name, OFlags::empty())?);
                        continue;
                    }
                    // A link to nothing is replaced itself.
                    if last && rustix::fs::statat(&folder, &name, AtFlags::empty()).err() == Some(Errno::NOENT) {
                        return Ok(Entry::new(folder, name));
                    }
                    let target = rustix::fs::readlinkat(&folder, &name, Vec::new())?;
                    let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                    if target.is_absolute() {
                        folder = Arc::new(beginning(&target)?);
                    }
                    for component in components(&target).collect::<Vec<_>>().into_iter().rev() {
                        rest.push_front(component);
                    }
                }
                _ if last && !is_dots(&name) && FileType::from_raw_mode(found.st_mode) != FileType::Directory => {
                    return Ok(Entry::new(folder, name));
                }
                _ if last => break,
                _ => folder = Arc::new(open_folder(folder.as_fd(), &name, OFlags::NOFOLLOW)?),
            }
        }
        Err(io::ErrorKind::IsADirectory.into())
    }

    fn new(folder: Arc<OwnedFd>, name: OsString) -> Self {
        let magic = false;
        Entry { folder, name, magic }
    }

    /// Another name in the same folder.
    pub fn beside(&self, name: OsString) -> Self {
        Entry::new(self.folder.clone(), name)
    }

    /// The folder.
    pub fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The name in it.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The names in the folder.
    pub fn names_beside(&self) -> io::Result<Vec<OsString>> {
        let listed = open_readable(self.folder())?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::new(listed)? {
            names.push(OsString::from_vec(entry?.file_name().to_bytes().to_vec()));
        }
        Ok(names)
    }

    /// Returns the file with this name, without following links; `None` if there is none.
    pub fn stat(&self) -> io::Result<Option<Stat>> {
        let flags = match self.magic {
            true => AtFlags::empty(),
            false => AtFlags::SYMLINK_NOFOLLOW,
        };
        match rustix::fs::statat(&self.folder, &self.name, flags) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether it must be written in place: a device, a pipe, an open file.
    pub fn is_special(&self) -> io::Result<bool> {
        Ok(self.magic
            || self.stat()?.is_some_and(|found| {
                let kind = FileType::from_raw_mode(found.st_mode);
                !matches!(kind, FileType::RegularFile | FileType::Symlink)
            }))
    }

    /// Opens a special file for writing. Waits for a reader of a pipe, until a signal.
    pub fn open_special(&self) -> io::Result<File> {
        let folder = rustix::fs::fstat(&self.folder)?;
        if let Some(found) = self.stat()?.filter(|_| !self.magic)
            && !is_ours(found.st_uid)
            && (folder.st_mode & 0o1002 != 0)
        {
            let name = self.name.clone().into();
            return Err(Refused::Foreign { name }.into());
        }
        // Not blocking: a pipe without a reader would hold us where no signal is heard.
        let mut flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        flags.set(OFlags::NOFOLLOW, !self.magic);
        let file = loop {
            match rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty()) {
                Err(Errno::NXIO) if !signals::stop_requested() => std::thread::sleep(PATIENCE),
                Err(Errno::NXIO) => return Err(Errno::INTR.into()),
                Err(Errno::INTR) => {}
                opened => break opened?,
            }
        };
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
        Ok(file.into())
    }

    /// Opens the file of this name for reading: a regular one, and no link.
    pub fn open_regular(&self) -> io::Result<Option<File>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.folder, &self.name, flags, Mode::empty()) {
            Ok(file) => {
                let regular = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) == FileType::RegularFile;
                Ok(regular.then(|| file.into()))
            }
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a folder of this name, if nothing has it. Whether it did.
    pub fn make_folder(&self) -> io::Result<bool> {
        match rustix::fs::mkdirat(&self.folder, &self.name, Mode::from_raw_mode(0o777)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// A name in the folder of this name, which is no link.
    pub fn within(&self, name: OsString) -> io::Result<Self> {
        let folder = open_folder(self.folder(), &self.name, OFlags::NOFOLLOW)?;
        Ok(Entry::new(Arc::new(folder), name))
    }

    /// Makes a file of this name, which nothing has yet.
    pub fn create_new(&self, mode: u32) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, &self.name, flags, Mode::from_raw_mode(mode))?;
        Ok(file.into())
    }

    /// Removes the file or, if `folder` is set, the empty folder of this name.
    pub fn remove(&self, folder: bool) -> io::Result<()> {
        let flags = match folder {
            true => AtFlags::REMOVEDIR,
            false => AtFlags::empty(),
        };
        Ok(rustix::fs::unlinkat(&self.folder, &self.name, flags)?)
    }

    /// Fails if a program that locks its files, as ours do, is writing the file of this name.
    pub fn refuse_busy(&self) -> io::Result<()> {
        // An unreadable file cannot be checked; it is replaced, or that fails.
        let Ok(Some(file)) = self.open_regular() else {
            return Ok(());
        };
        // Shared, so that two who ask do not refuse each other. A file system without locks says something else.
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Err(Refused::Busy {
                name: self.name.clone().into(),
            }
            .into()),
            _ => Ok(()),
        }
    }
}

/// Returns the folder of the path's first component.
fn beginning(path: &Path) -> io::Result<OwnedFd> {
    let first = if path.is_absolute() { "/" } else { "." };
    open_folder(CWD, OsStr::new(first), OFlags::empty())
}

fn open_folder(folder: BorrowedFd<'_>, name: &OsStr, more: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | more;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

fn open_readable(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, ".", flags, Mode::empty())?)
}

/// The remaining components, in order.
fn components(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::RootDir | Component::Prefix(_) => None,
        Component::CurDir => Some(OsString::from(".")),
        Component::ParentDir => Some(OsString::from("..")),
        Component::Normal(name) => Some(name.to_owned()),
    })
}

fn is_dots(name: &OsStr) -> bool {
    name == "." || name == ".."
}

/// Returns whether only root and the current user act as this user.
fn is_ours(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// Returns whether no other user can have made this link: none can write to its folder, or it is ours in a folder where
/// files can be removed by their owners only, as /tmp is one.
fn is_trusted(folder: &Stat, link: &Stat) -> bool {
    if !is_ours(folder.st_uid) {
        return false;
    }
    let everybody = folder.st_mode & 0o002 != 0;
    let group = folder.st_mode & 0o020 != 0 && folder.st_gid != 0;
    let sticky = folder.st_mode & 0o1000 != 0;
    !(everybody || group) || (sticky && is_ours(link.st_uid))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(path: &Path) -> String {
        Entry::find(path).unwrap_err().to_string()
    }

    /// Finds the file of this path.
    fn found(path: &Path) -> Option<(u64, u64)> {
        let found = Entry::find(path).unwrap().stat().unwrap()?;
        Some((found.st_dev, found.st_ino))
    }

    #[test]
    fn a_link_where_others_can_write_is_refused() {
        let top = tempfile::tempdir().unwrap();
        let shared = top.path().join("shared");
        fs::create_dir_all(top.path().join("target")).unwrap();
        fs::create_dir(&shared).unwrap();
        symlink("../target/file", shared.join("file")).unwrap();
        symlink("../target", shared.join("folder")).unwrap();
        fs::write(top.path().join("target/file"), "").unwrap();
        for bits in [0o777, 0o757] {
            mode(&shared, bits);
            for path in ["file", "folder/file", "folder/new", "../shared/file"] {
                let said = refusal(&shared.join(path));
                assert!(
                    said.contains("is a symbolic link in a folder that other users"),
                    "{said}"
                );
            }
        }
        mode(&shared, 0o755);
        assert_eq!(found(&shared.join("file")), found(&top.path().join("target/file")));
        assert_eq!(found(&shared.join("folder/new")), None);
    }

    #[test]
    fn a_link_of_our_own_in_a_sticky_folder_is_followed() {
        let top = tempfile::tempdir().unwrap();
        mode(top.path(), 0o1777);
        fs::write(top.path().join("real"), "").unwrap();
        symlink("real", top.path().join("link")).unwrap();
        assert_eq!(found(&top.path().join("link")), found(&top.path().join("real")));
    }

    #[test]
    fn a_folder_swapped_later_is_not_followed() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        fs::create_dir(path("out")).unwrap();
        fs::create_dir(path("etc")).unwrap();
        let entry = Entry::find(&path("out/motd")).unwrap();
        fs::rename(path("out"), path("out2")).unwrap();
        symlink("etc", path("out")).unwrap();
        super::super::NewFile::create(entry, super::super::PRIVATE)
            .unwrap()
            .publish()
            .unwrap();
        assert!(path("out2/motd").exists() && !path("etc/motd").exists());
    }

    #[test]
    fn what_leads_nowhere_is_an_error_and_a_folder_is_one() {
        let top = tempfile::tempdir().unwrap();
        let kind = |path: &Path| Entry::find(path).unwrap_err().kind();
        assert_eq!(kind(Path::new("")), io::ErrorKind::NotFound);
        assert_eq!(kind(&top.path().join("none/file")), io::ErrorKind::NotFound);
        for folder in [".", "..", "x/..", ""] {
            fs::create_dir_all(top.path().join("x")).unwrap();
            assert_eq!(kind(&top.path().join(folder)), io::ErrorKind::IsADirectory, "{folder}");
        }
        assert_eq!(kind(Path::new("/")), io::ErrorKind::IsADirectory);
        symlink("b", top.path().join("a")).unwrap();
        symlink("a", top.path().join("b")).unwrap();
        assert_eq!(
            Entry::find(&top.path().join("a")).unwrap_err().raw_os_error(),
            Some(libc::ELOOP)
        );
        fs::write(top.path().join("f"), "").unwrap();
        assert_eq!(kind(&top.path().join("f/g")), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn an_open_file_of_procfs_is_special() {
        let file = tempfile::tempfile().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let entry = Entry::find(Path::new(&path)).unwrap();
        assert!(entry.is_special().unwrap());
        io::Write::write_all(&mut entry.open_special().unwrap(), b"x").unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1);
        assert!(Entry::find(Path::new("/dev/null")).unwrap().is_special().unwrap());
    }

    #[test]
    fn a_file_that_is_locked_is_busy() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("f");
        let file = File::create(&path).unwrap();
        let entry = Entry::find(&path).unwrap();
        entry.refuse_busy().unwrap();
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        let said = entry.refuse_busy().unwrap_err().to_string();
        assert!(said.starts_with("f is being written by another program"), "{said}");
        drop(file);
        entry.refuse_busy().unwrap();
    }
}
