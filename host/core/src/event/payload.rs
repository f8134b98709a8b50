//! Reads a payload: a fixed prefix, described by the schema's fields, and then an optional tail of [`Values`].
//!
//! This is the only place that knows where the one ends and the other begins. A payload is empty, or has the whole
//! prefix; recordings and plugins may hand over anything else, which is no payload then. Like the rest of `event` it
//! imports nothing of the crate.

use super::{MAX_TAGGED, Schema, Values};

/// Bytes that the fixed part of a payload may have at most. A schema that says more is of a hostile recording.
pub const MAX_PREFIX: usize = 1 << 16;

/// The lengths that the payloads of a trace can have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PayloadLayout {
    prefix: usize,
    /// Maximum bytes after the prefix.
    tail: usize,
}

/// A payload that is not empty, in its two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The schema's fields are in here, at their offsets.
    pub prefix: &'a [u8],
    /// Values of a script or a decoder: see [`Payload::values`].
    pub tail: &'a [u8],
}

impl PayloadLayout {
    /// The layout of a trace with this schema.
    pub fn new(schema: &Schema) -> Self {
        PayloadLayout {
            prefix: schema.size as usize,
            tail: if schema.tail { MAX_TAGGED } else { 0 },
        }
    }

    /// Bytes of the fixed part.
    #[inline]
    pub fn prefix(self) -> usize {
        self.prefix
    }

    /// Returns whether payloads can differ in length.
    #[inline]
    pub fn has_tail(self) -> bool {
        self.tail > 0
    }

    /// The longest that a payload can be.
    pub fn longest(self) -> usize {
        self.prefix.min(MAX_PREFIX) + self.tail
    }

    /// Returns whether a payload of this length has at least the prefix, and not too many bytes after it. An empty
    /// payload fits only an empty prefix.
    #[inline]
    pub fn fits(self, length: usize) -> bool {
        // A length below the prefix wraps around, and is too large then.
        length.wrapping_sub(self.prefix) <= self.tail && self.prefix <= MAX_PREFIX
    }

    /// The two parts of a payload; `None` if it is not of this layout.
    #[inline]
    pub fn split(self, payload: &[u8]) -> Option<Payload<'_>> {
        if !self.fits(payload.len()) {
            return None;
        }
        let (prefix, tail) = payload.split_at_checked(self.prefix)?;
        Some(Payload { prefix, tail })
    }
}

impl<'a> Payload<'a> {
    /// The values behind the prefix, each with the index of its name. They end where the bytes are not what they should
    /// be.
    #[inline]
    pub fn values(&self) -> Values<'a> {
        Values::new(self.tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Value;

    fn layout(size: u32, tail: bool) -> PayloadLayout {
        PayloadLayout::new(&Schema {
            size,
            tail,
            ..Schema::default()
        })
    }

    #[test]
    fn a_payload_is_split_at_the_end_of_its_prefix() {
        let mut bytes = vec![1, 2, 3, 4];
        Value::Integer(-1).push(&mut bytes, 7);
        let payload = layout(4, true).split(&bytes).unwrap();
        assert_eq!(payload.prefix, [1, 2, 3, 4]);
        assert_eq!(payload.values().collect::<Vec<_>>(), [(7, Value::Integer(-1))]);
        let whole = layout(4, false).split(&bytes[..4]).unwrap();
        assert_eq!((whole.prefix, whole.tail), (&[1_u8, 2, 3, 4][..], &[0_u8; 0][..]));
        assert!(layout(0, true).split(&bytes[4..]).unwrap().prefix.is_empty());
    }

    #[test]
    fn a_length_outside_the_layout_is_no_payload() {
        let longest = 4 + MAX_TAGGED;
        for (size, tail, length, expected) in [
            (4, false, 4, true),
            (4, false, 3, false),
            (4, false, 5, false),
            (4, false, 0, false),
            (4, true, 3, false),
            (4, true, 4, true),
            (4, true, longest, true),
            (4, true, longest + 1, false),
            (0, false, 0, true),
            (0, false, 1, false),
            (0, true, 1, true),
            (u32::MAX, true, 8, false),
            (u32::MAX, true, usize::MAX, false),
        ] {
            assert_eq!(layout(size, tail).fits(length), expected, "{size} {tail} {length}");
        }
        assert_eq!(layout(4, true).longest(), longest);
    }

    #[test]
    fn bytes_cut_or_changed_anywhere_do_no_harm() {
        let mut bytes = vec![0; 8];
        Value::Text(b"some text").push(&mut bytes, 0);
        Value::Float(0.5).push(&mut bytes, 1);
        let mut state = 1_u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for _ in 0..50_000 {
            let mut bytes = bytes.clone();
            bytes.truncate(random() as usize % (bytes.len() + 1));
            for _ in 0..random() % 4 {
                let length = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(random() as usize % length) {
                    *byte = random() as u8;
                }
            }
            let (size, tail) = (random() as u32 % 40, random().is_multiple_of(2));
            match layout(size, tail).split(&bytes) {
                Some(payload) => {
                    assert_eq!(payload.prefix.len(), size as usize);
                    assert_eq!(payload.prefix.len() + payload.tail.len(), bytes.len());
                    assert!(payload.values().count() <= payload.tail.len() / 9);
                }
                None => assert!(bytes.len() < size as usize || (!tail && bytes.len() != size as usize)),
            }
        }
    }
}
