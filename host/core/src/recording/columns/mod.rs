//! The content of an `EVNT` block: events as columns, so that like stands by like and compresses well.
//!
//! ```text
//! 13 u32      how many: see `Head`
//! origins     u64 packet…  u64 sk_buff…  u32 CPU…  u32 thread…     each combination that occurs, once
//! steps       u16 or u32 per event: function << 3 | has a payload << 2 | 0: an entry, 1: a return whose entry was lost,
//!             3: any other return, 2: an event of another kind
//! which       nothing, u8, u16 or u32 per event: its origin; nothing if all have the same
//! times       low byte per event, then high byte per event: nanoseconds since the event before (since 0 for the first);
//!             0xffff: the next of the u64s that follow, to be added with wrapping
//! durations   the same per return with an entry's timestamp: nanoseconds since that
//! others      of events of other kinds: u32 kind…  u64 spare word…  u64 entry's timestamp…
//! payloads    u32 length per event with a payload, if they can differ in length; then the bytes of all
//! names       per name of tagged values, from the first of the trace: u32 length, bytes
//! captures    per capture: u64 packet, u64 timestamp, u32 link, u32 length, u32 captured; then the bytes of all
//! ```
//!
//! Nothing refers to another block. Two bytes hold the time between two events but for pauses, and the low and the high
//! bytes stand apart because only the high ones are alike. [`Columns`] writes, [`Decoded`] reads. What both have to agree
//! on is here.

mod read;
mod write;

pub(super) use read::Decoded;
pub(super) use write::Columns;

const RETURN: u32 = 1;
const ENTERED: u32 = 2;
/// Of a step, the bits that tell kinds apart: [`RETURN`] and [`ENTERED`], which an entry has not.
const KIND: u32 = RETURN | ENTERED;
/// In place of them: the event is neither an entry nor a return.
const OTHER: u32 = ENTERED;
const PAYLOAD: u32 = 4;
const FLAGS: u32 = 3;
/// In place of a difference that does not fit.
const ESCAPE: u16 = u16::MAX;

/// Origin of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Origin {
    packet: u64,
    skb: u64,
    cpu: u32,
    thread: u32,
}

/// Additional columns of an event that is neither an entry nor a return.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Other {
    kind: u32,
    spare: u64,
    entry_timestamp: u64,
}

/// The numbers at the beginning, in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    events: u32,
    origins: u32,
    /// Bytes of a step.
    step_width: u32,
    /// Bytes of the number of an origin.
    origin_width: u32,
    time_escapes: u32,
    durations: u32,
    duration_escapes: u32,
    payload_lengths: u32,
    payload_bytes: u32,
    names: u32,
    name_bytes: u32,
    captures: u32,
    captured_bytes: u32,
}

const HEAD: usize = 13 * 4;

impl Head {
    fn to_array(self) -> [u32; 13] {
        [
            self.events,
            self.origins,
            self.step_width,
            self.origin_width,
            self.time_escapes,
            self.durations,
            self.duration_escapes,
            self.payload_lengths,
            self.payload_bytes,
            self.names,
            self.name_bytes,
            self.captures,
            self.captured_bytes,
        ]
    }

    fn parse(bytes: &[u8; HEAD]) -> Self {
        let mut words = bytes.chunks_exact(4).map(word);
        let mut next = || words.next().unwrap_or_default();
        Head {
            events: next(),
            origins: next(),
            step_width: next(),
            origin_width: next(),
            time_escapes: next(),
            durations: next(),
            duration_escapes: next(),
            payload_lengths: next(),
            payload_bytes: next(),
            names: next(),
            name_bytes: next(),
            captures: next(),
            captured_bytes: next(),
        }
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn long(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Differences in two bytes each, and those that need more.
#[derive(Debug, Default)]
struct Differences {
    short: Vec<u16>,
    long: Vec<u64>,
}

impl Differences {
    #[inline]
    fn push(&mut self, difference: u64) {
        if difference < ESCAPE.into() {
            self.short.push(difference as u16);
        } else {
            self.short.push(ESCAPE);
            self.long.push(difference);
        }
    }

    fn clear(&mut self) {
        self.short.clear();
        self.long.clear();
    }
}
