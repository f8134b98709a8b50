//! Grants of the user to a plugin. By default it may compute, and write to its own stream.

use std::path::PathBuf;
use std::time::Duration;

/// Grants and options of one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Options and their values (`--plugin-opt`).
    pub options: Vec<(String, String)>,
    /// The file that its stream goes to (`--plugin-out`).
    pub out: Option<PathBuf>,
    /// Visible folders (`--plugin-dir`).
    pub dirs: Vec<DirGrant>,
    /// Visible environment variables (`--plugin-env`).
    pub env: Vec<String>,
    /// Resource limits.
    pub limits: Limits,
}

/// A granted folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirGrant {
    /// Path on the machine.
    pub host: PathBuf,
    /// Path for the plugin.
    pub guest: String,
    /// Whether it is read-only.
    pub read_only: bool,
}

/// Resource limits of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory (`--plugin-memory`).
    pub memory: usize,
    /// Time limit of one call (`--plugin-timeout`).
    pub timeout: Duration,
    /// Maximum bytes of output (`--plugin-out-max`).
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
