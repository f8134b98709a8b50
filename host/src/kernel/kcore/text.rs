//! Looks at the first instructions of kernel functions, to see whether ftrace can patch them.
//!
//! ftrace's own list, `available_filter_functions`, looks every function of the kernel up by name, which takes a
//! third of a second of instructions where a listing may take half. The same answer stands in the kernel's code: a
//! function that was compiled for ftrace begins with a 5-byte NOP, or with a call or a jump while somebody traces it
//! (arch/x86/kernel/ftrace.c). This is x86-64 only.

use super::super::symbols::Symbol;
use super::{Kcore, field};
use std::io;
use std::ops::Range;

/// Whether code of this machine can be told.
pub(in super::super) const KNOWN: bool = cfg!(target_arch = "x86_64");

/// Where the kernel's own code is, as far as its symbols were seen.
#[derive(Debug, Default)]
pub(in super::super) struct Text {
    range: Range<u64>,
    tracers: Vec<u64>,
}

impl Text {
    /// Learns from a symbol, if it is one of those that tell.
    #[inline]
    pub(in super::super) fn learn(&mut self, symbol: &Symbol) {
        match symbol.name {
            b"_stext" => self.range.start = symbol.address(),
            b"_etext" => self.range.end = symbol.address(),
            // What ftrace lets functions call that several trace (arch/x86/kernel/ftrace_64.S). For one that traces
            // alone, there is a copy of it outside the kernel's own code, and so are BPF's trampolines.
            b"ftrace_caller" | b"ftrace_regs_caller" => self.tracers.push(symbol.address()),
            _ => {}
        }
    }

    /// Whether the function at this address begins with ftrace's NOP or call. An error if its code cannot be read.
    pub(in super::super) fn is_patchable(&self, kcore: &Kcore, address: u64) -> io::Result<bool> {
        let mut code = [0; 9];
        kcore.read(address, &mut code)?;
        Ok(is_nop(field(&code, 0)) || self.is_traced(address, field(&code, 0)) || {
            // Behind the mark of a target of indirect calls.
            let mark = u32::from_le_bytes(field(&code, 0));
            is_nop(field(&code, 4))
                || (ENDBR.contains(&mark) && self.is_traced(address.wrapping_add(4), field(&code, 4)))
        })
    }

    /// Whether somebody traces a function right now: by a call with a relative address, or by a jump, as BPF trampolines
    /// that return for the function do from 6.19 on (include/linux/bpf.h, `bpf_trampoline_use_jmp`). A function that
    /// begins with a call of another function is not traced, although it looks so.
    fn is_traced(&self, address: u64, code: [u8; 5]) -> bool {
        let [0xe8 | 0xe9, distance @ ..] = code else {
            return false;
        };
        let target = (address.wrapping_add(5)).wrapping_add_signed(i64::from(i32::from_le_bytes(distance)));
        !self.range.contains(&target) || self.tracers.contains(&target)
    }
}

/// `endbr64`, and the NOPs that replace it in functions that nobody calls indirectly (arch/x86/include/asm/ibt.h).
const ENDBR: [u32; 3] = [0xfa1e_0ff3, 0x001f_0f66, 0xd640_1f0f];

/// Whether ftrace's NOP is here (arch/x86/include/asm/nops.h; up to 5.12 arch/x86/kernel/alternative.c, where the
/// oldest AMD processors have one of their own). While the kernel patches it, its first byte is a breakpoint.
fn is_nop(code: [u8; 5]) -> bool {
    matches!(code, [0x0f | 0xcc, 0x1f, 0x44, 0, 0] | [0x66, 0x66, 0x66, 0x66, 0x90])
}
