//! Reads BTF, the kernel's type format: vmlinux's, a module's that continues vmlinux's ("split"), a BPF object's.
//!
//! This file finds the types in the bytes, [`types`] interprets them. It exists because start-up time counts in
//! milliseconds: nothing is copied, nothing is sorted, no table of names is built. One pass notes where each type
//! begins (4 bytes per type) and names are read on demand. The bytes are untrusted: no input makes it panic or allocate
//! more than the input's own size.
//!
//! The format is described in the kernel's `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h`.

mod builder;
#[cfg(test)]
mod tests;
mod types;

pub use builder::Builder;
pub use types::{
    ArrayInfo, Enumerator, Enumerators, IntEncoding, IntInfo, Kind, Linkage, Member, Members, Parameter, Parameters,
    SectionVariable, SectionVariables, Type,
};

use thiserror::Error;

/// The reason why bytes are not BTF.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BtfError {
    /// Too short to hold what the header, or a type, says it holds.
    #[error("BTF is cut short: {what} needs {needed} bytes, {found} are there")]
    Short {
        /// The part that is incomplete.
        what: &'static str,
        /// Bytes it needs.
        needed: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Something else.
    #[error("not BTF: it begins with {0:#06x} instead of {MAGIC:#06x}")]
    Magic(u16),
    /// Made for a machine of the other byte order.
    #[error("this BTF is {0}-endian, this machine is not")]
    Endian(&'static str),
    /// A version that does not exist yet.
    #[error("BTF version {0} is unknown, only version 1 is")]
    Version(u8),
    /// A type of an unknown kind: its length is unknown as well, so the rest cannot be read.
    #[error("BTF type {id} is of unknown kind {kind}")]
    UnknownKind {
        /// The type.
        id: u32,
        /// Its kind.
        kind: u32,
    },
    /// A name that is not among the strings.
    #[error("BTF type {id} has its name at {offset}, beyond the strings")]
    Name {
        /// The type.
        id: u32,
        /// The name's offset.
        offset: u32,
    },
    /// The strings are not text.
    #[error("the strings of this BTF are not UTF-8")]
    Strings,
    /// Ids or string offsets that do not fit in 32 bits.
    #[error("BTF with more than 2^32 types or bytes of strings")]
    TooLarge,
}

/// First two bytes of any BTF, as a number of its own byte order.
const MAGIC: u16 = 0xeb9f;
/// Bytes of the header that every version has.
const HEADER_LEN: usize = 24;
/// A chain of typedefs and qualifiers longer than this is a loop: no compiler makes one of even ten.
const MAX_CHAIN: usize = 64;

/// BTF, indexed by type id.
#[derive(Debug)]
pub struct Btf<'a> {
    /// The base of split BTF.
    base: Option<&'a Btf<'a>>,
    types: &'a [u8],
    /// Their offset in the bytes.
    types_start: usize,
    strings: &'a str,
    /// Offset of each type in `types`; `offsets[0]` is type `first_id`.
    offsets: Vec<u32>,
    /// Ids of the functions: a third of all types, and those used most.
    functions: Vec<u32>,
    first_id: u32,
    first_string: u32,
}

impl<'a> Btf<'a> {
    /// Indexes a complete BTF, such as `/sys/kernel/btf/vmlinux` or a BPF object's `.BTF` section.
    pub fn parse(data: &'a [u8]) -> Result<Self, BtfError> {
        Self::index(data, None)
    }

    /// Indexes split BTF, such as `/sys/kernel/btf/nf_conntrack`, which continues the ids and strings of `base`.
    pub fn parse_split(data: &'a [u8], base: &'a Btf<'a>) -> Result<Self, BtfError> {
        Self::index(data, Some(base))
    }

    fn index(data: &'a [u8], base: Option<&'a Btf<'a>>) -> Result<Self, BtfError> {
        let (types_start, types, strings) = sections(data)?;
        let mut btf = Btf {
            base,
            types,
            types_start,
            strings,
            // A record is 12 bytes at least and 20 on average; growing once in a while costs less than counting first.
            offsets: Vec::with_capacity(types.len() / 20),
            functions: Vec::with_capacity(types.len() / 60),
            first_id: base.map_or(1, Btf::end_id),
            first_string: base.map_or(0, Btf::end_string),
        };
        let end_string = u64::from(btf.first_string) + strings.len() as u64;
        if end_string > u64::from(u32::MAX) {
            return Err(BtfError::TooLarge);
        }
        let mut at = 0;
        while at < types.len() {
            let id =
                u32::try_from(u64::from(btf.first_id) + btf.offsets.len() as u64).map_err(|_| BtfError::TooLarge)?;
            let short = |needed: usize| BtfError::Short {
                what: "a type",
                needed: needed as u64,
                found: (types.len() - at) as u64,
            };
            let record = types[at..].first_chunk::<12>().ok_or(short(12))?;
            let name = word(record, 0);
            if u64::from(name) >= end_string && name != 0 {
                return Err(BtfError::Name { id, offset: name });
            }
            let info = word(record, 4);
            let kind = Kind::from_info(info).ok_or(BtfError::UnknownKind {
                id,
                kind: types::kind_number(info),
            })?;
            let len = 12 + kind.trailer_len(info);
            if len > types.len() - at {
                return Err(short(len));
            }
            if kind == Kind::Function {
                btf.functions.push(id);
            }
            btf.offsets.push(u32::try_from(at).map_err(|_| BtfError::TooLarge)?);
            at += len;
        }
        Ok(btf)
    }

    /// One more than the last type's id.
    pub fn end_id(&self) -> u32 {
        self.first_id + self.offsets.len() as u32
    }

    /// Id of the first type that is not the base's; 1 in a BTF without base (0 is `void`).
    pub fn first_id(&self) -> u32 {
        self.first_id
    }

    fn end_string(&self) -> u32 {
        self.first_string + self.strings.len() as u32
    }

    /// The type with this id, the base's included; `None` for `void` (0) and for ids that do not exist.
    #[inline]
    pub fn get(&self, id: u32) -> Option<Type<'_>> {
        let Some(index) = id.checked_sub(self.first_id) else {
            return self.base.and_then(|base| base.get(id));
        };
        let at = *self.offsets.get(index as usize)? as usize;
        Type::at(self, id, self.types.get(at..)?)
    }

    /// Returns the offset of a type's record from the start of the BTF; `None` for the base's types.
    pub fn offset_of(&self, id: u32) -> Option<usize> {
        let index = id.checked_sub(self.first_id)?;
        Some(self.types_start + *self.offsets.get(index as usize)? as usize)
    }

    /// The types of this BTF without its base's, in the order of their ids.
    pub fn types(&self) -> impl Iterator<Item = Type<'_>> {
        (self.first_id..self.end_id()).filter_map(|id| self.get(id))
    }

    /// The functions of this BTF without its base's, in the order of their ids.
    pub fn functions(&self) -> impl Iterator<Item = Type<'_>> {
        self.functions.iter().filter_map(|id| self.get(*id))
    }

    /// The string at an offset, the base's included; empty if there is none.
    pub fn string(&self, offset: u32) -> &str {
        let tail = self.string_tail(offset);
        let end = tail.bytes().position(|byte| byte == 0).unwrap_or(tail.len());
        &tail[..end]
    }

    /// Returns all strings from an offset on. Comparing with it takes time proportional to the other text, independent
    /// of the string's length.
    fn string_tail(&self, offset: u32) -> &str {
        match offset.checked_sub(self.first_string) {
            Some(own) => self.strings.get(own as usize..).unwrap_or(""),
            None => self.base.map_or("", |base| base.string_tail(offset)),
        }
    }

    /// The type below typedefs, `const`, `volatile`, `restrict` and type tags. `None` for `void`, for an id that does
    /// not exist and for a chain that never ends.
    pub fn peel(&self, mut id: u32) -> Option<Type<'_>> {
        for _ in 0..MAX_CHAIN {
            let found = self.get(id)?;
            match found.kind() {
                Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => id = found.target(),
                _ => return Some(found),
            }
        }
        None
    }

    /// Bytes that a value of this type takes; `None` for `void`, functions and whatever has no size.
    pub fn size_of(&self, id: u32) -> Option<u64> {
        let mut count = 1u64;
        let mut id = id;
        for _ in 0..MAX_CHAIN {
            let found = self.peel(id)?;
            match found.kind() {
                Kind::Array => {
                    let array = found.array()?;
                    count = count.checked_mul(u64::from(array.count))?;
                    id = array.element;
                }
                Kind::Variable => id = found.target(),
                Kind::Pointer => return count.checked_mul(POINTER_SIZE),
                _ => return count.checked_mul(u64::from(found.size()?)),
            }
        }
        None
    }

    /// The first type of this BTF, or else of its base, that has this kind and name. It looks at all types, so it is
    /// for single questions.
    pub fn find(&self, kind: Kind, name: &str) -> Option<Type<'_>> {
        self.types()
            .find(|each| each.kind() == kind && each.name() == name)
            .or_else(|| self.base.and_then(|base| base.find(kind, name)))
    }
}

/// Kernels and BPF programs have 8-byte pointers on every machine that ipft runs on.
const POINTER_SIZE: u64 = 8;

/// A number at an offset, or 0 beyond the end (callers have checked the length).
#[inline]
fn word(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|tail| tail.first_chunk::<4>())
        .map_or(0, |chunk| u32::from_ne_bytes(*chunk))
}

/// Checks the header and cuts the bytes into types, with their offset, and strings.
fn sections(data: &[u8]) -> Result<(usize, &[u8], &str), BtfError> {
    let short = |what, needed: u64| BtfError::Short {
        what,
        needed,
        found: data.len() as u64,
    };
    let magic = data.first_chunk::<2>().ok_or(short("the header", HEADER_LEN as u64))?;
    match u16::from_ne_bytes(*magic) {
        MAGIC => {}
        other if other == MAGIC.swap_bytes() => {
            return Err(BtfError::Endian(if cfg!(target_endian = "little") {
                "big"
            } else {
                "little"
            }));
        }
        other => return Err(BtfError::Magic(other)),
    }
    let header = data
        .first_chunk::<HEADER_LEN>()
        .ok_or(short("the header", HEADER_LEN as u64))?;
    if header[2] != 1 {
        return Err(BtfError::Version(header[2]));
    }
    // Later headers are longer: the sections count from wherever the header says that it ends.
    let header_len = u64::from(word(header, 4)).max(HEADER_LEN as u64);
    let part = |what, offset: u32, len: u32| {
        let start = header_len + u64::from(offset);
        let end = start + u64::from(len);
        data.get(start as usize..end as usize).ok_or(short(what, end))
    };
    let types = part("the types", word(header, 8), word(header, 12))?;
    let strings = part("the strings", word(header, 16), word(header, 20))?;
    let start = header_len as usize + word(header, 8) as usize;
    Ok((
        start,
        types,
        std::str::from_utf8(strings).map_err(|_| BtfError::Strings)?,
    ))
}
