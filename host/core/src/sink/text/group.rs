//! Built-in fields that are remembered of each packet together, such as those of `--show ct`. They are found by their
//! names.

use std::ops::Range;

use super::super::tuple::builtin;
use crate::event::{Field, Schema};

/// The name and the size of a field.
type Place = (&'static str, u32);

/// Where the fields are.
#[derive(Clone, Debug)]
pub(super) struct Group<const N: usize> {
    places: &'static [Place; N],
    /// Their bytes in a payload.
    range: Range<usize>,
    /// Offsets of the fields in these bytes.
    pub(super) offsets: [usize; N],
}

impl<const N: usize> Group<N> {
    /// Finds them; `None` if the trace does not have all of them, or if they take more bytes together than `most`.
    pub(super) fn find(schema: &Schema, places: &'static [Place; N], most: usize) -> Option<Self> {
        let mut found = [0; N];
        let (mut start, mut end) = (usize::MAX, 0);
        for (at, (name, size)) in found.iter_mut().zip(places) {
            *at = builtin(schema, name, *size)?;
            (start, end) = (start.min(*at), end.max(*at + *size as usize));
        }
        let range = start..end;
        (range.len() <= most).then(|| Group {
            places,
            offsets: found.map(|at| at - start),
            range,
        })
    }

    /// Returns whether the field is one of them.
    pub(super) fn has(&self, field: &Field, schema: &Schema) -> bool {
        self.places.contains(&(field.name.as_str(), field.size))
            && builtin(schema, &field.name, field.size) == Some(field.offset as usize)
    }

    /// Returns the bytes that each packet needs to remember them.
    pub(super) fn bytes(&self) -> usize {
        self.range.len()
    }

    /// Returns their bytes in a payload if they are not those of `before`, which has the length [`Group::bytes`].
    pub(super) fn changed<'a>(&self, before: &[u8], payload: &'a [u8]) -> Option<&'a [u8]> {
        payload.get(self.range.clone()).filter(|bytes| *bytes != before)
    }
}
