//! Where plugins are found: by path, or by name among those that are installed.
//!
//! A word with a slash or an extension is a path. Any other is a name, and never a file of the working directory: who
//! traces as root in somebody else's folder must not run what lies there.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use crate::text::visible;

/// What sandboxed plugins are called.
const EXTENSION: &str = "wasm";

/// For all users.
const SYSTEM: &str = "/usr/share/ipft/plugins";

/// The folders with installed plugins, the first one first.
#[derive(Clone, Debug)]
pub struct Folders(Vec<PathBuf>);

/// Why a plugin is not found.
#[derive(Debug, thiserror::Error)]
#[error("no plugin '{name}' is installed: there is no {name}.wasm in {}; a file is named by its path, with its extension", folders.join(" or "))]
pub struct NotFound {
    name: String,
    folders: Vec<String>,
}

/// A file in one of the folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What `--plugin` finds it by.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The file that `--plugin` finds instead, in an earlier folder.
    pub hidden_by: Option<PathBuf>,
}

impl Folders {
    /// Those of the environment: `$XDG_DATA_HOME/ipft/plugins` (`~/.local/share`) and `/usr/share/ipft/plugins`.
    pub fn of_environment() -> Self {
        let absolute = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
        let own = data.map(|data| data.join("ipft/plugins"));
        Folders(own.into_iter().chain([PathBuf::from(SYSTEM)]).collect())
    }

    /// These.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Folders(folders)
    }

    /// The folders.
    pub fn paths(&self) -> &[PathBuf] {
        &self.0
    }

    /// The file that a word on the command line means. A path is not looked at.
    pub fn find(&self, word: &Path) -> Result<PathBuf, NotFound> {
        if word.components().count() != 1 || word.extension().is_some() || word.file_name() != Some(word.as_os_str()) {
            return Ok(word.to_owned());
        }
        let files = self.0.iter().map(|folder| folder.join(word).with_extension(EXTENSION));
        let mut files = files.filter(|file| file.is_file());
        files.next().ok_or_else(|| NotFound {
            name: visible(&word.to_string_lossy()).into_owned(),
            folders: self.0.iter().map(|folder| folder.display().to_string()).collect(),
        })
    }

    /// All that is installed, sorted by name. A folder that is not there has nothing.
    pub fn installed(&self) -> io::Result<Vec<Installed>> {
        let mut found: Vec<Installed> = Vec::new();
        for folder in &self.0 {
            let entries = match std::fs::read_dir(folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                let path = entry?.path();
                if path.extension() != Some(OsStr::new(EXTENSION)) || !path.is_file() {
                    continue;
                }
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let hidden_by = found
                    .iter()
                    .find(|other| other.name == name)
                    .map(|other| other.path.clone());
                found.push(Installed { name, path, hidden_by });
            }
        }
        // Stable: of equal names, the one that is found comes first.
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders() -> (tempfile::TempDir, Folders) {
        let root = tempfile::tempdir().unwrap();
        let list = ["own", "system"].map(|name| root.path().join(name));
        for folder in &list {
            std::fs::create_dir(folder).unwrap();
        }
        for file in [
            "own/flame.wasm",
            "system/flame.wasm",
            "system/paths.wasm",
            "system/native.so",
        ] {
            std::fs::write(root.path().join(file), b"").unwrap();
        }
        let folders = Folders::new(list.into());
        (root, folders)
    }

    #[test]
    fn a_name_is_looked_up_and_a_path_is_taken_as_it_is() {
        let (root, folders) = folders();
        let find = |word: &str| folders.find(Path::new(word));
        assert_eq!(find("flame").unwrap(), root.path().join("own/flame.wasm"));
        assert_eq!(find("paths").unwrap(), root.path().join("system/paths.wasm"));
        for path in ["./flame", "flame.wasm", "/nowhere/flame", "a/b.so", "..", "flame/"] {
            assert_eq!(find(path).unwrap(), Path::new(path));
        }
    }

    #[test]
    fn what_is_not_installed_is_told_with_the_folders_and_native_code_is_never_found() {
        let (_root, folders) = folders();
        for name in ["nothing", "native"] {
            let error = folders.find(Path::new(name)).unwrap_err().to_string();
            assert!(error.contains("own or") && error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_list_tells_which_of_two_is_used() {
        let (root, folders) = folders();
        let list = folders.installed().unwrap();
        let names: Vec<_> = list
            .iter()
            .map(|each| (each.name.as_str(), each.hidden_by.is_some()))
            .collect();
        assert_eq!(names, [("flame", false), ("flame", true), ("paths", false)]);
        assert_eq!(list[1].hidden_by.as_deref(), Some(&*root.path().join("own/flame.wasm")));
        assert!(
            Folders::new(vec![root.path().join("none")])
                .installed()
                .unwrap()
                .is_empty()
        );
    }
}
