//! Errors of reading the kernel, in words for the user.

use super::btf::BtfError;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The reason why the functions could not be found.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The kernel has no BTF.
    #[error(
        "this kernel has no type information: {path} does not exist; ipft needs a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        path = path.display()
    )]
    NoBtf {
        /// Its expected path.
        path: PathBuf,
    },
    /// A file that is no valid BTF.
    #[error("cannot use the type information in {}: {source}", path.display())]
    Btf {
        /// The file.
        path: PathBuf,
        /// The problem.
        source: BtfError,
    },
    /// tracefs is in neither of its places.
    #[error(
        "cannot find the kernel's list of traceable functions: tracefs is not mounted; \
         try: mount -t tracefs tracefs /sys/kernel/tracing"
    )]
    NoTracefs,
    /// A file that cannot be read, for want of rights.
    #[error("not allowed to read {}: run ipft as root, or give it CAP_DAC_READ_SEARCH", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// A file that cannot be read, for whatever other reason.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl KernelError {
    pub(super) fn read(path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => KernelError::Denied { path },
            _ => KernelError::Read { path, source },
        }
    }
}
