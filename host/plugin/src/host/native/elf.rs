//! Checks a file's ELF headers: whether the dynamic linker of this machine can load it.
//!
//! The dynamic linker would refuse most of these files as well, but with messages that differ per C library, some of
//! which are misleading. It does not refuse truncated files: it maps the missing pages, and the first access to one of
//! them ends the program.

use std::io::{self, Read, Seek, SeekFrom};

use object::elf;

use super::error::Problem;

/// Bytes of an ELF header, and of a program header.
const HEADER: usize = 64;
const SEGMENT: usize = 56;

/// `e_machine` of this machine.
const MACHINE: elf::Machine = if cfg!(target_arch = "aarch64") {
    elf::EM_AARCH64
} else {
    elf::EM_X86_64
};

/// Returns whether the start of a file is that of native code, not of a component.
pub fn is_elf(start: &[u8]) -> bool {
    start.starts_with(&elf::ELFMAG)
}

/// Refuses files that are not a shared library for this machine, or truncated ones.
pub(super) fn check(file: &mut (impl Read + Seek)) -> Result<(), Problem> {
    let size = file.seek(SeekFrom::End(0)).map_err(Problem::Read)?;
    let header = bytes(file, 0, HEADER as u64)?;
    if !is_elf(&header) {
        return Err(Problem::NoLibrary("it does not begin as one (ELF)"));
    }
    let Ok(header) = <[u8; HEADER]>::try_from(header) else {
        return Err(Problem::Incomplete);
    };
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if header[4] != elf::ELFCLASS64.0 || header[5] != elf::ELFDATA2LSB.0 || half(18) != MACHINE.0 {
        return Err(Problem::Machine);
    }
    match elf::FileType(half(16)) {
        elf::ET_DYN => {}
        elf::ET_REL => return Err(Problem::NoLibrary("it is an object file; link it with cc -shared")),
        elf::ET_EXEC => return Err(Problem::NoLibrary("it is a program")),
        _ => return Err(Problem::NoLibrary("it is ELF of another kind")),
    }
    let (offset, count) = (word(&header, 32), u64::from(half(56)));
    if usize::from(half(54)) != SEGMENT {
        return Err(Problem::NoLibrary("its program headers have an odd size"));
    }
    let segments = bytes(file, offset, count * SEGMENT as u64)?;
    if segments.len() as u64 != count * SEGMENT as u64 {
        return Err(Problem::Incomplete);
    }
    for segment in segments.chunks_exact(SEGMENT) {
        let end = word(segment, 8).checked_add(word(segment, 32));
        if end.is_none_or(|end| end > size) {
            return Err(Problem::Incomplete);
        }
    }
    Ok(())
}

/// Reads up to this many bytes from the offset.
fn bytes(file: &mut (impl Read + Seek), offset: u64, count: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let read = |file: &mut dyn Read, bytes: &mut Vec<u8>| -> io::Result<usize> { file.take(count).read_to_end(bytes) };
    file.seek(SeekFrom::Start(offset)).map_err(|_| Problem::Incomplete)?;
    read(file, &mut bytes).map_err(Problem::Read)?;
    Ok(bytes)
}

/// Returns the number at this offset of a header.
fn word(header: &[u8], at: usize) -> u64 {
    let bytes = header.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A library with one segment that spans the file.
    fn library() -> Vec<u8> {
        let mut bytes = vec![0; 200];
        bytes[..4].copy_from_slice(&elf::ELFMAG);
        bytes[4] = elf::ELFCLASS64.0;
        bytes[5] = elf::ELFDATA2LSB.0;
        bytes[16..18].copy_from_slice(&elf::ET_DYN.0.to_le_bytes());
        bytes[18..20].copy_from_slice(&MACHINE.0.to_le_bytes());
        bytes[32] = HEADER as u8;
        bytes[54] = SEGMENT as u8;
        bytes[56] = 1;
        bytes[HEADER + 32] = 200;
        bytes
    }

    fn reported(bytes: &[u8]) -> String {
        check(&mut Cursor::new(bytes)).unwrap_err().to_string()
    }

    #[test]
    fn only_a_shared_library_of_this_machine_is_taken() {
        check(&mut Cursor::new(library())).unwrap();
        let with = |at: usize, value: u8| {
            let mut bytes = library();
            bytes[at] = value;
            reported(&bytes)
        };
        assert!(with(0, 0).contains("does not begin"));
        assert!(with(4, 1).contains("another kind of machine"));
        assert!(with(5, 2).contains("another kind of machine"));
        assert!(with(18, 8).contains("another kind of machine"));
        assert!(with(16, 1).contains("object file"));
        assert!(with(16, 2).contains("a program"));
        assert!(with(16, 4).contains("another kind"));
        assert!(with(54, 57).contains("odd size"));
    }

    #[test]
    fn a_truncated_library_is_refused() {
        let good = library();
        for length in 4..good.len() {
            assert!(reported(&good[..length]).contains("only a part"), "{length}");
        }
        // Program header offset, number of program headers, segment offset.
        for (at, len) in [(32, 8), (57, 1), (HEADER + 8, 8), (HEADER + 32, 8)] {
            let mut bytes = library();
            bytes[at..at + len].fill(0xff);
            assert!(reported(&bytes).contains("only a part"), "{at}");
        }
    }
}
