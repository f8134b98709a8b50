//! Privileges that the rest of a trace needs after attaching, and the capabilities for them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::User;
use super::capabilities::{CAP_DAC_OVERRIDE, CAP_FOWNER};

/// Needs of the rest of a trace.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Folders in which something still happens.
    pub folders: Vec<Folder>,
    /// Whether connections are accepted (the probe server).
    pub accepts: bool,
    /// Whether the modes of a terminal are changed (`ipft top`).
    pub terminal: bool,
    /// The user that does it, if it is another one than before.
    pub user: Option<User>,
}

/// A folder in which something still happens after attaching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    /// Its path.
    pub path: PathBuf,
    /// How it is used.
    pub used: FolderUse,
}

/// Use of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FolderUse {
    /// A file that is open and complete gets this name.
    Name(PathBuf),
    /// Files are made, filled and deleted: a ring of recordings.
    Ring,
    /// A plugin was granted it.
    Granted {
        /// Whether the plugin may change it.
        write: bool,
    },
}

impl Needs {
    /// Returns whether files are opened after attaching.
    pub(super) fn opens(&self) -> bool {
        self.folders
            .iter()
            .any(|folder| !matches!(folder.used, FolderUse::Name(_)))
    }

    /// Returns whether files are created, renamed or removed.
    pub(super) fn names(&self) -> bool {
        !self.folders.is_empty()
    }

    /// Returns whether folders are created and removed.
    pub(super) fn makes_folders(&self) -> bool {
        self.folders
            .iter()
            .any(|folder| folder.used == FolderUse::Granted { write: true })
    }

    /// The capabilities without which an output would be lost. Root writes anywhere only by `CAP_DAC_OVERRIDE`: a trace
    /// under sudo whose output goes to the user's own folder needs it until the end.
    pub(super) fn capabilities(&self) -> u64 {
        let (user, group) = match &self.user {
            Some(user) => (user.uid, user.gid),
            None => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        };
        self.folders
            .iter()
            .fold(0, |mask, folder| mask | folder.capabilities(user, group))
    }
}

impl Folder {
    /// Returns the capability that `user` needs in this folder.
    fn capabilities(&self, user: u32, group: u32) -> u64 {
        let Ok(known) = std::fs::metadata(&self.path) else {
            // An inaccessible file is reported when it is opened.
            return 0;
        };
        let mut mask = 0;
        let wanted = match self.used {
            FolderUse::Granted { write: false } => 0o5,
            _ => 0o7,
        };
        let granted = if known.uid() == user {
            known.mode() >> 6
        } else if known.gid() == group {
            known.mode() >> 3
        } else {
            known.mode()
        };
        if granted & wanted != wanted {
            mask |= 1 << CAP_DAC_OVERRIDE;
        }
        // In a folder like /tmp only a file's owner replaces it.
        let is_sticky = known.mode() & 0o1000 != 0 && known.uid() != user;
        if let FolderUse::Name(name) = &self.used
            && is_sticky
            && std::fs::symlink_metadata(self.path.join(name)).is_ok_and(|file| file.uid() != user)
        {
            mask |= 1 << CAP_FOWNER;
        }
        mask
    }
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn folder(mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        folder
    }

    fn needed(folder: &tempfile::TempDir, used: FolderUse, user: u32) -> u64 {
        let path = folder.path().to_owned();
        Folder { path, used }.capabilities(user, 60_000)
    }

    #[test]
    fn own_folder_needs_no_capability() {
        let folder = folder(0o700);
        let owner = std::fs::metadata(folder.path()).unwrap().uid();
        assert_eq!(needed(&folder, FolderUse::Ring, owner), 0);
    }

    #[test]
    fn folder_of_another_user_needs_dac_override() {
        let folder = folder(0o755);
        assert_eq!(needed(&folder, FolderUse::Ring, 60_000), 1 << CAP_DAC_OVERRIDE);
        assert_eq!(needed(&folder, FolderUse::Granted { write: false }, 60_000), 0);
    }

    #[test]
    fn foreign_file_in_sticky_folder_needs_fowner() {
        let folder = folder(0o1777);
        let name = || FolderUse::Name(PathBuf::from("out"));
        assert_eq!(needed(&folder, name(), 60_000), 0);
        std::fs::write(folder.path().join("out"), "").unwrap();
        assert_eq!(needed(&folder, name(), 60_000), 1 << CAP_FOWNER);
    }
}
