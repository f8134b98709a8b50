//! The kernel's own types as they are in `/sys/kernel/btf/vmlinux`, for those who look up structs. Imports `btf`.

use std::io;
use std::path::PathBuf;

use super::Root;
use super::btf::Btf;
use super::error::KernelError;

/// The bytes of the kernel's BTF.
#[derive(Debug)]
pub struct TypeBytes {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl TypeBytes {
    /// Reads them.
    pub fn read(root: &Root) -> Result<TypeBytes, KernelError> {
        let path = root.path("/sys/kernel/btf/vmlinux");
        match std::fs::read(&path) {
            Ok(bytes) => Ok(TypeBytes { path, bytes }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Err(KernelError::NoBtf { path }),
            Err(source) => Err(KernelError::read(path, source)),
        }
    }

    /// Indexes the types.
    pub fn parse(&self) -> Result<Btf<'_>, KernelError> {
        Btf::parse(&self.bytes).map_err(|source| KernelError::Btf {
            path: self.path.clone(),
            source,
        })
    }
}
