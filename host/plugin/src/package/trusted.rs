//! Whether a file can be believed because of who can change it.
//!
//! What root runs must be root's: a plugin that is looked up by name comes from wherever the environment says, which may
//! be the folder of the user who called sudo(8). Imports nothing of the crate.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Write permission of a group, and of everybody.
const OTHERS_WRITE: u32 = 0o022;

/// What lies in such a folder, as /tmp is one, can be moved or removed by its owner only.
const STICKY: u32 = 0o1000;

/// Whose files are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The one whose files must be; `None` if anybody's are good.
    owner: Option<u32>,
}

/// Why a file is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// It, or a folder that it is in, is somebody else's.
    #[error("{} is not used, as {} belongs to the user with number {user}, and root looks up plugins only where nobody but root can write; to load the file all the same, give its path", file.display(), of.display())]
    Owner {
        /// The file.
        file: PathBuf,
        /// It, or what it is in.
        of: PathBuf,
        /// Whose.
        user: u32,
    },
    /// It, or a folder that it is in, can be changed by others.
    #[error("{} is not used, as others than root can write to {}; 'chmod go-w {}' ends that; to load the file all the same, give its path", file.display(), of.display(), of.display())]
    Writable {
        /// The file.
        file: PathBuf,
        /// It, or what it is in.
        of: PathBuf,
    },
    /// Nobody knows.
    #[error("{} is not used, as {} cannot be looked at: {source}", file.display(), of.display())]
    Unknown {
        /// The file.
        file: PathBuf,
        /// It, or what it is in.
        of: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Trust {
    /// Root believes root only; everybody else may run what they like.
    pub fn of_process() -> Self {
        let owner = rustix::process::geteuid().is_root().then_some(0);
        Trust { owner }
    }

    /// The file's true path, if nobody else can change it, what it is in, or what leads there. While that is so, nobody
    /// can exchange it before it is opened, either.
    pub fn check(self, file: &Path) -> Result<PathBuf, Untrusted> {
        let Some(owner) = self.owner else {
            return Ok(file.to_owned());
        };
        // As it is spelt, which is through links, and where that leads to.
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

/// Whether others can change what it holds. A link has no permissions of its own.
fn is_open(found: &Metadata, holds_the_next: bool) -> bool {
    let mode = found.mode();
    !found.is_symlink() && mode & OTHERS_WRITE != 0 && !(holds_the_next && mode & STICKY != 0)
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, create_dir, set_permissions, write};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    /// As this test's user sees it: what the folders above the temporary one allow is not ours to say.
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
    fn a_file_of_root_alone_is_believed() {
        let Some((_top, file)) = files() else { return };
        assert_eq!(trust().check(&file).unwrap(), file.canonicalize().unwrap());
    }

    #[test]
    fn what_others_can_write_is_not_believed() {
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
    fn what_belongs_to_another_user_is_not_believed() {
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
    fn a_link_of_another_user_and_one_to_what_is_theirs_are_not_believed() {
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
