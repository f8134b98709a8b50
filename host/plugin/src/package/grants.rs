//! What the user lets a plugin do. By default: compute, and write to its own stream.

use std::path::PathBuf;
use std::time::Duration;

/// Everything that the user said about one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Options and their values (`--plugin-opt`).
    pub options: Vec<(String, String)>,
    /// The file that its stream goes to (`--plugin-out`).
    pub out: Option<PathBuf>,
    /// Folders that it sees (`--plugin-dir`).
    pub dirs: Vec<DirGrant>,
    /// Environment variables that it sees (`--plugin-env`).
    pub env: Vec<String>,
    /// How much of everything.
    pub limits: Limits,
}

/// A folder that a plugin sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirGrant {
    /// Where it is.
    pub host: PathBuf,
    /// What the plugin calls it.
    pub guest: String,
    /// Whether it may only read.
    pub read_only: bool,
}

/// How much of everything a plugin may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory (`--plugin-memory`).
    pub memory: usize,
    /// How long one call may take (`--plugin-timeout`).
    pub timeout: Duration,
    /// Bytes that it may write (`--plugin-out-max`).
    pub output: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 512 << 20,
            timeout: Duration::from_secs(30),
            output: 1 << 30,
        }
    }
}
