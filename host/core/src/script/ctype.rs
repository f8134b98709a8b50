//! The types of C that scripts name: integers, and arrays of them. Imports nothing of the crate.

use mlua::{UserData, UserDataMethods};

/// A type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CType {
    pub(super) element: Integer,
    /// The number of elements, if it is an array.
    pub(super) count: Option<usize>,
}

/// An integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integer {
    pub(super) name: &'static str,
    pub(super) bytes: u8,
    pub(super) signed: bool,
}

/// Integers by their names. `long` has the bytes of a pointer.
const INTEGERS: [(&str, u8, bool); 29] = [
    ("char", 1, true),
    ("signed char", 1, true),
    ("unsigned char", 1, false),
    ("bool", 1, false),
    ("short", 2, true),
    ("unsigned short", 2, false),
    ("int", 4, true),
    ("unsigned", 4, false),
    ("unsigned int", 4, false),
    ("long", 8, true),
    ("unsigned long", 8, false),
    ("long long", 8, true),
    ("unsigned long long", 8, false),
    ("size_t", 8, false),
    ("ssize_t", 8, true),
    ("int8_t", 1, true),
    ("int16_t", 2, true),
    ("int32_t", 4, true),
    ("int64_t", 8, true),
    ("uint8_t", 1, false),
    ("uint16_t", 2, false),
    ("uint32_t", 4, false),
    ("uint64_t", 8, false),
    ("__u8", 1, false),
    ("__u16", 2, false),
    ("__u32", 4, false),
    ("__u64", 8, false),
    ("__s32", 4, true),
    ("__s64", 8, true),
];

/// The most bytes of an array.
const LARGEST: usize = 1 << 20;

impl CType {
    /// Reads a type's declaration.
    pub(super) fn parse(text: &str) -> Result<CType, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        let (name, count) = match text.split_once('[') {
            None => (text.as_str(), None),
            Some((name, rest)) => {
                let count = rest
                    .strip_suffix(']')
                    .and_then(|count| count.trim().parse::<usize>().ok());
                let count = count.filter(|count| (1..=LARGEST / 8).contains(count));
                let count = count.ok_or_else(|| format!("'{text}' is no array of C; write it as \"char [16]\""))?;
                (name.trim_end(), Some(count))
            }
        };
        let found = INTEGERS.iter().find(|(known, ..)| *known == name);
        match found {
            Some((name, bytes, signed)) => Ok(CType {
                element: Integer {
                    name,
                    bytes: *bytes,
                    signed: *signed,
                },
                count,
            }),
            None if name.starts_with("struct") || name.starts_with("union") => {
                Err("structs and unions are not there yet; use integers, or one map for each field".to_owned())
            }
            None => {
                let name: String = name.chars().take(60).collect();
                Err(format!(
                    "unknown type '{name}'; use one such as uint32_t, uint64_t or char [16]"
                ))
            }
        }
    }

    pub(super) fn size(self) -> usize {
        usize::from(self.element.bytes) * self.count.unwrap_or(1)
    }
}

impl Integer {
    /// Returns a number's bytes; none if it does not fit. Numbers of 64 bits without sign are those with sign.
    pub(super) fn bytes_of(self, number: i64) -> Option<Vec<u8>> {
        let bits = 8 * u32::from(self.bytes);
        let fits = match self.signed {
            _ if bits >= 64 => true,
            true => (-(1_i64 << (bits - 1))..1 << (bits - 1)).contains(&number),
            false => (0..1_i64 << bits).contains(&number),
        };
        fits.then(|| self.cut(number))
    }

    /// Returns a number's lower bytes.
    pub(super) fn cut(self, number: i64) -> Vec<u8> {
        let bytes = usize::from(self.bytes);
        match cfg!(target_endian = "little") {
            true => number.to_ne_bytes()[..bytes].to_vec(),
            false => number.to_ne_bytes()[8 - bytes..].to_vec(),
        }
    }

    /// Returns the number that bytes are.
    pub(super) fn number(self, bytes: &[u8]) -> i64 {
        let mut wide = [0; 8];
        let count = bytes.len().min(8);
        let place = if cfg!(target_endian = "little") { 0 } else { 8 - count };
        wide[place..place + count].copy_from_slice(&bytes[..count]);
        let number = i64::from_ne_bytes(wide);
        let unused = 64 - 8 * u32::from(self.bytes);
        match self.signed {
            true => number << unused >> unused,
            false => number,
        }
    }
}

impl UserData for CType {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method("__tostring", |_, this, ()| {
            let name = this.element.name;
            Ok(match this.count {
                Some(count) => format!("ctype<{name} [{count}]>"),
                None => format!("ctype<{name}>"),
            })
        });
    }
}
