//! The kernel's memory, as `/proc/kcore` shows it to root: an ELF core file of the running kernel.
//!
//! What stands in it ready to be read, text files of the kernel would make anew at some thousand instructions a line:
//! [`text`] sees what ftrace can patch; [`symbols`] brings together, from [`tables`] and [`modules`], what
//! `/proc/kallsyms` prints. All of it is a short cut: who cannot open the file, or finds something that is not as
//! expected, reads the lists.

mod modules;
mod symbols;
mod tables;
#[cfg(test)]
mod tests;
pub(super) mod text;

pub(super) use modules::ModuleLayout;
pub(super) use symbols::for_each_function;

use super::Root;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The kernel's memory, open for reading.
#[derive(Debug)]
pub(super) struct Kcore {
    file: File,
    segments: Vec<Segment>,
    notes: Vec<u8>,
}

/// A range of addresses and where the file has it.
#[derive(Debug)]
struct Segment {
    start: u64,
    len: u64,
    offset: u64,
}

/// ELF header of a 64-bit file, and one program header.
const ELF_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Maximum size of a kernel's notes: a few pages, one of them the `task_struct` of the reading process.
const MAX_NOTES: u64 = 1 << 20;

/// A number at an offset, 0 beyond the end.
fn field<const LEN: usize>(bytes: &[u8], at: usize) -> [u8; LEN] {
    bytes
        .get(at..)
        .and_then(|tail| tail.first_chunk::<LEN>())
        .copied()
        .unwrap_or([0; LEN])
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Kcore {
    /// Opens `/proc/kcore` and reads where it keeps what.
    pub(super) fn open(root: &Root) -> io::Result<Self> {
        let file = File::open(root.path("/proc/kcore"))?;
        let mut header = [0; ELF_HEADER];
        file.read_exact_at(&mut header, 0)?;
        // 64 bits, little-endian.
        if header[..6] != *b"\x7fELF\x02\x01" {
            return Err(broken("not a 64-bit little-endian ELF file"));
        }
        let table = u64::from_le_bytes(field(&header, 32));
        let entry = usize::from(u16::from_le_bytes(field(&header, 54)));
        let count = usize::from(u16::from_le_bytes(field(&header, 56)));
        if entry != PROGRAM_HEADER {
            return Err(broken("program headers of an unknown size"));
        }
        let mut headers = vec![0; entry * count];
        file.read_exact_at(&mut headers, table)?;
        let mut kcore = Kcore {
            file,
            segments: Vec::with_capacity(count),
            notes: Vec::new(),
        };
        for header in headers.chunks_exact(PROGRAM_HEADER) {
            let offset = u64::from_le_bytes(field(header, 8));
            match u32::from_le_bytes(field(header, 0)) {
                PT_LOAD => kcore.segments.push(Segment {
                    offset,
                    start: u64::from_le_bytes(field(header, 16)),
                    len: u64::from_le_bytes(field(header, 40)),
                }),
                PT_NOTE => {
                    let len = u64::from_le_bytes(field(header, 32));
                    kcore.notes = vec![0; len.min(MAX_NOTES) as usize];
                    kcore.file.read_exact_at(&mut kcore.notes, offset)?;
                }
                _ => {}
            }
        }
        Ok(kcore)
    }

    /// Returns the file offset of an address, and the number of bytes available there.
    fn place(&self, address: u64) -> io::Result<(u64, u64)> {
        let segment = self
            .segments
            .iter()
            .find(|segment| address >= segment.start && address - segment.start < segment.len)
            .ok_or(broken("an address outside of the kernel's memory"))?;
        let inside = address - segment.start;
        let offset = segment
            .offset
            .checked_add(inside)
            .ok_or(broken("a segment beyond the end of the file"))?;
        Ok((offset, segment.len - inside))
    }

    /// Fills a buffer with what is at an address.
    fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(into, self.place(address)?.0)
    }

    /// Reads this many bytes from an address on.
    fn bytes(&self, address: u64, len: usize) -> io::Result<Vec<u8>> {
        if self.place(address)?.1 < len as u64 {
            return Err(broken("more memory than the kernel has there"));
        }
        let mut bytes = vec![0; len];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// The bytes from an address on, `len` or as many as there are.
    pub(super) fn bytes_up_to(&self, address: u64, len: usize) -> io::Result<Vec<u8>> {
        let there = self.place(address)?.1;
        self.bytes(address, len.min(usize::try_from(there).unwrap_or(len)))
    }

    fn word(&self, address: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn long(&self, address: u64) -> io::Result<u64> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The content of the note with this name.
    fn note(&self, wanted: &[u8]) -> Option<&[u8]> {
        let mut rest = &self.notes[..];
        while rest.len() >= 12 {
            let name_len = u32::from_le_bytes(field(rest, 0)) as usize;
            let len = u32::from_le_bytes(field(rest, 4)) as usize;
            // Both are padded to 4 bytes.
            let start = 12 + name_len.next_multiple_of(4);
            let name = rest.get(12..12 + name_len)?;
            let content = rest.get(start..start.checked_add(len)?)?;
            if name.strip_suffix(b"\0") == Some(wanted) {
                return Some(content);
            }
            rest = rest.get(start + len.next_multiple_of(4)..)?;
        }
        None
    }
}
