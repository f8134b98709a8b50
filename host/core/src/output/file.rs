//! A new file, which gets its name when it has content. Imports `entry` only.
//!
//! It is made without a name (`O_TMPFILE`, open(2)), so that nothing is left of it whatever ends the program; where the
//! file system cannot do that, it has a hidden name of its own until it gets the right one.

use std::ffi::OsString;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
use rustix::io::Errno;

use super::entry::{Entry, Refused};
use crate::recording::layout::{FILE_HEADER, FileHeader};

/// Owner of new files, if not the current user. Process-wide, like the umask.
static OWNER: OnceLock<(u32, u32)> = OnceLock::new();

/// Gives all files that are made from now on to a user and a group: a process that becomes that user later could not
/// name them otherwise (`fs.protected_hardlinks`). What was set first stays.
pub fn set_owner(user: u32, group: u32) {
    let _ = OWNER.set((user, group));
}

/// There is a file, and it belongs to the wrong user.
#[derive(Debug, thiserror::Error)]
#[error("cannot give a new file to user {user} (--user): {errno}; write to a folder of another file system")]
struct NotGiven {
    user: u32,
    errno: Errno,
}

/// A file that is not where it belongs yet.
#[derive(Debug)]
pub struct NewFile {
    entry: Entry,
    file: File,
    /// The name that it has until then, if it needs one.
    hidden: Option<OsString>,
}

/// Identity of a file for the kernel: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(u64, u64);

impl From<&Stat> for Node {
    fn from(found: &Stat) -> Self {
        Node(found.st_dev, found.st_ino)
    }
}

impl NewFile {
    /// Makes a file that is to have this name. It is locked, so that a second writer notices.
    pub fn create(entry: Entry, mode: u32) -> io::Result<Self> {
        let (file, hidden) = make(entry.folder(), mode)?;
        // From here on it is removed if something fails.
        let new = NewFile { entry, file, hidden };
        if let Some((user, group)) = OWNER.get() {
            give(&new.file, *user, *group)?;
        }
        // A file system without locks has none.
        let _ = rustix::fs::flock(&new.file, FlockOperation::NonBlockingLockExclusive);
        Ok(new)
    }

    /// Returns the writer.
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Renames the file to its name, replacing an existing one. The change is atomic.
    pub fn publish(self) -> io::Result<(File, Node)> {
        self.entry.refuse_busy()?;
        self.name(true)
    }

    /// Gives the file its name, unless something has it already, that is no older part of a ring with this number.
    pub fn publish_part(self, part: u32) -> io::Result<(File, Node)> {
        self.entry.refuse_busy()?;
        let replace = is_part(&self.entry, part)?;
        let name = self.entry.name().into();
        self.name(replace).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Refused::NotOfRing { name }.into(),
            _ => error,
        })
    }

    fn name(mut self, replace: bool) -> io::Result<(File, Node)> {
        let hidden = match self.hidden.take() {
            Some(hidden) => hidden,
            None => self.link()?,
        };
        // From here on it is removed if something fails.
        let hidden = self.hidden.insert(hidden);
        let (folder, name) = (self.entry.folder(), self.entry.name());
        if replace {
            rustix::fs::renameat(folder, &*hidden, folder, name)?;
        } else {
            match rustix::fs::renameat_with(folder, &*hidden, folder, name, RenameFlags::NOREPLACE) {
                // Not every file system can; a link never replaces anything either.
                Err(Errno::INVAL) => {
                    rustix::fs::linkat(folder, &*hidden, folder, name, AtFlags::empty())?;
                    rustix::fs::unlinkat(folder, &*hidden, AtFlags::empty())?;
                }
                done => done?,
            }
        }
        self.hidden = None;
        let node = Node::from(&rustix::fs::fstat(&self.file)?);
        Ok((self.file.try_clone()?, node))
    }

    /// Gives a file without a name a hidden one.
    fn link(&self) -> io::Result<OsString> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        let folder = self.entry.folder();
        loop {
            let name = hidden_name();
            match rustix::fs::linkat(CWD, own.as_str(), folder, &name, AtFlags::SYMLINK_FOLLOW) {
                Err(Errno::EXIST) => {}
                linked => return Ok(linked.map(|()| name)?),
            }
        }
    }
}

impl Drop for NewFile {
    /// A file that never got its name leaves nothing.
    fn drop(&mut self) {
        if let Some(hidden) = &self.hidden {
            let _ = rustix::fs::unlinkat(self.entry.folder(), hidden, AtFlags::empty());
        }
    }
}

/// A file in the folder that has no name, or else a hidden one.
fn make(folder: BorrowedFd<'_>, mode: u32) -> io::Result<(File, Option<OsString>)> {
    let mode = Mode::from_raw_mode(mode);
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(folder, ".", flags | OFlags::TMPFILE, mode) {
        Ok(file) => return Ok((file.into(), None)),
        // Not every file system can (open(2): EOPNOTSUPP, and EISDIR from those that never heard of it).
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {}
        Err(error) => return Err(error.into()),
    }
    loop {
        let name = hidden_name();
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        match rustix::fs::openat(folder, &name, flags, mode) {
            Err(Errno::EXIST) => {}
            made => return Ok((made?.into(), Some(name))),
        }
    }
}

/// Gives a file to a user, unless it is already the user's: who made it may be that user by now, and need no right.
fn give(file: &File, user: u32, group: u32) -> io::Result<()> {
    if rustix::fs::fstat(file)?.st_uid == user {
        return Ok(());
    }
    let (owner, owning) = (Uid::from_raw(user), Gid::from_raw(group));
    rustix::fs::fchown(file, Some(owner), Some(owning))
        .map_err(|errno| io::Error::new(io::Error::from(errno).kind(), NotGiven { user, errno }))
}

/// Returns an unpredictable name: an earlier program may have been killed and left a file.
fn hidden_name() -> OsString {
    let number = std::hash::RandomState::new().build_hasher().finish();
    format!(".ipft-{number:016x}").into()
}

/// Returns whether the name is that of a ring's part with this number: a recording that contains it.
pub(crate) fn is_part(entry: &Entry, part: u32) -> io::Result<bool> {
    let Some(mut file) = entry.open_regular()? else {
        return Ok(false);
    };
    let mut bytes = [0; FILE_HEADER];
    let read = file.read_exact(&mut bytes).is_ok();
    Ok(read && FileHeader::is_whole(&bytes) && FileHeader::parse(&bytes).is_some_and(|header| header.part == part))
}

/// Removes a part of an older ring. What is none stays.
pub(crate) fn remove_part(entry: &Entry, part: u32) -> io::Result<()> {
    match is_part(entry, part)? {
        true => remove(entry),
        false => Ok(()),
    }
}

/// Removes a file that was made here, if it still has its name.
pub(crate) fn remove_own(entry: &Entry, node: Node) -> io::Result<()> {
    match entry.stat()? {
        Some(found) if Node::from(&found) == node => remove(entry),
        _ => Ok(()),
    }
}

fn remove(entry: &Entry) -> io::Result<()> {
    match rustix::fs::unlinkat(entry.folder().as_fd(), entry.name(), AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        done => Ok(done?),
    }
}
