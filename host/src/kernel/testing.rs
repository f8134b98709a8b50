//! What the tests of this room build their kernels from: BTF made by hand, and trees that look like `/proc` and `/sys`.

use super::Root;
use super::btf::Kind;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Writes BTF, type by type. Ids are handed out in order, from 1 or from where the base ends.
pub(crate) struct BtfBuilder {
    types: Vec<u8>,
    strings: Vec<u8>,
    first_string: u32,
    next_id: u32,
}

impl BtfBuilder {
    pub(crate) fn new() -> Self {
        BtfBuilder {
            types: Vec::new(),
            strings: vec![0],
            first_string: 0,
            next_id: 1,
        }
    }

    /// Continues another one.
    pub(crate) fn split(base: &BtfBuilder) -> Self {
        BtfBuilder {
            types: Vec::new(),
            strings: Vec::new(),
            first_string: base.first_string + base.strings.len() as u32,
            next_id: base.next_id,
        }
    }

    pub(crate) fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = self.first_string + self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        offset
    }

    /// Any type: its kind, the flag, the count, the third word and what follows.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        name: &str,
        flag: bool,
        count: u32,
        size_or_type: u32,
        rest: &[u32],
    ) -> u32 {
        let name = self.string(name);
        let info = u32::from(flag) << 31 | (kind as u32) << 24 | count;
        for word in [name, info, size_or_type].iter().chain(rest) {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
        self.next_id += 1;
        self.next_id - 1
    }

    pub(crate) fn int(&mut self, name: &str, bytes: u32) -> u32 {
        self.add(Kind::Int, name, false, 0, bytes, &[bytes * 8])
    }

    /// A pointer, a qualifier, a typedef: whatever only refers to another type.
    pub(crate) fn refer(&mut self, kind: Kind, name: &str, to: u32) -> u32 {
        self.add(kind, name, false, 0, to, &[])
    }

    pub(crate) fn pointer(&mut self, to: u32) -> u32 {
        self.refer(Kind::Pointer, "", to)
    }

    /// A struct whose members are (name, type, offset in bits).
    pub(crate) fn composite(&mut self, kind: Kind, name: &str, bytes: u32, members: &[(&str, u32, u32)]) -> u32 {
        let mut rest = Vec::new();
        for (member, type_id, offset) in members {
            rest.extend([self.string(member), *type_id, *offset]);
        }
        self.add(kind, name, false, members.len() as u32, bytes, &rest)
    }

    pub(crate) fn prototype(&mut self, returns: u32, parameters: &[u32]) -> u32 {
        let rest: Vec<u32> = parameters.iter().flat_map(|type_id| [0, *type_id]).collect();
        self.add(Kind::Prototype, "", false, parameters.len() as u32, returns, &rest)
    }

    /// A function and its prototype; the function's id.
    pub(crate) fn function(&mut self, name: &str, returns: u32, parameters: &[u32]) -> u32 {
        let prototype = self.prototype(returns, parameters);
        self.refer(Kind::Function, name, prototype)
    }

    /// Gives a type that was made by [`BtfBuilder::function`] the name at an offset.
    pub(crate) fn rename(&mut self, function: u32, name: u32) {
        debug_assert_eq!(function, self.next_id - 1);
        let at = self.types.len() - 12;
        self.types[at..at + 4].copy_from_slice(&name.to_ne_bytes());
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&0xeb9f_u16.to_ne_bytes());
        bytes.extend_from_slice(&[1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [24, 0, types, types, strings] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

/// A folder that stands for `/`, deleted when dropped.
pub(crate) struct Tree(PathBuf);

impl Tree {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ipft-kernel-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Tree(path)
    }

    pub(crate) fn root(&self) -> Root {
        Root::at(&self.0)
    }

    /// Writes a file at an absolute path of the tree.
    pub(crate) fn with(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.root().path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn without(self, path: &str) -> Self {
        let path = self.root().path(path);
        if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }
        .unwrap();
        self
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        fs::create_dir_all(self.root().path(path)).unwrap();
        self
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ word >> 31) % bound.max(1) as u64) as usize
    }
}
