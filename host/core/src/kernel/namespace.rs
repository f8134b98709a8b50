//! Finds the inode number of a network namespace. Imports nothing of the crate but [`Root`].

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Root;

/// The namespaces' inode numbers are at least this: the initial ones have numbers a little below those that are given
/// at run time, which begin at 0xf0000000 (`include/linux/proc_ns.h`).
const LEAST: u32 = 0xefff_fff0;

/// Folder of the namespaces that `ip netns` names.
const NAMED: &str = "/run/netns";

/// A network namespace that cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The file cannot be examined.
    #[error("there is no network namespace `{text}`: {}: {error}{}", .path.display(), hint(.path))]
    File {
        /// What the user wrote.
        text: String,
        /// The file that it names.
        path: PathBuf,
        /// Why it cannot be examined.
        error: io::Error,
    },
    /// The file is something else.
    #[error("`{text}` is not a network namespace: {} is a different kind of file", .path.display())]
    NoNamespace {
        /// What the user wrote.
        text: String,
        /// The file that it names.
        path: PathBuf,
    },
}

/// Names what lists the namespaces of the kind that the user meant.
fn hint(path: &Path) -> &'static str {
    match path.starts_with("/proc") {
        true => "; a number is that of a process, or of a namespace in lsns -t net",
        false => "; ip netns and lsns -t net list them",
    }
}

/// Returns the inode number of a network namespace. `text` is that number, the number of a process, a path such as
/// `/proc/1/ns/net`, or a name of `ip netns`.
pub fn network_namespace(root: &Root, text: &str) -> Result<u32, NamespaceError> {
    let number = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true => text.parse::<u32>().ok(),
        false => None,
    };
    let path = match number {
        Some(inode) if inode >= LEAST => return Ok(inode),
        Some(process) => format!("/proc/{process}/ns/net"),
        None if text.contains('/') => text.to_owned(),
        None => format!("{NAMED}/{text}"),
    };
    let absolute = match path.starts_with('/') {
        true => root.path(&path),
        false => PathBuf::from(&path),
    };
    let examined = std::fs::metadata(&absolute).map_err(|error| NamespaceError::File {
        text: text.to_owned(),
        path: PathBuf::from(&path),
        error,
    })?;
    let own = std::fs::metadata(root.path("/proc/self/ns/net")).ok();
    // Links in /proc name the kind: `net:[4026531840]`.
    let link = std::fs::read_link(&absolute).unwrap_or_default();
    let link = link.to_string_lossy();
    let is_other = link.contains(":[") && !link.starts_with("net:[");
    match !is_other && own.is_some_and(|own| are_alike(&own, &examined)) {
        true => Ok(examined.ino() as u32),
        false => Err(NamespaceError::NoNamespace {
            text: text.to_owned(),
            path: PathBuf::from(path),
        }),
    }
}

/// All namespaces are files of one file system; a file of another kind than networks is left to the user.
fn are_alike(own: &Metadata, other: &Metadata) -> bool {
    own.dev() == other.dev() && other.ino() >= u64::from(LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_is_found_in_every_notation() {
        let root = Root::system();
        let own = std::fs::metadata("/proc/self/ns/net").unwrap().ino() as u32;
        let process = std::process::id().to_string();
        for text in ["/proc/self/ns/net", &process, &own.to_string()] {
            assert_eq!(network_namespace(&root, text).unwrap(), own, "{text}");
        }
    }

    #[test]
    fn what_is_no_namespace_is_refused() {
        let root = Root::system();
        for (text, words) in [
            ("no-such-name", "/run/netns/no-such-name"),
            ("/dev/null", "different kind"),
            ("4194305", "lsns"),
            ("..", "/run/netns/.."),
            ("", "/run/netns/"),
            ("/proc/self/ns/mnt", "different kind"),
        ] {
            let error = network_namespace(&root, text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
