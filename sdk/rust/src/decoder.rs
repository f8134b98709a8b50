//! Plugins that decode an extension's payloads into named values, for every sink to show.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use crate::{Error, Options, Trace};

/// Decodes payloads into named values. The order of calls: [`start`](Decoder::start) once, [`decode`](Decoder::decode)
/// any number of times, [`finish`](Decoder::finish) once.
pub trait Decoder {
    /// Called before the first event. The trace's `fields` are the built-in ones, without those to decode.
    fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), Error> {
        let _ = (trace, options);
        Ok(())
    }

    /// Decodes one payload. An error loses the fields of all payloads of the same batch; it is counted, the first is
    /// shown, and the trace goes on.
    fn decode(&mut self, payload: &[u8], values: &mut Values) -> Result<(), Error>;

    /// Called when the trace has ended; the last call.
    fn finish(&mut self) -> Result<(), Error> {
        Ok(())
    }
}

/// A field's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
}

impl From<i64> for Content {
    fn from(value: i64) -> Self {
        Content::Integer(value)
    }
}

impl From<f64> for Content {
    fn from(value: f64) -> Self {
        Content::Float(value)
    }
}

impl From<&str> for Content {
    fn from(value: &str) -> Self {
        Content::Text(value.to_owned())
    }
}

impl From<String> for Content {
    fn from(value: String) -> Self {
        Content::Text(value)
    }
}

/// Conversions that always fit.
macro_rules! from {
    ($($number:ty),*) => {
        $(impl From<$number> for Content {
            fn from(value: $number) -> Self {
                Content::Integer(value.into())
            }
        })*
    };
}

from!(u8, i8, u16, i16, u32, i32, bool);

/// Collects the values of a payload.
#[derive(Debug, Default)]
pub struct Values {
    names: HashMap<String, u32, FxBuildHasher>,
    new_names: Vec<String>,
    values: Vec<(u32, u32, Content)>,
    payload: u32,
}

impl Values {
    /// Adds a field with this name and value. Fields are shown in this order.
    pub fn push(&mut self, name: &str, content: impl Into<Content>) {
        let index = match self.names.get(name) {
            Some(index) => *index,
            None => {
                let index = self.names.len() as u32;
                self.names.insert(name.to_owned(), index);
                self.new_names.push(name.to_owned());
                index
            }
        };
        self.values.push((self.payload, index, content.into()));
    }
}

/// The result of decoding some payloads: new names, and for each value its payload, name and content.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Appended to the names of earlier calls.
    pub names: Vec<String>,
    /// In the order of the payloads.
    pub values: Vec<(u32, u32, Content)>,
}

/// Calls a decoder, and keeps the names that it has passed on.
#[derive(Debug, Default)]
pub struct DecoderDriver<D> {
    decoder: D,
    values: Values,
}

impl<D: Decoder> DecoderDriver<D> {
    /// Creates a driver for `decoder`.
    pub fn new(decoder: D) -> Self {
        DecoderDriver {
            decoder,
            values: Values::default(),
        }
    }

    /// Starts the decoder before the first event.
    pub fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), Error> {
        self.decoder.start(trace, options)
    }

    /// Decodes payloads of `size` bytes each, stored one after the other.
    pub fn decode(&mut self, payloads: &[u8], size: u32) -> Result<Decoded, Error> {
        let result = (0..)
            .zip(payloads.chunks_exact(size.max(1) as usize))
            .try_for_each(|(index, payload)| {
                self.values.payload = index;
                self.decoder.decode(payload, &mut self.values)
            });
        let values = std::mem::take(&mut self.values.values);
        if let Err(error) = result {
            // These names were not passed on, so they are new when they come again.
            for name in self.values.new_names.drain(..) {
                self.values.names.remove(&name);
            }
            return Err(error);
        }
        Ok(Decoded {
            names: std::mem::take(&mut self.values.new_names),
            values,
        })
    }

    /// Finishes the decoder at the end of the trace.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.decoder.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Bytes;

    impl Decoder for Bytes {
        fn decode(&mut self, payload: &[u8], values: &mut Values) -> Result<(), Error> {
            values.push(&format!("at {}", payload[0]), payload[1]);
            match payload[1] {
                0 => Err("it is zero".into()),
                _ => Ok(()),
            }
        }
    }

    #[test]
    fn names_are_passed_once_unless_payloads_are_lost() {
        let mut driver = DecoderDriver::new(Bytes);
        let integer = |payload, name, value| (payload, name, Content::Integer(value));
        let decoded = driver.decode(&[5, 1, 6, 2, 5, 3], 2).unwrap();
        assert_eq!(decoded.names, ["at 5", "at 6"]);
        assert_eq!(decoded.values, [integer(0, 0, 1), integer(1, 1, 2), integer(2, 0, 3)]);
        assert_eq!(driver.decode(&[7, 1, 8, 0], 2).unwrap_err().to_string(), "it is zero");
        let decoded = driver.decode(&[8, 1, 5, 1], 2).unwrap();
        assert_eq!(
            (decoded.names, decoded.values),
            (vec!["at 8".to_owned()], vec![integer(0, 2, 1), integer(1, 0, 1)])
        );
        assert_eq!(driver.decode(&[], 0).unwrap(), Decoded::default());
    }
}
