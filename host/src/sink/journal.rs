//! Every event of a trace, kept in memory in as few bytes as it takes, and found again by packet.
//!
//! An event takes 20 bytes, 12 more where returns are traced, and its payload beside, with 4 more if payloads differ in
//! length. A packet takes 16, and up to 12 in a hash table. Storage grows by chunks that never move: a vector that doubles would for a moment need three times
//! what it holds. Events of one packet form a list, oldest first, whose links are indices.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::event::{Encoding, Event, EventKind, MAX_TAGGED, Schema};

/// What one chunk holds, in items.
const CHUNK: usize = 1 << 14;
/// The end of a packet's list.
const NONE: u32 = u32::MAX;
/// In [`Row::function`]: the event is a return.
const RETURN: u32 = 1 << 31;
/// In [`Row::function`]: the event has a payload.
const PAYLOAD: u32 = 1 << 30;
/// The bits of [`Row::function`] that hold the index, which no kernel comes near to exhaust.
const FUNCTION: u32 = PAYLOAD - 1;

/// The most events that are kept: links are 32 bits wide. Some 80 GB of memory are full before.
pub(super) const LIMIT: usize = NONE as usize / CHUNK * CHUNK;

/// All events of a trace.
#[derive(Debug, Default)]
pub(super) struct Journal {
    chunks: Vec<Chunk>,
    events: usize,
    nesting: bool,
    payload_size: usize,
    /// Payloads have any length, and `payload_size` is 0.
    tagged: bool,
    packets: Vec<Vec<Packet>>,
    /// Numbers of packets, by identity.
    table: HashTable<u32>,
    /// The packet of the event before: a batch often holds a run of one packet.
    last: u32,
    /// A packet's event was older than the one before.
    unsorted: bool,
}

/// Up to `CHUNK` events. The vectors have all the room that they will need.
#[derive(Debug)]
struct Chunk {
    rows: Vec<Row>,
    /// Beside every row, if returns are traced.
    nesting: Vec<Nesting>,
    /// `payload_size` bytes beside every row; of tagged payloads, one behind the other.
    payload: Vec<u8>,
    /// Beside every row, if payloads are tagged: where its payload ends. It begins where the one before ends.
    ends: Vec<u32>,
}

/// An event as the journal gives it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) timestamp: u64,
    /// As in [`Event::entry_timestamp`]; 0 without nesting.
    pub(super) entry_timestamp: u64,
    /// As in [`Event::thread`]; 0 without nesting.
    pub(super) thread: u32,
    pub(super) function: u32,
    pub(super) cpu: u32,
    pub(super) kind: EventKind,
}

impl Kept {
    /// As in [`Event::context`].
    #[inline]
    pub(super) fn context(&self) -> u64 {
        Event::context_of(self.thread, self.cpu)
    }
}

/// What is kept of any event. The timestamp is split so that the row has no padding.
#[derive(Clone, Copy, Debug)]
struct Row {
    timestamp: [u8; 8],
    next: u32,
    function: u32,
    cpu: u32,
}

/// What is kept beside it where returns are traced.
#[derive(Clone, Copy, Debug)]
struct Nesting {
    entry_timestamp: [u8; 8],
    thread: u32,
}

#[derive(Clone, Copy, Debug)]
struct Packet {
    packet: u64,
    first: u32,
    last: u32,
}

const _: () = {
    assert!(size_of::<Row>() == 20);
    assert!(size_of::<Nesting>() == 12);
    assert!(size_of::<Packet>() == 16);
    // The payloads of a chunk fit into the 32 bits of an end.
    assert!(CHUNK * MAX_TAGGED < u32::MAX as usize);
};

impl Journal {
    /// An empty journal, for events with payloads of this schema.
    pub(super) fn new(nesting: bool, schema: &Schema) -> Self {
        let tagged = schema.encoding == Encoding::Tagged;
        Journal {
            nesting,
            payload_size: if tagged { 0 } else { schema.size as usize },
            tagged,
            ..Journal::default()
        }
    }

    /// Keeps the event; false if there is no room for more, ever.
    #[inline]
    #[must_use]
    pub(super) fn push(&mut self, event: &Event, payload: &[u8]) -> bool {
        let index = self.events;
        if index.is_multiple_of(CHUNK) {
            if index == LIMIT {
                return false;
            }
            self.add_chunk();
        }
        let Some(chunk) = self.chunks.last_mut() else {
            return false;
        };
        let mut function = event.function.min(FUNCTION);
        if event.kind == EventKind::Return {
            function |= RETURN;
        }
        if self.payload_size != 0 {
            if payload.len() == self.payload_size {
                function |= PAYLOAD;
                chunk.payload.extend_from_slice(payload);
            } else {
                chunk.payload.resize(chunk.payload.len() + self.payload_size, 0);
            }
        } else if self.tagged {
            // A longer one breaks the contract of `Event`.
            if payload.len() <= MAX_TAGGED {
                chunk.payload.extend_from_slice(payload);
            }
            chunk.ends.push(chunk.payload.len() as u32);
        }
        chunk.rows.push(Row {
            timestamp: event.timestamp.to_ne_bytes(),
            next: NONE,
            function,
            cpu: event.cpu,
        });
        if self.nesting {
            chunk.nesting.push(Nesting {
                entry_timestamp: event.entry_timestamp.to_ne_bytes(),
                thread: event.thread,
            });
        }
        self.events += 1;
        self.link(event, index as u32);
        true
    }

    /// Appends the event to its packet's list.
    #[inline]
    fn link(&mut self, event: &Event, index: u32) {
        let last = self.last as usize;
        let packet = match self
            .packets
            .get_mut(last / CHUNK)
            .and_then(|chunk| chunk.get_mut(last % CHUNK))
        {
            Some(packet) if packet.packet == event.packet => packet,
            _ => match self.find_or_add(event.packet, index) {
                Some(packet) => packet,
                None => return,
            },
        };
        let before = std::mem::replace(&mut packet.last, index) as usize;
        let row = &mut self.chunks[before / CHUNK].rows[before % CHUNK];
        row.next = index;
        self.unsorted |= u64::from_ne_bytes(row.timestamp) > event.timestamp;
    }

    /// The packet's list; `None` if this event is the one that begins it.
    fn find_or_add(&mut self, identity: u64, index: u32) -> Option<&mut Packet> {
        let hash = FxBuildHasher.hash_one(identity);
        let packets = &self.packets;
        let found = self
            .table
            .find(hash, |number| packet(packets, *number).packet == identity);
        if let Some(&number) = found {
            self.last = number;
            return Some(&mut self.packets[number as usize / CHUNK][number as usize % CHUNK]);
        }
        if self.table.len() == self.table.capacity() {
            self.grow_table();
        }
        self.last = self.packets();
        if (self.last as usize).is_multiple_of(CHUNK) {
            self.packets.push(Vec::with_capacity(CHUNK));
        }
        self.packets[self.last as usize / CHUNK].push(Packet {
            packet: identity,
            first: index,
            last: index,
        });
        let packets = &self.packets;
        self.table.insert_unique(hash, self.last, |number| {
            FxBuildHasher.hash_one(packet(packets, *number).packet)
        });
        None
    }

    #[cold]
    fn add_chunk(&mut self) {
        // Tagged payloads will need about what they needed before; a chunk that needs more grows.
        let payload = match self.chunks.last_mut() {
            Some(last) if self.tagged => {
                last.payload.shrink_to_fit();
                last.payload.len() + last.payload.len() / 8
            }
            _ => CHUNK * self.payload_size,
        };
        self.chunks.push(Chunk {
            rows: Vec::with_capacity(CHUNK),
            nesting: Vec::with_capacity(if self.nesting { CHUNK } else { 0 }),
            payload: Vec::with_capacity(payload),
            ends: Vec::with_capacity(if self.tagged { CHUNK } else { 0 }),
        });
    }

    /// Doubles the table. It is made anew from the packets, so that the old one is given back before and not after.
    #[cold]
    fn grow_table(&mut self) {
        let capacity = (2 * self.table.len()).max(64);
        self.table = HashTable::new();
        self.table = HashTable::with_capacity(capacity);
        let packets = &self.packets;
        let hash = |number: &u32| FxBuildHasher.hash_one(packet(packets, *number).packet);
        for number in 0..self.packets() {
            self.table.insert_unique(hash(&number), number, hash);
        }
    }

    /// How many packets there are. They are numbered from 0 in the order of their first event.
    pub(super) fn packets(&self) -> u32 {
        match self.packets.last() {
            Some(last) => ((self.packets.len() - 1) * CHUNK + last.len()) as u32,
            None => 0,
        }
    }

    /// How many events there are.
    pub(super) fn len(&self) -> usize {
        self.events
    }

    /// The identity of the packet with this number.
    pub(super) fn identity(&self, number: u32) -> u64 {
        packet(&self.packets, number).packet
    }

    /// Whether every packet's events came in order of time.
    pub(super) fn is_sorted(&self) -> bool {
        !self.unsorted
    }

    /// The packet's events, in the order in which they came.
    #[inline]
    pub(super) fn events_of(&self, number: u32) -> impl Iterator<Item = u32> + Clone {
        let some = |event| (event != NONE).then_some(event);
        std::iter::successors(Some(packet(&self.packets, number).first), move |event| {
            some(self.row(*event).next)
        })
    }

    #[inline]
    fn row(&self, event: u32) -> &Row {
        &self.chunks[event as usize / CHUNK].rows[event as usize % CHUNK]
    }

    /// The event's time alone, for sorting.
    pub(super) fn timestamp(&self, event: u32) -> u64 {
        u64::from_ne_bytes(self.row(event).timestamp)
    }

    /// The event.
    #[inline]
    pub(super) fn event(&self, event: u32) -> Kept {
        let chunk = &self.chunks[event as usize / CHUNK];
        let row = &chunk.rows[event as usize % CHUNK];
        let (entry_timestamp, thread) = match chunk.nesting.get(event as usize % CHUNK) {
            Some(nesting) => (u64::from_ne_bytes(nesting.entry_timestamp), nesting.thread),
            None => (0, 0),
        };
        Kept {
            timestamp: u64::from_ne_bytes(row.timestamp),
            entry_timestamp,
            thread,
            function: row.function & FUNCTION,
            cpu: row.cpu,
            kind: if row.function & RETURN == 0 {
                EventKind::Entry
            } else {
                EventKind::Return
            },
        }
    }

    /// The event's payload, empty if it has none.
    #[inline]
    pub(super) fn payload(&self, event: u32) -> &[u8] {
        let chunk = &self.chunks[event as usize / CHUNK];
        if self.tagged {
            let index = event as usize % CHUNK;
            let start = index.checked_sub(1).map_or(0, |before| chunk.ends[before]);
            return &chunk.payload[start as usize..chunk.ends[index] as usize];
        }
        if chunk.rows[event as usize % CHUNK].function & PAYLOAD == 0 {
            return &[];
        }
        let start = (event as usize % CHUNK) * self.payload_size;
        &chunk.payload[start..start + self.payload_size]
    }
}

/// The packet with this number.
#[inline]
fn packet(packets: &[Vec<Packet>], number: u32) -> &Packet {
    &packets[number as usize / CHUNK][number as usize % CHUNK]
}
