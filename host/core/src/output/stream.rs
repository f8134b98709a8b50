//! The destination of one output: a file that appears when it is complete, or a stream shared with other writers.
//!
//! The file has no name until then, so that nothing is left of it whatever ends the program. Imports `output`.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};

use crate::output::{self, Entry, NewFile, Outlet};

/// Bytes of a plugin, which may be written from another thread.
#[derive(Clone, Debug)]
pub struct Stream(Arc<Mutex<Inner>>);

#[derive(Debug)]
enum Inner {
    /// Straight to where it goes.
    Direct(Target),
    /// To a file that gets its name when it is complete.
    New(NewFile),
    /// To a file without a name, until it is complete.
    Held { file: File, then: Then },
    /// It was completed or given up.
    Done,
}

/// A stream that is there for the whole program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What happens to buffered bytes.
#[derive(Debug)]
enum Then {
    /// They are copied into this, which cannot be replaced: a device, a pipe.
    CopyInto(Outlet),
    /// They are copied there.
    Copy(Target),
}

/// There is no place for what is held.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a temporary file in {}: {error}; set TMPDIR to a folder that exists and has room", .folder.display())]
struct NoTemporary {
    folder: PathBuf,
    error: io::Error,
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Target::Stdout => output::stdout().write(bytes),
            Target::Stderr => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Target::Stdout => output::stdout().flush(),
            Target::Stderr => io::stderr().flush(),
        }
    }
}

impl Stream {
    /// Bytes go there at once.
    pub fn direct(target: Target) -> Self {
        Stream::new(Inner::Direct(target))
    }

    /// Bytes go there when they are complete, so that they do not mix with others'.
    pub fn held(target: Target) -> io::Result<Self> {
        Ok(Stream::new(Inner::Held {
            file: temporary()?,
            then: Then::Copy(target),
        }))
    }

    /// Bytes become a file when they are complete, which only its owner may read: it shows packets. That it can be made is
    /// found out here. What was there stays until then; a device or a pipe gets the bytes instead of being replaced.
    pub fn file(path: &Path) -> io::Result<Self> {
        Stream::become_file(path, output::PRIVATE)
    }

    /// Like [`Stream::file`], for a file that all users may read.
    pub fn public_file(path: &Path) -> io::Result<Self> {
        Stream::become_file(path, output::PUBLIC)
    }

    fn become_file(path: &Path, mode: u32) -> io::Result<Self> {
        let entry = Entry::find(path)?;
        Ok(Stream::new(if entry.is_special()? {
            Inner::Held {
                file: temporary()?,
                then: Then::CopyInto(Outlet::new(entry.open_special()?)),
            }
        } else {
            Inner::New(NewFile::create(entry, mode)?)
        }))
    }

    fn new(inner: Inner) -> Self {
        Stream(Arc::new(Mutex::new(inner)))
    }

    /// The bytes are complete: they go where they belong.
    pub fn complete(&self) -> io::Result<()> {
        let inner = std::mem::replace(&mut *self.lock(), Inner::Done);
        match inner {
            Inner::Direct(mut target) => target.flush(),
            Inner::New(file) => file.publish().map(|_| ()),
            Inner::Held { file, then } => then.take(file),
            Inner::Done => Ok(()),
        }
    }

    /// The bytes will never be complete: nothing is left of those that were held.
    pub fn give_up(&self) {
        *self.lock() = Inner::Done;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.lock() {
            // The bytes of one call stay together.
            Inner::Direct(target) => target.write_all(bytes).map(|()| bytes.len()),
            Inner::New(file) => file.file().write(bytes),
            Inner::Held { file, .. } => file.write(bytes),
            Inner::Done => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *self.lock() {
            Inner::Direct(target) => target.flush(),
            Inner::New(_) | Inner::Held { .. } | Inner::Done => Ok(()),
        }
    }
}

impl Then {
    fn take(self, mut file: File) -> io::Result<()> {
        match self {
            Then::CopyInto(mut to) => copy(&mut file, &mut to),
            Then::Copy(mut target) => copy(&mut file, &mut target),
        }
    }
}

fn copy(from: &mut File, to: &mut impl Write) -> io::Result<()> {
    from.rewind()?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer)? {
            0 => return to.flush(),
            read => to.write_all(&buffer[..read])?,
        }
    }
}

/// A file that has no name, in the folder for such files.
fn temporary() -> io::Result<File> {
    let folder = std::env::temp_dir();
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let made = match rustix::fs::open(&folder, flags, Mode::from_raw_mode(output::PRIVATE)) {
        Ok(file) => Ok(file.into()),
        // Not every file system can (open(2): EOPNOTSUPP, and EISDIR from those that never heard of it). The next best:
        // a name that is gone at once.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR) => tempfile::tempfile_in(&folder),
        Err(error) => Err(error.into()),
    };
    made.map_err(|error| io::Error::new(error.kind(), NoTemporary { folder, error }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.svg");
        let mut stream = Stream::file(&path).unwrap();
        stream.write_all(b"half").unwrap();
        assert!(names(folder.path()).is_empty());
        stream.write_all(b" and half").unwrap();
        stream.complete().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"half and half");
        assert_eq!(names(folder.path()), ["a.svg"]);
    }

    #[test]
    fn an_existing_file_stays_until_completion() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.svg");
        fs::write(&path, b"old").unwrap();
        for end in [Stream::give_up, |stream: &Stream| stream.complete().unwrap()] {
            let mut stream = Stream::file(&path).unwrap();
            stream.write_all(b"new").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"old");
            end(&stream);
        }
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.svg"]);
    }

    #[test]
    fn an_invalid_path_is_reported_before_writing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Stream::file(folder.path()).unwrap_err().kind(),
            io::ErrorKind::IsADirectory
        );
        let nowhere = folder.path().join("none/a.svg");
        assert_eq!(Stream::file(&nowhere).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_device_is_written_to_and_a_link_is_followed() {
        let mut stream = Stream::file(Path::new("/dev/null")).unwrap();
        stream.write_all(b"gone").unwrap();
        stream.complete().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (link, real) = (folder.path().join("link"), folder.path().join("real"));
        fs::write(&real, b"").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut stream = Stream::file(&link).unwrap();
        stream.write_all(b"x").unwrap();
        stream.complete().unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"x");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn nothing_can_be_written_after_the_end() {
        let mut stream = Stream::direct(Target::Stderr);
        stream.complete().unwrap();
        assert_eq!(stream.write(b"x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
