//! Where a breakpoint serves as the entry of a function: behind ftrace's NOP. Imports `kcore` and `arch`.
//!
//! A kprobe at the NOP goes by ftrace, and to arm or disarm one, the kernel walks through all of ftrace's records
//! (`__ftrace_hash_rec_update` in `kernel/trace/ftrace.c`). One behind it is a breakpoint, which the kernel replaces by a
//! jump if it can (`kernel/kprobes.c`, `optimize_kprobe`). Nothing has happened in between: the registers and the stack
//! are those of the entry.

use std::fs;

use super::Root;
use super::arch;
use super::kcore::Kcore;

/// The code of the kernel's functions.
#[derive(Debug)]
pub struct Entries {
    kcore: Kcore,
}

/// Bytes from a function's beginning on that are searched for jumps: few functions that take packets are longer.
const SEARCHED: usize = 16 << 10;

impl Entries {
    /// Opens the kernel's memory. None if it is closed, or if the kernel does not replace breakpoints by jumps: a
    /// breakpoint costs more than a probe by ftrace.
    pub fn open(root: &Root) -> Option<Entries> {
        let optimized = fs::read_to_string(root.path("/proc/sys/debug/kprobes-optimization")).ok()?;
        if optimized.trim() != "1" || !arch::CODE_IS_KNOWN {
            return None;
        }
        let kcore = Kcore::open(root).ok()?;
        Some(Entries { kcore })
    }

    /// Returns the address behind the NOP of a function at this address. None if there is no NOP, as while it is traced,
    /// or if the function may come back there: a call of itself at its end may be a jump to its beginning.
    pub fn behind_nop(&self, address: u64) -> Option<u64> {
        let code = self.kcore.bytes_up_to(address, SEARCHED).ok()?;
        let offset = arch::behind_nop(&code).filter(|offset| !arch::may_jump_to(&code, *offset))?;
        address.checked_add(offset as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{CoreBuilder, Tree};
    use super::*;

    const TEXT: u64 = 0xffff_ffff_8100_0000;
    const NOP: [u8; 5] = [0x0f, 0x1f, 0x44, 0, 0];

    fn tree(code: Vec<u8>) -> Tree {
        Tree::new()
            .with("/proc/kcore", CoreBuilder::new().segment(TEXT, code).build())
            .with("/proc/sys/debug/kprobes-optimization", "1\n")
    }

    fn behind(code: &[&[u8]]) -> Option<u64> {
        let mut code = code.concat();
        code.resize(0x1000, 0xc3);
        let tree = tree(code);
        let found = Entries::open(&tree.root()).expect("it is open").behind_nop(TEXT);
        found.map(|address| address - TEXT)
    }

    #[test]
    fn the_place_is_behind_the_nop() {
        assert_eq!(behind(&[&NOP]), Some(5));
        assert_eq!(behind(&[&[0xf3, 0x0f, 0x1e, 0xfa], &NOP]), Some(9));
        assert_eq!(behind(&[&[0x66, 0x0f, 0x1f, 0x00], &NOP]), Some(9));
    }

    #[test]
    fn functions_that_begin_otherwise_have_none() {
        assert_eq!(behind(&[&[0x55; 9]]), None);
        // A call of a tracer.
        assert_eq!(behind(&[&[0xe8, 0, 0, 0, 1]]), None);
        // A NOP behind another instruction of 4 bytes.
        assert_eq!(behind(&[&[0x90; 4], &NOP]), None);
    }

    #[test]
    fn functions_that_come_back_have_none() {
        // Jumps from offset 8 on, to offset 5 or 6.
        for (jump, expected) in [
            (vec![0xeb, 0xfb], None),
            (vec![0xeb, 0xfc], Some(5)),
            (vec![0x75, 0xfb], None),
            (vec![0xe9, 0xf8, 0xff, 0xff, 0xff], None),
            (vec![0xe9, 0xf9, 0xff, 0xff, 0xff], Some(5)),
            (vec![0x0f, 0x84, 0xf7, 0xff, 0xff, 0xff], None),
        ] {
            assert_eq!(behind(&[&NOP, &[0x90; 3], &jump]), expected, "{jump:x?}");
        }
        // From afar.
        let far = [vec![0x90; 0x800], vec![0xe9], (-0x805_i32).to_le_bytes().to_vec()].concat();
        assert_eq!(behind(&[&NOP, &far]), None);
    }

    #[test]
    fn without_jumps_for_breakpoints_there_is_none() {
        let off = tree(vec![0x90; 64]).with("/proc/sys/debug/kprobes-optimization", "0\n");
        assert!(Entries::open(&off.root()).is_none());
        assert!(Entries::open(&Tree::new().root()).is_none());
    }
}
