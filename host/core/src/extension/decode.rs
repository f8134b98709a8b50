//! Decoders turn the bytes of the kernel side into fields, if no schema describes them.
//!
//! Before it, a payload is the built-in fields and then the extension's bytes; after it, the built-in fields and then the
//! decoder's values.

use std::fmt::Display;

use crate::event::{Batch, Event, EventKind, Trace};

/// Bytes that the kernel side of an extension fills per event.
pub const DATA: usize = 64;

/// Makes fields. The calls come in this order: `start` once, `decode` once per batch, `finish` once after the output.
pub trait Decode {
    /// The trace is about to deliver events; its schema is that of decoded payloads. An error says in words for the user
    /// why they cannot be decoded.
    fn start(&mut self, _trace: &Trace) -> Result<(), String> {
        Ok(())
    }

    /// Puts tagged values ([`crate::event::Values`]) in place of the extension's bytes, and their names into
    /// [`Batch::names`]. These are [`DATA`] bytes before, or none, which reads as zeros; what is in front of them stays. Only
    /// entries are decoded: the kernel side does not run elsewhere.
    ///
    /// Only this decoder adds names. A failure loses the event's fields and is counted, the first is reported, and the
    /// trace goes on.
    fn decode(&mut self, batch: &mut Batch);

    /// The output is complete.
    fn finish(&mut self) -> Report;
}

/// The parts of an event's payload that is to be decoded: the built-in fields, which are so many bytes, and [`DATA`] bytes.
/// `None` if there is nothing to decode: the event is no entry, or its built-in fields are missing.
#[inline]
pub fn parts<'a>(event: &Event, payloads: &'a [u8], builtin: usize) -> Option<(&'a [u8], &'a [u8; DATA])> {
    if event.kind != EventKind::ENTRY {
        return None;
    }
    let (front, data) = event.payload_in(payloads).split_at_checked(builtin)?;
    Some((front, data.try_into().unwrap_or(&[0; DATA])))
}

/// Takes the extension's bytes out of all payloads where nothing decodes them.
pub(super) fn drop_data(batch: &mut Batch, builtin: usize) {
    let payloads = std::mem::take(&mut batch.payload);
    for event in &mut batch.events {
        let parts = parts(event, &payloads, builtin);
        let front = parts.map_or(&[][..], |(front, _)| front);
        event.payload_offset = batch.payload.len() as u32;
        event.payload_len = front.len() as u32;
        batch.payload.extend_from_slice(front);
    }
}

/// Report of a decoder at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that are shown without fields, because decoding them failed.
    pub failed: u64,
    /// The same in words for the user, and errors at the end itself.
    pub messages: Vec<String>,
}

impl Report {
    /// Reports that so many events could not be decoded. `decoder`: what failed, with its name.
    pub fn new(failed: u64, decoder: &dyn Display) -> Self {
        let message = || format!("{failed} events are shown without fields, because the {decoder} failed at them");
        Report {
            failed,
            messages: (failed > 0).then(message).into_iter().collect(),
        }
    }
}

/// Callback for a failure that is reported during the trace.
pub type Tell = Box<dyn FnMut(&str)>;
