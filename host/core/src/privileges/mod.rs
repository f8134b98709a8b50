//! What ipft may still do once everything is attached, or all files of a recording are open: as little as the rest of the
//! trace needs.
//!
//! Attaching needs many privileges. The rest of a trace (plugins, scripts, decoders, formatting, writing) reads a
//! mapped buffer and writes to open files, so every thread drops its capabilities, Landlock restricts it to the folders
//! of the outputs, and seccomp to the system calls in use. An attacker who escapes a plugin's sandbox has no more than
//! that. This folder imports nothing of the crate.

mod capabilities;
mod landlock;
mod needs;
mod seccomp;
mod threads;
mod user;

use std::io;

pub use needs::{Folder, FolderUse, Needs, folder_of};
pub use user::{User, UserError};

/// The reason why privileges could not be dropped.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// A step that every kernel has failed.
    #[error("cannot drop privileges: {what}: {source}; --keep-privileges goes on with all of them")]
    Step {
        /// The failed operation.
        what: &'static str,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
    /// A folder of an output cannot be opened.
    #[error("cannot keep access to the folder {folder}: {source}")]
    Folder {
        /// Which.
        folder: String,
        /// The kernel's error.
        #[source]
        source: io::Error,
    },
}

/// Restrictions of every thread after [`reduce`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The user that the process became, if it was another one before.
    pub user: Option<User>,
    /// Capabilities that were kept, as a mask.
    pub capabilities: u64,
    /// The version of Landlock that limits files; `None` where the kernel has none.
    pub landlock: Option<u32>,
    /// Whether system calls are filtered.
    pub seccomp: bool,
}

impl InForce {
    /// One line for people.
    pub fn describe(&self) -> String {
        let capabilities = match self.capabilities {
            0 => "no capabilities".to_owned(),
            kept => format!("only {}", capabilities::names(kept)),
        };
        let landlock = match self.landlock {
            Some(version) => format!("files limited by Landlock (ABI {version})"),
            None => "files not limited (no Landlock)".to_owned(),
        };
        let seccomp = match self.seccomp {
            true => "system calls filtered by seccomp",
            false => "system calls not filtered (no seccomp)",
        };
        let user = match &self.user {
            Some(User { name, uid, gid }) => format!("user {name} (uid {uid}, gid {gid}), "),
            None => String::new(),
        };
        format!("{user}{capabilities}, no new privileges, {landlock}, {seccomp}")
    }

    /// Returns the way to make it complete, if it is not.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            InForce { seccomp: false, .. } => Some("use a kernel that is built with CONFIG_SECCOMP_FILTER=y"),
            InForce { landlock: None, .. } => Some(
                "use Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK=y, and 'landlock' among the lsm= of its command line",
            ),
            _ => None,
        }
    }
}

/// Gives up, in every thread, what the rest of the trace does not need. What the kernel does not have is left out, and
/// the result says so; capabilities that cannot be dropped are an error.
pub fn reduce(needs: &Needs) -> Result<InForce, PrivilegesError> {
    let step = |what| move |source| PrivilegesError::Step { what, source };
    let held = capabilities::permitted().map_err(step("read the capabilities"))?;
    let kept = held & needs.capabilities();
    let landlock = match landlock::version() {
        0 => None,
        version => Some((landlock::ruleset(version, needs)?, version)),
    };
    threads::in_each(&threads::Steps {
        kept,
        landlock: landlock
            .as_ref()
            .map(|(ruleset, _)| std::os::fd::AsRawFd::as_raw_fd(ruleset)),
        user: needs.user.as_ref().map(|user| (user.uid, user.gid)),
    })
    .map_err(|(what, source)| PrivilegesError::Step { what, source })?;
    let seccomp = seccomp::is_available();
    if seccomp {
        seccomp::install(needs).map_err(step("filter system calls (seccomp)"))?;
    }
    Ok(InForce {
        user: needs.user.clone(),
        capabilities: kept,
        landlock: landlock.map(|(_, version)| version),
        seccomp,
    })
}

/// Returns the restrictions that [`reduce`] would apply here, for a trace that needs nothing.
pub fn forecast() -> InForce {
    InForce {
        user: None,
        capabilities: 0,
        landlock: match landlock::version() {
            0 => None,
            version => Some(version),
        },
        seccomp: seccomp::is_available(),
    }
}

#[cfg(test)]
mod tests;
