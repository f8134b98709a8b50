//! Finds tracefs, whose mount point has changed over the years.

use super::Root;
use std::io;
use std::path::PathBuf;

/// Mount points of tracefs: its own, or one created by an access through debugfs.
pub(super) const MOUNT_POINTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// The path of a file in tracefs, wherever that is mounted.
///
/// If no mount point has the file, the error is the most telling one: permission denied rather than not found.
pub(super) fn file(root: &Root, name: &str) -> Result<PathBuf, (PathBuf, io::Error)> {
    let mut failure: Option<(PathBuf, io::Error)> = None;
    for mount_point in MOUNT_POINTS {
        let path = root.path(mount_point).join(name);
        match path.metadata() {
            Ok(_) => return Ok(path),
            Err(error) => {
                if failure
                    .as_ref()
                    .is_none_or(|(_, first)| first.kind() == io::ErrorKind::NotFound)
                {
                    failure = Some((path, error));
                }
            }
        }
    }
    Err(failure.unwrap_or_else(|| (root.path(MOUNT_POINTS[0]), io::ErrorKind::NotFound.into())))
}
