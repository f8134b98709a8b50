//! What the bytes of an event's payload mean.
//!
//! A schema is a list of fields. Built-in metadata and a user's extension both are just fields; a renderer never
//! asks where a field came from.

/// The fields of every payload of a trace, in the order in which they are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// Bytes of payload per event; 0 without fields.
    pub size: u32,
    /// The fields.
    pub fields: Vec<Field>,
}

/// One named value in the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Name as the author wrote it; nested structs are dotted.
    pub name: String,
    /// Bytes from the start of the payload.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// What the bytes hold.
    pub kind: FieldType,
    /// How people want to read it.
    pub format: FieldFormat,
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
}

/// One member of an enum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnumMember {
    /// Its name in the source.
    pub name: String,
    /// Its value.
    pub value: u64,
}
