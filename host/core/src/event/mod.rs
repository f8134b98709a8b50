//! The types that flow from the kernel to every sink: events, gathered in batches, and their trace.
//!
//! This module defines the types that all others share, so it imports nothing of the crate but the hasher in `seeded`.
//! An [`Event`] is one call of (or return from) a kernel function with a packet; a [`Batch`] is the unit in which
//! events are passed on; a [`Trace`] is sent once before the first batch and a [`Summary`] once after the last. The
//! WASM contract in `wit/` defines the same.

mod calls;
mod decision;
mod drops;
mod kind;
mod outcome;
mod payload;
mod schema;
pub mod stack;
mod trace;
mod value;

pub use calls::{MAX_DEPTH, OpenCalls, Pairing};
pub use decision::{Decision, TcVerdict, Verdict, XdpVerdict};
pub use drops::{DropTotal, DropTotals};
pub use kind::EventKind;
pub use outcome::Outcome;
pub use payload::{MAX_PREFIX, Payload, PayloadLayout};
pub use schema::{Bits, EnumMember, Field, FieldFormat, FieldType, Schema};
pub use trace::{Function, Loss, LossKind, Progress, SkippedFunction, Summary, Trace, Tracer};
pub use value::{MAX_TAGGED, Value, Values};

/// The function of an event that tells of none of the trace's functions. Only events of other kinds than entries and
/// returns have it. A recording stores any other number beyond the table instead.
pub const NO_FUNCTION: u32 = u32::MAX;

/// One call of, or return from, a kernel function with a traced packet; or what else can happen to one, as its kind
/// says.
///
/// 64 bytes, fixed layout, integers only: a batch is handed to a plugin by one copy, and `wit/` names the same fields
/// at the same offsets (asserted below).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Identity of the packet, unique for the life of the trace; never 0. It is not the sk_buff's address, which the
    /// kernel reuses as soon as a packet is freed.
    pub packet: u64,
    /// Kernel address of the sk_buff. In a return it is that of the entry, or 0 if the entry was lost.
    pub skb: u64,
    /// Nanoseconds, `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`).
    pub timestamp: u64,
    /// In a return: the timestamp of its entry, so that `timestamp - entry_timestamp` is the call's duration. 0 in an
    /// entry, and in a return whose entry was lost.
    pub entry_timestamp: u64,
    /// Index into [`Trace::functions`], or [`NO_FUNCTION`].
    pub function: u32,
    /// The CPU that ran the function.
    pub cpu: u32,
    /// Entry, return, or another kind, which readers that do not know it pass over.
    pub kind: EventKind,
    /// The kernel's id of the thread that was current (a "pid" to the kernel), 0 in the idle task. Calls nest
    /// properly within one packet and one thread (for thread 0: within one CPU).
    pub thread: u32,
    /// First byte of the event's payload in [`Batch::payload`].
    pub payload_offset: u32,
    /// Length of the payload: 0, or [`Schema::size`] and, if the schema has a tail, up to [`MAX_TAGGED`] bytes more.
    pub payload_len: u32,
    /// In events of the kinds [`EventKind::BORN`] and [`EventKind::JOINED`]: the identity of the packet that this one
    /// came from, or that it became part of. In those of the kind [`EventKind::ENDED`]: the [`Outcome`]. In those
    /// of the kind [`EventKind::DECIDED`]: the [`Decision`]. 0 in entries and returns; of other kinds it means what the kind says.
    pub spare: u64,
}

const _: () = {
    assert!(size_of::<Event>() == 64);
    assert!(std::mem::offset_of!(Event, packet) == 0);
    assert!(std::mem::offset_of!(Event, skb) == 8);
    assert!(std::mem::offset_of!(Event, timestamp) == 16);
    assert!(std::mem::offset_of!(Event, entry_timestamp) == 24);
    assert!(std::mem::offset_of!(Event, function) == 32);
    assert!(std::mem::offset_of!(Event, cpu) == 36);
    assert!(std::mem::offset_of!(Event, kind) == 40);
    assert!(std::mem::offset_of!(Event, thread) == 44);
    assert!(std::mem::offset_of!(Event, payload_offset) == 48);
    assert!(std::mem::offset_of!(Event, payload_len) == 52);
};

impl Event {
    /// The call's duration in nanoseconds, in a return whose entry was seen.
    pub fn duration(&self) -> Option<u64> {
        (self.kind == EventKind::RETURN && self.entry_timestamp != 0)
            .then(|| self.timestamp.saturating_sub(self.entry_timestamp))
    }

    /// Returns how the packet ended, if the event is that of its end.
    pub fn outcome(&self) -> Option<Outcome> {
        (self.kind == EventKind::ENDED).then(|| Outcome::of_word(self.spare))
    }

    /// Returns what was decided about the packet, if the event is that of a decision that is known.
    pub fn decision(&self) -> Option<Decision> {
        (self.kind == EventKind::DECIDED)
            .then(|| Decision::of_word(self.spare))
            .flatten()
    }

    /// The event's payload in the bytes of all; empty if it is out of their range.
    #[inline]
    pub fn payload_in<'a>(&self, payloads: &'a [u8]) -> &'a [u8] {
        let start = self.payload_offset as usize;
        payloads
            .get(start..start + self.payload_len as usize)
            .unwrap_or_default()
    }

    /// Within one packet, the events of one context nest properly. A number that tells contexts apart.
    pub fn context(&self) -> u64 {
        Event::context_of(self.thread, self.cpu)
    }

    /// As [`Event::context`]. A thread is one context, whichever CPU it runs on: interrupts and softirqs that borrow it
    /// return before it goes on. The idle tasks of all CPUs share thread 0, so each CPU is one there.
    pub fn context_of(thread: u32, cpu: u32) -> u64 {
        match thread {
            0 => 1 << 32 | u64::from(cpu),
            thread => u64::from(thread),
        }
    }
}

/// The first bytes of a packet, as they were when it was first seen with complete headers: packets sent from this
/// machine are seen a few functions earlier. Only traces with `--record-bytes` have any, and not of every packet; a
/// packet may have two, of which the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capture {
    /// As [`Event::packet`].
    pub packet: u64,
    /// As [`Event::timestamp`] of the event at which they were read.
    pub timestamp: u64,
    /// First layer of the bytes.
    pub link: Link,
    /// Length of the packet from there on, of which these are the first bytes.
    pub length: u32,
    /// First of the bytes in [`Batch::captured`].
    pub offset: u32,
    /// Number of captured bytes.
    pub captured_len: u32,
}

/// The layer of the first byte of a [`Capture`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Link {
    /// An Ethernet header.
    Ethernet = 0,
    /// An IPv4 or IPv6 header, which its first four bits tell apart.
    Ip = 1,
}

/// Events as they travel: in the order in which the stream delivered them, which within one packet is the order of
/// time.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The events.
    pub events: Vec<Event>,
    /// Payload bytes of all of them; each event names its range.
    pub payload: Vec<u8>,
    /// The names of tagged values. There is one list for the whole trace, and names are only ever added at its end.
    pub names: Vec<String>,
    /// The first bytes of packets whose events are in this batch or near it.
    pub captures: Vec<Capture>,
    /// Bytes of all captures; each names its range.
    pub captured: Vec<u8>,
}

impl Batch {
    /// The payload of one of this batch's events, as [`Event::payload_len`] says; empty if it is out of range.
    pub fn payload_of(&self, event: &Event) -> &[u8] {
        event.payload_in(&self.payload)
    }

    /// The entries and returns: all that most readers know.
    #[inline]
    pub fn calls(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| event.kind.is_call())
    }

    /// The bytes of one of this batch's captures; empty if the range is out of it.
    pub fn bytes_of(&self, capture: &Capture) -> &[u8] {
        let start = capture.offset as usize;
        self.captured
            .get(start..start + capture.captured_len as usize)
            .unwrap_or_default()
    }

    /// Returns whether it holds nothing for a sink.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.captures.is_empty()
    }

    /// Forgets the events and captures, and keeps the memory and the names.
    pub fn clear(&mut self) {
        self.events.clear();
        self.payload.clear();
        self.captures.clear();
        self.captured.clear();
    }
}
