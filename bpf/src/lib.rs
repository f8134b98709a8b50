//! The kernel side of ipft: the CO-RE programs and the structs that they share with user space.
//!
//! The programs are C (GPL-2.0, as the helpers that they call require), compiled by the build script; this crate embeds
//! the objects, compressed, and puts the mark into them. It loads and attaches nothing.

pub mod wire;

use std::io;

/// An object file, compressed: the objects of all backends are a third of the program else.
#[derive(Debug)]
pub struct Packed {
    bytes: &'static [u8],
    /// Size of the object file, in bytes.
    size: usize,
}

impl Packed {
    /// Returns the object file. Fails if there is no memory for it.
    pub fn unpack(&self) -> io::Result<Vec<u8>> {
        zstd::bulk::decompress(self.bytes, self.size)
    }
}

/// An object file with programs whose mark is not known yet.
#[derive(Debug)]
pub struct Code {
    packed: Packed,
    /// Positions of the instructions with the mask.
    masks: &'static [usize],
    /// Positions of the instructions with the mark.
    marks: &'static [usize],
}

impl Code {
    /// Returns the object file for a mark, which is masked already. The two are operands of instructions: a load of a
    /// constant would cost every packet. Fails if there is no memory for the object.
    pub fn for_mark(&self, mark: u32, mask: u32) -> io::Result<Vec<u8>> {
        /// Where an instruction has its operand.
        const OPERAND: usize = 4;
        /// `goto +0`, which the verifier removes.
        const NOTHING: [u8; 8] = [0x05, 0, 0, 0, 0, 0, 0, 0];

        let mut bytes = self.packed.unpack()?;
        let mut replace = |at: usize, with: &[u8]| {
            if let Some(place) = bytes.get_mut(at..at + with.len()) {
                place.copy_from_slice(with);
            }
        };
        for at in self.masks {
            match mask {
                u32::MAX => replace(*at, &NOTHING),
                mask => replace(at + OPERAND, &mask.to_le_bytes()),
            }
        }
        for at in self.marks {
            replace(at + OPERAND, &mark.to_le_bytes());
        }
        Ok(bytes)
    }
}

/// The programs of a backend, in four variants.
#[derive(Debug)]
pub struct Object {
    /// Without an extension.
    pub plain: Code,
    /// For linking with an object that defines `module`, the function of an extension.
    pub extensible: Code,
    /// Programs that follow packets, for linking with an object that defines `ipft_filter`, which selects them. They
    /// have the mark in their configuration.
    pub following: Code,
    /// Likewise, and with an object that defines `module`.
    pub following_extensible: Code,
}

macro_rules! packed {
    ($file:literal) => {
        include!(concat!(env!("OUT_DIR"), "/", $file, ".rs"))
    };
}

macro_rules! code {
    ($file:expr) => {
        include!(concat!(env!("OUT_DIR"), "/", $file, ".rs"))
    };
}

macro_rules! object {
    ($plain:literal, $calling:literal) => {
        Object {
            plain: code!(concat!($plain, ".bpf.o")),
            extensible: code!(concat!($calling, ".extension.bpf.o")),
            following: code!(concat!($calling, ".follow.bpf.o")),
            following_extensible: code!(concat!($calling, ".follow.extension.bpf.o")),
        }
    };
    ($name:literal) => {
        object!($name, $name)
    };
}

/// The programs of the kprobe and kprobe-multi backends, for kernels that handle the faults of all loads.
pub static KPROBE: Object = object!("kprobe");

/// The same for kernels that do not.
pub static KPROBE_BY_HELPER: Object = object!("kprobe_by_helper");

/// The programs of the kprobe-session backend.
pub static KPROBE_SESSION: Object = object!("kprobe_session");

/// The templates of the ftrace backend, for kernels that handle the faults of all loads.
pub static FTRACE: Object = object!("ftrace");

/// The same for kernels that handle them in programs which call no functions of their own. These call none, and so
/// record no first bytes of packets; those with an extension do, and use no loads.
pub static FTRACE_ALONE: Object = object!("ftrace_alone", "ftrace_by_helper");

/// The same for such kernels, without loads.
pub static FTRACE_BY_HELPER: Object = object!("ftrace_by_helper");

/// The programs of the fentry-multi backend for entries and returns.
pub static FENTRY_SESSION: Object = object!("fentry_session");

/// The programs of the fentry-multi backend for entries.
pub static FENTRY_MULTI: Object = object!("fentry_multi");

/// The licence of programs whose extension does not declare one. The `extensible` objects have none.
pub static LICENSE: Packed = packed!("license.bpf.o");

/// The program that sees drops, for traces that follow packets. It shares the maps of the programs of functions.
pub static DROPPED: Packed = packed!("dropped.bpf.o");

/// The programs that see verdicts of netfilter, for traces that follow packets. They share the maps of the programs of
/// functions.
pub static DECIDED: Packed = packed!("decided.bpf.o");

/// The program that sees all drops, for traces of drops. It is linked with an object that defines `ipft_filter`.
/// For kernels that handle the faults of all loads.
pub static DROPS: Packed = packed!("drops.bpf.o");

/// The same for kernels that do not.
pub static DROPS_BY_HELPER: Packed = packed!("drops_by_helper.bpf.o");

/// Headers that an extension in C may include: the name in the `#include`, and the text. They come from libbpf and from
/// the kernel's user-space interface that this crate was built with.
pub static HEADERS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/headers.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    static ALL: [&Object; 8] = [
        &KPROBE,
        &KPROBE_BY_HELPER,
        &KPROBE_SESSION,
        &FTRACE,
        &FTRACE_ALONE,
        &FTRACE_BY_HELPER,
        &FENTRY_SESSION,
        &FENTRY_MULTI,
    ];

    /// Counts an operand in everything that may be an instruction.
    fn count(bytes: &[u8], operand: u32) -> usize {
        let instructions = bytes.chunks_exact(8);
        instructions.filter(|each| each[4..] == operand.to_le_bytes()).count()
    }

    #[test]
    fn every_place_of_mark_and_mask_is_filled() {
        let (mark, mask) = (0xfeed_f000, 0xfeed_ff00);
        for code in ALL.iter().flat_map(|object| [&object.plain, &object.extensible]) {
            let places = code.marks.len();
            assert!(places >= 16 && places == code.masks.len());
            let bytes = code.packed.unpack().unwrap();
            assert_eq!(count(&bytes, wire::MARK_PLACE), places);
            assert_eq!(count(&bytes, wire::MASK_PLACE), places);

            let filled = code.for_mark(mark, mask).unwrap();
            assert_eq!(filled.len(), bytes.len());
            assert_eq!(count(&filled, mark), places);
            assert_eq!(count(&filled, mask), places);
            assert_eq!(count(&filled, wire::MARK_PLACE) + count(&filled, wire::MASK_PLACE), 0);
        }
    }

    #[test]
    fn a_mask_of_all_bits_leaves_no_instruction() {
        for code in ALL.iter().flat_map(|object| [&object.plain, &object.extensible]) {
            let filled = code.for_mark(1, u32::MAX).unwrap();
            assert_eq!(count(&filled, wire::MASK_PLACE), 0);
            for at in code.masks {
                assert_eq!(filled[*at..at + 8], [5, 0, 0, 0, 0, 0, 0, 0]);
            }
        }
    }
}
