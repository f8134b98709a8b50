//! Reads the layout of an event's bytes from an object's types.
//!
//! The variable `__ipft_event_struct` has the type of the struct that `module` fills. Its members become fields of the
//! schema, in the order of the source:
//!
//! | member | field |
//! |---|---|
//! | integer, bool, pointer, enum | one, with the member's name |
//! | `char` | one character; an array of them is a text |
//! | array of `__u8` | one, its bytes |
//! | any other array | one an element: `name[0]`, `name[1]`, ... |
//! | struct, union | one a member: `name.member`; without a name of its own, `member` |
//!
//! A declaration tag on a member (`ipft:fmt:hex`) says how to show it; on an array, how to show each element. Members
//! without bytes (`int end[0]`) and unnamed bit-fields have nothing to show.
//!
//! The types are untrusted: nesting, members, names and fields are all bounded.

mod error;
mod tag;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use crate::event::{Bits, EnumMember, Field, FieldFormat, FieldType, Schema};
use crate::kernel::btf::{Btf, IntEncoding, Kind, Type};

pub use error::{LayoutError, MemberProblem};
use tag::Tag;

/// The bytes that `module` may fill.
pub const MAX_EVENT: u32 = 64;

/// The variable that names the struct.
const EVENT: &str = "__ipft_event_struct";

/// Structs and arrays within one another. People use two.
const MAX_DEPTH: u32 = 16;
/// Members that are looked at, and so fields: each of 512 bits may have two names in unions.
const MAX_MEMBERS: usize = 1024;
/// Maximum bytes of a name, including those of the enclosing structs. Compilers allow longer ones, which are
/// unreadable.
const MAX_NAME: usize = 512;
/// Members of all enums together, each counted for every field that shows it.
const MAX_ENUM_MEMBERS: usize = 16_384;

/// Reads the layout of the event. Tables of symbols are left empty: [`super::symbols::resolve`] fills them.
pub fn read(btf: &Btf) -> Result<Schema, LayoutError> {
    let variable = btf
        .types()
        .find(|each| each.kind() == Kind::Variable && each.is_named(EVENT))
        .ok_or(LayoutError::NoEvent)?;
    let mut event = btf.peel(variable.target());
    if let Some(pointer) = event.filter(|event| event.kind() == Kind::Pointer) {
        event = btf.peel(pointer.target());
    }
    let event = event.ok_or(LayoutError::NotStruct("void"))?;
    let size = match event.kind() {
        Kind::Struct | Kind::Union => event.size().unwrap_or_default(),
        Kind::Forward => return Err(LayoutError::NotStruct("declared and not defined")),
        _ => return Err(LayoutError::NotStruct("of another type")),
    };
    let mut reader = Reader::new(btf, size);
    match reader.composite(event, 0, 0) {
        Ok(()) if size > MAX_EVENT => Err(LayoutError::TooLarge { size, name: None }),
        Ok(()) => Ok(reader.schema),
        Err(Stop::TooLarge) => Err(LayoutError::TooLarge {
            size,
            name: Some(reader.name),
        }),
        Err(Stop::Member(problem)) => Err(LayoutError::Member {
            name: reader.name,
            problem,
        }),
    }
}

/// The reason why reading stopped at a member.
enum Stop {
    TooLarge,
    Member(MemberProblem),
}

impl From<MemberProblem> for Stop {
    fn from(problem: MemberProblem) -> Self {
        Stop::Member(problem)
    }
}

struct Reader<'b> {
    btf: &'b Btf<'b>,
    /// The declaration tags on members, by struct and number of the member; the tag's id, and whether there are more.
    tags: HashMap<(u32, u32), (u32, bool)>,
    /// Enums that tags refer to, by name.
    references: HashMap<&'b str, Type<'b>>,
    schema: Schema,
    /// The member that is read, with the names of the structs around it.
    name: String,
    members: usize,
    enum_members: usize,
}

impl<'b> Reader<'b> {
    fn new(btf: &'b Btf<'b>, size: u32) -> Self {
        let mut tags = HashMap::new();
        for tag in btf.types().filter(|each| each.kind() == Kind::DeclTag) {
            let Some(component) = tag.tag_component() else { continue };
            if !tag.name_starts_with(tag::PREFIX) {
                continue;
            }
            tags.entry((tag.target(), component))
                // The same tag twice says one thing.
                .and_modify(|(first, more)| {
                    *more |= btf
                        .get(*first)
                        .is_none_or(|first| first.name_offset() != tag.name_offset());
                })
                .or_insert((tag.id(), false));
        }
        Reader {
            btf,
            tags,
            references: HashMap::new(),
            schema: Schema {
                size,
                fields: Vec::new(),
                ..Schema::default()
            },
            name: String::new(),
            members: 0,
            enum_members: 0,
        }
    }

    /// Reads the members of a struct that begins at a bit of the event. When it stops, `name` is the guilty one's.
    fn composite(&mut self, composite: Type<'b>, start: u64, depth: u32) -> Result<(), Stop> {
        let size = 8 * u64::from(composite.size().unwrap_or_default());
        for (index, member) in (0..).zip(composite.members()) {
            let outer = self.enter(|name| {
                if !name.is_empty() && !member.name.is_empty() {
                    name.push('.');
                }
                member.name
            })?;
            let bits = match member.bits {
                Some(width) => u64::from(width),
                None => self.bits_of(member.type_id),
            };
            let from = u64::from(member.bit_offset);
            if from.checked_add(bits).is_none_or(|end| end > size) {
                return Err(MemberProblem::OutOfRange.into());
            }
            if !member.name.is_empty() || self.is_composite(member.type_id) {
                let tag = self.tag(composite.id(), index)?;
                self.value(member.type_id, start + from, member.bits, tag, depth)?;
            }
            self.name.truncate(outer);
        }
        Ok(())
    }

    /// Bits that a member of this type takes; 0 for types that cannot be read, which are refused when they are.
    fn bits_of(&self, type_id: u32) -> u64 {
        // Old compilers describe a bit-field by a type of its own that has fewer bits than bytes.
        match self.btf.peel(type_id).and_then(|found| found.int()) {
            Some(int) => u64::from(int.bit_offset) + u64::from(int.bits),
            None => self.btf.size_of(type_id).unwrap_or_default().saturating_mul(8),
        }
    }

    fn is_composite(&self, type_id: u32) -> bool {
        let found = self.btf.peel(type_id);
        found.is_some_and(|found| matches!(found.kind(), Kind::Struct | Kind::Union))
    }

    /// Goes on to the next member or element, and adds what `push` pushes and returns to the name. Returns the length
    /// that the name had.
    fn enter<'n>(&mut self, push: impl FnOnce(&mut String) -> &'n str) -> Result<usize, Stop> {
        let outer = self.name.len();
        let name = push(&mut self.name);
        if outer + name.len() > MAX_NAME {
            let shown = name.char_indices().nth(20).map_or(name, |(at, _)| &name[..at]);
            self.name.push_str(shown);
            self.name.push_str("...");
            return Err(MemberProblem::NameTooLong.into());
        }
        self.name.push_str(name);
        self.members += 1;
        if self.members > MAX_MEMBERS {
            return Err(MemberProblem::TooMany.into());
        }
        Ok(outer)
    }

    /// Returns the content of a member's tag.
    fn tag(&self, composite: u32, member: u32) -> Result<Option<Tag<'b>>, Stop> {
        match self.tags.get(&(composite, member)) {
            None => Ok(None),
            Some((_, true)) => Err(MemberProblem::TwoTags.into()),
            Some((id, false)) => {
                let text = self.btf.get(*id).map_or("", |tag| tag.name());
                let parsed = Tag::parse(text);
                let shown = || text.chars().take(100).collect();
                Ok(Some(parsed.ok_or_else(|| MemberProblem::UnknownTag(shown()))?))
            }
        }
    }

    /// Reads a value of any type.
    fn value(
        &mut self,
        type_id: u32,
        start: u64,
        width: Option<u8>,
        tag: Option<Tag<'b>>,
        depth: u32,
    ) -> Result<(), Stop> {
        if depth >= MAX_DEPTH {
            return Err(MemberProblem::TooDeep.into());
        }
        let unshown = |what| Err(Stop::from(MemberProblem::Type(what)));
        let Some(found) = self.btf.peel(type_id) else {
            return unshown("of no type");
        };
        match (found.kind(), width) {
            (Kind::Int, _) => self.integer(found, start, width, tag),
            (Kind::Enum | Kind::Enum64, _) => self.enumeration(found, start, width, tag),
            (_, Some(_)) => unshown("a bit-field that is no integer"),
            (_, None) if !start.is_multiple_of(8) => Err(MemberProblem::OutOfRange.into()),
            (Kind::Pointer, None) => self.pointer(start, tag),
            (Kind::Struct | Kind::Union, None) => match tag {
                None => self.composite(found, start, depth + 1),
                Some(tag) => match tag.bytes().filter(|(bytes, _)| Some(*bytes) == found.size()) {
                    Some((bytes, format)) if matches!(tag, Tag::Ipv4 | Tag::Ipv6 | Tag::Ip | Tag::Mac) => {
                        self.field(start, 8 * u64::from(bytes), FieldType::Bytes, format)
                    }
                    _ => Err(tag.mismatch().into()),
                },
            },
            (Kind::Array, None) => self.array(found, start, tag, depth),
            (Kind::Float, None) => unshown("a floating-point number"),
            (Kind::Forward, None) => unshown("of a type that is declared and not defined"),
            _ => unshown("no data"),
        }
    }

    /// Reads an array, as one field if its elements belong together.
    fn array(&mut self, array: Type<'b>, start: u64, tag: Option<Tag<'b>>, depth: u32) -> Result<(), Stop> {
        let (Some(info), Some(total)) = (array.array(), self.btf.size_of(array.id())) else {
            return Err(MemberProblem::Type("an array of no size").into());
        };
        if total == 0 {
            return Ok(());
        }
        let bytes = total / u64::from(info.count);
        let element = self.btf.peel(info.element).and_then(|element| basic(&element));
        let whole = match (element, tag, tag.and_then(Tag::bytes)) {
            (Some(FieldType::Char), None, _) => Some((FieldType::Char, FieldFormat::Plain)),
            (Some(FieldType::Unsigned), None, _) if bytes == 1 => Some((FieldType::Bytes, FieldFormat::Plain)),
            (Some(FieldType::Char | FieldType::Unsigned), Some(Tag::Hex), _) if bytes == 1 => {
                Some((FieldType::Bytes, FieldFormat::Hex))
            }
            (Some(FieldType::Char | FieldType::Unsigned | FieldType::Signed), Some(_), Some((wanted, format)))
                if u64::from(wanted) == total && u64::from(wanted) != bytes =>
            {
                Some((FieldType::Bytes, format))
            }
            _ => None,
        };
        if let Some((kind, format)) = whole {
            return self.field(start, 8 * total, kind, format);
        }
        for index in 0..info.count {
            let number = format!("[{index}]");
            let outer = self.enter(|_| &number)?;
            let start = start + 8 * bytes * u64::from(index);
            self.value(info.element, start, None, tag, depth + 1)?;
            self.name.truncate(outer);
        }
        Ok(())
    }

    fn pointer(&mut self, start: u64, tag: Option<Tag<'b>>) -> Result<(), Stop> {
        let format = match tag {
            None => FieldFormat::Plain,
            Some(Tag::Hex) => FieldFormat::Hex,
            Some(Tag::Symbol) => no_symbols(),
            Some(other) => return Err(other.mismatch().into()),
        };
        self.field(start, 64, FieldType::Pointer, format)
    }

    fn integer(&mut self, found: Type<'b>, start: u64, width: Option<u8>, tag: Option<Tag<'b>>) -> Result<(), Stop> {
        let (Some(info), Some(bytes)) = (found.int(), found.size()) else {
            return Err(MemberProblem::Type("of no type").into());
        };
        let Some(kind) = basic(&found) else {
            return Err(MemberProblem::Type("of an unknown kind of integer").into());
        };
        if !matches!(bytes, 1 | 2 | 4 | 8) {
            return Err(MemberProblem::IntegerSize(bytes).into());
        }
        let start = start + u64::from(info.bit_offset);
        let width = u64::from(width.unwrap_or(info.bits));
        if width == 0 || width > 8 * u64::from(bytes) {
            return Err(MemberProblem::OutOfRange.into());
        }
        self.scalar(start, width, kind, tag, None)
    }

    fn enumeration(
        &mut self,
        found: Type<'b>,
        start: u64,
        width: Option<u8>,
        tag: Option<Tag<'b>>,
    ) -> Result<(), Stop> {
        let bytes = found.size().unwrap_or_default();
        if !matches!(bytes, 1 | 2 | 4 | 8) {
            return Err(MemberProblem::IntegerSize(bytes).into());
        }
        let kind = match found.is_signed_enum() {
            true => FieldType::Signed,
            false => FieldType::Unsigned,
        };
        let width = u64::from(width.unwrap_or(8 * bytes as u8));
        if width > 8 * u64::from(bytes) {
            return Err(MemberProblem::OutOfRange.into());
        }
        self.scalar(start, width, kind, tag, Some(found))
    }

    /// Adds a field of at most 64 bits.
    fn scalar(
        &mut self,
        start: u64,
        width: u64,
        kind: FieldType,
        tag: Option<Tag<'b>>,
        own: Option<Type<'b>>,
    ) -> Result<(), Stop> {
        let whole = fills_bytes(start, width);
        // A number that an enum names is no character.
        let number = if kind == FieldType::Char {
            FieldType::Signed
        } else {
            kind
        };
        let (kind, format) = match tag {
            None => match own.map(|own| self.members(own, kind)).transpose()? {
                Some(members) if !members.is_empty() => (kind, FieldFormat::Enum(members)),
                _ => (kind, FieldFormat::Plain),
            },
            Some(Tag::Hex) => (number, FieldFormat::Hex),
            Some(Tag::Enum(name)) => (number, FieldFormat::Enum(self.reference(name, number)?)),
            Some(Tag::Flags(name)) => (number, FieldFormat::Flags(self.reference(name, number)?)),
            Some(Tag::Ktime) if whole && width == 64 => (number, FieldFormat::Ktime),
            Some(Tag::Symbol) if whole && width == 64 => (number, no_symbols()),
            Some(other) => match other.bytes() {
                Some((bytes, format)) if whole && width == 8 * u64::from(bytes) => (number, format),
                _ => return Err(other.mismatch().into()),
            },
        };
        // Part of a character is a number, too.
        let kind = if whole { kind } else { number };
        self.field(start, width, kind, format)
    }

    /// The members of the enum that the variable of this name has.
    fn reference(&mut self, name: &'b str, kind: FieldType) -> Result<Vec<EnumMember>, Stop> {
        let found = match self.references.get(name) {
            Some(found) => *found,
            None => {
                let shown = || name.chars().take(100).collect();
                let variable = self
                    .btf
                    .types()
                    .find(|each| each.kind() == Kind::Variable && each.is_named(name))
                    .ok_or_else(|| MemberProblem::NoReference(shown()))?;
                let found = self
                    .btf
                    .peel(variable.target())
                    .filter(|found| matches!(found.kind(), Kind::Enum | Kind::Enum64))
                    .filter(|found| found.enumerators().next().is_some())
                    .ok_or_else(|| MemberProblem::NotEnum(shown()))?;
                self.references.insert(name, found);
                found
            }
        };
        self.members(found, kind)
    }

    /// The members of an enum, as a field of this kind shows them.
    fn members(&mut self, found: Type<'b>, kind: FieldType) -> Result<Vec<EnumMember>, Stop> {
        // clang before 15 does not say that an enum's values are signed, and cuts all of them to 32 bits.
        let cut = found.kind() == Kind::Enum && !found.is_signed_enum() && kind == FieldType::Signed;
        let mut members = Vec::new();
        for each in found.enumerators() {
            self.enum_members += 1;
            if self.enum_members > MAX_ENUM_MEMBERS {
                return Err(MemberProblem::TooManyEnumMembers.into());
            }
            if each.name.len() > MAX_NAME {
                return Err(MemberProblem::NameTooLong.into());
            }
            members.push(EnumMember {
                name: each.name.to_owned(),
                value: if cut { each.value as i32 as u64 } else { each.value },
            });
        }
        Ok(members)
    }

    /// Adds a field of the name that was reached.
    fn field(&mut self, start: u64, width: u64, kind: FieldType, format: FieldFormat) -> Result<(), Stop> {
        let end = start + width;
        if end > 8 * u64::from(self.schema.size) {
            return Err(MemberProblem::OutOfRange.into());
        }
        if end > 8 * u64::from(MAX_EVENT) {
            return Err(Stop::TooLarge);
        }
        let offset = start / 8;
        let run = matches!(kind, FieldType::Char | FieldType::Bytes);
        let bits = (!run && !fills_bytes(start, width)).then_some(Bits {
            offset: (start % 8) as u8,
            width: width as u8,
        });
        self.schema.fields.push(Field {
            name: self.name.clone(),
            offset: offset as u32,
            size: (end.div_ceil(8) - offset) as u32,
            bits,
            kind,
            format,
        });
        Ok(())
    }
}

/// Returns whether a number is not a bit-field, or a bit-field that is equivalent to an ordinary number.
fn fills_bytes(start: u64, width: u64) -> bool {
    start.is_multiple_of(8) && matches!(width, 8 | 16 | 32 | 64)
}

/// Returns the type of an integer; `None` for other types and for unknown encodings.
fn basic(found: &Type) -> Option<FieldType> {
    let encoding = found.int()?.encoding;
    // clang gives `char` and `signed char` one encoding, gcc gives all three the same: the name distinguishes them.
    if found.size() == Some(1) && found.is_named("char") {
        return Some(FieldType::Char);
    }
    match encoding {
        IntEncoding::Char if found.name_starts_with("signed") => Some(FieldType::Signed),
        IntEncoding::Unsigned | IntEncoding::Char => Some(FieldType::Unsigned),
        IntEncoding::Signed | IntEncoding::SignedChar => Some(FieldType::Signed),
        IntEncoding::Bool => Some(FieldType::Bool),
        IntEncoding::Other(_) => None,
    }
}

fn no_symbols() -> FieldFormat {
    FieldFormat::Symbol([].into())
}
