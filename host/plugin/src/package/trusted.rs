//! Checks whether a file is trusted, by who can change it.
//!
//! Root must only run root's files: a plugin that is looked up by name comes from a folder set by the environment,
//! possibly one of the user who called sudo(8). Imports nothing of the crate.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Write permission of the group and of others.
const OTHERS_WRITE: u32 = 0o022;

/// Entries of a sticky folder such as /tmp can only be moved or removed by their owner.
const STICKY: u32 = 0o1000;

/// The users whose files are trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The required owner; `None` accepts any.
    owner: Option<u32>,
}

/// The reason why a file is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// It, or a parent folder, belongs to another user.
    #[error("{} is not used, as {} belongs to the user with number {user}, and root looks up plugins only where no other user can write; to load the file all the same, give its path", file.display(), of.display())]
    Owner {
        /// The file.
        file: PathBuf,
        /// The file or the folder.
        of: PathBuf,
        /// The owner.
        user: u32,
    },
    /// It, or a parent folder, is writable by others.
    #[error("{} is not used, as others than root can write to {}; 'chmod go-w {}' ends that; to load the file all the same, give its path", file.display(), of.display(), of.display())]
    Writable {
        /// The file.
        file: PathBuf,
        /// The file or the folder.
        of: PathBuf,
    },
    /// Its permissions cannot be read.
    #[error("{} is not used, as {} cannot be looked at: {source}", file.display(), of.display())]
    Unknown {
        /// The file.
        file: PathBuf,
        /// The file or the folder.
        of: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl Trust {
    /// Root trusts only root; other users may run any file.
    pub fn of_process() -> Self {
        let owner = rustix::process::geteuid().is_root().then_some(0);
        Trust { owner }
    }

    /// Returns the file's true path, if no other user can change it, its parents, or the links to it. Then no other
    /// user can replace it before it is opened, either.
    pub fn check(self, file: &Path) -> Result<PathBuf, Untrusted> {
        let Some(owner) = self.owner else {
            return Ok(file.to_owned());
        };
        // The path as given, with its links, and its target.
        check_ancestors(file, file, owner)?;
        let real = file.canonicalize().map_err(unknown(file, file))?;
        check_ancestors(file, &real, owner)?;
        Ok(real)
    }
}

fn unknown(file: &Path, of: &Path) -> impl FnOnce(io::Error) -> Untrusted {
    let (file, of) = (file.to_owned(), of.to_owned());
    |source| Untrusted::Unknown { file, of, source }
}

fn check_ancestors(file: &Path, path: &Path, owner: u32) -> Result<(), Untrusted> {
    for (above, of) in path.ancestors().enumerate() {
        if of == Path::new("") {
            break;
        }
        let found = of.symlink_metadata().map_err(unknown(file, of))?;
        if found.uid() != owner {
            return Err(Untrusted::Owner {
                file: file.to_owned(),
                of: of.to_owned(),
                user: found.uid(),
            });
        }
        if is_open(&found, above > 0) {
            return Err(Untrusted::Writable {
                file: file.to_owned(),
                of: of.to_owned(),
            });
        }
    }
    Ok(())
}

/// Returns whether others can write to it. A link has no permissions of its own.
fn is_open(found: &Metadata, holds_the_next: bool) -> bool {
    let mode = found.mode();
    !found.is_symlink() && mode & OTHERS_WRITE != 0 && !(holds_the_next && mode & STICKY != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// As seen by this test's user: permissions above the temporary folder are not under its control.
    fn trust() -> Trust {
        Trust { owner: Some(0) }
    }

    fn files() -> Option<(tempfile::TempDir, PathBuf)> {
        // Only root has folders all of which are root's.
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("plugins");
        create_dir(&folder).unwrap();
        set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let file = folder.join("flame.wasm");
        write(&file, b"").unwrap();
        set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        rustix::process::geteuid().is_root().then_some((top, file))
    }

    #[test]
    fn a_file_of_root_alone_is_trusted() {
        let Some((_top, file)) = files() else { return };
        assert_eq!(trust().check(&file).unwrap(), file.canonicalize().unwrap());
    }

    #[test]
    fn a_file_that_others_can_write_is_not_trusted() {
        let Some((_top, file)) = files() else { return };
        let folder = file.parent().unwrap().to_owned();
        for (path, mode, good) in [
            (&file, 0o664, 0o644),
            (&file, 0o646, 0o644),
            (&folder, 0o775, 0o755),
            (&folder, 0o757, 0o755),
        ] {
            set_permissions(path, Permissions::from_mode(mode)).unwrap();
            let error = trust().check(&file).unwrap_err();
            assert!(
                matches!(&error, Untrusted::Writable { of, .. } if of == path),
                "{error}"
            );
            set_permissions(path, Permissions::from_mode(good)).unwrap();
        }
        trust().check(&file).unwrap();
    }

    #[test]
    fn a_file_of_another_user_is_not_trusted() {
        let Some((top, file)) = files() else { return };
        for path in [&file, file.parent().unwrap(), top.path()] {
            chown(path, Some(12345), None).unwrap();
            let error = trust().check(&file).unwrap_err();
            assert!(
                matches!(&error, Untrusted::Owner { of, user: 12345, .. } if of == path),
                "{error}"
            );
            chown(path, Some(0), None).unwrap();
        }
        assert!(Trust { owner: None }.check(&file).is_ok());
    }

    #[test]
    fn foreign_links_and_targets_are_not_trusted() {
        let Some((top, file)) = files() else { return };
        let theirs = top.path().join("theirs");
        create_dir(&theirs).unwrap();
        chown(&theirs, Some(12345), None).unwrap();
        let link = theirs.join("paths.wasm");
        symlink(&file, &link).unwrap();
        assert!(matches!(
            trust().check(&link).unwrap_err(),
            Untrusted::Owner { of, .. } if of == theirs
        ));
        write(theirs.join("real.wasm"), b"").unwrap();
        let link = file.with_file_name("paths.wasm");
        symlink(theirs.join("real.wasm"), &link).unwrap();
        assert!(matches!(
            trust().check(&link).unwrap_err(),
            Untrusted::Owner { of, .. } if of == theirs.canonicalize().unwrap()
        ));
    }
}
