//! Finds plugins: by path, or by name among the installed ones.
//!
//! A word with a slash or an extension is a path. Any other is a name, and never a file of the working directory: root
//! may trace in another user's folder, whose files must not be run.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use super::trusted::{Trust, Untrusted};
use ipft_core::text::visible;

/// Extension of sandboxed plugins.
const EXTENSION: &str = "wasm";

/// The folder for all users.
const SYSTEM: &str = "/usr/share/ipft/plugins";

/// The folders with installed plugins, in order of precedence.
#[derive(Clone, Debug)]
pub struct Folders {
    paths: Vec<PathBuf>,
    trust: Trust,
}

/// The file found for a word.
#[derive(Debug)]
pub struct Found {
    /// Its path.
    pub path: PathBuf,
    /// Files of that name that were skipped, and the reasons.
    pub skipped: Vec<Untrusted>,
}

/// The installed plugins.
#[derive(Debug, Default)]
pub struct List {
    /// Sorted by name.
    pub plugins: Vec<Installed>,
    /// Files that are not used, and the reasons.
    pub skipped: Vec<Untrusted>,
}

/// The reason why a plugin is not found.
#[derive(Debug, thiserror::Error)]
#[error("no plugin '{name}' is installed: there is no {name}.wasm in {}; to load a file, give its path (./{name}.wasm){}", folders.join(" or "), reported(skipped))]
pub struct NotFound {
    name: String,
    folders: Vec<String>,
    skipped: Vec<Untrusted>,
}

fn reported(skipped: &[Untrusted]) -> String {
    skipped.iter().map(|why| format!("\n{why}")).collect()
}

/// A file in one of the folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// The name for `--plugin`.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// The file in an earlier folder that `--plugin` finds instead.
    pub hidden_by: Option<PathBuf>,
}

impl Folders {
    /// Returns the folders from the environment: `$XDG_DATA_HOME/ipft/plugins` (`~/.local/share`) and
    /// `/usr/share/ipft/plugins`.
    pub fn of_environment() -> Self {
        let absolute = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let data = absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
        let own = data.map(|data| data.join("ipft/plugins"));
        Folders::new(own.into_iter().chain([PathBuf::from(SYSTEM)]).collect())
    }

    /// Uses these folders.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let trust = Trust::of_process();
        Folders { paths, trust }
    }

    /// Returns the folders.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// Returns the file for a word on the command line. A path is not checked.
    pub fn find(&self, word: &Path) -> Result<Found, NotFound> {
        if word.components().count() != 1 || word.extension().is_some() || word.file_name() != Some(word.as_os_str()) {
            return Ok(Found {
                path: word.to_owned(),
                skipped: Vec::new(),
            });
        }
        let mut skipped = Vec::new();
        for folder in &self.paths {
            let file = folder.join(word).with_extension(EXTENSION);
            if !file.is_file() {
                continue;
            }
            match self.trust.check(&file) {
                Ok(path) => return Ok(Found { path, skipped }),
                Err(why) => skipped.push(why),
            }
        }
        Err(NotFound {
            name: visible(&word.to_string_lossy()).into_owned(),
            folders: self.paths.iter().map(|folder| folder.display().to_string()).collect(),
            skipped,
        })
    }

    /// Lists the installed plugins. A missing folder counts as empty.
    pub fn installed(&self) -> io::Result<List> {
        let mut list = List::default();
        for folder in &self.paths {
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
                if let Err(why) = self.trust.check(&path) {
                    list.skipped.push(why);
                    continue;
                }
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let hidden_by = list
                    .plugins
                    .iter()
                    .find(|other| other.name == name)
                    .map(|other| other.path.clone());
                list.plugins.push(Installed { name, path, hidden_by });
            }
        }
        // Stable: of equal names, the one that is found comes first.
        list.plugins.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
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
    fn a_name_is_looked_up_and_a_path_is_used_directly() {
        let (root, folders) = folders();
        let find = |word: &str| folders.find(Path::new(word)).map(|found| found.path);
        let top = root.path().canonicalize().unwrap();
        assert_eq!(find("flame").unwrap(), top.join("own/flame.wasm"));
        assert_eq!(find("paths").unwrap(), top.join("system/paths.wasm"));
        for path in ["./flame", "flame.wasm", "/nowhere/flame", "a/b.so", "..", "flame/"] {
            assert_eq!(find(path).unwrap(), Path::new(path));
        }
    }

    #[test]
    fn a_missing_plugin_is_reported_with_the_folders() {
        let (_root, folders) = folders();
        for name in ["nothing", "native"] {
            let error = folders.find(Path::new(name)).unwrap_err().to_string();
            assert!(error.contains("own or") && error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_list_shows_which_of_two_is_used() {
        let (root, folders) = folders();
        let list = folders.installed().unwrap().plugins;
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
                .plugins
                .is_empty()
        );
    }

    #[test]
    fn root_skips_folders_that_others_can_write() {
        use std::os::unix::fs::PermissionsExt;
        let (root, folders) = folders();
        let own = root.path().join("own");
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o777)).unwrap();
        let found = folders.find(Path::new("flame")).unwrap();
        let list = folders.installed().unwrap();
        if !rustix::process::geteuid().is_root() {
            assert!(found.path.ends_with("own/flame.wasm") && found.skipped.is_empty() && list.skipped.is_empty());
            return;
        }
        assert!(found.path.ends_with("system/flame.wasm"), "{found:?}");
        let said = found.skipped[0].to_string();
        assert!(
            said.contains("own/flame.wasm is not used") && said.contains("others than root can write"),
            "{said}"
        );
        assert_eq!((list.plugins.len(), list.skipped.len()), (2, 1));
        std::fs::remove_file(root.path().join("system/flame.wasm")).unwrap();
        let said = folders.find(Path::new("flame")).unwrap_err().to_string();
        assert!(
            said.contains("no plugin 'flame' is installed") && said.contains("chmod go-w"),
            "{said}"
        );
    }
}
