//! The records as they lie in the ring or perf buffer: events, births, ends, decisions and captures. Imports nothing of
//! ours.

use std::mem::offset_of;

#[cfg(doc)]
use super::Config;
use super::{half, half_of, layout, word};

/// In [`Event::cpu_and_kind`]: the event is a return.
pub const RETURN: u32 = half_of(layout::IPFT_RETURN);

/// `struct ipft_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Identity of the packet.
    pub packet: u64,
    /// Address of the sk_buff; 0 in a return.
    pub skb: u64,
    /// `bpf_ktime_get_ns()`.
    pub timestamp: u64,
    /// Index of the function, or its address.
    pub function: u64,
    /// CPU number, and [`RETURN`].
    pub cpu_and_kind: u32,
    /// The kernel's id of the current thread.
    pub thread: u32,
}

same_layout!(
    Event,
    ipft_event,
    packet,
    skb,
    timestamp,
    function,
    cpu_and_kind,
    thread
);

/// Size of an event without payload.
pub const EVENT_SIZE: usize = size_of::<Event>();

/// Marks the birth of a packet, in the place of [`Event::function`].
pub const BORN: u64 = layout::IPFT_BORN;

/// `struct ipft_birth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Birth {
    /// The event of the new packet; its function is [`BORN`].
    pub event: Event,
    /// Identity of the packet that it was made of.
    pub parent: u64,
    /// Index of the function that made it, or its address; neither if it is not traced.
    pub function: u64,
}

same_layout!(Birth, ipft_birth, event, parent, function);

impl Birth {
    /// Parses the birth in a record whose function is [`BORN`]; `None` if the record is too short.
    pub fn parse(record: &[u8]) -> Option<Birth> {
        let bytes = record.get(..size_of::<Birth>())?;
        Some(Birth {
            event: Event::parse(bytes)?,
            parent: word(bytes, offset_of!(Birth, parent)),
            function: word(bytes, offset_of!(Birth, function)),
        })
    }
}

/// Marks the end of a packet, in the place of [`Event::function`].
pub const ENDED: u64 = layout::IPFT_ENDED;

/// `struct ipft_ended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ended {
    /// The event of the packet; its function is [`ENDED`].
    pub event: Event,
    /// 0, or [`DROP`] or [`DROP_ALONE`].
    pub dropped: u32,
    /// The kernel's reason, 0 if it tells none.
    pub reason: u32,
    /// Identity of the packet that it became part of, 0 if it did not.
    pub into: u64,
}

same_layout!(Ended, ipft_ended, event, dropped, reason, into);

/// In [`Ended::dropped`]: the kernel dropped the packet.
pub const DROP: u32 = layout::ipft_drop::IPFT_DROP;

/// In [`Ended::dropped`]: likewise, and it is all that was seen of the packet; its fields follow the record.
pub const DROP_ALONE: u32 = layout::ipft_drop::IPFT_DROP_ALONE;

const _: () = assert!(layout::ipft_drop::COUNT == 3, "wire.h has other kinds of ends");

/// Return addresses in [`Dropped::frames`].
pub const FRAMES: usize = layout::IPFT_FRAMES as usize;

/// `struct ipft_dropped`: what the record of a dropped packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Dropped {
    /// The end.
    pub ended: Ended,
    /// Where the kernel says that the packet was dropped.
    pub location: u64,
    /// Return addresses, beginning with the program itself; 0 where there are none.
    pub frames: [u64; FRAMES],
}

same_layout!(Dropped, ipft_dropped, ended, location, frames);

impl Ended {
    /// Parses the end in a record whose function is [`ENDED`]; `None` if the record is too short.
    pub fn parse(record: &[u8]) -> Option<Ended> {
        let bytes = record.get(..size_of::<Ended>())?;
        Some(Ended {
            event: Event::parse(bytes)?,
            dropped: half(bytes, offset_of!(Ended, dropped)),
            reason: half(bytes, offset_of!(Ended, reason)),
            into: word(bytes, offset_of!(Ended, into)),
        })
    }
}

impl Dropped {
    /// Parses the record of a packet that was dropped; `None` if it is too short.
    pub fn parse(record: &[u8]) -> Option<Dropped> {
        let bytes = record.get(..size_of::<Dropped>())?;
        let mut frames = [0; FRAMES];
        for (index, frame) in frames.iter_mut().enumerate() {
            *frame = word(bytes, offset_of!(Dropped, frames) + index * size_of::<u64>());
        }
        Some(Dropped {
            ended: Ended::parse(bytes)?,
            location: word(bytes, offset_of!(Dropped, location)),
            frames,
        })
    }
}

/// Size of a [`Dropped`].
pub const DROPPED_SIZE: usize = size_of::<Dropped>();

/// Marks a decision about a packet, in the place of [`Event::function`].
pub const DECIDED: u64 = layout::IPFT_DECIDED;

/// In [`Decided::decider`]: a base chain of nf_tables.
pub const DECIDER_NFT: u8 = layout::ipft_decider::IPFT_NFT as u8;

/// In [`Decided::decider`]: a table of ip_tables or ip6_tables.
pub const DECIDER_IPTABLES: u8 = layout::ipft_decider::IPFT_IPTABLES as u8;

/// In [`Decided::decider`]: a program of generic XDP.
pub const DECIDER_XDP: u8 = layout::ipft_decider::IPFT_XDP as u8;

/// In [`Decided::decider`]: the filters of a qdisc.
pub const DECIDER_TC_FILTERS: u8 = layout::ipft_decider::IPFT_TC_FILTERS as u8;

/// In [`Decided::decider`]: actions of traffic control.
pub const DECIDER_TC_ACTIONS: u8 = layout::ipft_decider::IPFT_TC_ACTIONS as u8;

/// In [`Decided::hook`] of traffic control: the packet has come from the device.
pub const TC_INGRESS: u8 = layout::ipft_tc_way::IPFT_TC_INGRESS as u8;

const _: () = assert!(layout::ipft_decider::COUNT == 5, "wire.h has other kinds of deciders");

/// Bytes of a name in [`Decided`].
pub const DECIDER_NAME: usize = layout::IPFT_DECIDER_NAME as usize;

/// `struct ipft_decided`: a verdict of netfilter, traffic control or XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Decided {
    /// The event of the packet; its function is [`DECIDED`].
    pub event: Event,
    /// What the function returned.
    pub verdict: u32,
    /// Priority of the hook; of XDP the identifier of the program, of filters the class, of actions their number.
    pub priority: i32,
    /// [`DECIDER_NFT`] or another one.
    pub decider: u8,
    /// `NFPROTO_*`.
    pub family: u8,
    /// Number of the hook in the family; of traffic control [`TC_INGRESS`] or the other way.
    pub hook: u8,
    /// Nothing.
    pub padding: [u8; 5],
    /// Name of the table, ended by a NUL; of others the name or kind of what decides.
    pub table: [u8; DECIDER_NAME],
    /// Name of the chain, ended by a NUL; empty if it is a table that decides. Of others the name of the device.
    pub chain: [u8; DECIDER_NAME],
}

same_layout!(
    Decided,
    ipft_decided,
    event,
    verdict,
    priority,
    decider,
    family,
    hook,
    padding,
    table,
    chain
);

impl Decided {
    /// Parses the decision in a record whose function is [`DECIDED`]; `None` if the record is too short. What is behind
    /// the NUL of a name is 0.
    pub fn parse(record: &[u8]) -> Option<Decided> {
        let bytes = record.get(..size_of::<Decided>())?;
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let name = |at: usize| {
            let mut name = [0; DECIDER_NAME];
            let text = bytes.get(at..at + DECIDER_NAME).unwrap_or_default();
            let length = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            name[..length].copy_from_slice(&text[..length]);
            name
        };
        Some(Decided {
            event: Event::parse(bytes)?,
            verdict: half(bytes, offset_of!(Decided, verdict)),
            priority: half(bytes, offset_of!(Decided, priority)).cast_signed(),
            decider: byte(offset_of!(Decided, decider)),
            family: byte(offset_of!(Decided, family)),
            hook: byte(offset_of!(Decided, hook)),
            padding: [0; 5],
            table: name(offset_of!(Decided, table)),
            chain: name(offset_of!(Decided, chain)),
        })
    }
}

/// Bytes of an extension's payload, after an entry's event and fields (`IPFT_PAYLOAD`).
pub const PAYLOAD_SIZE: usize = layout::IPFT_PAYLOAD as usize;

/// Marks a capture, in the place of [`Event::function`].
pub const CAPTURE: u64 = layout::IPFT_CAPTURE;

/// Maximum bytes recorded of a packet ([`Config::record_bytes`]).
pub const MAX_RECORD_BYTES: u32 = 16384;

/// `struct ipft_capture`, up to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Capture {
    /// Identity of the packet.
    pub packet: u64,
    /// Length of the packet from the first captured byte on.
    pub length: u32,
    /// Number of captured bytes, which follow.
    pub captured: u32,
    /// `bpf_ktime_get_ns()`.
    pub timestamp: u64,
    /// [`CAPTURE`].
    pub function: u64,
    /// `enum ipft_link`: [`LINK_ETHERNET`] or [`LINK_IP`].
    pub link: u32,
    padding: u32,
    /// The packet's bytes begin here.
    bytes: [u8; 0],
}

same_layout!(
    Capture,
    ipft_capture,
    packet,
    length,
    captured,
    timestamp,
    function,
    link,
    padding,
    bytes
);

/// Size of a capture without the packet's bytes.
pub const CAPTURE_SIZE: usize = size_of::<Capture>();

/// In [`Capture::link`]: the first byte is of an Ethernet header.
pub const LINK_ETHERNET: u32 = layout::ipft_link::IPFT_ETHERNET;

/// In [`Capture::link`]: the first byte is of an IPv4 or IPv6 header.
pub const LINK_IP: u32 = layout::ipft_link::IPFT_IP;

const _: () = assert!(layout::ipft_link::COUNT == 2, "wire.h has other links");

impl Event {
    /// Parses the event at the start of a record; `None` if the record is too short.
    #[inline]
    pub fn parse(record: &[u8]) -> Option<Event> {
        let bytes: &[u8; EVENT_SIZE] = record.get(..EVENT_SIZE)?.try_into().ok()?;
        // Both in one load.
        const LAST: usize = offset_of!(Event, cpu_and_kind);
        const _: () = assert!(offset_of!(Event, thread) == LAST + 4);
        let last = word(bytes, LAST).to_ne_bytes();
        Some(Event {
            packet: word(bytes, offset_of!(Event, packet)),
            skb: word(bytes, offset_of!(Event, skb)),
            timestamp: word(bytes, offset_of!(Event, timestamp)),
            function: word(bytes, offset_of!(Event, function)),
            cpu_and_kind: u32::from_ne_bytes([last[0], last[1], last[2], last[3]]),
            thread: u32::from_ne_bytes([last[4], last[5], last[6], last[7]]),
        })
    }
}

impl Capture {
    /// The capture at the start of a record whose function is [`CAPTURE`], and the bytes that were taken; `None` if the
    /// record is too short for them.
    pub fn parse(record: &[u8]) -> Option<(Capture, &[u8])> {
        let (head, bytes) = record.split_first_chunk::<CAPTURE_SIZE>()?;
        let capture = Capture {
            packet: word(head, offset_of!(Capture, packet)),
            length: half(head, offset_of!(Capture, length)),
            captured: half(head, offset_of!(Capture, captured)),
            timestamp: word(head, offset_of!(Capture, timestamp)),
            function: word(head, offset_of!(Capture, function)),
            link: half(head, offset_of!(Capture, link)),
            padding: 0,
            bytes: [],
        };
        let bytes = bytes.get(..usize::try_from(capture.captured).ok()?)?;
        (capture.function == CAPTURE).then_some((capture, bytes))
    }
}
