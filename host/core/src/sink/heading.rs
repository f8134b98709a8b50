//! Names a packet by its addresses and its length, from the built-in fields of its events: `10.0.0.1 > 10.0.0.2 icmp
//! echo request id 7 seq 1, 84 B`. Imports `event` and `text`.

use super::SinkError;
use super::fields::{Fields, Style};
use super::tuple::{TupleFields, builtin};
use crate::event::{Payload, Schema};
use crate::text::push_unsigned;

/// Events of a packet that are searched for its addresses: few functions see a packet before it has any.
const SEARCHED: usize = 64;

/// The fields of a trace that name packets.
#[derive(Debug, Default)]
pub(super) struct Headings {
    fields: Fields,
    tuple: Option<TupleFields>,
    len: Option<usize>,
}

impl Headings {
    /// Finds the fields. A trace without them gives no packet a heading.
    pub(super) fn new(schema: &Schema) -> Result<Self, SinkError> {
        Ok(Headings {
            fields: Fields::new(schema, Style::Words)?,
            tuple: TupleFields::new(schema),
            len: builtin(schema, "len", 4),
        })
    }

    /// Appends the separator and the heading that the first payload with addresses gives, if one has any.
    pub(super) fn push<'a>(&self, out: &mut Vec<u8>, separator: &[u8], payloads: impl Iterator<Item = &'a [u8]>) {
        let Some(tuple) = &self.tuple else {
            return;
        };
        let payloads = payloads.take(SEARCHED).filter(|payload| !payload.is_empty());
        let mut prefixes = payloads.filter_map(|payload| {
            let Payload { prefix, .. } = self.fields.split(payload)?;
            Some((prefix, tuple.read(prefix)?))
        });
        let Some((prefix, found)) = prefixes.next() else {
            return;
        };
        out.extend_from_slice(separator);
        tuple.push(out, &found, &self.fields, prefix);
        let len = self.len.and_then(|at| prefix.get(at..)?.first_chunk().copied());
        if let Some(len) = len {
            out.extend_from_slice(b", ");
            push_unsigned(out, u64::from(u32::from_ne_bytes(len)));
            out.extend_from_slice(b" B");
        }
    }
}
