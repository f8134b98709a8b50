//! Formats an event's payload, as text and as JSON.
//!
//! When the trace starts the schema is compiled into a list of small instructions, one a field, with every name escaped
//! once. Per event nothing is left but to read the bytes and copy names. All sinks share it, so that a field
//! reads the same everywhere, and none of them asks where a field came from.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::SinkError;
use super::tagged::Tagged;
use super::texts::Snippet;
use crate::event::{Bits, EnumMember, Field, FieldFormat, FieldType, Payload, PayloadLayout, Schema, Value};
use crate::text::*;

/// Format of an event's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Style {
    /// ` ( len: 2688 mark: 0x1 )`, for people.
    #[default]
    Text,
    /// `len 2688`, one value at a time, for people.
    Words,
    /// `,"len":"2688","mark":"0x1"`: strings that read like the text.
    JsonText,
    /// `,"fields":{"len":2688,"mark":"0x1"}`: every value of the JSON type that suits it.
    JsonTyped,
}

impl Style {
    /// Text before the first field of an event.
    #[inline]
    pub(super) fn open(self, out: &mut Vec<u8>) {
        match self {
            Style::Text => out.extend_from_slice(b" ("),
            Style::Words | Style::JsonText => {}
            Style::JsonTyped => out.extend_from_slice(b",\"fields\":{"),
        }
    }

    /// Text after the last one.
    #[inline]
    pub(super) fn close(self, out: &mut Vec<u8>) {
        match self {
            Style::Text => out.extend_from_slice(b" )"),
            Style::Words | Style::JsonText => {}
            Style::JsonTyped => out.push(b'}'),
        }
    }
}

/// A compiled schema.
#[derive(Debug, Default)]
pub(super) struct Fields {
    style: Style,
    fields: Vec<Compiled>,
    layout: PayloadLayout,
    /// If values can follow the fields.
    tagged: Option<Tagged>,
}

/// One field, ready to be written.
#[derive(Debug)]
struct Compiled {
    /// Text before the value, up to a string's opening quote.
    label: Snippet,
    start: usize,
    end: usize,
    how: How,
}

/// Format of a field's bytes.
#[derive(Debug)]
enum How {
    Unsigned,
    /// The same of four bytes, which most fields have.
    Unsigned32,
    Signed,
    Hex,
    Bool,
    Text,
    Bytes,
    Enum {
        /// Sorted by value, each of which is there once.
        members: Vec<Name>,
        signed: bool,
    },
    Flags(Vec<Name>),
    Ipv4,
    Ipv6,
    Ip,
    Mac,
    BigEndian,
    Ktime,
    Symbol(Arc<[Name]>),
    /// Some bits of the bytes; written as any number of eight bytes is, once they are cut out.
    Bits {
        bits: Bits,
        signed: bool,
        how: Box<How>,
    },
}

/// A member of an enum or a symbol, with its name escaped.
#[derive(Debug)]
struct Name {
    value: u64,
    text: Vec<u8>,
}

/// The kernel's symbols, which are many, and the same for all fields that show one.
#[derive(Default)]
struct Tables(Vec<Table>);

struct Table {
    symbols: Arc<[EnumMember]>,
    /// None if they are not sorted by address.
    names: Option<Arc<[Name]>>,
}

impl Tables {
    fn get(&mut self, symbols: &Arc<[EnumMember]>, style: Style) -> Option<Arc<[Name]>> {
        if let Some(known) = self.0.iter().find(|known| Arc::ptr_eq(&known.symbols, symbols)) {
            return known.names.clone();
        }
        let sorted = symbols.is_sorted_by_key(|symbol| symbol.value);
        let names: Option<Arc<[Name]>> = sorted.then(|| names(symbols, 64, false, style).into());
        self.0.push(Table {
            symbols: Arc::clone(symbols),
            names: names.clone(),
        });
        names
    }
}

impl Fields {
    /// Compiles the schema. A field outside the payload, or of a size that its format cannot have, is refused.
    pub(super) fn new(schema: &Schema, style: Style) -> Result<Self, SinkError> {
        let mut fields = Vec::new();
        let mut tables = Tables::default();
        for field in &schema.fields {
            let compiled = Compiled::new(field, schema.size, style, fields.is_empty(), &mut tables);
            fields.push(compiled.map_err(|reason| SinkError::Field {
                name: field.name.clone(),
                reason,
            })?);
        }
        Ok(Fields {
            style,
            fields,
            layout: PayloadLayout::new(schema),
            tagged: schema.tail.then(|| Tagged::new(style)),
        })
    }

    /// Takes the names that a batch brings, before any of its payloads.
    #[inline]
    pub(super) fn learn(&mut self, names: &[String]) {
        if let Some(tagged) = &mut self.tagged {
            tagged.learn(names);
        }
    }

    /// Returns whether no payload has anything to show.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.tagged.is_none()
    }

    /// Returns the two parts of a payload; `None` if it is not of the schema's layout.
    #[inline]
    pub(super) fn split<'a>(&self, payload: &'a [u8]) -> Option<Payload<'a>> {
        self.layout.split(payload)
    }

    /// Appends the value of the schema's field with this index, and its label; nothing if there is no such field.
    pub(super) fn push_one(&self, out: &mut Vec<u8>, index: usize, prefix: &[u8]) {
        if let Some(field) = self.fields.get(index) {
            field.label.push(out);
            self.push_value(out, index, prefix);
        }
    }

    /// As [`Fields::push_one`], without the label.
    pub(super) fn push_value(&self, out: &mut Vec<u8>, index: usize, prefix: &[u8]) {
        if let Some(field) = self.fields.get(index)
            && let Some(bytes) = prefix.get(field.start..field.end)
        {
            field.push(out, bytes, self.style);
        }
    }

    /// Appends a value of a payload's tail, and its label.
    pub(super) fn push_tagged(&self, out: &mut Vec<u8>, name: u32, value: Value<'_>) {
        if let Some(tagged) = &self.tagged {
            tagged.push_one(out, name, value);
        }
    }

    /// Appends what the payload holds; nothing if it is empty.
    #[inline(always)]
    pub(super) fn push(&self, out: &mut Vec<u8>, payload: &[u8]) {
        if !payload.is_empty() {
            self.push_values(out, payload);
        }
    }

    fn push_values(&self, out: &mut Vec<u8>, payload: &[u8]) {
        let Some(payload) = self.layout.split(payload) else {
            return;
        };
        let mut open = !self.fields.is_empty();
        if open {
            self.style.open(out);
        }
        for field in &self.fields {
            field.label.push(out);
            field.push(out, &payload.prefix[field.start..field.end], self.style);
            if self.style == Style::JsonText {
                out.push(b'"');
            }
        }
        if let Some(tagged) = &self.tagged {
            open = tagged.push(out, payload.values(), open);
        }
        if open {
            self.style.close(out);
        }
    }
}

impl Compiled {
    fn new(field: &Field, payload: u32, style: Style, first: bool, tables: &mut Tables) -> Result<Self, &'static str> {
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
        // Only bit-fields may touch nine bytes.
        let width = match field.bits {
            Some(bits) => u32::from(bits.width),
            None => field.size.saturating_mul(8),
        };
        let integer = |how| match width {
            1..=64 => Ok(how),
            _ => Err("it must be an integer of at most 8 bytes"),
        };
        let how = match &field.format {
            FieldFormat::Plain => match field.kind {
                FieldType::Unsigned if field.size == 4 && field.bits.is_none() => How::Unsigned32,
                FieldType::Unsigned => integer(How::Unsigned)?,
                FieldType::Signed => integer(How::Signed)?,
                FieldType::Pointer => integer(How::Hex)?,
                FieldType::Bool => How::Bool,
                FieldType::Char => How::Text,
                FieldType::Bytes => How::Bytes,
            },
            FieldFormat::Hex if matches!(field.kind, FieldType::Bytes | FieldType::Char) => How::Bytes,
            FieldFormat::Hex => integer(How::Hex)?,
            FieldFormat::Enum(members) => integer(How::Enum {
                members: by_value(names(
                    members,
                    width,
                    field.kind == FieldType::Signed && field.bits.is_some(),
                    style,
                )),
                signed: field.kind == FieldType::Signed,
            })?,
            FieldFormat::Flags(members) => {
                let mut members = names(members, width, false, style);
                // A member that is zero names the absence of flags, which has a spelling of its own.
                members.retain(|member| member.value != 0);
                integer(How::Flags(members))?
            }
            FieldFormat::Ipv4 => need(4..=4, How::Ipv4, "an IPv4 address has 4 bytes")?,
            FieldFormat::Ipv6 => need(16..=16, How::Ipv6, "an IPv6 address has 16 bytes")?,
            FieldFormat::Ip => need(16..=16, How::Ip, "an address has 16 bytes")?,
            FieldFormat::Mac => need(6..=6, How::Mac, "an Ethernet address has 6 bytes")?,
            FieldFormat::Be16 => need(2..=2, How::BigEndian, "be16 has 2 bytes")?,
            FieldFormat::Be32 => need(4..=4, How::BigEndian, "be32 has 4 bytes")?,
            FieldFormat::Ktime => need(8..=8, How::Ktime, "ktime has 8 bytes")?,
            FieldFormat::Symbol(symbols) => {
                let names = tables.get(symbols, style);
                integer(How::Symbol(names.ok_or("its symbols are not sorted by address")?))?
            }
        };
        let how = match field.bits {
            Some(bits) => How::cut(field, bits, how)?,
            None => how,
        };
        let mut label = Vec::new();
        match style {
            Style::Text => {
                label.push(b' ');
                push_visible(&mut label, &field.name);
                label.extend_from_slice(b": ");
            }
            Style::Words => {
                push_visible(&mut label, &field.name);
                label.push(b' ');
            }
            Style::JsonText | Style::JsonTyped => {
                if !first || style == Style::JsonText {
                    label.push(b',');
                }
                push_json_string(&mut label, &field.name);
                label.push(b':');
                if style == Style::JsonText {
                    label.push(b'"');
                }
            }
        }
        Ok(Compiled {
            label: Snippet::new(&label),
            start,
            end,
            how,
        })
    }

    /// Writes the value.
    #[inline]
    fn push(&self, out: &mut Vec<u8>, bytes: &[u8], style: Style) {
        match (&self.how, bytes) {
            (How::Unsigned32, &[a, b, c, d]) => push_unsigned(out, u64::from(u32::from_ne_bytes([a, b, c, d]))),
            (other, _) => other.push(out, bytes, style),
        }
    }
}

impl How {
    /// As this, of some bits of the field.
    fn cut(field: &Field, bits: Bits, how: How) -> Result<How, &'static str> {
        let end = u32::from(bits.offset) + u32::from(bits.width);
        if !(1..=64).contains(&bits.width) || bits.offset >= 8 || end > 8 * field.size || field.size > 9 {
            return Err("its bits lie outside its bytes");
        }
        let signed = match how {
            How::Signed | How::Enum { signed: true, .. } => true,
            How::Unsigned | How::Hex | How::Bool | How::Enum { .. } | How::Flags(_) => false,
            _ => return Err("only a number can be a bit-field"),
        };
        Ok(How::Bits {
            bits,
            signed,
            how: Box::new(how),
        })
    }

    /// Writes the value.
    #[inline(never)]
    fn push(&self, out: &mut Vec<u8>, bytes: &[u8], style: Style) {
        let typed = style == Style::JsonTyped;
        match self {
            How::Bits { bits, signed, how } => {
                let value = cut(bytes, *bits);
                let unused = 64 - u32::from(bits.width);
                let value = match signed {
                    true => ((value << unused) as i64 >> unused) as u64,
                    false => value,
                };
                how.push(out, &value.to_ne_bytes(), style);
            }
            How::Unsigned | How::Unsigned32 => push_unsigned(out, unsigned(bytes)),
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
            How::Flags(members) => push_flags(out, members, unsigned(bytes)),
            How::Enum {
                members,
                signed: negative,
            } => {
                let value = unsigned(bytes);
                match members.binary_search_by_key(&value, |member| member.value) {
                    Ok(found) => quoted(out, typed, |out| out.extend_from_slice(&members[found].text)),
                    // In a typed stream the number tells more than the word.
                    Err(_) if typed && *negative => push_signed(out, signed(bytes)),
                    Err(_) if typed => push_unsigned(out, value),
                    Err(_) => out.extend_from_slice(b"<none>"),
                }
            }
            // The rest are strings in typed JSON too.
            how => quoted(out, typed, |out| match how {
                How::Hex => push_hex(out, unsigned(bytes)),
                How::Text => {
                    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
                    match style {
                        Style::Text | Style::Words => push_visible_bytes(out, text),
                        Style::JsonText | Style::JsonTyped => push_json_escaped_bytes(out, text),
                    }
                }
                How::Ipv4 => push_ipv4(out, bytes),
                How::Ipv6 => push_ipv6(out, bytes),
                How::Ip => push_ip(out, bytes),
                How::Mac => push_separated(out, bytes, b':'),
                How::Symbol(symbols) => push_symbol(out, symbols, unsigned(bytes)),
                _ => bytes.iter().for_each(|byte| push_hex_byte(out, *byte)),
            }),
        }
    }
}

/// The members with names escaped and values cut to the field's width in bits, and then sign-extended if it is a signed
/// bit-field: as the field's own value will be.
fn names(members: &[EnumMember], width: u32, extend: bool, style: Style) -> Vec<Name> {
    let unused = 64 - width.clamp(1, 64);
    let cut = |value: u64| match extend {
        true => ((value << unused) as i64 >> unused) as u64,
        false => value << unused >> unused,
    };
    let name = |member: &EnumMember| {
        let mut text = Vec::with_capacity(member.name.len());
        match style {
            Style::Text | Style::Words => push_visible(&mut text, &member.name),
            Style::JsonText | Style::JsonTyped => push_json_escaped(&mut text, &member.name),
        }
        Name {
            value: cut(member.value),
            text,
        }
    };
    members.iter().map(name).collect()
}

/// Members to be found by their value. Of those that have the same one, the first counts.
fn by_value(mut members: Vec<Name>) -> Vec<Name> {
    members.sort_by_key(|member| member.value);
    members.dedup_by_key(|member| member.value);
    members
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

/// A bit-field, not sign-extended.
fn cut(bytes: &[u8], bits: Bits) -> u64 {
    let byte = |value: u128, byte: &u8| value << 8 | u128::from(*byte);
    let (value, shift) = if cfg!(target_endian = "little") {
        (bytes.iter().rev().fold(0, byte), u32::from(bits.offset))
    } else {
        let behind = 8 * bytes.len() as u32 - u32::from(bits.offset) - u32::from(bits.width);
        (bytes.iter().fold(0, byte), behind)
    };
    (value >> shift) as u64 & u64::MAX >> (64 - u32::from(bits.width))
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
fn push_flags(out: &mut Vec<u8>, members: &[Name], value: u64) {
    let mut known = 0;
    let mut first = true;
    for member in members {
        if value & member.value == member.value {
            if !std::mem::take(&mut first) {
                out.push(b'|');
            }
            out.extend_from_slice(&member.text);
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
            quoted(out, true, |out| out.extend_from_slice(&member.text));
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
    push_nine_digits(out, (nanoseconds % 1_000_000_000) as u32);
}

/// Maximum size of a named object: an address further from the last name before it is in no named object.
const FARTHEST: u64 = 16 << 20;

/// `kfree_skb+0x12`: the last symbol that begins at or before the address.
fn push_symbol(out: &mut Vec<u8>, symbols: &[Name], address: u64) {
    let after = symbols.partition_point(|symbol| symbol.value <= address);
    match after.checked_sub(1).map(|index| &symbols[index]) {
        Some(symbol) if address - symbol.value <= FARTHEST => {
            out.extend_from_slice(&symbol.text);
            if address != symbol.value {
                out.push(b'+');
                push_hex(out, address - symbol.value);
            }
        }
        _ => push_hex(out, address),
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
pub(super) fn push_ipv4(out: &mut Vec<u8>, bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        push_unsigned(out, u64::from(*byte));
    }
}

/// An IPv4 address, if it is one in the form of IPv6.
fn push_ip(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes {
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ipv4 @ ..] => push_ipv4(out, ipv4),
        ipv6 => push_ipv6(out, ipv6),
    }
}

/// `2001:db8::1`, the canonical form of RFC 5952.
pub(super) fn push_ipv6(out: &mut Vec<u8>, bytes: &[u8]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_is_written_as_the_standard_library_writes_it() {
        // Every pattern of zero and other segments, with segments of every length.
        for pattern in 0..256_u32 {
            for segment in [1_u16, 0x23, 0x456, 0x789a, 0xffff] {
                let segments: [u16; 8] =
                    std::array::from_fn(|index| if pattern >> index & 1 == 1 { segment } else { 0 });
                let address = Ipv6Addr::from(segments);
                let mut out = Vec::new();
                push_ipv6(&mut out, &address.octets());
                assert_eq!(String::from_utf8(out).unwrap(), address.to_string());
            }
        }
    }

    #[test]
    fn integers_of_any_width_are_read_with_their_sign() {
        for width in 1..=8 {
            for value in [0_i64, 1, -1, 100, -100] {
                let bytes = value.to_ne_bytes();
                let bytes = if cfg!(target_endian = "little") {
                    &bytes[..width]
                } else {
                    &bytes[8 - width..]
                };
                assert_eq!(signed(bytes), value);
            }
        }
    }

    #[test]
    fn invalid_bit_fields_are_refused() {
        let refused = |size, offset, width, kind, format| {
            let field = Field {
                name: "bits".to_owned(),
                offset: 0,
                size,
                bits: Some(Bits { offset, width }),
                kind,
                format,
            };
            let schema = Schema {
                size: 16,
                fields: vec![field],
                ..Schema::default()
            };
            Fields::new(&schema, Style::Text).is_err()
        };
        let number = |size, offset, width| refused(size, offset, width, FieldType::Unsigned, FieldFormat::Plain);
        assert!(!number(1, 0, 8) && !number(9, 7, 64) && !number(2, 7, 2));
        assert!(number(1, 1, 8) && number(1, 0, 0) && number(9, 0, 65) && number(9, 8, 1) && number(10, 0, 64));
        assert!(refused(1, 0, 3, FieldType::Char, FieldFormat::Plain));
        assert!(refused(1, 0, 3, FieldType::Bytes, FieldFormat::Plain));
        assert!(refused(4, 0, 32, FieldType::Unsigned, FieldFormat::Ipv4));
        assert!(refused(8, 0, 64, FieldType::Unsigned, FieldFormat::Symbol([].into())));
    }

    #[test]
    fn an_address_far_behind_every_symbol_is_in_none() {
        let symbols = [Name {
            value: 0xffff_ffff_8100_0000,
            text: b"last".to_vec(),
        }];
        for (address, expected) in [
            (0xffff_ffff_8100_0012, "last+0x12"),
            (0xffff_ffff_c100_0000, "0xffffffffc1000000"),
            (0x12, "0x12"),
        ] {
            let mut out = Vec::new();
            push_symbol(&mut out, &symbols, address);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn only_single_bits_are_flags_without_a_leading_bar() {
        let member = |name: &str, value| EnumMember {
            name: name.to_owned(),
            value,
        };
        let members = names(
            &[member("ZERO", 0), member("A", 1), member("B", 2), member("AB", 3)],
            32,
            false,
            Style::Text,
        );
        let members: Vec<Name> = members.into_iter().filter(|member| member.value != 0).collect();
        for (value, expected) in [
            (0, "<none>"),
            (1, "A"),
            (2, "B"),
            (3, "A|B|AB"),
            (5, "A|0x4"),
            (0x80, "0x80"),
        ] {
            let mut out = Vec::new();
            push_flags(&mut out, &members, value);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
