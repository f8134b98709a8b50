//! Examines the first instructions of kernel functions, to determine whether ftrace can patch them.
//!
//! ftrace's own list, `available_filter_functions`, looks every function of the kernel up by name, which takes a
//! third of a second of instructions where a listing may take half. The same answer stands in the kernel's code: a
//! function that was compiled for ftrace begins with a NOP, or with a call or a jump while it is traced
//! ([`arch::is_patchable`]).

use super::super::arch::{self, ENTRY};
use super::super::symbols::Symbol;
use super::Kcore;
use std::io;
use std::ops::Range;

/// Range of the kernel's own code, as far as its symbols were seen.
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

    /// Returns whether the function at this address was compiled for ftrace. Fails if its code cannot be read.
    pub(in super::super) fn is_patchable(&self, kcore: &Kcore, address: u64) -> io::Result<bool> {
        let mut code = [0; ENTRY];
        kcore.read(address, &mut code)?;
        Ok(arch::is_patchable(address, code, |target| self.is_tracer(target)))
    }

    /// Returns whether a function that calls this right at its beginning is traced. One that begins with a call of
    /// another function is not, although it looks so.
    fn is_tracer(&self, target: u64) -> bool {
        !self.range.contains(&target) || self.tracers.contains(&target)
    }
}
