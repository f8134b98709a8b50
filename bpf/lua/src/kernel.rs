//! The kernel's types as a source sees them: members of structs by name, and what the memory behind them means. Imports
//! `error` and `bpf_btf`.

use bpf_btf::{Btf, IntEncoding, Kind, Type};

use crate::error::similar;

/// The deepest anonymous struct, and the most members that are looked at, in types that may be damaged.
const DEEPEST: usize = 16;
const MOST_MEMBERS: usize = 20_000;
/// The longest chain of names for one type.
const LONGEST_CHAIN: usize = 32;

/// What memory of a type means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    Integer(Integer),
    Boolean,
    /// A pointer to this type; 0 is void.
    Pointer(u32),
    /// A pointer to characters that end with a zero.
    String,
    /// An array of so many characters; 0: up to a zero.
    Characters(u32),
    /// An array: the type of an element, its size, and the number of elements.
    Array(u32, u32, u32),
    /// A struct or union.
    Struct(u32),
    /// Something that has no value here, in words.
    Other(String),
}

/// The type of an integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Integer {
    pub(crate) bytes: u8,
    pub(crate) signed: bool,
    /// Bits from the least significant one, if it is a part of an integer of an old compiler.
    pub(crate) bits: Option<(u32, u8)>,
    /// In network byte order, as its type says (`__be16`).
    pub(crate) network: bool,
    /// The enum that has names for its values.
    pub(crate) names: Option<u32>,
}

/// A member of a struct, maybe of an anonymous one in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) bit_offset: u64,
    pub(crate) type_id: u32,
    pub(crate) bits: Option<u8>,
}

/// Finds a struct or union by its name.
pub(crate) fn find_struct(btf: &Btf<'_>, name: &str) -> Option<u32> {
    let is_composite = |each: &Type<'_>| matches!(each.kind(), Kind::Struct | Kind::Union);
    let name = name
        .strip_prefix("struct ")
        .or_else(|| name.strip_prefix("union "))
        .unwrap_or(name);
    (!name.is_empty())
        .then(|| btf.types().find(|each| is_composite(each) && each.is_named(name)))
        .flatten()
        .map(|found| found.id())
}

/// Returns what memory of a type means.
pub(crate) fn meaning(btf: &Btf<'_>, type_id: u32) -> Meaning {
    let network = is_network_order(btf, type_id);
    let Some(found) = btf.peel(type_id) else {
        return Meaning::Other("void".to_owned());
    };
    let size = btf.size_of(found.id()).and_then(|size| u8::try_from(size).ok());
    let integer = |signed, bits, names| match size {
        Some(bytes @ (1 | 2 | 4 | 8)) => Meaning::Integer(Integer {
            bytes,
            signed,
            bits,
            network: network && bytes > 1,
            names,
        }),
        _ => Meaning::Other("an integer of more than 64 bits".to_owned()),
    };
    match found.kind() {
        Kind::Int => {
            let Some(int) = found.int() else {
                return Meaning::Other("an unknown integer".to_owned());
            };
            if int.encoding == IntEncoding::Bool {
                return Meaning::Boolean;
            }
            let whole = Some(u64::from(int.bits)) == size.map(|size| 8 * u64::from(size));
            let bits = (!whole).then_some((u32::from(int.bit_offset), int.bits));
            let signed = matches!(int.encoding, IntEncoding::Signed | IntEncoding::SignedChar);
            integer(signed, bits, None)
        }
        Kind::Enum | Kind::Enum64 => {
            let signed = found.is_signed_enum() || found.enumerators().any(|each| each.value.cast_signed() < 0);
            integer(signed, None, Some(found.id()))
        }
        Kind::Pointer => match btf.peel(found.target()) {
            Some(target) if is_character(&target) => Meaning::String,
            Some(target) if matches!(target.kind(), Kind::Prototype | Kind::Function) => Meaning::Pointer(0),
            Some(target) => Meaning::Pointer(target.id()),
            None => Meaning::Pointer(0),
        },
        Kind::Array => {
            let Some(array) = found.array() else {
                return Meaning::Other("an unknown array".to_owned());
            };
            if btf.peel(array.element).is_some_and(|element| is_character(&element)) {
                return Meaning::Characters(array.count);
            }
            match btf.size_of(array.element).and_then(|size| u32::try_from(size).ok()) {
                Some(size) => Meaning::Array(array.element, size, array.count),
                None => Meaning::Other("an array of unknown elements".to_owned()),
            }
        }
        Kind::Struct | Kind::Union => Meaning::Struct(found.id()),
        Kind::Forward => Meaning::Other(format!("struct {}, which is not defined", found.name())),
        Kind::Float => Meaning::Other("a float".to_owned()),
        _ => Meaning::Other("a value of an unknown kind".to_owned()),
    }
}

/// Returns whether a type is `char`, and not a byte by another name.
fn is_character(found: &Type<'_>) -> bool {
    found.kind() == Kind::Int && found.size() == Some(1) && found.is_named("char")
}

/// Returns whether a name of the type says that its bytes are in network order.
fn is_network_order(btf: &Btf<'_>, mut type_id: u32) -> bool {
    for _ in 0..LONGEST_CHAIN {
        let Some(found) = btf.get(type_id) else { return false };
        match found.kind() {
            Kind::Typedef if found.name_starts_with("__be") => return true,
            Kind::Typedef | Kind::Const | Kind::Volatile | Kind::TypeTag => type_id = found.target(),
            _ => return false,
        }
    }
    false
}

/// Finds a member by its name, in anonymous members too.
pub(crate) fn member(btf: &Btf<'_>, composite: u32, name: &str) -> Option<Found> {
    let mut found = None;
    let mut left = MOST_MEMBERS;
    walk(btf, composite, 0, 0, &mut left, &mut |member_name, member| {
        let matches = member_name == name;
        if matches {
            found = Some(member);
        }
        !matches
    });
    found
}

/// Returns the names of members that are like a name.
pub(crate) fn near(btf: &Btf<'_>, composite: u32, name: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut left = MOST_MEMBERS;
    walk(btf, composite, 0, 0, &mut left, &mut |member, _| {
        names.push(member.to_owned());
        true
    });
    similar(name, names.iter().map(String::as_str))
}

/// Calls a function with each named member, until it returns false. Returns whether it did not.
fn walk(
    btf: &Btf<'_>,
    composite: u32,
    start: u64,
    depth: usize,
    left: &mut usize,
    each: &mut dyn FnMut(&str, Found) -> bool,
) -> bool {
    let Some(composite) = btf.peel(composite) else {
        return true;
    };
    for member in composite.members() {
        let Some(rest) = left.checked_sub(1) else {
            return false;
        };
        *left = rest;
        let bit_offset = start.saturating_add(u64::from(member.bit_offset));
        if member.name.is_empty() {
            if depth < DEEPEST && !walk(btf, member.type_id, bit_offset, depth + 1, left, each) {
                return false;
            }
            continue;
        }
        let found = Found {
            bit_offset,
            type_id: member.type_id,
            bits: member.bits,
        };
        if !each(member.name, found) {
            return false;
        }
    }
    true
}

/// Returns what messages call a struct.
pub(crate) fn name_of(btf: &Btf<'_>, type_id: u32) -> String {
    let Some(found) = btf.peel(type_id) else {
        return "void".to_owned();
    };
    let kind = match found.kind() {
        Kind::Struct => "struct",
        Kind::Union => "union",
        Kind::Forward => "the undefined struct",
        Kind::Enum | Kind::Enum64 => "enum",
        Kind::Pointer => return "a pointer".to_owned(),
        _ => "",
    };
    let name: String = found.name().chars().take(80).collect();
    match (kind, name.is_empty()) {
        ("", _) => name,
        (kind, true) => format!("the anonymous {kind}"),
        (kind, false) => format!("{kind} {name}"),
    }
}
