//! Cache of compiled plugins: compiling takes a hundred times longer than loading.
//!
//! The cached files are native code, which runs as the tracing user, usually root. So a folder is only used if no other
//! user can write to it or above it, and each file has a hash of its content, which is verified before use. A file's
//! name is a hash of the plugin, of ipft's version, and of everything that affects the code, such as the processor's
//! features: entries are never stale. An unusable folder only costs time.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, Timespec, Timestamps, UTIME_NOW, futimens, openat};
use wasmtime::Engine;
use wasmtime::component::Component;

/// Root's folder, independent of `$HOME`.
const SYSTEM: &str = "/var/cache/ipft";

/// Maximum bytes of the folder; the least recently used files are removed.
const MAX_FOLDER: u64 = 512 << 20;

/// Maximum bytes of a compiled file.
const MAX_FILE: u64 = 512 << 20;

/// Suffix of the cache's files, and prefix of those being written.
const SUFFIX: &str = ".compiled";
const UNFINISHED: &str = ".unfinished-";

/// Age at which an unfinished file is removed.
const STALE: Duration = Duration::from_secs(3600);

/// Bytes of a hash.
const HASH: usize = 32;

/// A folder of compiled plugins.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    user: u32,
    limit: u64,
}

/// The reason why the cache is disabled.
#[derive(Debug, thiserror::Error)]
enum CacheError {
    #[error("{}: {source}", path.display())]
    Path { path: PathBuf, source: io::Error },
    #[error("plugin cache disabled: {} is writable by other users; make it and what is above it writable \
             by its owner only", path.display())]
    Untrusted { path: PathBuf },
    #[error("{} is damaged; it is made anew", path.display())]
    Damaged { path: PathBuf },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> CacheError {
    let path = path.to_owned();
    |source| CacheError::Path { path, source }
}

impl Cache {
    /// Returns the cache of the current user; `None` if there is no place for it.
    pub fn of_user() -> Option<Self> {
        let user = rustix::process::geteuid().as_raw();
        if user == 0 {
            return Some(Cache::new(SYSTEM.into()));
        }
        let absolute = |name: &str| {
            let path = std::env::var_os(name).map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        };
        let folder = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
        Some(Cache::new(folder.join("ipft")))
    }

    /// Returns a cache in this folder, which is created when needed.
    pub fn new(folder: PathBuf) -> Self {
        Cache {
            folder,
            user: rustix::process::geteuid().as_raw(),
            limit: MAX_FOLDER,
        }
    }

    /// Loads a compiled plugin, if it exists and is valid. Problems with the cache are reported.
    pub(super) fn load(&self, engine: &Engine, plugin: &[u8], tell: &mut dyn FnMut(&str)) -> Option<Component> {
        match self.read(engine, &name(engine, plugin)) {
            Ok(component) => component,
            Err(error) => {
                tell(&error.to_string());
                None
            }
        }
    }

    /// Stores a compiled plugin. Problems are reported, and leave nothing behind.
    pub(super) fn store(&self, engine: &Engine, plugin: &[u8], code: &[u8], tell: &mut dyn FnMut(&str)) {
        if let Err(error) = self.write(&name(engine, plugin), code) {
            tell(&error.to_string());
        }
    }

    fn read(&self, engine: &Engine, name: &str) -> Result<Option<Component>, CacheError> {
        if !self.folder.exists() {
            return Ok(None);
        }
        let (path, folder) = self.open()?;
        let path = path.join(name);
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut file = match openat(&folder, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(at(&path)(error.into())),
        };
        let found = file.metadata().map_err(at(&path))?;
        if !found.is_file() || !self.owns(&found) || found.mode() & 0o022 != 0 {
            return Err(CacheError::Untrusted { path });
        }
        let damaged = CacheError::Damaged { path: path.clone() };
        if found.len() > MAX_FILE {
            return Err(damaged);
        }
        let mut content = Vec::with_capacity(found.len() as usize);
        (&mut file)
            .take(MAX_FILE)
            .read_to_end(&mut content)
            .map_err(at(&path))?;
        let Some((hash, code)) = content.split_first_chunk::<HASH>() else {
            return Err(damaged);
        };
        if blake3::hash(code) != *hash {
            return Err(damaged);
        }
        // SAFETY: these bytes are those that `write` got from the compiler: only root and the current user can change
        // them, as `open` and the check above have verified, and both can change the program as well. The hash detects
        // disk errors. The name contains everything that the engine's code depends on, and the engine compares that
        // again.
        let component = unsafe { Component::deserialize(engine, code) }.map_err(|_| damaged)?;
        // Marks it as used; a failure does no harm.
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let _ = futimens(
            &file,
            &Timestamps {
                last_access: now,
                last_modification: now,
            },
        );
        Ok(Some(component))
    }

    fn write(&self, name: &str, code: &[u8]) -> Result<(), CacheError> {
        if code.len() as u64 > MAX_FILE - HASH as u64 {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)
            .map_err(at(&self.folder))?;
        let (path, _) = self.open()?;
        let mut file = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&path)
            .map_err(at(&path))?;
        let written = file
            .write_all(blake3::hash(code).as_bytes())
            .and_then(|()| file.write_all(code));
        written.map_err(at(file.path()))?;
        let finished = path.join(name);
        file.persist(&finished).map_err(|error| at(&finished)(error.error))?;
        self.make_room(&path, name)
    }

    /// Opens the folder, if only root and the user can change it and its parents. Returns its true path.
    fn open(&self) -> Result<(PathBuf, File), CacheError> {
        let path = self.folder.canonicalize().map_err(at(&self.folder))?;
        for (above, folder) in path.ancestors().enumerate() {
            let found = folder.symlink_metadata().map_err(at(folder))?;
            // Entries of a sticky folder such as /tmp can only be moved or removed by their owner.
            let sticky = above > 0 && found.mode() & 0o1000 != 0;
            if !found.is_dir() || !self.owns(&found) || (found.mode() & 0o022 != 0 && !sticky) {
                return Err(CacheError::Untrusted {
                    path: folder.to_owned(),
                });
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| at(&path)(error.into()))?;
        Ok((path, folder.into()))
    }

    fn owns(&self, found: &std::fs::Metadata) -> bool {
        found.uid() == 0 || found.uid() == self.user
    }

    /// Removes the least recently used files until the rest is small enough, and left-over files.
    fn make_room(&self, folder: &Path, new: &str) -> Result<(), CacheError> {
        let mut files = Vec::new();
        for entry in folder.read_dir().map_err(at(folder))?.flatten() {
            let name = entry.file_name();
            let Ok(found) = entry.metadata() else { continue };
            let used = found.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if starts_with(&name, UNFINISHED) {
                if used.elapsed().is_ok_and(|age| age > STALE) {
                    let _ = std::fs::remove_file(entry.path());
                }
            } else if ends_with(&name, SUFFIX) && name != new {
                files.push((used, found.len(), entry.path()));
            }
        }
        files.sort();
        let mut sum: u64 = files.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in files {
            if sum <= self.limit {
                break;
            }
            // Another process may have removed it.
            let _ = std::fs::remove_file(path);
            sum -= size;
        }
        Ok(())
    }
}

fn starts_with(name: &OsStr, start: &str) -> bool {
    name.as_encoded_bytes().starts_with(start.as_bytes())
}

fn ends_with(name: &OsStr, end: &str) -> bool {
    name.as_encoded_bytes().ends_with(end.as_bytes())
}

/// Returns the file of a plugin's code.
fn name(engine: &Engine, plugin: &[u8]) -> String {
    let mut hasher = Blake3(blake3::Hasher::new());
    blake3::hash(plugin).as_bytes().hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{}{SUFFIX}", hasher.0.finalize().to_hex())
}

/// Computes a hash with more bits than the standard library's.
struct Blake3(blake3::Hasher);

impl Hasher for Blake3 {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Never called: the whole hash is used.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, size: usize, age: u64| {
            let path = folder.path().join(name);
            std::fs::write(&path, vec![0; size]).unwrap();
            let used = SystemTime::now() - Duration::from_secs(age);
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(used)
                .unwrap();
        };
        file("old.compiled", 600, 300);
        file("older.compiled", 600, 400);
        file("new.compiled", 600, 0);
        file("recent.compiled", 600, 10);
        file("notes.txt", 5000, 500);
        file(".unfinished-now", 600, 5);
        file(".unfinished-then", 600, 7200);
        let mut cache = Cache::new(folder.path().to_owned());
        cache.limit = 1200;
        cache.make_room(folder.path(), "new.compiled").unwrap();
        let mut left: Vec<_> = folder
            .path()
            .read_dir()
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(
            left,
            [
                ".unfinished-now",
                "new.compiled",
                "notes.txt",
                "old.compiled",
                "recent.compiled"
            ]
        );
    }

    #[test]
    fn roots_cache_does_not_depend_on_home() {
        let cache = Cache::of_user().unwrap();
        if rustix::process::geteuid().is_root() {
            assert_eq!(cache.folder, Path::new("/var/cache/ipft"));
        } else {
            assert!(cache.folder.ends_with("ipft") && !cache.folder.starts_with("/var"));
        }
    }

    #[test]
    fn a_folder_of_another_user_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = Cache::new(folder.path().to_owned());
        cache.open().unwrap();
        let owner = folder.path().metadata().unwrap().uid();
        // As another user would see it: root's folders are accepted, this user's are not. If root owns them, there is
        // no other case.
        cache.user = owner + 1;
        assert_eq!(cache.open().is_ok(), owner == 0);
    }
}
