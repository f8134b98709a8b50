//! One BTF type: its kind, and the accessors for it.
//!
//! A [`Type`] is a view into the BTF's bytes, three words wide; it is decoded on demand. An accessor that does not fit
//! the kind returns `None`, or an iterator without items.

use super::{Btf, word};

/// The kinds of types, numbered as in the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Integer, character or bool.
    Int = 1,
    /// Pointer.
    Pointer,
    /// Array.
    Array,
    /// Struct.
    Struct,
    /// Union.
    Union,
    /// Enum with values of 32 bits.
    Enum,
    /// Struct or union that is declared and not defined.
    Forward,
    /// Typedef.
    Typedef,
    /// `volatile`.
    Volatile,
    /// `const`.
    Const,
    /// `restrict`.
    Restrict,
    /// Function; its target is its prototype.
    Function,
    /// Prototype of a function; its target is what it returns.
    Prototype,
    /// Global variable.
    Variable,
    /// ELF section that holds variables.
    Section,
    /// Floating-point number.
    Float,
    /// `btf_decl_tag("...")` on a declaration, or on one member or parameter of it.
    DeclTag,
    /// `btf_type_tag("...")` on what a pointer points to.
    TypeTag,
    /// Enum with values of 64 bits.
    Enum64,
}

/// The kind in a type's `info` word. The bits above the kind's five that the format keeps free are part of it, so that
/// a kind of a later format is unknown instead of mistaken.
pub(super) fn kind_number(info: u32) -> u32 {
    (info >> 24) & 0x7f
}

/// The number of members, parameters, ... in a type's `info` word.
fn count(info: u32) -> usize {
    (info & 0xff_ffff) as usize
}

impl Kind {
    pub(super) fn from_info(info: u32) -> Option<Kind> {
        Some(match kind_number(info) {
            1 => Kind::Int,
            2 => Kind::Pointer,
            3 => Kind::Array,
            4 => Kind::Struct,
            5 => Kind::Union,
            6 => Kind::Enum,
            7 => Kind::Forward,
            8 => Kind::Typedef,
            9 => Kind::Volatile,
            10 => Kind::Const,
            11 => Kind::Restrict,
            12 => Kind::Function,
            13 => Kind::Prototype,
            14 => Kind::Variable,
            15 => Kind::Section,
            16 => Kind::Float,
            17 => Kind::DeclTag,
            18 => Kind::TypeTag,
            19 => Kind::Enum64,
            _ => return None,
        })
    }

    /// Bytes that follow the three words every type has.
    pub(super) fn trailer_len(self, info: u32) -> usize {
        match self {
            Kind::Int | Kind::Variable | Kind::DeclTag => 4,
            Kind::Array => 12,
            Kind::Struct | Kind::Union | Kind::Section | Kind::Enum64 => count(info) * 12,
            Kind::Enum | Kind::Prototype => count(info) * 8,
            Kind::Pointer
            | Kind::Forward
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Function
            | Kind::Float
            | Kind::TypeTag => 0,
        }
    }
}

/// One type.
#[derive(Clone, Copy)]
pub struct Type<'a> {
    btf: &'a Btf<'a>,
    id: u32,
    kind: Kind,
    /// The three words and what follows them.
    record: &'a [u8],
}

impl std::fmt::Debug for Type<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{}] {:?} {:?}", self.id, self.kind, self.name())
    }
}

impl<'a> Type<'a> {
    /// The type that begins where `record` begins.
    #[inline]
    pub(super) fn at(btf: &'a Btf<'a>, id: u32, record: &'a [u8]) -> Option<Self> {
        let info = word(record, 4);
        let kind = Kind::from_info(info)?;
        Some(Type {
            btf,
            id,
            kind,
            record: record.get(..12 + kind.trailer_len(info))?,
        })
    }

    fn info(&self) -> u32 {
        word(self.record, 4)
    }

    /// Bit 31 of the info word, which each kind uses in its own way.
    fn flag(&self) -> bool {
        self.info() >> 31 == 1
    }

    fn is(&self, kinds: &[Kind]) -> bool {
        kinds.contains(&self.kind)
    }

    /// Returns the data after the three words, if the type is of one of these kinds.
    fn trailer(&self, kinds: &[Kind]) -> &'a [u8] {
        if self.is(kinds) {
            self.record.get(12..).unwrap_or_default()
        } else {
            &[]
        }
    }

    /// Its number in its BTF.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Returns its kind.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the offset of its name in the strings. Compilers write every string once, so that equal names of one BTF
    /// have equal offsets.
    pub fn name_offset(&self) -> u32 {
        word(self.record, 0)
    }

    /// Its name, empty if it has none. For a tag: the tag's text.
    pub fn name(&self) -> &'a str {
        self.btf.string(self.name_offset())
    }

    /// Returns whether this is its name, without searching for the name's end, so that comparing many names is fast
    /// even if they were made long on purpose.
    pub fn is_named(&self, name: &str) -> bool {
        let rest = self.btf.string_tail(self.name_offset()).strip_prefix(name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('\0'))
    }

    /// Returns whether its name has this prefix; as fast as [`Type::is_named`].
    pub fn name_starts_with(&self, prefix: &str) -> bool {
        self.btf.string_tail(self.name_offset()).starts_with(prefix)
    }

    /// The type it refers to: what a pointer points to, what a typedef names, a function's prototype, what a prototype
    /// returns, a variable's type, what a tag is on. 0 (`void`) for kinds that refer to none.
    #[inline]
    pub fn target(&self) -> u32 {
        match self.kind {
            Kind::Pointer
            | Kind::Typedef
            | Kind::Volatile
            | Kind::Const
            | Kind::Restrict
            | Kind::Function
            | Kind::Prototype
            | Kind::Variable
            | Kind::DeclTag
            | Kind::TypeTag => word(self.record, 8),
            _ => 0,
        }
    }

    /// Bytes, for kinds that store their size; [`Btf::size_of`] knows the others.
    pub fn size(&self) -> Option<u32> {
        self.is(&[
            Kind::Int,
            Kind::Struct,
            Kind::Union,
            Kind::Enum,
            Kind::Enum64,
            Kind::Float,
            Kind::Section,
        ])
        .then(|| word(self.record, 8))
    }

    /// Returns the storage of an integer.
    pub fn int(&self) -> Option<IntInfo> {
        let trailer = self.trailer(&[Kind::Int]);
        let data = (!trailer.is_empty()).then(|| word(trailer, 0))?;
        Some(IntInfo {
            encoding: match (data >> 24) & 0xf {
                0 => IntEncoding::Unsigned,
                1 => IntEncoding::Signed,
                2 => IntEncoding::Char,
                4 => IntEncoding::Bool,
                3 => IntEncoding::SignedChar,
                other => IntEncoding::Other(other as u8),
            },
            bit_offset: (data >> 16) as u8,
            bits: data as u8,
        })
    }

    /// Returns the elements of an array.
    pub fn array(&self) -> Option<ArrayInfo> {
        let trailer = self.trailer(&[Kind::Array]);
        (!trailer.is_empty()).then(|| ArrayInfo {
            element: word(trailer, 0),
            index: word(trailer, 4),
            count: word(trailer, 8),
        })
    }

    /// Returns whether a forward declaration is of a union (else of a struct).
    pub fn is_forward_union(&self) -> bool {
        self.kind == Kind::Forward && self.flag()
    }

    /// Returns whether an enum's values are signed.
    pub fn is_signed_enum(&self) -> bool {
        self.is(&[Kind::Enum, Kind::Enum64]) && self.flag()
    }

    /// Returns the linkage of a function or a variable.
    pub fn linkage(&self) -> Option<Linkage> {
        let number = match self.kind {
            Kind::Function => self.info() & 0xffff,
            Kind::Variable => word(self.trailer(&[Kind::Variable]), 0),
            _ => return None,
        };
        match number {
            0 => Some(Linkage::Static),
            1 => Some(Linkage::Global),
            2 => Some(Linkage::Extern),
            _ => None,
        }
    }

    /// Which member or parameter a declaration tag is on; `None` if it is on the declaration itself.
    pub fn tag_component(&self) -> Option<u32> {
        let trailer = self.trailer(&[Kind::DeclTag]);
        (!trailer.is_empty())
            .then(|| word(trailer, 0))
            .filter(|index| *index != u32::MAX)
    }

    /// Members of a struct or union, in the order of the source.
    pub fn members(&self) -> Members<'a> {
        Members {
            btf: self.btf,
            with_bits: self.flag(),
            rest: self.trailer(&[Kind::Struct, Kind::Union]),
        }
    }

    /// Parameters of a prototype. One that ends in `...` has a last parameter without name and type.
    #[inline]
    pub fn parameters(&self) -> Parameters<'a> {
        Parameters {
            btf: self.btf,
            rest: self.trailer(&[Kind::Prototype]),
        }
    }

    /// Members of an enum of either width.
    pub fn enumerators(&self) -> Enumerators<'a> {
        Enumerators {
            btf: self.btf,
            signed: self.flag(),
            wide: self.kind == Kind::Enum64,
            rest: self.trailer(&[Kind::Enum, Kind::Enum64]),
        }
    }

    /// Variables of a section.
    pub fn section_variables(&self) -> SectionVariables<'a> {
        SectionVariables {
            rest: self.trailer(&[Kind::Section]),
        }
    }
}

/// Encoding of an integer's bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntEncoding {
    /// A number from 0.
    Unsigned,
    /// A number in two's complement.
    Signed,
    /// A character. Compilers rarely say so; most characters are one-byte integers.
    Char,
    /// A signed character.
    SignedChar,
    /// `_Bool`.
    Bool,
    /// A combination that the format does not define.
    Other(u8),
}

/// Storage of an integer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntInfo {
    /// Encoding of the bits.
    pub encoding: IntEncoding,
    /// Start of the value, in bits (old compilers described bit-fields so).
    pub bit_offset: u8,
    /// Width in bits.
    pub bits: u8,
}

/// Elements of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayInfo {
    /// Type of the elements.
    pub element: u32,
    /// Type of the index.
    pub index: u32,
    /// Number of elements; 0 in a flexible array.
    pub count: u32,
}

/// Linkage of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linkage {
    /// Seen in its file only.
    Static,
    /// Seen everywhere.
    Global,
    /// Defined elsewhere.
    Extern,
}

/// Cuts the first `LEN` bytes off the rest of a trailer.
#[inline]
fn take<'a, const LEN: usize>(rest: &mut &'a [u8]) -> Option<&'a [u8; LEN]> {
    let (item, tail) = rest.split_first_chunk::<LEN>()?;
    *rest = tail;
    Some(item)
}

/// One member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Empty for an anonymous struct or union.
    pub name: &'a str,
    /// Its type.
    pub type_id: u32,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Bits, if it is a bit-field.
    pub bits: Option<u8>,
}

/// See [`Type::members`].
#[derive(Clone)]
pub struct Members<'a> {
    btf: &'a Btf<'a>,
    with_bits: bool,
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let item = take::<12>(&mut self.rest)?;
        let place = word(item, 8);
        // The struct's flag says that the top byte is a bit-field's width, 0 for a member that is none.
        let (bit_offset, width) = if self.with_bits {
            (place & 0xff_ffff, (place >> 24) as u8)
        } else {
            (place, 0)
        };
        Some(Member {
            name: self.btf.string(word(item, 0)),
            type_id: word(item, 4),
            bit_offset,
            bits: (width != 0).then_some(width),
        })
    }
}

/// One parameter of a prototype.
#[derive(Clone, Copy)]
pub struct Parameter<'a> {
    btf: &'a Btf<'a>,
    name: u32,
    /// Its type; 0 in the one that stands for `...`.
    pub type_id: u32,
}

impl<'a> Parameter<'a> {
    /// Empty if the source gives none.
    pub fn name(&self) -> &'a str {
        self.btf.string(self.name)
    }
}

/// See [`Type::parameters`].
#[derive(Clone)]
pub struct Parameters<'a> {
    btf: &'a Btf<'a>,
    rest: &'a [u8],
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Parameter<'a>;

    #[inline]
    fn next(&mut self) -> Option<Parameter<'a>> {
        let item = take::<8>(&mut self.rest)?;
        Some(Parameter {
            btf: self.btf,
            name: word(item, 0),
            type_id: word(item, 4),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len() / 8, Some(self.rest.len() / 8))
    }
}

impl ExactSizeIterator for Parameters<'_> {}

/// One member of an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enumerator<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its value, sign-extended to 64 bits if the enum is signed.
    pub value: u64,
}

/// See [`Type::enumerators`].
#[derive(Clone)]
pub struct Enumerators<'a> {
    btf: &'a Btf<'a>,
    signed: bool,
    wide: bool,
    rest: &'a [u8],
}

impl<'a> Iterator for Enumerators<'a> {
    type Item = Enumerator<'a>;

    fn next(&mut self) -> Option<Enumerator<'a>> {
        let (name, value) = if self.wide {
            let item = take::<12>(&mut self.rest)?;
            (word(item, 0), u64::from(word(item, 8)) << 32 | u64::from(word(item, 4)))
        } else {
            let item = take::<8>(&mut self.rest)?;
            let low = word(item, 4);
            (
                word(item, 0),
                if self.signed { low as i32 as u64 } else { u64::from(low) },
            )
        };
        Some(Enumerator {
            name: self.btf.string(name),
            value,
        })
    }
}

/// One variable of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectionVariable {
    /// The variable.
    pub type_id: u32,
    /// Bytes from the start of the section.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// See [`Type::section_variables`].
#[derive(Clone)]
pub struct SectionVariables<'a> {
    rest: &'a [u8],
}

impl Iterator for SectionVariables<'_> {
    type Item = SectionVariable;

    fn next(&mut self) -> Option<SectionVariable> {
        let item = take::<12>(&mut self.rest)?;
        Some(SectionVariable {
            type_id: word(item, 0),
            offset: word(item, 4),
            size: word(item, 8),
        })
    }
}
