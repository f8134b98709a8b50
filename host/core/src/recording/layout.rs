//! The fixed parts of a recording, byte by byte, as drawn in the comment of `recording`.

/// Start of every recording. The first byte is not text in any encoding, and the line ends reveal a file that was
/// transferred as text, as in PNG.
pub const MAGIC: [u8; 8] = *b"\x89ipft\r\n\x1a";
/// End of every recording that was not cut.
pub const END_MAGIC: [u8; 8] = *b"ipft-end";
/// The version that is written, and the only one that is read.
pub const MAJOR: u16 = 1;
/// Grows when something is added that older readers skip.
pub const MINOR: u16 = 1;

/// Bytes of a [`FileHeader`].
pub const FILE_HEADER: usize = 32;
/// Bytes of a [`BlockHeader`].
pub const BLOCK_HEADER: usize = 48;
/// Bytes of an [`IndexEntry`].
pub const INDEX_ENTRY: usize = 32;
/// Bytes of the end of a file.
pub const TRAILER: usize = 24;

/// The most bytes of a block, stored or decompressed: what a reader has to have memory for.
pub const MAX_BLOCK: u32 = 64 << 20;

/// Kind of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kind(pub [u8; 4]);

impl Kind {
    /// The trace, as JSON.
    pub const TRACE: Kind = Kind(*b"TRCE");
    /// Events.
    pub const EVENTS: Kind = Kind(*b"EVNT");
    /// Losses so far, as JSON.
    pub const LOSSES: Kind = Kind(*b"LOSS");
    /// The summary, as JSON.
    pub const DONE: Kind = Kind(*b"DONE");
    /// Functions that were appended to those of the trace, as JSON.
    pub const FUNCTIONS: Kind = Kind(*b"FUNC");
    /// Positions of the earlier blocks.
    pub const INDEX: Kind = Kind(*b"INDX");
}

/// The beginning of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// See [`MAJOR`].
    pub major: u16,
    /// See [`MINOR`].
    pub minor: u16,
    /// Which part of its trace the file is, from 0.
    pub part: u32,
    /// A number that all parts of a trace share, and no other trace is likely to have.
    pub trace: u64,
}

/// Header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Kind of the content.
    pub kind: Kind,
    /// Bytes of the content in the file.
    pub stored: u32,
    /// Bytes of the content once it is decompressed.
    pub length: u32,
    /// Events in it.
    pub events: u32,
    /// The earliest timestamp of these; of other blocks, when they were written.
    pub first: u64,
    /// The latest timestamp of these; of other blocks, when they were written.
    pub last: u64,
    /// Captures in it.
    pub captures: u32,
    /// CRC-32 of the content as it is in the file.
    pub checksum: u32,
}

/// A block, as the index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// Offset of its header in the file.
    pub offset: u64,
    /// As in [`BlockHeader::kind`].
    pub kind: Kind,
    /// As in [`BlockHeader::events`].
    pub events: u32,
    /// As in [`BlockHeader::first`].
    pub first: u64,
    /// As in [`BlockHeader::last`].
    pub last: u64,
}

const _: () = {
    assert!(FILE_HEADER == 8 + 2 * 2 + 4 + 8 + 4 + 4);
    assert!(BLOCK_HEADER == 4 + 3 * 4 + 2 * 8 + 4 * 4);
    assert!(INDEX_ENTRY == 8 + 2 * 4 + 2 * 8);
    assert!(TRAILER == 8 + 2 * 4 + 8);
};

/// The number at a place that is within the bytes.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes[at..].first_chunk().map_or(0, |chunk| u16::from_le_bytes(*chunk))
}

/// As [`u16_at`].
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

/// As [`u16_at`].
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

impl FileHeader {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; FILE_HEADER] {
        let mut bytes = [0; FILE_HEADER];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&self.major.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.minor.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.part.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.trace.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Parses the bytes, without the checksum: that of a later version may be elsewhere.
    pub fn parse(bytes: &[u8; FILE_HEADER]) -> Option<Self> {
        bytes.starts_with(&MAGIC).then(|| FileHeader {
            major: u16_at(bytes, 8),
            minor: u16_at(bytes, 10),
            part: u32_at(bytes, 12),
            trace: u64_at(bytes, 16),
        })
    }

    /// Returns whether the header of this version has a valid checksum.
    pub fn is_whole(bytes: &[u8; FILE_HEADER]) -> bool {
        crc32fast::hash(&bytes[..28]) == u32_at(bytes, 28)
    }
}

impl BlockHeader {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; BLOCK_HEADER] {
        let mut bytes = [0; BLOCK_HEADER];
        bytes[..4].copy_from_slice(&self.kind.0);
        bytes[4..8].copy_from_slice(&self.stored.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.length.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.events.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.last.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.captures.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..44]);
        bytes[44..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Parses the bytes, if the checksum is valid.
    pub fn parse(bytes: &[u8; BLOCK_HEADER]) -> Option<Self> {
        if crc32fast::hash(&bytes[..44]) != u32_at(bytes, 44) {
            return None;
        }
        Some(BlockHeader {
            kind: Kind(u32_at(bytes, 0).to_le_bytes()),
            stored: u32_at(bytes, 4),
            length: u32_at(bytes, 8),
            events: u32_at(bytes, 12),
            first: u64_at(bytes, 16),
            last: u64_at(bytes, 24),
            captures: u32_at(bytes, 32),
            checksum: u32_at(bytes, 36),
        })
    }
}

impl IndexEntry {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; INDEX_ENTRY] {
        let mut bytes = [0; INDEX_ENTRY];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.kind.0);
        bytes[12..16].copy_from_slice(&self.events.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first.to_le_bytes());
        bytes[24..].copy_from_slice(&self.last.to_le_bytes());
        bytes
    }

    /// Parses the bytes.
    pub fn parse(bytes: &[u8; INDEX_ENTRY]) -> Self {
        IndexEntry {
            offset: u64_at(bytes, 0),
            kind: Kind(u32_at(bytes, 8).to_le_bytes()),
            events: u32_at(bytes, 12),
            first: u64_at(bytes, 16),
            last: u64_at(bytes, 24),
        }
    }
}

/// The end of a file whose index begins there.
pub fn trailer(index: u64) -> [u8; TRAILER] {
    let mut bytes = [0; TRAILER];
    bytes[..8].copy_from_slice(&index.to_le_bytes());
    let checksum = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    bytes[16..].copy_from_slice(&END_MAGIC);
    bytes
}

/// Returns the offset of the index, if the bytes are the end of a recording.
pub fn parse_trailer(bytes: &[u8; TRAILER]) -> Option<u64> {
    let whole = bytes.ends_with(&END_MAGIC) && crc32fast::hash(&bytes[..12]) == u32_at(bytes, 12);
    whole.then(|| u64_at(bytes, 0))
}
