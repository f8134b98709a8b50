//! A decoder makes fields of the bytes that the kernel side left, where no schema can say what they mean.

use crate::event::{Batch, Trace};

/// Bytes that the kernel side of an extension fills per event.
pub const DATA: usize = 64;

/// Makes fields. The calls come in this order: `start` once, `decode` once per batch, `finish` once after the output.
pub trait Decode {
    /// The trace is about to deliver events. An error says in words for the user why they cannot be decoded.
    fn start(&mut self, _trace: &Trace) -> Result<(), String> {
        Ok(())
    }

    /// Puts tagged values ([`crate::event::Values`]) in place of the payloads, and their names into [`Batch::names`]. A payload
    /// is [`DATA`] bytes before, or none, which reads as zeros. Returns get none: the kernel side does not run there.
    ///
    /// Nobody else adds names. A failure costs the event its fields and is counted, the first is reported, and the trace
    /// goes on.
    fn decode(&mut self, batch: &mut Batch);

    /// The output is complete.
    fn finish(&mut self) -> Report;
}

/// What is to be told about a decoder at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Events that are shown without fields, because decoding them failed.
    pub failed: u64,
    /// The same in words for the user, and whatever went wrong at the end itself.
    pub messages: Vec<String>,
}

/// What is called with a failure that has to be told while the trace goes on.
pub type Tell = Box<dyn FnMut(&str)>;
