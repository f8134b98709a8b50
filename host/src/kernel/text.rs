//! Looks at the first instructions of kernel functions, to see whether ftrace can patch them.
//!
//! ftrace's own list, `available_filter_functions`, looks every function of the kernel up by name, which takes a
//! third of a second of instructions where a listing may take half. The same answer stands in the kernel's code: a
//! function that was compiled for ftrace begins with a 5-byte NOP, or with a call or a jump while somebody traces it
//! (arch/x86/kernel/ftrace.c). `/proc/kcore` shows that code to root, as an ELF core file.
//!
//! This is x86-64 only, and only a short cut: who cannot open `/proc/kcore` reads the list.

use super::Root;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The kernel's memory, open for reading.
pub(super) struct KernelText {
    file: File,
    segments: Vec<Segment>,
}

/// A range of addresses and where the file has it.
struct Segment {
    start: u64,
    len: u64,
    offset: u64,
}

/// ELF header of a 64-bit file, and one program header.
const ELF_HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const PT_LOAD: u32 = 1;

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

impl KernelText {
    /// Opens `/proc/kcore` and reads where it keeps what.
    pub(super) fn open(root: &Root) -> io::Result<Self> {
        if !cfg!(target_arch = "x86_64") {
            return Err(io::ErrorKind::Unsupported.into());
        }
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
        let segments = headers
            .chunks_exact(PROGRAM_HEADER)
            .filter(|header| u32::from_le_bytes(field(header, 0)) == PT_LOAD)
            .map(|header| Segment {
                offset: u64::from_le_bytes(field(header, 8)),
                start: u64::from_le_bytes(field(header, 16)),
                len: u64::from_le_bytes(field(header, 40)),
            })
            .collect();
        Ok(KernelText { file, segments })
    }

    /// Whether the function at this address begins with ftrace's NOP or call. An error if its code cannot be read.
    pub(super) fn is_patchable(&self, address: u64) -> io::Result<bool> {
        let mut code = [0; 9];
        let segment = self
            .segments
            .iter()
            .find(|segment| address >= segment.start && address - segment.start < segment.len)
            .ok_or(broken("an address outside of the kernel's memory"))?;
        let offset = segment
            .offset
            .checked_add(address - segment.start)
            .ok_or(broken("a segment beyond the end of the file"))?;
        self.file.read_exact_at(&mut code, offset)?;
        Ok(is_nop(field(&code, 0)) || is_traced(field(&code, 0)) || {
            // Behind the mark of a target of indirect calls.
            let mark = u32::from_le_bytes(field(&code, 0));
            is_nop(field(&code, 4)) || (ENDBR.contains(&mark) && is_traced(field(&code, 4)))
        })
    }
}

/// `endbr64`, and the NOPs that replace it in functions that nobody calls indirectly (arch/x86/include/asm/ibt.h).
const ENDBR: [u32; 3] = [0xfa1e_0ff3, 0x001f_0f66, 0xd640_1f0f];

/// Whether ftrace's NOP is here (arch/x86/include/asm/nops.h; up to 5.12 arch/x86/kernel/alternative.c, where the
/// oldest AMD processors have one of their own). While the kernel patches it, its first byte is a breakpoint.
fn is_nop(code: [u8; 5]) -> bool {
    matches!(code, [0x0f | 0xcc, 0x1f, 0x44, 0, 0] | [0x66, 0x66, 0x66, 0x66, 0x90])
}

/// Whether somebody traces the function right now: by a call with a relative address, or by a jump, as BPF trampolines
/// that return for the function do from 6.19 on (include/linux/bpf.h, `bpf_trampoline_use_jmp`). A function that
/// just begins so is taken for one that is traced; the backend skips it when the kernel refuses it.
fn is_traced(code: [u8; 5]) -> bool {
    matches!(code[0], 0xe8 | 0xe9)
}
