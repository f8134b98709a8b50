//! An event's payload, as text and as JSON.
//!
//! When the trace starts the schema is compiled into a list of small instructions, one a field, with every name escaped
//! once. Per event nothing is left but to read the bytes and copy names. All sinks share it, so that a field
//! reads the same everywhere, and none of them asks where a field came from.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::SinkError;
use super::text::*;
use crate::event::{EnumMember, Field, FieldFormat, FieldType, Schema};

/// A compiled schema.
#[derive(Debug, Default)]
pub(super) struct Fields {
    fields: Vec<Compiled>,
    size: usize,
}

/// One field, ready to be written.
#[derive(Debug)]
struct Compiled {
    /// ` name: `
    label: Vec<u8>,
    /// `"name":`
    key: Vec<u8>,
    start: usize,
    end: usize,
    how: How,
}

/// How a field's bytes are written.
#[derive(Debug)]
enum How {
    Unsigned,
    Signed,
    Hex,
    Bool,
    Text,
    Bytes,
    Enum(Vec<Name>),
    Flags(Vec<Name>),
    Ipv4,
    Ipv6,
    Mac,
    BigEndian,
    Ktime,
    Symbol(Vec<Name>),
}

/// A member of an enum or a symbol, with its name escaped for either kind of output.
#[derive(Debug)]
struct Name {
    value: u64,
    visible: Vec<u8>,
    json: Vec<u8>,
}

/// What a value is written into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// A line that people read.
    Text,
    /// The inside of a JSON string that reads like the text.
    JsonText,
    /// A JSON value of the field's own type.
    JsonTyped,
}

impl Fields {
    /// Compiles the schema. A field outside the payload, or of a size that its format cannot have, is refused.
    pub(super) fn new(schema: &Schema) -> Result<Self, SinkError> {
        let fields = schema
            .fields
            .iter()
            .map(|field| {
                Compiled::new(field, schema.size).map_err(|reason| SinkError::Field {
                    name: field.name.clone(),
                    reason,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Fields {
            fields,
            size: schema.size as usize,
        })
    }

    /// Whether there is nothing to show in any payload.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether a payload of this length holds the fields.
    fn has(&self, payload: &[u8]) -> bool {
        payload.len() == self.size && !self.fields.is_empty()
    }

    /// ` ( len: 2688 mark: 0x1 )`, or nothing without fields or payload.
    #[inline]
    pub(super) fn push_text(&self, out: &mut Vec<u8>, payload: &[u8]) {
        if !self.has(payload) {
            return;
        }
        out.extend_from_slice(b" (");
        for field in &self.fields {
            out.extend_from_slice(&field.label);
            field.push(out, payload, Style::Text);
        }
        out.extend_from_slice(b" )");
    }

    /// `,"len":"2688","mark":"0x1"`, or nothing without fields or payload.
    #[inline]
    pub(super) fn push_json_strings(&self, out: &mut Vec<u8>, payload: &[u8]) {
        if !self.has(payload) {
            return;
        }
        for field in &self.fields {
            out.push(b',');
            out.extend_from_slice(&field.key);
            out.push(b'"');
            field.push(out, payload, Style::JsonText);
            out.push(b'"');
        }
    }

    /// `,"fields":{"len":2688,"mark":"0x1"}`, or nothing without fields or payload.
    #[inline]
    pub(super) fn push_json_typed(&self, out: &mut Vec<u8>, payload: &[u8]) {
        if !self.has(payload) {
            return;
        }
        out.extend_from_slice(b",\"fields\":{");
        for (index, field) in self.fields.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&field.key);
            field.push(out, payload, Style::JsonTyped);
        }
        out.push(b'}');
    }
}

impl Compiled {
    fn new(field: &Field, payload: u32) -> Result<Self, &'static str> {
        let start = field.offset as usize;
        let end = start + field.size as usize;
        if field.size == 0 {
            return Err("it has no bytes");
        }
        if end > payload as usize {
            return Err("it lies outside the payload");
        }
        let need = |sizes: std::ops::RangeInclusive<u32>, how, reason| {
            if sizes.contains(&field.size) {
                Ok(how)
            } else {
                Err(reason)
            }
        };
        let integer = |how| need(1..=8, how, "it must be an integer of at most 8 bytes");
        let how = match &field.format {
            FieldFormat::Plain => match field.kind {
                FieldType::Unsigned => integer(How::Unsigned)?,
                FieldType::Signed => integer(How::Signed)?,
                FieldType::Pointer => integer(How::Hex)?,
                FieldType::Bool => How::Bool,
                FieldType::Char => How::Text,
                FieldType::Bytes => How::Bytes,
            },
            FieldFormat::Hex if matches!(field.kind, FieldType::Bytes | FieldType::Char) => How::Bytes,
            FieldFormat::Hex => integer(How::Hex)?,
            FieldFormat::Enum(members) => integer(How::Enum(names(members, field.size)))?,
            FieldFormat::Flags(members) => {
                let mut members = names(members, field.size);
                // A member that is zero names the absence of flags, which has a spelling of its own.
                members.retain(|member| member.value != 0);
                integer(How::Flags(members))?
            }
            FieldFormat::Ipv4 => need(4..=4, How::Ipv4, "an IPv4 address has 4 bytes")?,
            FieldFormat::Ipv6 => need(16..=16, How::Ipv6, "an IPv6 address has 16 bytes")?,
            FieldFormat::Mac => need(6..=6, How::Mac, "an Ethernet address has 6 bytes")?,
            FieldFormat::Be16 => need(2..=2, How::BigEndian, "be16 has 2 bytes")?,
            FieldFormat::Be32 => need(4..=4, How::BigEndian, "be32 has 4 bytes")?,
            FieldFormat::Ktime => need(8..=8, How::Ktime, "ktime has 8 bytes")?,
            FieldFormat::Symbol(symbols) => {
                if !symbols.is_sorted_by_key(|symbol| symbol.value) {
                    return Err("its symbols are not sorted by address");
                }
                integer(How::Symbol(names(symbols, 8)))?
            }
        };
        let mut label = b" ".to_vec();
        push_visible(&mut label, &field.name);
        label.extend_from_slice(b": ");
        let mut key = Vec::new();
        push_json_string(&mut key, &field.name);
        key.push(b':');
        Ok(Compiled {
            label,
            key,
            start,
            end,
            how,
        })
    }

    /// Writes the value. The caller has checked that the payload has the schema's size.
    fn push(&self, out: &mut Vec<u8>, payload: &[u8], style: Style) {
        let bytes = &payload[self.start..self.end];
        let typed = style == Style::JsonTyped;
        match &self.how {
            How::Unsigned => push_unsigned(out, unsigned(bytes)),
            How::Signed => push_signed(out, signed(bytes)),
            How::Bool => out.extend_from_slice(if bytes.iter().any(|byte| *byte != 0) {
                b"true"
            } else {
                b"false"
            }),
            How::BigEndian => push_unsigned(out, bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))),
            How::Ktime if typed => push_signed(out, signed(bytes)),
            How::Ktime => push_seconds(out, signed(bytes)),
            How::Flags(members) if typed => push_flag_list(out, members, unsigned(bytes)),
            How::Flags(members) => push_flags(out, members, unsigned(bytes), style),
            How::Enum(members) => {
                let value = unsigned(bytes);
                match members.iter().find(|member| member.value == value) {
                    Some(member) => quoted(out, typed, |out| out.extend_from_slice(member.text(style))),
                    // In a typed stream the number tells more than the word.
                    None if typed => push_unsigned(out, value),
                    None => out.extend_from_slice(b"<none>"),
                }
            }
            // The rest are strings in typed JSON too.
            how => quoted(out, typed, |out| match how {
                How::Hex => push_hex(out, unsigned(bytes)),
                How::Text => {
                    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                    match style {
                        Style::Text => push_visible_bytes(out, text),
                        Style::JsonText | Style::JsonTyped => push_json_escaped_bytes(out, text),
                    }
                }
                How::Ipv4 => push_ipv4(out, bytes),
                How::Ipv6 => push_ipv6(out, bytes),
                How::Mac => push_separated(out, bytes, b':'),
                How::Symbol(symbols) => push_symbol(out, symbols, unsigned(bytes), style),
                _ => bytes.iter().for_each(|byte| push_hex_byte(out, *byte)),
            }),
        }
    }
}

impl Name {
    fn text(&self, style: Style) -> &[u8] {
        match style {
            Style::Text => &self.visible,
            Style::JsonText | Style::JsonTyped => &self.json,
        }
    }
}

/// The members with names escaped and values cut to the field's width, as the field's own value will be.
fn names(members: &[EnumMember], size: u32) -> Vec<Name> {
    let mask = match size {
        0..8 => (1 << (8 * size)) - 1,
        _ => u64::MAX,
    };
    let escape = |push: fn(&mut Vec<u8>, &str), text: &str| {
        let mut out = Vec::with_capacity(text.len());
        push(&mut out, text);
        out
    };
    members
        .iter()
        .map(|member| Name {
            value: member.value & mask,
            visible: escape(push_visible, &member.name),
            json: escape(push_json_escaped, &member.name),
        })
        .collect()
}

/// An integer of up to eight bytes in the machine's byte order.
#[inline]
fn unsigned(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => u64::from(a),
        [a, b] => u64::from(u16::from_ne_bytes([a, b])),
        [a, b, c, d] => u64::from(u32::from_ne_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        _ => {
            let digit = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
            if cfg!(target_endian = "little") {
                bytes.iter().rev().fold(0, digit)
            } else {
                bytes.iter().fold(0, digit)
            }
        }
    }
}

/// As [`unsigned`], sign-extended.
#[inline]
fn signed(bytes: &[u8]) -> i64 {
    let unused = 64 - 8 * bytes.len().clamp(1, 8);
    (unsigned(bytes) as i64) << unused >> unused
}

/// Puts quotes around what `push` writes, if they are wanted.
#[inline]
fn quoted(out: &mut Vec<u8>, quotes: bool, push: impl FnOnce(&mut Vec<u8>)) {
    if quotes {
        out.push(b'"');
    }
    push(out);
    if quotes {
        out.push(b'"');
    }
}

/// `a|b|0x40`: the members whose bits are all set, then the bits that no member has.
fn push_flags(out: &mut Vec<u8>, members: &[Name], value: u64, style: Style) {
    let mut known = 0;
    let mut first = true;
    for member in members {
        if value & member.value == member.value {
            if !std::mem::take(&mut first) {
                out.push(b'|');
            }
            out.extend_from_slice(member.text(style));
            known |= member.value;
        }
    }
    let unknown = value & !known;
    if unknown != 0 {
        if !first {
            out.push(b'|');
        }
        push_hex(out, unknown);
    } else if first {
        out.extend_from_slice(b"<none>");
    }
}

/// `["a","b","0x40"]`, empty if no flag is set.
fn push_flag_list(out: &mut Vec<u8>, members: &[Name], value: u64) {
    let mut known = 0;
    out.push(b'[');
    for member in members {
        if value & member.value == member.value {
            if known != 0 {
                out.push(b',');
            }
            quoted(out, true, |out| out.extend_from_slice(&member.json));
            known |= member.value;
        }
    }
    let unknown = value & !known;
    if unknown != 0 {
        if known != 0 {
            out.push(b',');
        }
        quoted(out, true, |out| push_hex(out, unknown));
    }
    out.push(b']');
}

/// `12.000000345`
fn push_seconds(out: &mut Vec<u8>, nanoseconds: i64) {
    if nanoseconds < 0 {
        out.push(b'-');
    }
    let nanoseconds = nanoseconds.unsigned_abs();
    push_unsigned(out, nanoseconds / 1_000_000_000);
    out.push(b'.');
    push_zero_padded(out, nanoseconds % 1_000_000_000, 9);
}

/// `kfree_skb+0x12`: the last symbol that begins at or before the address.
fn push_symbol(out: &mut Vec<u8>, symbols: &[Name], address: u64, style: Style) {
    let after = symbols.partition_point(|symbol| symbol.value <= address);
    match after.checked_sub(1).map(|index| &symbols[index]) {
        Some(symbol) => {
            out.extend_from_slice(symbol.text(style));
            if address != symbol.value {
                out.push(b'+');
                push_hex(out, address - symbol.value);
            }
        }
        None => push_hex(out, address),
    }
}

/// `00:1a:2b:3c:4d:5e`
fn push_separated(out: &mut Vec<u8>, bytes: &[u8], separator: u8) {
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(separator);
        }
        push_hex_byte(out, *byte);
    }
}

/// `192.0.2.1`
fn push_ipv4(out: &mut Vec<u8>, bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        push_unsigned(out, u64::from(*byte));
    }
}

/// `2001:db8::1`, the canonical form of RFC 5952.
fn push_ipv6(out: &mut Vec<u8>, bytes: &[u8]) {
    let Ok(octets) = <[u8; 16]>::try_from(bytes) else {
        return;
    };
    let address = Ipv6Addr::from(octets);
    if let Some(v4) = address.to_ipv4_mapped() {
        out.extend_from_slice(b"::ffff:");
        return push_ipv4(out, &Ipv4Addr::octets(&v4));
    }
    let segments = address.segments();
    // The longest run of at least two zero segments, the first of equals, is written `::`.
    let (mut start, mut length) = (8, 1);
    let mut index = 0;
    while index < 8 {
        let run = segments[index..].iter().take_while(|segment| **segment == 0).count();
        if run > length {
            (start, length) = (index, run);
        }
        index += run.max(1);
    }
    let mut index = 0;
    while index < 8 {
        if index == start {
            out.extend_from_slice(b"::");
            index += length;
            continue;
        }
        if index > 0 && index != start + length {
            out.push(b':');
        }
        let segment = segments[index];
        let digits = (16 - segment.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            out.push(b"0123456789abcdef"[usize::from(segment >> (4 * digit) & 15)]);
        }
        index += 1;
    }
}
