//! Finds a control group. Imports nothing of the crate but [`Root`].

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Root;

/// Number of the group that all others are below (`kernel/cgroup/cgroup.c`).
const TOP: u64 = 1;

/// A control group of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlGroup {
    /// Its number: the inode number of its folder.
    pub id: u64,
    /// How many groups are above it.
    pub level: u32,
}

/// A control group that cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum ControlGroupError {
    /// The folder cannot be examined.
    #[error("there is no control group {}: {error}; systemd-cgls lists those of /sys/fs/cgroup", .path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why it cannot be examined.
        error: io::Error,
    },
    /// It is something else.
    #[error("{} is not a control group of version 2; those are folders below /sys/fs/cgroup or where cgroup2 is mounted", .0.display())]
    NoGroup(PathBuf),
    /// The groups above are not visible.
    #[error("the groups above {} are not visible in this namespace; run ipft in the host's control group namespace", .0.display())]
    Hidden(PathBuf),
}

/// Returns the control group of a folder.
pub fn control_group(root: &Root, path: &Path) -> Result<ControlGroup, ControlGroupError> {
    let examine = |path: &Path| {
        let examined = path.canonicalize().and_then(|folder| Ok((folder.metadata()?, folder)));
        examined.map_err(|error| ControlGroupError::Folder {
            path: path.to_owned(),
            error,
        })
    };
    let absolute = match path.is_absolute() {
        true => root.path(&path.to_string_lossy()),
        false => path.to_owned(),
    };
    let (group, folder) = examine(&absolute)?;
    let kind = rustix::fs::statfs(&folder).map_err(|error| ControlGroupError::Folder {
        path: path.to_owned(),
        error: error.into(),
    })?;
    if !is_version_2(kind.f_type) || !group.is_dir() {
        return Err(ControlGroupError::NoGroup(path.to_owned()));
    }
    let mut level = 0;
    let mut top = group.ino();
    for above in folder.ancestors().skip(1) {
        let (above, _) = examine(above)?;
        if above.dev() != group.dev() {
            break;
        }
        top = above.ino();
        level += 1;
    }
    match top {
        TOP => Ok(ControlGroup { id: group.ino(), level }),
        _ => Err(ControlGroupError::Hidden(path.to_owned())),
    }
}

/// Compares with `CGROUP2_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
fn is_version_2(kind: impl Into<i64>) -> bool {
    kind.into() == 0x6367_7270
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_control_group_is_refused() {
        let root = Root::system();
        for (path, words) in [
            ("/no/such/folder", "there is no control group"),
            ("/proc", "not a control group"),
            ("/dev/null", "not a control"),
        ] {
            let error = control_group(&root, Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(words), "{path}: {error}");
        }
    }
}
