//! What the bytes of an event's payload mean.
//!
//! A schema is a list of fields. Built-in metadata and a user's extension both are just fields; a renderer never
//! asks where a field came from.

use std::sync::Arc;

/// The fields of every payload of a trace, in the order in which they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Bytes of payload per event; 0 without fields, and if payloads are tagged.
    pub size: u32,
    /// The fields; none if payloads are tagged.
    pub fields: Vec<Field>,
    /// Who says what the bytes are.
    pub encoding: Encoding,
}

/// How a trace's payloads are laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Each has the fields of the schema, at their offsets.
    #[default]
    Fixed,
    /// Each lists its own [values](super::Values).
    Tagged,
}

/// One named value in the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name as the author wrote it; nested structs are dotted.
    pub name: String,
    /// Bytes from the start of the payload.
    pub offset: u32,
    /// Bytes. Of a bit-field: those that it touches, at most 9.
    pub size: u32,
    /// Where in these bytes a bit-field is; `None` if the value fills them.
    pub bits: Option<Bits>,
    /// What the bytes hold.
    pub kind: FieldType,
    /// How people want to read it.
    pub format: FieldFormat,
}

/// Where a bit-field is within the bytes of its field, which are read as one number in the machine's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Bits from the least significant one on little-endian machines, from the most significant one on others: as in
    /// BTF. Less than 8.
    pub offset: u8,
    /// How many bits, 1 to 64.
    pub width: u8,
}

/// What a field's bytes hold, in the machine's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldType {
    /// Unsigned integer of 1, 2, 4 or 8 bytes.
    Unsigned,
    /// Signed integer of 1, 2, 4 or 8 bytes.
    Signed,
    /// One byte, zero or not.
    Bool,
    /// Text, ended by a NUL or by the field's size.
    Char,
    /// A kernel address.
    Pointer,
    /// Bytes without a meaning of their own.
    Bytes,
}

impl FieldType {
    /// The word that every output uses.
    pub fn name(self) -> &'static str {
        match self {
            FieldType::Unsigned => "unsigned",
            FieldType::Signed => "signed",
            FieldType::Bool => "bool",
            FieldType::Char => "char",
            FieldType::Pointer => "pointer",
            FieldType::Bytes => "bytes",
        }
    }
}

/// How a field is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldFormat {
    /// As its type suggests.
    Plain,
    /// Hexadecimal with `0x` in front.
    Hex,
    /// The name of the member that has the value.
    Enum(Vec<EnumMember>),
    /// The names of the members whose bits are set, joined by `|`.
    Flags(Vec<EnumMember>),
    /// Four bytes in network order: an IPv4 address.
    Ipv4,
    /// Sixteen bytes in network order: an IPv6 address.
    Ipv6,
    /// Six bytes: an Ethernet address.
    Mac,
    /// Two bytes in network order: a port, an EtherType.
    Be16,
    /// Four bytes in network order.
    Be32,
    /// Nanoseconds (`ktime_t`), shown in seconds.
    Ktime,
    /// An address in the kernel, shown as the symbol that contains it. The symbols are sorted by their value, the
    /// address; with none, the address itself is shown.
    Symbol(Arc<[EnumMember]>),
}

impl FieldFormat {
    /// The word that `ipft:fmt:` tags and every output use.
    pub fn name(&self) -> &'static str {
        match self {
            FieldFormat::Plain => "plain",
            FieldFormat::Hex => "hex",
            FieldFormat::Enum(_) => "enum",
            FieldFormat::Flags(_) => "enum_flags",
            FieldFormat::Ipv4 => "ipv4",
            FieldFormat::Ipv6 => "ipv6",
            FieldFormat::Mac => "mac",
            FieldFormat::Be16 => "be16",
            FieldFormat::Be32 => "be32",
            FieldFormat::Ktime => "ktime",
            FieldFormat::Symbol(_) => "symbol",
        }
    }
}

/// One member of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumMember {
    /// Its name in the source.
    pub name: String,
    /// Its value; a negative one sign-extended.
    pub value: u64,
}
