//! Creates the folder of a new plugin: small, complete and buildable.
//!
//! The templates are in `sdk/templates`, and embedded in the binary. In them, `{{name}}` stands for the plugin's name.
//! Dependencies that are in no registry yet are embedded as well: the contract, and the SDK for Rust. Imports `output`
//! and `text`.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};

use super::description;
use super::language::Language;
use ipft_core::output::{self, Entry};
use ipft_core::text::visible;

/// Placeholder for the plugin's name.
const NAME: &str = "{{name}}";

/// Path of the contract in a template, if its language's tools read it.
const CONTRACT: (&str, &[u8]) = (
    "wit/plugin-0.1.0.wit",
    include_bytes!("../../../../wit/plugin-0.1.0.wit"),
);

/// A file of a template: its path in the new folder, and its content.
type Template = &'static [(&'static str, &'static [u8])];

macro_rules! template {
    ($language:literal: $($path:literal),* $(,)?) => {
        &[$(($path, include_bytes!(concat!("../../../../sdk/templates/", $language, "/", $path)))),*]
    };
}

macro_rules! sdk {
    ($($module:literal),* $(,)?) => {
        &[$((concat!("src/", $module, ".rs"), include_bytes!(concat!("../../../../sdk/rust/src/", $module, ".rs")))),*]
    };
}

const RUST: Template = template!("rust": ".gitignore", "Cargo.toml", "README.md", "src/lib.rs", "tests/traces.rs");
const C: Template = template!("c":
    ".gitignore", "Makefile", "README.md", "plugin.c", "plugin.json",
    "bindings/sink_plugin.c", "bindings/sink_plugin.h", "bindings/sink_plugin_component_type.o",
);
const JAVASCRIPT: Template = template!("js": ".gitignore", "README.md", "package.json", "plugin.js", "plugin.json");
const PYTHON: Template = template!("python":
    ".gitignore", "README.md", "plugin.json", "plugin.py", "requirements.txt",
);

/// Path of the SDK in the template for Rust.
const SDK_FOLDER: &str = "ipft-plugin";

/// The SDK's sources; its manifest is written by [`sdk_manifest`].
const SDK: Template = sdk!(
    "decoder",
    "description",
    "driver",
    "error",
    "event",
    "fields",
    "heading",
    "journeys",
    "lib",
    "log",
    "macros",
    "native/mod",
    "native/records",
    "options",
    "outcome",
    "output",
    "parts",
    "testing/line",
    "testing/mod",
    "testing/recording",
    "testing/recording/tests",
    "testing/symbols",
    "testing/traces",
    "testing/value",
    "text",
    "trace",
    "tree",
    "wasm",
);

/// The reason why no plugin was created. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    /// The name is invalid.
    #[error("a plugin cannot be called '{name}': {reason}", name = visible(name))]
    Name {
        /// The name.
        name: String,
        /// The reason.
        reason: String,
    },
    /// The folder is not empty, or not a folder.
    #[error("{} exists, and is not an empty folder: give a folder that is new or empty", path.display())]
    NotEmpty {
        /// The path.
        path: PathBuf,
    },
    /// The system refuses writing.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The path.
        path: PathBuf,
        /// The reason.
        error: io::Error,
    },
}

/// Creates a plugin of this name in a folder that is empty or does not exist.
pub fn write(dir: &Path, language: Language, name: &str) -> Result<(), NewError> {
    check_name(name)?;
    if !free(dir)? {
        return Err(NewError::NotEmpty { path: dir.to_owned() });
    }
    let mut written = Written::new(dir)?;
    for (path, content) in template(language) {
        written.file(Path::new(path), &named(content, name))?;
    }
    match language {
        Language::C => {}
        Language::JavaScript | Language::Python => written.file(Path::new(CONTRACT.0), CONTRACT.1)?,
        Language::Rust => {
            let sdk = Path::new(SDK_FOLDER);
            written.file(&sdk.join("Cargo.toml"), sdk_manifest().as_bytes())?;
            for (path, content) in SDK.iter().chain([&CONTRACT]) {
                written.file(&sdk.join(path), content)?;
            }
        }
    }
    written.keep();
    Ok(())
}

fn template(language: Language) -> Template {
    match language {
        Language::Rust => RUST,
        Language::C => C,
        Language::JavaScript => JAVASCRIPT,
        Language::Python => PYTHON,
    }
}

/// Returns the SDK's manifest without references to this workspace: inherited values are filled in.
fn sdk_manifest() -> String {
    let mut manifest = String::new();
    let mut kept = true;
    for line in include_str!("../../../../sdk/rust/Cargo.toml").lines() {
        if line.starts_with('[') {
            kept = !matches!(line, "[lints]" | "[dev-dependencies]");
        }
        if !kept {
            continue;
        }
        let value = match line.strip_suffix(".workspace = true") {
            Some("version") => env!("CARGO_PKG_VERSION"),
            Some("edition") => "2024",
            Some("rust-version") => env!("CARGO_PKG_RUST_VERSION"),
            Some("license") => env!("CARGO_PKG_LICENSE"),
            _ => {
                manifest += line;
                manifest += "\n";
                continue;
            }
        };
        let key = line.trim_end_matches(".workspace = true");
        manifest += &format!("{key} = \"{value}\"\n");
    }
    manifest
}

/// Checks a name: valid in a description, not starting like an option, and accepted by cargo.
fn check_name(name: &str) -> Result<(), NewError> {
    let reason = match description::name(name) {
        Err(_) => "a name has up to 64 letters, digits, - and _",
        Ok(()) if name == SDK_FOLDER => "it is the name of the SDK",
        Ok(()) if !name.starts_with(|first: char| first.is_ascii_alphabetic()) => "a name begins with a letter",
        Ok(()) => return Ok(()),
    };
    Err(NewError::Name {
        name: name.to_owned(),
        reason: reason.to_owned(),
    })
}

/// Returns whether the path does not exist or is an empty folder.
fn free(dir: &Path) -> Result<bool, NewError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(dir.symlink_metadata().is_err()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
        Err(error) => Err(cannot(dir)(error)),
    }
}

/// Returns the content of a file, with the plugin's name filled in.
fn named(content: &[u8], name: &str) -> Vec<u8> {
    match str::from_utf8(content) {
        Ok(text) => text.replace(NAME, name).into_bytes(),
        Err(_) => content.to_owned(),
    }
}

fn cannot(path: &Path) -> impl FnOnce(io::Error) -> NewError {
    let path = path.to_owned();
    |error| NewError::Write { path, error }
}

/// Files written so far, in a folder that is held by its descriptor: a user who can rename it, or replace it by a link,
/// cannot redirect the files. Everything is removed again unless it is kept.
struct Written {
    /// Its path, for messages.
    dir: PathBuf,
    /// Any name in the folder.
    inside: Entry,
    /// The folder and its parents, if they were created.
    parents: Vec<PathBuf>,
    /// Folders and files in it, a folder before its content.
    made: Vec<(Entry, Kind)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Folder,
}

impl Written {
    /// Creates the folder, and its missing parents.
    fn new(dir: &Path) -> Result<Self, NewError> {
        let mut parents = Vec::new();
        let result = make_parents(dir, &mut parents).and_then(|()| Entry::find_name(&dir.join("x")));
        match result {
            Ok(inside) => Ok(Written {
                dir: dir.to_owned(),
                inside,
                parents,
                made: Vec::new(),
            }),
            Err(error) => {
                remove_folders(&parents);
                Err(cannot(dir)(error))
            }
        }
    }

    /// Creates a file of this path in the folder, and its parent folders.
    fn file(&mut self, path: &Path, content: &[u8]) -> Result<(), NewError> {
        let whole = self.dir.join(path);
        self.make(path, content).map_err(cannot(&whole))
    }

    fn make(&mut self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut names: Vec<OsString> = (path.components())
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name.to_owned()),
                _ => None,
            })
            .collect();
        let name = names.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let mut entry = self.inside.clone();
        let mut names = names.into_iter().chain([name]);
        if let Some(first) = names.next() {
            entry = entry.beside(first);
        }
        for name in names {
            if entry.make_folder()? {
                self.made.push((entry.clone(), Kind::Folder));
            }
            entry = entry.within(name)?;
        }
        let mut file = entry.create_new(output::PUBLIC)?;
        self.made.push((entry, Kind::File));
        file.write_all(content)
    }

    fn keep(mut self) {
        self.made.clear();
        self.parents.clear();
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        for (entry, kind) in self.made.iter().rev() {
            // A failure to remove one is less important than the error being reported.
            let _ = entry.remove(*kind == Kind::Folder);
        }
        remove_folders(&self.parents);
    }
}

/// Creates a folder and its missing parents, which are added to `made`.
fn make_parents(path: &Path, made: &mut Vec<PathBuf>) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_parents(parent, made)?;
    }
    fs::create_dir(path)?;
    made.push(path.to_owned());
    Ok(())
}

fn remove_folders(folders: &[PathBuf]) {
    for folder in folders.iter().rev() {
        let _ = fs::remove_dir(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::Description;

    const ALL: [Language; 4] = [Language::Rust, Language::C, Language::JavaScript, Language::Python];

    /// Everything below a folder.
    fn below(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(below(&path));
            }
            found.push(path);
        }
        found
    }

    #[test]
    fn a_new_plugin_has_its_name_in_every_file() {
        for language in ALL {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().join("made/on/the-way");
            write(&dir, language, "Entries-2").unwrap();
            let mut named = 0;
            for path in below(&dir).iter().filter(|path| path.is_file()) {
                let content = fs::read(path).unwrap();
                let text = String::from_utf8_lossy(&content);
                assert!(!text.contains(NAME), "{}", path.display());
                named += usize::from(text.contains("Entries-2"));
            }
            assert!(named >= 3, "{language:?}: {named}");
            if language != Language::Rust {
                let description = Description::read(&fs::read(dir.join("plugin.json")).unwrap()).unwrap();
                assert_eq!(description.name, "Entries-2");
            }
        }
    }

    #[test]
    fn every_file_of_a_template_is_in_the_binary() {
        for (language, folder) in ALL.iter().zip(["rust", "c", "js", "python"]) {
            let templates = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../../sdk/templates")
                .join(folder);
            let mut there: Vec<PathBuf> = below(&templates)
                .iter()
                .filter(|path| path.is_file())
                .map(|path| path.strip_prefix(&templates).unwrap().to_owned())
                .collect();
            let mut embedded: Vec<PathBuf> = template(*language)
                .iter()
                .map(|(path, _)| PathBuf::from(path))
                .collect();
            there.sort();
            embedded.sort();
            assert_eq!(there, embedded);
        }
    }

    #[test]
    fn every_file_of_the_sdk_is_in_the_binary() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk/rust");
        let mut there: Vec<PathBuf> = below(&sdk.join("src"))
            .iter()
            .filter(|path| path.is_file())
            .map(|path| path.strip_prefix(&sdk).unwrap().to_owned())
            .collect();
        let mut embedded: Vec<PathBuf> = SDK.iter().map(|(path, _)| PathBuf::from(path)).collect();
        there.sort();
        embedded.sort();
        assert_eq!(there, embedded);
    }

    #[test]
    fn the_manifest_of_the_sdk_needs_no_workspace() {
        let manifest = sdk_manifest();
        assert!(
            !manifest.contains("workspace") && !manifest.contains("path ="),
            "{manifest}"
        );
        let edition = include_str!("../../../../Cargo.toml")
            .lines()
            .find(|line| line.starts_with("edition"))
            .unwrap();
        for line in [edition, concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"")] {
            assert!(manifest.lines().any(|other| other == line), "{manifest}");
        }
    }

    #[test]
    fn only_an_empty_or_new_folder_is_used() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), Language::C, "entries").unwrap();
        let before = below(folder.path());
        let error = write(folder.path(), Language::C, "entries").unwrap_err();
        assert!(matches!(error, NewError::NotEmpty { .. }), "{error}");
        let file = folder.path().join("plugin.c");
        let error = write(&file, Language::C, "entries").unwrap_err();
        assert!(matches!(error, NewError::NotEmpty { .. }), "{error}");
        let dangling = folder.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        let error = write(&dangling, Language::C, "entries").unwrap_err();
        assert!(matches!(error, NewError::NotEmpty { .. }), "{error}");
        fs::remove_file(dangling).unwrap();
        assert_eq!(below(folder.path()), before);
    }

    #[test]
    fn invalid_names_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "",
            "-x",
            "2x",
            "_x",
            "ipft-plugin",
            "a b",
            "a/../b",
            "fl\u{1b}ame",
            "é",
            &"x".repeat(65),
        ] {
            let error = write(&folder.path().join("new"), Language::Python, name).unwrap_err();
            assert!(matches!(error, NewError::Name { .. }), "{error}");
            assert!(!error.to_string().contains('\u{1b}'));
        }
        assert!(below(folder.path()).is_empty());
    }

    #[test]
    fn files_written_before_an_error_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        fs::create_dir(&kept).unwrap();
        let mut written = Written::new(&kept.join("made")).unwrap();
        written.file(Path::new("a/b/c"), b"text").unwrap();
        let error = written.file(Path::new("a/b/c"), b"text").unwrap_err();
        assert!(matches!(error, NewError::Write { .. }), "{error}");
        drop(written);
        assert!(kept.is_dir());
        assert!(below(&kept).is_empty());
    }

    #[test]
    fn link_in_place_of_a_new_folder_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (dir, other) = (folder.path().join("new"), folder.path().join("other"));
        fs::create_dir(&other).unwrap();
        let mut written = Written::new(&dir).unwrap();
        written.file(Path::new("first"), b"text").unwrap();
        fs::rename(&dir, folder.path().join("moved")).unwrap();
        std::os::unix::fs::symlink("other", &dir).unwrap();
        written.file(Path::new("src/second"), b"text").unwrap();
        std::os::unix::fs::symlink("../other", folder.path().join("moved/linked")).unwrap();
        written.file(Path::new("linked/third"), b"text").unwrap_err();
        written.keep();
        assert!(folder.path().join("moved/src/second").is_file());
        assert!(below(&other).is_empty());
    }
}
