//! Events and batches.
//!
//! The layout is that of the contract (`record event`), so that a batch is copied into the plugin once and used in
//! place.

use crate::fields::{Fields, Lookup, Value};
use crate::trace::{Function, Trace};

/// One call of, or return from, a kernel function with a traced packet.
///
/// A [`Batch`] has events in the order of delivery, which within one packet is the order of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Identity of the packet, unique within the trace; never 0. It is not the address of the sk_buff, which the kernel
    /// reuses as soon as a packet is freed.
    pub packet: u64,
    /// Kernel address of the sk_buff. For a return it is that of the entry, or 0 if the entry was lost.
    pub skb: u64,
    /// Nanoseconds, CLOCK_MONOTONIC.
    pub timestamp: u64,
    /// For a return: the timestamp of its entry. 0 for an entry, and for a return whose entry was lost.
    pub entry_timestamp: u64,
    /// Index into [`Trace::functions`].
    pub function: u32,
    /// The CPU that ran the function.
    pub cpu: u32,
    /// [`Event::ENTRY`], [`Event::RETURN`], [`Event::BORN`], [`Event::JOINED`], [`Event::ENDED`],
    /// [`Event::DECIDED`], [`Event::STACK`], or a kind of a later version, which must be ignored.
    pub kind: u32,
    /// The kernel's id of the current thread, 0 in the idle task.
    pub thread: u32,
    /// Offset of the event's payload in [`Batch::payload`].
    pub payload_offset: u32,
    /// Length of the payload in bytes; 0 if the event has none.
    pub payload_len: u32,
    /// 0 in entries and returns. In other kinds, what the kind says: of a packet that was made of another one, or
    /// became part of one, that one's identity; of one that ended, see [`Event::ENDED`].
    pub spare: u64,
}

const _: () = {
    assert!(size_of::<Event>() == 64 && align_of::<Event>() == 8);
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
    assert!(std::mem::offset_of!(Event, spare) == 56);
};

/// What decides, and its verdicts, by their numbers: those of netfilter (`NF_*`), of XDP (`XDP_*`), and of traffic control
/// (`TC_ACT_*`, and above 9 what is no such number).
pub(crate) const VERDICTS: [(&str, &[&str]); 3] = [
    ("netfilter", &["drop", "accept", "stolen", "queue", "repeat", "stop"]),
    ("xdp", &["aborted", "drop", "pass", "tx", "redirect"]),
    (
        "tc",
        &[
            "ok",
            "reclassify",
            "shot",
            "pipe",
            "stolen",
            "queued",
            "repeat",
            "redirect",
            "trap",
            "consumed",
            "unspec",
            "jump",
            "goto_chain",
        ],
    ),
];

impl Event {
    /// The packet entered the function.
    pub const ENTRY: u32 = 0;
    /// The function that the packet had entered returned.
    pub const RETURN: u32 = 1;
    /// The packet was made of another one, whose identity is in [`Event::spare`]. Only where packets are followed.
    pub const BORN: u32 = 2;
    /// The packet became part of another one, whose identity is in [`Event::spare`]; its end is the next event.
    pub const JOINED: u32 = 3;
    /// The packet's sk_buff was released; functions that tear it down may follow. [`Event::spare`] is
    /// [`Event::DROPPED`] plus the kernel's reason (0 if it tells none), [`Event::DELIVERED`], [`Event::SENT`],
    /// [`Event::FORWARDED`] or [`Event::BECAME_PART`]; 0 if no more is known than that it was released in order, and
    /// other values may be added. Only where packets are followed.
    pub const ENDED: u32 = 4;

    /// It was decided what becomes of the packet: see [`Event::verdict`]. The function is what decided, such as a chain of
    /// a firewall, which has an entry of its own in the function table. It may come after the packet's end. Only where
    /// packets are followed.
    pub const DECIDED: u32 = 5;

    /// Functions were running when the packet was dropped; its end is the next event. The function is the stack, which has
    /// an entry of its own in the function table: their names, the innermost first, with ` < ` between them.
    pub const STACK: u32 = 6;

    /// In [`Event::spare`] of an end: the kernel dropped the packet, for the reason in the lower half.
    pub const DROPPED: u64 = 1 << 32;
    /// A socket, or a protocol of the kernel, took it.
    pub const DELIVERED: u64 = 2 << 32;
    /// The driver of a device has sent it.
    pub const SENT: u64 = 4 << 32;
    /// As [`Event::SENT`], and it, or the packet that it was made of, had been received from a device.
    pub const FORWARDED: u64 = 6 << 32;
    /// It became part of another one: see [`Event::JOINED`].
    pub const BECAME_PART: u64 = 8 << 32;

    /// The packet entered the function.
    pub fn is_entry(&self) -> bool {
        self.kind == Event::ENTRY
    }

    /// The function that the packet had entered returned.
    pub fn is_return(&self) -> bool {
        self.kind == Event::RETURN
    }

    /// The verdict in ipft's word, if the event is one of netfilter, XDP or traffic control.
    pub fn verdict(&self) -> Option<&'static str> {
        let kind = usize::try_from((self.spare >> 32).checked_sub(1)?).ok()?;
        let (_, verdicts) = VERDICTS.get(kind).filter(|_| self.kind == Event::DECIDED)?;
        verdicts.get(self.spare as u32 as usize).copied()
    }

    /// The call's duration in nanoseconds, in a return whose entry was seen.
    pub fn duration(&self) -> Option<u64> {
        (self.is_return() && self.entry_timestamp != 0).then(|| self.timestamp.saturating_sub(self.entry_timestamp))
    }

    /// Within one packet, the calls of one context nest properly: those of one thread, and for the idle task, which is
    /// thread 0 on all CPUs, those of one CPU. A number that tells contexts apart.
    pub fn context(&self) -> u64 {
        match self.thread {
            0 => 1 << 32 | u64::from(self.cpu),
            thread => u64::from(thread),
        }
    }
}

/// Events that are delivered together.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Their trace.
    pub trace: &'a Trace,
    /// The events.
    pub events: &'a [Event],
    /// Their payload bytes; each event refers to a range.
    pub payload: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Returns the function of an event.
    pub fn function(&self, event: &Event) -> &'a Function {
        self.trace.function(event.function)
    }

    /// Returns the payload of one of this batch's events; empty if it has none.
    pub fn payload_of(&self, event: &Event) -> &'a [u8] {
        range(self.payload, event)
    }

    /// Returns all fields of an event.
    pub fn fields(&self, event: &Event) -> Fields<'a> {
        Fields::new(self.trace, self.payload_of(event))
    }

    /// Returns a field of an event by its name; `None` if the event has no such field. A [`Lookup`] is faster.
    pub fn field(&self, event: &Event, name: &str) -> Option<Value<'a>> {
        self.fields(event)
            .find(|field| field.name == name)
            .map(|field| field.value)
    }

    /// Returns a field of an event by a lookup from [`Trace::field`]; `None` if the event has no such field.
    pub fn get(&self, event: &Event, field: &Lookup) -> Option<Value<'a>> {
        field.find(self.trace, self.payload_of(event))
    }
}

/// Returns the event's range of the payloads.
pub(crate) fn range<'a>(payload: &'a [u8], event: &Event) -> &'a [u8] {
    let start = event.payload_offset as usize;
    let end = start.checked_add(event.payload_len as usize);
    end.and_then(|end| payload.get(start..end)).unwrap_or_default()
}
