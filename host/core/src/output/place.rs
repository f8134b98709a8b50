//! Detects paths of the same file, however they are written.
//!
//! Two writers of one file would overwrite each other's output.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Location of a file that may not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// It exists.
    File(Node),
    /// It does not exist yet: its folder, and its name there.
    Name(Node, OsString),
}

/// Device and inode: what the kernel tells files apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node(u64, u64);

impl From<Metadata> for Node {
    fn from(known: Metadata) -> Self {
        Node(known.dev(), known.ino())
    }
}

impl Place {
    /// Resolves a path; fails if its folder does not exist. Symbolic links are followed, unless they are dangling: then
    /// the link itself would be replaced.
    pub fn of(path: &Path) -> io::Result<Self> {
        if let Ok(known) = fs::metadata(path) {
            return Ok(Place::File(known.into()));
        }
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
        Ok(Place::Name(fs::metadata(folder)?.into(), name.to_owned()))
    }
}

/// Returns the first two of these files that are the same, by their purpose. An invalid path is reported when the file
/// is created.
pub fn shared<'a, T: Copy>(files: impl IntoIterator<Item = (T, &'a Path)>) -> Option<(T, T)> {
    let mut taken: Vec<(Place, T)> = Vec::new();
    for (what, path) in files {
        let Ok(place) = Place::of(path) else { continue };
        if let Some((_, other)) = taken.iter().find(|(other, _)| *other == place) {
            return Some((*other, what));
        }
        taken.push((place, what));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// A folder `f`, a link `l` to it, and how a name in it may be spelt.
    fn spellings(name: &str) -> (tempfile::TempDir, Vec<PathBuf>) {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("f")).unwrap();
        symlink("f", top.path().join("l")).unwrap();
        let paths = ["f/NAME", "f/./NAME", "f/../f/NAME", "l/NAME", "f//NAME"]
            .map(|path| top.path().join(path.replace("NAME", name)))
            .to_vec();
        (top, paths)
    }

    #[test]
    fn all_spellings_of_a_new_file_are_one_place() {
        let (top, paths) = spellings("a.svg");
        let place = Place::of(&paths[0]).unwrap();
        assert!(matches!(place, Place::Name(..)));
        for path in &paths {
            assert_eq!(Place::of(path).unwrap(), place, "{}", path.display());
        }
        for other in ["f/b.svg", "a.svg"] {
            assert_ne!(Place::of(&top.path().join(other)).unwrap(), place, "{other}");
        }
    }

    #[test]
    fn all_names_of_a_file_that_exists_are_one_place() {
        let (top, mut paths) = spellings("a.svg");
        fs::write(&paths[0], b"").unwrap();
        fs::write(top.path().join("b.svg"), b"").unwrap();
        symlink("f/a.svg", top.path().join("c.svg")).unwrap();
        fs::hard_link(&paths[0], top.path().join("d.svg")).unwrap();
        paths.extend(["c.svg", "d.svg"].map(|name| top.path().join(name)));
        let place = Place::of(&paths[0]).unwrap();
        assert!(matches!(place, Place::File(_)));
        for path in &paths {
            assert_eq!(Place::of(path).unwrap(), place, "{}", path.display());
        }
        assert_ne!(Place::of(&top.path().join("b.svg")).unwrap(), place);
    }

    #[test]
    fn a_name_without_a_folder_is_in_the_current_one() {
        let name = "a file that no project has.svg";
        assert_eq!(
            Place::of(Path::new(name)).unwrap(),
            Place::of(&Path::new(".").join(name)).unwrap()
        );
    }

    #[test]
    fn a_link_to_nothing_is_a_place_of_its_own() {
        let top = tempfile::tempdir().unwrap();
        let (link, target) = (top.path().join("link"), top.path().join("target"));
        symlink("target", &link).unwrap();
        assert_ne!(Place::of(&link).unwrap(), Place::of(&target).unwrap());
    }

    #[test]
    fn a_file_in_a_folder_that_is_not_there_is_nowhere() {
        let top = tempfile::tempdir().unwrap();
        assert!(Place::of(&top.path().join("none/a.svg")).is_err());
        assert!(Place::of(&top.path().join("none/..")).is_err());
    }
}
