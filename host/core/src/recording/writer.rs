//! Writes one part of a recording: its header, the trace, blocks of events and losses, and the end.
//!
//! The output is only ever appended to, so that a pipe will do, and everything up to the last whole block stays readable
//! whatever happens next.

use std::io::{self, Write};

use zstd::bulk::Compressor;

use super::columns::Columns;
use super::document;
use super::layout::{BlockHeader, FileHeader, IndexEntry, Kind, MAJOR, MINOR, trailer};
use crate::event::{Batch, Function, Loss, Progress, Summary, Trace};

/// Events of a block: enough that what comes once a block does not count, few enough to lose little with one.
const BLOCK: usize = 1 << 15;
/// Bytes of payloads and captures that end a block before.
const BLOCK_BYTES: usize = 4 << 20;
/// Events that are looked at together. Their payloads alone cannot make a block larger than a reader takes.
const SLICE: usize = 256;
/// A block does not stay open for longer, in nanoseconds of the trace.
const BLOCK_TIME: u64 = 500_000_000;
/// Blocks of a part that are closed because they have been open for so long. Each is in the index, which is in memory
/// until the end; what they have in common is more than a day of a trace. A recording that is replayed into another
/// may claim as many days as it likes.
const TIMED_BLOCKS: usize = 1 << 18;
/// The level of zstd for events, which hardly looks for matches: columns are small before. The first level would save a
/// fifth of the space for half as many instructions again (`cargo xtask bench sinks`).
const LEVEL: i32 = -10;
/// The level for JSON, of which there is little: zstd's own default.
const DOCUMENT_LEVEL: i32 = zstd::DEFAULT_COMPRESSION_LEVEL;

/// A part of a recording that is being written.
pub struct Writer<W> {
    out: W,
    position: u64,
    whole: u64,
    header: FileHeader,
    /// The content of the `TRCE` block, for the parts that follow.
    trace: Vec<u8>,
    columns: Columns,
    content: Vec<u8>,
    stored: Vec<u8>,
    compressor: Compressor<'static>,
    index: Vec<IndexEntry>,
    /// See [`TIMED_BLOCKS`].
    timed_blocks: usize,
    losses: Vec<Loss>,
    /// Number of functions in `trace`, and those that were appended since.
    functions: u32,
    more: Vec<Function>,
    /// The latest time that is known.
    now: u64,
}

impl<W: Write> Writer<W> {
    /// Starts a recording. `id` identifies the trace.
    pub fn new(out: W, trace: &Trace, id: u64) -> io::Result<Self> {
        let mut writer = Writer {
            out,
            position: 0,
            whole: 0,
            header: FileHeader {
                major: MAJOR,
                minor: MINOR,
                part: 0,
                trace: id,
            },
            trace: document::write_trace(trace),
            columns: Columns::new(&trace.schema),
            content: Vec::new(),
            stored: Vec::new(),
            compressor: Compressor::new(LEVEL)?,
            index: Vec::new(),
            timed_blocks: TIMED_BLOCKS,
            losses: Vec::new(),
            functions: trace.functions.len() as u32,
            more: Vec::new(),
            now: 0,
        };
        writer.begin()?;
        Ok(writer)
    }

    fn begin(&mut self) -> io::Result<()> {
        self.position = 0;
        self.whole = 0;
        self.index.clear();
        self.append(&self.header.to_bytes())?;
        self.content.clone_from(&self.trace);
        self.document(Kind::TRACE)?;
        self.all_functions()
    }

    /// Functions were appended to the function table.
    pub fn functions(&mut self, new: &[Function]) -> io::Result<()> {
        self.close_block()?;
        let first = self.functions.saturating_add(self.more.len() as u32);
        self.more.extend_from_slice(new);
        self.content = document::write_functions(first, new);
        self.document(Kind::FUNCTIONS)
    }

    /// A part that begins later has to say which functions came before.
    fn all_functions(&mut self) -> io::Result<()> {
        if self.more.is_empty() {
            return Ok(());
        }
        self.content = document::write_functions(self.functions, &self.more);
        self.document(Kind::FUNCTIONS)
    }

    /// Bytes that this part has so far, without the block that is open.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of this part up to the end of the last whole block.
    pub fn whole(&self) -> u64 {
        self.whole
    }

    /// The underlying writer. Other writes to it would corrupt the file.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Appends the events and captures of a batch.
    pub fn push(&mut self, batch: &Batch) -> io::Result<()> {
        self.push_captures(batch)?;
        let mut start = 0;
        while start < batch.events.len() {
            let room = BLOCK - self.columns.events() as usize;
            let slice = match batch.payload.is_empty() {
                true => room,
                false => room.min(SLICE),
            };
            let end = batch.events.len().min(start + slice);
            self.columns.push(batch, start..end);
            start = end;
            let (first, last) = self.columns.span();
            if self.columns.events() as usize >= BLOCK
                || self.columns.extra_bytes() >= BLOCK_BYTES
                || (last - first >= BLOCK_TIME && self.index.len() < self.timed_blocks)
            {
                self.close_block()?;
            }
        }
        Ok(())
    }

    fn push_captures(&mut self, batch: &Batch) -> io::Result<()> {
        for capture in &batch.captures {
            self.columns.push_capture(batch, capture);
            if self.columns.extra_bytes() >= BLOCK_BYTES {
                self.close_block()?;
            }
        }
        Ok(())
    }

    /// Writes what is still in memory, so that it survives us.
    pub fn close_block(&mut self) -> io::Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let (first, last) = self.columns.span();
        self.now = self.now.max(last);
        let mut header = BlockHeader {
            kind: Kind::EVENTS,
            stored: 0,
            length: 0,
            events: self.columns.events(),
            first,
            last,
            captures: self.columns.captures(),
            checksum: 0,
        };
        self.content.clear();
        self.columns.take(&mut self.content);
        self.block(&mut header, LEVEL)
    }

    /// Says what was lost so far, if it is more than was said before.
    pub fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        self.close_block()?;
        self.now = self.now.max(progress.timestamp);
        if progress.losses != self.losses {
            self.losses.clone_from(&progress.losses);
            self.losses()?;
        }
        Ok(())
    }

    /// Ends the part, and begins the next one elsewhere, which has this number.
    pub fn next_part(&mut self, out: W, number: u32) -> io::Result<()> {
        self.end()?;
        self.out = out;
        self.header.part = number;
        self.begin()?;
        if !self.losses.is_empty() {
            self.losses()?;
        }
        Ok(())
    }

    fn losses(&mut self) -> io::Result<()> {
        self.content = document::write_losses(&self.losses);
        self.document(Kind::LOSSES)
    }

    /// Ends the recording.
    pub fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        self.close_block()?;
        self.content = document::write_summary(summary);
        self.document(Kind::DONE)?;
        self.end()
    }

    /// The index and what finds it.
    fn end(&mut self) -> io::Result<()> {
        self.close_block()?;
        self.content.clear();
        self.content
            .extend(self.index.iter().flat_map(|entry| entry.to_bytes()));
        let start = self.position;
        self.document(Kind::INDEX)?;
        self.append(&trailer(start))?;
        self.out.flush()
    }

    /// Writes `content` as a block that has no events.
    fn document(&mut self, kind: Kind) -> io::Result<()> {
        let mut header = BlockHeader {
            kind,
            stored: 0,
            length: 0,
            events: 0,
            first: self.now,
            last: self.now,
            captures: 0,
            checksum: 0,
        };
        self.block(&mut header, DOCUMENT_LEVEL)
    }

    /// Writes `content` as a block, and completes its header.
    fn block(&mut self, header: &mut BlockHeader, level: i32) -> io::Result<()> {
        self.compressor.set_compression_level(level)?;
        self.stored.clear();
        self.stored.reserve(zstd::zstd_safe::compress_bound(self.content.len()));
        self.compressor.compress_to_buffer(&self.content, &mut self.stored)?;
        header.stored = self.stored.len() as u32;
        header.length = self.content.len() as u32;
        header.checksum = crc32fast::hash(&self.stored);
        self.index.push(IndexEntry {
            offset: self.position,
            kind: header.kind,
            events: header.events,
            first: header.first,
            last: header.last,
        });
        self.append(&header.to_bytes())?;
        self.out.write_all(&self.stored)?;
        self.position += self.stored.len() as u64;
        self.whole = self.position;
        // Stdout keeps back what follows the last line feed.
        self.out.flush()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

impl<W> std::fmt::Debug for Writer<W> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Writer")
            .field("header", &self.header)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, EventKind, Schema, Tracer};

    #[test]
    fn a_trace_of_any_length_has_a_bounded_index() {
        let trace = Trace {
            tracer: Tracer::Function,
            backend: String::new(),
            functions: Vec::new(),
            schema: Schema::default(),
            clock_offset: 0,
            command_line: Vec::new(),
            kernel_release: String::new(),
            mark: 0,
            mask: 0,
            filter: String::new(),
            follow: false,
            drop_reasons: Vec::new(),
        };
        let mut writer = Writer::new(Vec::new(), &trace, 1).unwrap();
        writer.timed_blocks = 10;
        for timestamp in 1..100 {
            let event = Event {
                packet: 1,
                skb: 1,
                timestamp: timestamp * BLOCK_TIME,
                entry_timestamp: 0,
                function: 0,
                cpu: 0,
                kind: EventKind::ENTRY,
                thread: 1,
                payload_offset: 0,
                payload_len: 0,
                spare: 0,
            };
            let batch = Batch {
                events: vec![event; 2],
                ..Batch::default()
            };
            writer.push(&batch).unwrap();
        }
        assert_eq!(writer.index.len(), 10);
        writer.close_block().unwrap();
        assert_eq!(writer.index.len(), 11);
    }
}
