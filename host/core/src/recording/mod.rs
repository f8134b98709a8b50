//! Recordings: a trace in a file, for replaying it later.
//!
//! ```text
//! file     = FileHeader TRCE (EVNT | FUNC | LOSS)* [DONE] INDX Trailer
//! block    = BlockHeader content                       content is one zstd frame
//!
//! FileHeader, 32 bytes                                 BlockHeader, 48 bytes
//!  0  magic    89 69 70 66 74 0d 0a 1a                  0  kind      four letters
//!  8  u16      major version                            4  u32       bytes of content, as stored
//! 10  u16      minor version                            8  u32       bytes of content, decompressed
//! 12  u32      part, from 0                            12  u32       events in it
//! 16  u64      trace, the same in all of its parts     16  u64       their earliest timestamp
//! 24  u32      0                                       24  u64       their latest timestamp
//! 28  u32      CRC-32 of bytes 0 to 27                 32  u32       captures in it
//!                                                      36  u32       CRC-32 of the content, as stored
//! Trailer, 24 bytes                                    40  u32       0
//!  0  u64      where the INDX block begins             44  u32       CRC-32 of bytes 0 to 43
//!  8  u32      0
//! 12  u32      CRC-32 of bytes 0 to 11
//! 16  "ipft-end"
//! ```
//!
//! All numbers are little-endian. `TRCE`, `FUNC`, `LOSS` and `DONE` hold JSON ([`document`]), `EVNT` columns ([`columns`]), `INDX`
//! 32 bytes a block ([`layout::IndexEntry`]). A reader skips kinds that it does not know, and refuses another major
//! version. A trace that was rotated has several files, its parts: each begins with the same `TRCE`, and only the last
//! has `DONE`. A file that ends without `INDX` was cut; what is in it up to there is whole.
//! `docs/src/recording.md` says the same for people who write a reader.
//!
//! No number from a file is believed before it was compared with what it can be ([`limits`]).
//!
//! This module imports `event`, `seeded` and `text` and nothing else of the crate. Nothing in it is `unsafe`.

mod columns;
mod document;
pub mod layout;
mod limits;
mod reader;
mod writer;

pub use limits::TooLarge;
pub use reader::{Content, Damage, End, Input, Reader, Seen};
pub use writer::Writer;

/// The reason why a recording cannot be read. Damaged blocks are not an error: the rest is read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(std::io::Error),
    /// There is nothing in it.
    #[error("is empty: the trace did not begin, or nothing was recorded")]
    Empty,
    /// It is something else.
    #[error("is no recording: it does not begin as what 'ipft --record' writes does")]
    Foreign,
    /// It is of a later version.
    #[error("is of version {major}.{minor} of the format, and this ipft knows 1; a newer ipft reads it")]
    Version {
        /// Changes when older readers cannot read it.
        major: u16,
        /// Changes when they can.
        minor: u16,
    },
    /// The description of the trace is damaged or missing, which the rest depends on.
    #[error("is damaged: {0}")]
    Beginning(&'static str),
    /// The description of the trace is whole but inconsistent.
    #[error("is damaged: what was traced, in the block at byte {offset}, makes no sense: {reason}")]
    Trace {
        /// Offset of the block in the file.
        offset: u64,
        /// The problem, escaped for a terminal.
        reason: String,
    },
}

impl From<std::io::Error> for RecordingError {
    fn from(error: std::io::Error) -> Self {
        RecordingError::Read(error)
    }
}
