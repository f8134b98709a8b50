//! Converts the kernel's records into batches of events.
//!
//! A stream has two halves: a source passes on records as the programs wrote them (`ring`, `rings`, `perf`), and [`Decoder`]
//! converts them to events. A recording has events already ([`Recorded`]). This module may import `event` and
//! `recording`; it knows nothing of probes except the meaning of a record's function word.

mod decode;
mod perf;
pub mod recorded;
mod ring;
mod rings;
mod stdin;

use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::event::Batch;

pub use decode::{Decider, DeciderKind, Decoder, DropPlace, FunctionIds};
pub use perf::{PerfBuffer, PerfOptions};
pub use recorded::{Recorded, RecordedError};
pub use ring::RingBuffer;
pub use rings::RingBuffers;

/// Events that a batch holds at most: enough to make the hand-over to a sink cheap, and few enough to stay in cache.
pub const BATCH: usize = 4096;

/// Captured bytes after which a batch takes no further record.
const CAPTURED: usize = 1 << 18;

/// Returns whether the batch is to be handed over before it takes more. A capture has bytes, so these are what is
/// counted of it.
#[inline]
fn is_full(batch: &Batch) -> bool {
    batch.events.len() >= BATCH || batch.captured.len() >= CAPTURED
}

/// The reason why events cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// A buffer could not be set up.
    #[error("cannot set up {what}: {source}{}", hint(.source))]
    Setup {
        /// Which part of it.
        what: &'static str,
        /// The kernel's error.
        source: std::io::Error,
    },
    /// Waiting for events failed.
    #[error("cannot wait for events: {0}")]
    Wait(#[source] std::io::Error),
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => " (locked memory is limited: see --no-set-rlimit, or take fewer --perf-page-count)",
        Some(libc::EACCES) => " (with kernel.perf_event_paranoid above 2, perf buffers are for CAP_SYS_ADMIN alone)",
        Some(libc::ENOMEM) => " (take a smaller --ring-size or fewer --perf-page-count)",
        _ => "",
    }
}

/// The rest of a source after it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing that was there before.
    Nothing,
    /// More than one batch takes.
    More,
    /// Records behind one that is still being written: a program was interrupted, or on kernels that let that happen
    /// preempted, between reserving its record and completing it.
    Unfinished,
}

/// A source of records.
pub trait Source {
    /// Waits until there may be records, the stop descriptor becomes readable, or the time is over.
    fn wait(&self, stop: BorrowedFd<'_>, timeout: Duration) -> Result<(), StreamError>;
    /// Appends the events of the records that are there to `batch`, up to [`BATCH`] of them, and captures likewise.
    fn read(&mut self, decoder: &mut Decoder, batch: &mut Batch) -> Result<Rest, StreamError>;
}
