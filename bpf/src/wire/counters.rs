//! The counters of the programs: events and losses of a CPU, drops at a place. Imports nothing of ours.

use std::mem::offset_of;

use super::{half, layout, word};

/// Number of [`Cpu`]s in the `ipft_cpus` variable.
pub const MAX_CPUS: usize = layout::IPFT_MAX_CPUS as usize;

/// `struct ipft_drop_place`: what a CPU has dropped at a place for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DropPlace {
    /// Where the kernel says that it dropped packets; 0 if the slot is free.
    pub location: u64,
    /// Number of packets.
    pub count: u64,
    /// Start of the second that `sent` belongs to.
    pub start: u64,
    /// The kernel's reason, 0 if it tells none.
    pub reason: u32,
    /// Number of records in that second.
    pub sent: u32,
}

same_layout!(DropPlace, ipft_drop_place, location, count, start, reason, sent);

impl DropPlace {
    /// Words of a slot.
    pub const WORDS: usize = size_of::<DropPlace>() / size_of::<u64>();
    /// The word that is 0 unless the slot is in use.
    pub const COUNT: usize = offset_of!(DropPlace, count) / size_of::<u64>();

    /// Parses a slot.
    pub fn parse(words: [u64; Self::WORDS]) -> DropPlace {
        let slot = words.map(u64::to_ne_bytes);
        let slot = slot.as_flattened();
        DropPlace {
            location: word(slot, offset_of!(DropPlace, location)),
            count: word(slot, offset_of!(DropPlace, count)),
            start: word(slot, offset_of!(DropPlace, start)),
            reason: half(slot, offset_of!(DropPlace, reason)),
            sent: half(slot, offset_of!(DropPlace, sent)),
        }
    }
}

/// `struct ipft_cpu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(128))]
pub struct Cpu {
    /// Events passed to the buffer.
    pub emitted: u64,
    last_packet: u64,
    last_check: u64,
    due: u64,
    /// Identities given on this CPU.
    pub packets: u64,
    /// Records that did not fit the buffer.
    pub buffer_full: u64,
    /// Events over the limit of events a second.
    pub over_limit: u64,
    /// Events of packets that did not fit the table of packets.
    pub packets_full: u64,
    /// Returns not traced because the table of open calls was full.
    pub calls_full: u64,
    /// Returns that never came.
    pub calls_missed: u64,
}

same_layout!(
    Cpu,
    ipft_cpu,
    emitted,
    last_packet,
    last_check,
    due,
    packets,
    buffer_full,
    over_limit,
    packets_full,
    calls_full,
    calls_missed
);

impl Cpu {
    /// Words of a CPU's counters in the `cpus` variable.
    pub const WORDS: usize = size_of::<Cpu>() / size_of::<u64>();

    /// Parses the counters of a CPU.
    pub fn parse(words: [u64; Self::WORDS]) -> Cpu {
        let at = |offset: usize| words[offset / size_of::<u64>()];
        Cpu {
            emitted: at(offset_of!(Cpu, emitted)),
            buffer_full: at(offset_of!(Cpu, buffer_full)),
            over_limit: at(offset_of!(Cpu, over_limit)),
            packets_full: at(offset_of!(Cpu, packets_full)),
            calls_full: at(offset_of!(Cpu, calls_full)),
            calls_missed: at(offset_of!(Cpu, calls_missed)),
            last_packet: 0,
            last_check: 0,
            due: 0,
            packets: at(offset_of!(Cpu, packets)),
        }
    }
}
