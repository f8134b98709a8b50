//! The kernel's own types as they are in `/sys/kernel/btf/vmlinux`, for those who look up structs. They are some
//! megabytes, which all that starts a trace reads together, once. Imports `btf`.

use std::cell::OnceCell;
use std::io;
use std::path::PathBuf;

use super::Root;
use super::btf::Btf;
use super::error::KernelError;

/// The bytes of the kernel's BTF, which are read when they are needed.
#[derive(Debug)]
pub struct TypeBytes {
    path: PathBuf,
    bytes: OnceCell<Vec<u8>>,
}

/// The kernel's types, which are indexed when they are needed.
#[derive(Debug)]
pub struct Types<'a> {
    bytes: &'a TypeBytes,
    btf: OnceCell<Btf<'a>>,
}

impl TypeBytes {
    /// Those of this kernel.
    pub fn new(root: &Root) -> TypeBytes {
        TypeBytes {
            path: root.path("/sys/kernel/btf/vmlinux"),
            bytes: OnceCell::new(),
        }
    }

    /// Returns the types in them.
    pub fn types(&self) -> Types<'_> {
        Types {
            bytes: self,
            btf: OnceCell::new(),
        }
    }

    fn get(&self) -> Result<&[u8], KernelError> {
        if let Some(bytes) = self.bytes.get() {
            return Ok(bytes);
        }
        match std::fs::read(&self.path) {
            Ok(bytes) => Ok(self.bytes.get_or_init(|| bytes)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Err(KernelError::NoBtf {
                path: self.path.clone(),
            }),
            Err(source) => Err(KernelError::read(self.path.clone(), source)),
        }
    }
}

impl<'a> Types<'a> {
    /// Returns the types, in an index.
    pub fn get(&self) -> Result<&Btf<'a>, KernelError> {
        if let Some(btf) = self.btf.get() {
            return Ok(btf);
        }
        let btf = Btf::parse(self.bytes.get()?).map_err(|source| KernelError::Btf {
            path: self.bytes.path.clone(),
            source,
        })?;
        Ok(self.btf.get_or_init(|| btf))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::{BtfBuilder, Tree};

    #[test]
    fn types_are_read_once_and_errors_each_time() {
        let path = "/sys/kernel/btf/vmlinux";
        let tree = Tree::new();
        let bytes = TypeBytes::new(&tree.root());
        let types = bytes.types();
        for _ in 0..2 {
            assert!(matches!(types.get(), Err(KernelError::NoBtf { .. })));
        }
        let tree = tree.with(path, b"\x9f\xeb");
        let broken = TypeBytes::new(&tree.root());
        for _ in 0..2 {
            assert!(matches!(broken.types().get(), Err(KernelError::Btf { .. })));
        }
        let tree = tree.with(path, BtfBuilder::new().build());
        let first: *const Btf<'_> = types.get().unwrap();
        // What is read later would be something else.
        let _tree = tree.with(path, "");
        assert_eq!(first, std::ptr::from_ref(types.get().unwrap()));
        assert!(bytes.types().get().is_ok());
    }
}
