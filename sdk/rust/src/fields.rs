//! The named values in an event's payload: the fixed fields, and the values that may follow them. Data that does not
//! come from the kernel, such as a manipulated recording, may be malformed: such values are missing, and nothing
//! panics.

use std::cell::Cell;
use std::fmt::{self, Display, Formatter};

use crate::text;
use crate::trace::{Field, Format, Kind, Trace};

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A number, an address or flags; network byte order is already converted.
    Unsigned(u64),
    /// A signed number, or a time in nanoseconds.
    Signed(i64),
    /// A boolean.
    Bool(bool),
    /// A floating-point number; may be infinite or NaN.
    Float(f64),
    /// Text that should be UTF-8.
    Text(&'a [u8]),
    /// An IP or Ethernet address, or uninterpreted bytes.
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// Returns the number, if it is a non-negative integer. A bool is 0 or 1.
    pub fn as_u64(self) -> Option<u64> {
        match self {
            Value::Unsigned(value) => Some(value),
            Value::Signed(value) => value.try_into().ok(),
            Value::Bool(value) => Some(value.into()),
            _ => None,
        }
    }

    /// Returns the number, if it is an integer that fits. A bool is 0 or 1.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Value::Signed(value) => Some(value),
            value => value.as_u64()?.try_into().ok(),
        }
    }

    /// Returns the number, if it is one, possibly rounded.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Value::Unsigned(value) => Some(value as f64),
            Value::Signed(value) => Some(value as f64),
            Value::Float(value) => Some(value),
            _ => None,
        }
    }

    /// Returns the bytes of a text or an address.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self {
            Value::Text(bytes) | Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl Field {
    /// Reads the field's value from a payload; `None` if the payload is too short, or the field's size is invalid for
    /// its kind.
    pub fn value<'a>(&self, payload: &'a [u8]) -> Option<Value<'a>> {
        let start = self.offset as usize;
        let bytes = payload.get(start..start.checked_add(self.size as usize)?)?;
        if self.bit_width > 0 {
            return self.bits(bytes);
        }
        Some(match (self.format, self.kind) {
            (Format::Be16 | Format::Be32, _) => Value::Unsigned(number(bytes.iter().copied())?),
            (Format::Ktime, _) => Value::Signed(signed(bytes)?),
            (Format::Ipv4 | Format::Ipv6 | Format::Ip | Format::Mac, _) => Value::Bytes(bytes),
            (Format::Hex, Kind::Char | Kind::Bytes) => Value::Bytes(bytes),
            (Format::Plain, Kind::Bytes) => Value::Bytes(bytes),
            (Format::Plain, Kind::Bool) => Value::Bool(bytes.iter().any(|byte| *byte != 0)),
            (Format::Plain, Kind::Char) => Value::Text(bytes.split(|byte| *byte == 0).next()?),
            (Format::Plain | Format::Enum, Kind::Signed) => Value::Signed(signed(bytes)?),
            _ => Value::Unsigned(number(bytes.iter().rev().copied())?),
        })
    }

    /// Reads the value of a bit-field.
    fn bits(&self, bytes: &[u8]) -> Option<Value<'static>> {
        let end = self.bit_offset.checked_add(self.bit_width)?;
        if bytes.len() > 9 || self.bit_width > 64 || self.bit_offset >= 8 || end > 8 * bytes.len() as u32 {
            return None;
        }
        let all = bytes
            .iter()
            .rev()
            .fold(0_u128, |value, byte| value << 8 | u128::from(*byte));
        let value = (all >> self.bit_offset) as u64 & self.mask();
        let unused = 64 - self.bit_width;
        Some(match (self.format, self.kind) {
            (Format::Plain, Kind::Bool) => Value::Bool(value != 0),
            (Format::Plain | Format::Enum, Kind::Signed) => Value::Signed((value << unused) as i64 >> unused),
            _ => Value::Unsigned(value),
        })
    }

    /// Returns the mask of bits that the field can have.
    pub(crate) fn mask(&self) -> u64 {
        let width = match self.bit_width {
            0 => self.size.saturating_mul(8),
            width => width,
        };
        u64::MAX >> (64 - width.clamp(1, 64))
    }
}

/// Reads a number of one to eight bytes, given from the most significant to the least.
fn number(bytes: impl ExactSizeIterator<Item = u8>) -> Option<u64> {
    let fits = (1..=8).contains(&bytes.len());
    fits.then(|| bytes.fold(0, |value, byte| value << 8 | u64::from(byte)))
}

fn signed(bytes: &[u8]) -> Option<i64> {
    let value = number(bytes.iter().rev().copied())?;
    let unused = 64 - 8 * bytes.len();
    Some((value << unused) as i64 >> unused)
}

/// A field of an event, with its name. Displays like in `ipft`: `{field}`, and [`Shown::json`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its name. Show it through [`crate::text`] as well: it comes from outside.
    pub name: &'a str,
    /// Its value.
    pub value: Value<'a>,
    /// Its declaration; `None` for tagged values, which carry their type.
    pub field: Option<&'a Field>,
}

impl<'a> Shown<'a> {
    /// Returns the value as JSON of the fitting type, as in `ipft -o jsonl`.
    pub fn json(self) -> impl Display + 'a {
        text::Show(move |f: &mut Formatter<'_>| text::json_value(f, self.field, self.value))
    }
}

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        text::value(f, self.field, self.value)
    }
}

/// The fields of one event, in order.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    trace: &'a Trace,
    prefix: &'a [u8],
    tail: &'a [u8],
    next: usize,
}

/// Splits a payload into the part of the trace's fields and the rest; both are empty if the payload is not one of this
/// trace.
#[inline]
pub(crate) fn split<'a>(trace: &Trace, payload: &'a [u8]) -> (&'a [u8], &'a [u8]) {
    match payload.split_at_checked(trace.payload_size as usize) {
        Some((prefix, tail)) if trace.tail || tail.is_empty() => (prefix, tail),
        _ => (&[], &[]),
    }
}

impl<'a> Fields<'a> {
    /// Returns the fields in a payload of this trace.
    pub fn new(trace: &'a Trace, payload: &'a [u8]) -> Self {
        let (prefix, tail) = split(trace, payload);
        Fields {
            trace,
            prefix,
            tail,
            next: 0,
        }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Shown<'a>;

    fn next(&mut self) -> Option<Shown<'a>> {
        while !self.prefix.is_empty()
            && let Some(field) = self.trace.fields.get(self.next)
        {
            self.next += 1;
            if let Some(value) = field.value(self.prefix) {
                return Some(Shown {
                    name: &field.name,
                    value,
                    field: Some(field),
                });
            }
        }
        let (name, value) = tagged(&mut self.tail)?;
        Some(Shown {
            name: self.trace.names.get(name as usize).map_or("?", String::as_str),
            value,
            field: None,
        })
    }
}

/// Removes one tagged value from the front. Malformed bytes end the list.
#[inline]
fn tagged<'a>(payload: &mut &'a [u8]) -> Option<(u32, Value<'a>)> {
    let (&[a, b, c, d, kind], rest) = std::mem::take(payload).split_first_chunk()?;
    let (value, rest) = match kind {
        0 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            (Value::Signed(i64::from_le_bytes(*bytes)), rest)
        }
        1 => {
            let (bytes, rest) = rest.split_first_chunk()?;
            (Value::Float(f64::from_le_bytes(*bytes)), rest)
        }
        2 => {
            let (length, rest) = rest.split_first_chunk()?;
            let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            (Value::Text(bytes), rest)
        }
        _ => return None,
    };
    *payload = rest;
    Some((u32::from_le_bytes([a, b, c, d]), value))
}

/// A prepared access to a field, from [`Trace::field`].
#[derive(Clone, Debug)]
pub struct Lookup {
    name: String,
    /// Index in the trace's fields. If set, names are not searched.
    field: Option<usize>,
    /// Index in the trace's names.
    index: Cell<Option<usize>>,
    /// Number of names already searched, since new ones may come.
    seen: Cell<usize>,
}

impl Lookup {
    pub(crate) fn new(trace: &Trace, name: &str) -> Self {
        Lookup {
            name: name.to_owned(),
            field: trace.fields.iter().position(|field| field.name == name),
            index: Cell::new(None),
            seen: Cell::new(0),
        }
    }

    #[inline]
    pub(crate) fn find<'a>(&self, trace: &Trace, payload: &'a [u8]) -> Option<Value<'a>> {
        let (prefix, mut tail) = split(trace, payload);
        if let Some(field) = self.field {
            return trace.fields.get(field)?.value(prefix);
        }
        if self.index.get().is_none() && self.seen.get() < trace.names.len() {
            self.look(trace);
        }
        let wanted = self.index.get()?;
        while let Some((name, value)) = tagged(&mut tail) {
            if name as usize == wanted {
                return Some(value);
            }
        }
        None
    }

    #[cold]
    fn look(&self, trace: &Trace) {
        let seen = self.seen.replace(trace.names.len());
        let new = trace.names.get(seen..).unwrap_or_default();
        self.index
            .set(new.iter().position(|name| *name == self.name).map(|index| seen + index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(offset: u32, size: u32, kind: Kind, format: Format) -> Field {
        Field {
            name: format!("at {offset}"),
            offset,
            size,
            bit_offset: 0,
            bit_width: 0,
            kind,
            format,
            members: Vec::new(),
        }
    }

    #[test]
    fn a_field_with_an_invalid_size_has_no_value() {
        let payload = [0xff; 32];
        for (size, kind, format, expected) in [
            (9, Kind::Unsigned, Format::Plain, None),
            (0, Kind::Unsigned, Format::Plain, None),
            (u32::MAX, Kind::Bytes, Format::Plain, None),
            (9, Kind::Signed, Format::Ktime, None),
            (3, Kind::Signed, Format::Plain, Some(Value::Signed(-1))),
            (3, Kind::Unsigned, Format::Plain, Some(Value::Unsigned(0xff_ffff))),
        ] {
            assert_eq!(field(0, size, kind, format).value(&payload), expected);
            assert_eq!(field(u32::MAX, size, kind, format).value(&payload), None);
        }
        for (offset, width, size) in [(8, 1, 4), (0, 65, 9), (7, 2, 1), (0, 1, 10), (1, u32::MAX, 4)] {
            let bits = Field {
                bit_offset: offset,
                bit_width: width,
                ..field(0, size, Kind::Unsigned, Format::Plain)
            };
            assert_eq!(bits.value(&payload), None);
        }
    }

    #[test]
    fn fixed_fields_come_before_the_values_behind_them() {
        let named = |name: &str, field: Field| Field {
            name: name.to_owned(),
            ..field
        };
        let trace = Trace {
            payload_size: 8,
            fields: vec![
                named("len", field(0, 4, Kind::Unsigned, Format::Plain)),
                named("mark", field(4, 4, Kind::Unsigned, Format::Hex)),
            ],
            tail: true,
            names: vec!["len".to_owned(), "why".to_owned()],
            ..Trace::default()
        };
        let mut payload = [84_u32.to_le_bytes(), 0xdead_beef_u32.to_le_bytes()].concat();
        let shown = |payload: &[u8]| -> Vec<String> {
            let shown = Fields::new(&trace, payload).map(|field| format!("{} {field}", field.name));
            shown.collect()
        };
        assert_eq!(shown(&payload), ["len 84", "mark 0xdeadbeef"]);
        for (name, value) in [(0_u32, 5_i64), (1, 7)] {
            payload.extend(name.to_le_bytes());
            payload.push(0);
            payload.extend(value.to_le_bytes());
        }
        assert_eq!(shown(&payload), ["len 84", "mark 0xdeadbeef", "len 5", "why 7"]);
        for (name, expected) in [("len", Value::Unsigned(84)), ("why", Value::Signed(7))] {
            assert_eq!(trace.field(name).find(&trace, &payload), Some(expected));
        }
        for length in 0..payload.len() {
            assert!(shown(&payload[..length]).len() < 4, "{length}");
            assert_eq!(trace.field("why").find(&trace, &payload[..length]), None);
        }
        assert!(shown(&payload[..7]).is_empty());
    }

    #[test]
    fn a_lookup_finds_names_that_come_later() {
        let mut trace = Trace {
            tail: true,
            ..Trace::default()
        };
        let lookup = trace.field("len");
        let mut payload = Vec::new();
        for (name, value) in [(0_u32, 5_i64), (2, 7)] {
            payload.extend(name.to_le_bytes());
            payload.push(0);
            payload.extend(value.to_le_bytes());
        }
        trace.names.push("other".to_owned());
        assert_eq!(lookup.find(&trace, &payload), None);
        trace.names.extend(["more".to_owned(), "len".to_owned()]);
        assert_eq!(lookup.find(&trace, &payload), Some(Value::Signed(7)));
        for length in 0..payload.len() {
            assert_eq!(lookup.find(&trace, &payload[..length]), None);
            assert!(Fields::new(&trace, &payload[..length]).count() < 2);
        }
    }
}
