//! Landlock (landlock(7)): restricts threads to the folders that the rest of the trace uses.
//! Files that are open stay so.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags};

use super::{FolderUse, Needs, PrivilegesError};

// `LANDLOCK_ACCESS_FS_*` of include/uapi/linux/landlock.h.
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const REMOVE_DIR: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
const MAKE_DIR: u64 = 1 << 7;
const MAKE_REG: u64 = 1 << 8;
const MAKE_SYM: u64 = 1 << 12;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// Those of the first version.
const FIRST: u64 = (1 << 13) - 1;

/// `LANDLOCK_ACCESS_NET_BIND_TCP` and `_CONNECT_TCP`.
const TCP: u64 = 0b11;

/// `struct landlock_ruleset_attr`, as of version 4.
#[repr(C)]
struct RulesetAttributes {
    files: u64,
    network: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    access: u64,
    folder: i32,
}

/// The version of the kernel's Landlock; 0 if it has none, or has it switched off.
pub(super) fn version() -> u32 {
    const VERSION: u32 = 1;
    let nothing: *const RulesetAttributes = std::ptr::null();
    // SAFETY: with this flag the call takes no attributes and only returns a number.
    let version = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0usize, VERSION) };
    u32::try_from(version).unwrap_or(0)
}

/// The accesses to files that a version knows.
fn known(version: u32) -> u64 {
    let later = [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)];
    later
        .into_iter()
        .filter(|(since, _)| version >= *since)
        .fold(FIRST, |known, (_, access)| known | access)
}

/// Access rights in a folder.
fn access(used: &FolderUse) -> u64 {
    let replace = MAKE_REG | REMOVE_FILE;
    match used {
        FolderUse::Name(_) => replace,
        FolderUse::Ring => replace | WRITE_FILE | READ_FILE | READ_DIR | TRUNCATE,
        FolderUse::Granted { write: false } => READ_FILE | READ_DIR,
        FolderUse::Granted { write: true } => {
            replace | WRITE_FILE | READ_FILE | READ_DIR | TRUNCATE | REMOVE_DIR | MAKE_DIR | MAKE_SYM | REFER
        }
    }
}

/// The rules: only what is needed.
pub(super) fn ruleset(version: u32, needs: &Needs) -> Result<OwnedFd, PrivilegesError> {
    let failed = |source| PrivilegesError::Step {
        what: "limit files (Landlock)",
        source,
    };
    let known = known(version);
    let attributes = RulesetAttributes {
        files: known,
        network: TCP,
    };
    let size = match version {
        // The kernel refuses what it does not know.
        0..4 => size_of::<u64>(),
        _ => size_of::<RulesetAttributes>(),
    };
    // SAFETY: the attributes are readable for `size` bytes.
    let ruleset = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attributes, size, 0u32) };
    if ruleset < 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    // SAFETY: the kernel just returned this descriptor; it has no other owner.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset as RawFd) };
    for folder in &needs.folders {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&folder.path, flags, Mode::empty()).map_err(|errno| PrivilegesError::Folder {
            folder: folder.path.display().to_string(),
            source: errno.into(),
        })?;
        let rule = PathBeneath {
            access: access(&folder.used) & known,
            folder: opened.as_raw_fd(),
        };
        const PATH_BENEATH: u32 = 1;
        // SAFETY: the rule is readable, and its descriptor open.
        let added = unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                ruleset.as_raw_fd(),
                PATH_BENEATH,
                &raw const rule,
                0u32,
            )
        };
        if added != 0 {
            return Err(failed(io::Error::last_os_error()));
        }
    }
    Ok(ruleset)
}

/// Applies the rules to the calling thread; async-signal-safe. 0, or -1 with `errno` set.
pub(super) fn restrict_thread(ruleset: RawFd) -> libc::c_long {
    // SAFETY: the call takes integers.
    unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0u32) }
}
