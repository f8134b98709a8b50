//! The running kernel: its types (BTF), its symbols, and its functions that take a packet.
//!
//! This module reads files and attaches nothing. Every reader takes the root of the file system ([`Root`]), so that
//! tests use a fake tree or a fixture. It imports nothing of the crate.

pub mod arch;
mod attachable;
mod blacklist;
mod cgroup;
pub mod checks;
mod code;
mod cpus;
mod drops;
mod entry;
mod error;
mod find;
mod function;
mod hot;
mod kcore;
mod known;
mod lines;
mod list;
mod loaded;
mod memory;
mod namespace;
mod prototype;
mod release;
mod symbols;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tracefs;
mod types;
mod unfilled;
mod wanted;

pub use bpf_btf as btf;
pub use cgroup::{ControlGroup, ControlGroupError, control_group};
pub use code::{Code, CodeFunction};
pub use cpus::online_cpus;
pub use drops::Drops;
pub use entry::Entries;
pub use error::KernelError;
pub use find::{Found, MissingModule, find_functions, find_functions_with};
pub use function::{Candidate, PacketArgument, SkipReason, Skipped};
pub use hot::is_hot;
pub use list::{HEADER as LIST_HEADER, write_list};
pub use loaded::LoadedModules;
pub use memory::memory;
pub use namespace::{NamespaceError, network_namespace};
pub use release::{detaching_returns_crashes, faults_crash, ring_buffer_sleeps, trampolines_go_by_name};
pub use symbols::{Contexts, read_symbols, shared_names};
pub use types::{TypeBytes, Types};

use std::path::{Path, PathBuf};

/// The root of `/proc` and `/sys`: `/`, or a folder that a test has filled.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// The running system.
    pub fn system() -> Self {
        Root(PathBuf::from("/"))
    }

    /// A tree that looks like one.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Root(path.into())
    }

    /// The path of an absolute `path` below this root.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0
            .join(Path::new(path).strip_prefix("/").unwrap_or(Path::new(path)))
    }
}
