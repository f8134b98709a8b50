//! Reads one file of a recording, from beginning to end, in whatever state it is.
//!
//! What is damaged is skipped and noted ([`Seen`]): a block whose content is not what its checksum says, and bytes that are
//! no block at all, up to the next that is. Nothing that a file says is believed before it is checked, and no number in
//! it makes the reader take more memory than [`MAX_BLOCK`](super::layout::MAX_BLOCK) some times over.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use zstd::bulk::Decompressor;

use super::columns::Decoded;
use super::layout::{
    BLOCK_HEADER, BlockHeader, FILE_HEADER, FileHeader, INDEX_ENTRY, IndexEntry, Kind, MAGIC, MAJOR, TRAILER,
    parse_trailer,
};
use super::limits::{self, TooLarge, at_most};
use super::{RecordingError, document};
use crate::event::{Batch, Function, Loss, Summary, Trace};
use crate::text::visible;

/// The input of a recording.
pub enum Input {
    /// A file, in which blocks can be passed over.
    File {
        /// The file.
        reader: BufReader<File>,
        /// Its length in bytes.
        length: u64,
    },
    /// Anything else.
    Stream(Box<dyn Read>),
}

/// Content of a block. For events, the reader returns the batches.
#[derive(Debug)]
pub enum Content {
    /// See [`Reader::fill`].
    Events,
    /// Functions that were appended to the function table, and the index of the first of them. Each part of a recording
    /// repeats those of the parts before.
    Functions(u32, Vec<Function>),
    /// All losses so far.
    Losses(Vec<Loss>),
    /// The trace ended in order.
    Done(Summary),
}

/// A part of a file that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Offset from the start of the file, in bytes.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// Number of its events, if known.
    pub events: Option<u32>,
    /// The number in it that cannot be true, if that is what is wrong.
    pub reason: Option<TooLarge>,
}

/// How a file ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the end of the trace.
    Whole,
    /// In order, and the trace goes on in the next part.
    Continued,
    /// In the middle: what follows this offset was not written, or is lost.
    Cut {
        /// Bytes of the file that are whole.
        offset: u64,
        /// The end of the trace was there all the same, and only what makes finding blocks quick is missing.
        done: bool,
    },
}

/// Findings of a reader in its file.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Unreadable parts, the first of them in detail.
    pub damage: Vec<Damage>,
    /// Pieces of damage, and bytes in all of them.
    pub damaged: (u64, u64),
    /// How the file ends, once that was reached.
    pub end: Option<End>,
    /// The file ends within this block, whose header is there.
    pub cut: Option<BlockHeader>,
}

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Pieces of damage that are kept in detail.
const MOST_DAMAGE: usize = 16;

/// The blocks behind the trace that this version knows.
const KNOWN: [Kind; 5] = [Kind::EVENTS, Kind::FUNCTIONS, Kind::LOSSES, Kind::DONE, Kind::INDEX];

/// A file that is being read.
pub struct Reader {
    input: Input,
    position: u64,
    header: FileHeader,
    trace: Trace,
    decoded: Decoded,
    stored: Vec<u8>,
    content: Vec<u8>,
    decompressor: Decompressor<'static>,
    done: bool,
    names: Vec<String>,
    seen: Seen,
}

impl Input {
    /// A file, or what only looks like one.
    pub fn file(file: File) -> io::Result<Self> {
        let known = file.metadata()?;
        Ok(match known.is_file() {
            true => Input::File {
                reader: BufReader::new(file),
                length: known.len(),
            },
            false => Input::Stream(Box::new(BufReader::new(file))),
        })
    }

    /// Fills as much of the buffer as there are bytes, and says how much.
    fn read(&mut self, mut buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len();
        while !buffer.is_empty() {
            let read = match self {
                Input::File { reader, .. } => reader.read(buffer),
                Input::Stream(reader) => reader.read(buffer),
            };
            match read {
                Ok(0) => break,
                Ok(read) => buffer = &mut buffer[read..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(wanted - buffer.len())
    }

    /// Passes over bytes, and says over how many.
    fn skip(&mut self, bytes: u64, position: u64) -> io::Result<u64> {
        match self {
            Input::File { reader, length } => {
                let bytes = bytes.min(length.saturating_sub(position));
                reader.seek_relative(bytes.try_into().map_err(io::Error::other)?)?;
                Ok(bytes)
            }
            Input::Stream(reader) => io::copy(&mut reader.take(bytes), &mut io::sink()),
        }
    }
}

impl Reader {
    /// Reads the beginning of a file: what describes the trace.
    pub fn open(mut input: Input) -> Result<Self, RecordingError> {
        let header = read_header(&mut input)?;
        let mut stored = Vec::new();
        let mut content = Vec::new();
        let mut decompressor = Decompressor::new()?;
        let mut bytes = [0; BLOCK_HEADER];
        let trace = match input.read(&mut bytes)? {
            BLOCK_HEADER => BlockHeader::parse(&bytes),
            _ => return Err(RecordingError::Beginning("it ends before it says what was traced")),
        };
        let unknown = RecordingError::Beginning("the block that says what was traced is not as it was written");
        let Some(block) = trace.filter(|block| block.kind == Kind::TRACE) else {
            return Err(unknown);
        };
        let senseless = |reason: &dyn std::fmt::Display| RecordingError::Trace {
            offset: FILE_HEADER as u64,
            reason: visible(&reason.to_string()).to_string(),
        };
        sane(&block).map_err(|reason| senseless(&reason))?;
        if read_content(&mut input, &block, &mut stored)? < block.stored as usize {
            return Err(RecordingError::Beginning("it ends before it says what was traced"));
        }
        decompress(&mut decompressor, &block, &stored, &mut content).ok_or(unknown)?;
        let trace = document::read_trace(&content).map_err(|reason| senseless(&reason))?;
        Ok(Reader {
            position: FILE_HEADER as u64 + BLOCK_HEADER as u64 + u64::from(block.stored),
            decoded: Decoded::new(&trace.schema),
            input,
            header,
            trace,
            stored,
            content,
            decompressor,
            done: false,
            names: Vec::new(),
            seen: Seen::default(),
        })
    }

    /// The first bytes of the file.
    pub fn header(&self) -> FileHeader {
        self.header
    }

    /// The trace.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Returns the findings besides the content.
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Reads the next block that is whole and wanted; `None` at the end of the file.
    pub fn next(&mut self, mut wanted: impl FnMut(&BlockHeader) -> bool) -> io::Result<Option<Content>> {
        while self.seen.end.is_none() {
            let start = self.position;
            let Some(block) = self.next_header()? else {
                self.cut(start);
                break;
            };
            let start = self.position - BLOCK_HEADER as u64;
            let known = KNOWN.contains(&block.kind);
            let sane = sane(&block);
            if let (true, Err(reason)) = (known, sane) {
                self.damaged_block(start, &block, Some(reason));
            }
            if !known || sane.is_err() || block.kind == Kind::EVENTS && !wanted(&block) {
                let skipped = self.input.skip(block.stored.into(), self.position)?;
                self.position += skipped;
                if skipped < block.stored.into() {
                    self.cut(start);
                    self.seen.cut = Some(block);
                }
                continue;
            }
            let read = read_content(&mut self.input, &block, &mut self.stored)?;
            self.position += read as u64;
            if read < block.stored as usize {
                self.cut(start);
                self.seen.cut = Some(block);
                break;
            }
            let whole = decompress(&mut self.decompressor, &block, &self.stored, &mut self.content);
            let understood = match whole {
                Some(()) => self.understand(&block),
                None => Err(None),
            };
            match understood {
                Ok(Understood::Content(content)) => return Ok(Some(content)),
                Ok(Understood::Index) => self.end_of_file(start)?,
                Err(reason) => self.damaged_block(start, &block, reason),
            }
        }
        Ok(None)
    }

    /// The next header of a block, wherever it is; `None` if there is none.
    fn next_header(&mut self) -> io::Result<Option<BlockHeader>> {
        let start = self.position;
        let mut bytes = [0; BLOCK_HEADER];
        let read = self.input.read(&mut bytes)?;
        if read < BLOCK_HEADER {
            return Ok(None);
        }
        self.position += read as u64;
        if let Some(block) = BlockHeader::parse(&bytes) {
            return Ok(Some(block));
        }
        let mut byte = [0];
        while self.input.read(&mut byte)? == 1 {
            self.position += 1;
            bytes.copy_within(1.., 0);
            bytes[BLOCK_HEADER - 1] = byte[0];
            if !KNOWN.iter().any(|kind| bytes.starts_with(&kind.0)) {
                continue;
            }
            if let Some(block) = BlockHeader::parse(&bytes) {
                self.damage(start, self.position - BLOCK_HEADER as u64 - start, None, None);
                return Ok(Some(block));
            }
        }
        self.damage(start, self.position - start, None, None);
        Ok(None)
    }

    /// Parses a block with a valid checksum; for an invalid content, returns the reason, if known.
    fn understand(&mut self, block: &BlockHeader) -> Result<Understood, Option<TooLarge>> {
        let content = match block.kind {
            Kind::LOSSES => Content::Losses(document::read_losses(&self.content).ok_or(None)?),
            Kind::FUNCTIONS => {
                let (first, functions) = document::read_functions(&self.content).ok_or(None)?;
                Content::Functions(first, functions)
            }
            Kind::DONE => {
                let summary = document::read_summary(&self.content).ok_or(None)?;
                self.done = true;
                Content::Done(summary)
            }
            Kind::INDEX => {
                // Also where the block that says it cannot be read.
                self.done |= index_entries(&self.content)
                    .ok_or(None)?
                    .any(|entry| entry.kind == Kind::DONE);
                return Ok(Understood::Index);
            }
            _ => {
                self.decoded.read(&self.content)?;
                // There is one list of names for the whole trace, and it only grows.
                let names = self.decoded.names();
                let grown = names.get(..self.names.len()) == Some(&self.names);
                if !names.is_empty() && !grown {
                    return Err(None);
                }
                self.names
                    .extend_from_slice(&names[self.names.len().min(names.len())..]);
                Content::Events
            }
        };
        Ok(Understood::Content(content))
    }

    /// Behind the index there is only what finds it.
    fn end_of_file(&mut self, index: u64) -> io::Result<()> {
        let mut bytes = [0; TRAILER];
        let whole = self.input.read(&mut bytes)? == TRAILER && parse_trailer(&bytes) == Some(index);
        self.seen.end = Some(match (whole, self.done) {
            (true, true) => End::Whole,
            (true, false) => End::Continued,
            (false, done) => End::Cut { offset: index, done },
        });
        Ok(())
    }

    fn cut(&mut self, offset: u64) {
        let done = self.done;
        self.seen.end = Some(End::Cut { offset, done });
    }

    fn damaged_block(&mut self, offset: u64, block: &BlockHeader, reason: Option<TooLarge>) {
        let bytes = BLOCK_HEADER as u64 + u64::from(block.stored);
        self.damage(offset, bytes, Some(block.events), reason);
    }

    fn damage(&mut self, offset: u64, bytes: u64, events: Option<u32>, reason: Option<TooLarge>) {
        self.seen.damaged.0 += 1;
        self.seen.damaged.1 += bytes;
        if self.seen.damage.len() < MOST_DAMAGE {
            self.seen.damage.push(Damage {
                offset,
                bytes,
                events,
                reason,
            });
        }
    }

    /// Appends up to `most` events of the block that was read last. `false` if it has no more.
    pub fn fill(&mut self, batch: &mut Batch, most: usize) -> bool {
        if batch.names.len() < self.names.len() {
            batch.names.extend_from_slice(&self.names[batch.names.len()..]);
        }
        self.decoded.fill(batch, most)
    }

    /// The blocks of the file, from its index; `None` if the file has no index, or is none in which one can go back and
    /// forth. What is read next is what would have been without.
    pub fn index(&mut self) -> io::Result<Option<Vec<IndexEntry>>> {
        let back = self.position;
        let entries = self.read_index()?;
        if let Input::File { reader, .. } = &mut self.input {
            reader.seek(SeekFrom::Start(back))?;
        }
        self.position = back;
        Ok(entries)
    }

    fn read_index(&mut self) -> io::Result<Option<Vec<IndexEntry>>> {
        let Input::File { reader, length } = &mut self.input else {
            return Ok(None);
        };
        let Some(end) = length.checked_sub(TRAILER as u64) else {
            return Ok(None);
        };
        reader.seek(SeekFrom::Start(end))?;
        let mut bytes = [0; TRAILER];
        let read = self.input.read(&mut bytes)?;
        let Some(start) = parse_trailer(&bytes).filter(|start| read == TRAILER && *start < end) else {
            return Ok(None);
        };
        self.seek(start)?;
        let mut bytes = [0; BLOCK_HEADER];
        if self.input.read(&mut bytes)? < BLOCK_HEADER {
            return Ok(None);
        }
        let is_index = |block: &BlockHeader| block.kind == Kind::INDEX && sane(block).is_ok();
        let Some(block) = BlockHeader::parse(&bytes).filter(is_index) else {
            return Ok(None);
        };
        // Each entry stands for a block, of which there is at least the header.
        if u64::from(block.length) / INDEX_ENTRY as u64 > start / BLOCK_HEADER as u64 {
            return Ok(None);
        }
        let read = read_content(&mut self.input, &block, &mut self.stored)?;
        if read < block.stored as usize
            || decompress(&mut self.decompressor, &block, &self.stored, &mut self.content).is_none()
        {
            return Ok(None);
        }
        let entries = index_entries(&self.content).map(Vec::from_iter);
        Ok(entries.filter(|entries| entries.iter().all(|entry| entry.offset < start)))
    }

    /// Goes to the block that begins there. Only in a file that has an [`index`](Reader::index).
    pub fn seek(&mut self, offset: u64) -> io::Result<()> {
        if let Input::File { reader, .. } = &mut self.input {
            reader.seek(SeekFrom::Start(offset))?;
            self.position = offset;
        }
        Ok(())
    }
}

/// Which part of which trace the file is.
fn read_header(input: &mut Input) -> Result<FileHeader, RecordingError> {
    let mut bytes = [0; FILE_HEADER];
    let read = input.read(&mut bytes)?;
    if read == 0 {
        return Err(RecordingError::Empty);
    }
    let header = match FileHeader::parse(&bytes) {
        Some(header) if read == FILE_HEADER => header,
        _ if MAGIC.starts_with(&bytes[..read.min(8)]) || (read > 8 && bytes.starts_with(&MAGIC)) => {
            return Err(RecordingError::Beginning("it ends within its first bytes"));
        }
        _ => return Err(RecordingError::Foreign),
    };
    if header.major != MAJOR {
        return Err(RecordingError::Version {
            major: header.major,
            minor: header.minor,
        });
    }
    if !FileHeader::is_whole(&bytes) {
        return Err(RecordingError::Beginning(
            "its first bytes are not as they were written",
        ));
    }
    Ok(header)
}

enum Understood {
    Content(Content),
    Index,
}

/// Parses an `INDX` block; `None` if it is incomplete.
fn index_entries(content: &[u8]) -> Option<impl Iterator<Item = IndexEntry>> {
    let (entries, rest) = content.as_chunks::<INDEX_ENTRY>();
    rest.is_empty().then(|| entries.iter().map(IndexEntry::parse))
}

/// Returns whether a block of this kind can be this large.
fn sane(block: &BlockHeader) -> Result<(), TooLarge> {
    let most = limits::content(block.kind).into();
    // Incompressible content becomes slightly larger.
    at_most(
        "bytes of the content, as stored",
        block.stored.into(),
        most + most / 128,
    )?;
    at_most("bytes of the content, decompressed", block.length.into(), most)?;
    Ok(())
}

/// Reads the stored bytes of a block that is sane, as far as they are there, and says how many.
fn read_content(input: &mut Input, block: &BlockHeader, stored: &mut Vec<u8>) -> io::Result<usize> {
    stored.clear();
    // Memory is taken as bytes come, and not because a header promises them.
    while stored.len() < block.stored as usize {
        let start = stored.len();
        let end = (block.stored as usize).min(start + PIECE);
        stored.resize(end, 0);
        let read = input.read(&mut stored[start..])?;
        if start + read < end {
            stored.truncate(start + read);
            break;
        }
    }
    Ok(stored.len())
}

/// `None` if the content is not what was written.
fn decompress(
    decompressor: &mut Decompressor<'_>,
    block: &BlockHeader,
    stored: &[u8],
    content: &mut Vec<u8>,
) -> Option<()> {
    if crc32fast::hash(stored) != block.checksum {
        return None;
    }
    // The size reported by zstd is checked before memory is allocated.
    let size = zstd::zstd_safe::get_frame_content_size(stored).ok()?;
    if size.is_some_and(|size| size != u64::from(block.length)) {
        return None;
    }
    content.clear();
    content.reserve(block.length as usize);
    decompressor.decompress_to_buffer(stored, content).ok()?;
    (content.len() == block.length as usize).then_some(())
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Reader")
            .field("header", &self.header)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
