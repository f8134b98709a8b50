//! The layout of an event's payload.
//!
//! Every payload begins with the same fields, at fixed offsets: first those that are built in, then an extension's. What a
//! script or a decoder adds follows them as a list of [values](super::Values). A renderer never asks where a field came
//! from. [`super::PayloadLayout`] separates the two parts.

use std::sync::Arc;

/// Layout of a trace's payloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Bytes of the prefix that every payload has, unless it is empty; 0 without fields.
    pub size: u32,
    /// The fields of the prefix, in the order in which they are shown.
    pub fields: Vec<Field>,
    /// Bytes of `size` that belong to the built-in fields, which come first.
    pub builtin: u32,
    /// Whether [values](super::Values) may follow the prefix, up to the payload's end.
    pub tail: bool,
}

impl Schema {
    /// Returns whether the prefix has bytes of an extension.
    pub fn has_extension(&self) -> bool {
        self.size > self.builtin
    }

    /// The schema of the same trace with a decoder in the extension's place: built-in fields, and then its values.
    pub fn decoded(&self) -> Schema {
        let builtin = self.builtin.min(self.size);
        let is_builtin = |field: &&Field| field.offset < builtin;
        Schema {
            size: builtin,
            fields: self.fields.iter().filter(is_builtin).cloned().collect(),
            builtin,
            tail: true,
        }
    }
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
    /// Position of a bit-field in these bytes; `None` if the value fills them.
    pub bits: Option<Bits>,
    /// Type of the bytes.
    pub kind: FieldType,
    /// Display format.
    pub format: FieldFormat,
}

/// Position of a bit-field in the bytes of its field, which are read as one number in the machine's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// Bits from the least significant one on little-endian machines, from the most significant one on others: as in
    /// BTF. Less than 8.
    pub offset: u8,
    /// Width in bits, 1 to 64.
    pub width: u8,
}

/// Type of a field's bytes, in the machine's byte order.
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

/// Display format of a field.
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
    /// Sixteen bytes in network order: an IPv6 address or, as `::ffff:a.b.c.d`, an IPv4 one, which is shown as such.
    Ip,
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
            FieldFormat::Ip => "ip",
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
