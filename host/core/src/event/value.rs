//! Self-describing payloads.
//!
//! A schema suits bytes that always mean the same. A script decides per event which fields there are, so what it
//! returns is kept as a list of values behind the fixed fields, each with its name and type:
//!
//! ```text
//! u32 name | u8 type | 0: i64   1: f64   2: u32 length, bytes
//! ```
//!
//! Numbers are little-endian, whatever the machine, since recordings and plugins carry these bytes. A name is an index
//! into [`Batch::names`](super::Batch::names).

/// Bytes of tagged values that one event may have at most.
pub const MAX_TAGGED: usize = 1 << 16;

const INTEGER: u8 = 0;
const FLOAT: u8 = 1;
const TEXT: u8 = 2;

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// A whole number.
    Integer(i64),
    /// Any other number; it may be infinite or none.
    Float(f64),
    /// Bytes that should be UTF-8.
    Text(&'a [u8]),
}

impl Value<'_> {
    /// Appends the value under the name with this index.
    #[inline]
    pub fn push(self, out: &mut Vec<u8>, name: u32) {
        match self {
            Value::Integer(value) => push_number(out, name, INTEGER, value.to_le_bytes()),
            Value::Float(value) => push_number(out, name, FLOAT, value.to_le_bytes()),
            Value::Text(bytes) => {
                out.extend_from_slice(&name.to_le_bytes());
                out.push(TEXT);
                // No event has 4 GiB of text: see `MAX_TAGGED`.
                out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }
}

/// One copy of known length costs less than three.
#[inline]
fn push_number(out: &mut Vec<u8>, name: u32, kind: u8, value: [u8; 8]) {
    let mut bytes = [0; 13];
    bytes[..4].copy_from_slice(&name.to_le_bytes());
    bytes[4] = kind;
    bytes[5..].copy_from_slice(&value);
    out.extend_from_slice(&bytes);
}

/// The values of a payload, each with the index of its name. They end where the bytes are not what they should be.
#[derive(Clone, Debug)]
pub struct Values<'a> {
    rest: &'a [u8],
}

impl<'a> Values<'a> {
    /// The values in a payload's tail.
    pub fn new(tail: &'a [u8]) -> Self {
        Values { rest: tail }
    }
}

impl<'a> Iterator for Values<'a> {
    type Item = (u32, Value<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (head, rest) = std::mem::take(&mut self.rest).split_first_chunk::<5>()?;
        let [a, b, c, d, kind] = *head;
        let (value, rest) = match kind {
            INTEGER => {
                let (bytes, rest) = rest.split_first_chunk()?;
                (Value::Integer(i64::from_le_bytes(*bytes)), rest)
            }
            FLOAT => {
                let (bytes, rest) = rest.split_first_chunk()?;
                (Value::Float(f64::from_le_bytes(*bytes)), rest)
            }
            TEXT => {
                let (length, rest) = rest.split_first_chunk()?;
                let (bytes, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
                (Value::Text(bytes), rest)
            }
            _ => return None,
        };
        self.rest = rest;
        Some((u32::from_le_bytes([a, b, c, d]), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<(u32, Value<'static>)>, Vec<u8>) {
        let values = vec![
            (0, Value::Integer(i64::MIN)),
            (1, Value::Float(0.1)),
            (u32::MAX, Value::Text(b"")),
            (7, Value::Text(b"a\xff\0b")),
            (1, Value::Float(f64::NEG_INFINITY)),
        ];
        let mut bytes = Vec::new();
        for (name, value) in &values {
            value.push(&mut bytes, *name);
        }
        (values, bytes)
    }

    #[test]
    fn values_come_back_as_they_went_in() {
        let (values, bytes) = sample();
        assert_eq!(Values::new(&bytes).collect::<Vec<_>>(), values);
        assert_eq!(Values::new(&[]).next(), None);
    }

    #[test]
    fn damaged_bytes_end_the_list_safely() {
        let (values, bytes) = sample();
        for length in 0..bytes.len() {
            let read: Vec<_> = Values::new(&bytes[..length]).collect();
            assert!(values.starts_with(&read) && read.len() < values.len(), "{length}");
        }
        for position in 0..bytes.len() {
            for byte in [0, 1, 2, 3, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[position] = byte;
                assert!(Values::new(&bytes).count() <= bytes.len() / 9);
            }
        }
    }
}
