//! Every event of a trace, kept in memory in as few bytes as it takes, and found again by packet.
//!
//! An event takes 20 bytes, 12 more where returns are traced, and its payload beside. A packet takes 16, and up to 12
//! in a hash table. Storage grows by chunks that never move: a vector that doubles would for a moment need three times
//! what it holds. Events of one packet form a list, oldest first, whose links are indices.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use crate::event::{Event, EventKind};

/// What one chunk holds, in items.
const CHUNK: usize = 1 << 16;
/// The end of a packet's list.
const NONE: u32 = u32::MAX;
/// In [`Row::function`]: the event is a return.
const RETURN: u32 = 1 << 31;
/// In [`Row::function`]: the event has a payload.
const PAYLOAD: u32 = 1 << 30;
/// The bits of [`Row::function`] that hold the index, which no kernel comes near to exhaust.
const FUNCTION: u32 = PAYLOAD - 1;

/// The most events that are kept: links are 32 bits wide. Some 80 GB of memory are full before.
pub(super) const LIMIT: usize = NONE as usize;

/// All events of a trace.
#[derive(Debug, Default)]
pub(super) struct Journal {
    rows: Chunks<Row>,
    /// Beside every row, if returns are traced.
    nesting: Option<Chunks<Nesting>>,
    /// `payload_size` bytes beside every row.
    payload: Chunks<u8>,
    payload_size: usize,
    packets: Chunks<Packet>,
    /// Indices into `packets`.
    table: HashTable<u32>,
    /// The packet of the event before: a batch often holds a run of one packet.
    last: u32,
}

/// An event as the journal gives it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) timestamp: u64,
    /// As in [`Event::entry_timestamp`]; 0 without nesting.
    pub(super) entry_timestamp: u64,
    /// As in [`Event::context`]; 0 without nesting.
    pub(super) context: u64,
    pub(super) function: u32,
    pub(super) cpu: u32,
    pub(super) kind: EventKind,
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
};

impl Journal {
    /// An empty journal, for events with payloads of this size.
    pub(super) fn new(nesting: bool, payload_size: usize) -> Self {
        Journal {
            nesting: nesting.then(Chunks::default),
            payload_size,
            ..Journal::default()
        }
    }

    /// Keeps the event; false if there is no room for more, ever.
    #[inline]
    #[must_use]
    pub(super) fn push(&mut self, event: &Event, payload: &[u8]) -> bool {
        let index = self.rows.len;
        if index == LIMIT {
            return false;
        }
        let index = index as u32;
        let mut function = event.function.min(FUNCTION);
        if event.kind == EventKind::Return {
            function |= RETURN;
        }
        if self.payload_size != 0 {
            if payload.len() == self.payload_size {
                function |= PAYLOAD;
            }
            self.push_payload(payload);
        }
        self.rows.push(Row {
            timestamp: event.timestamp.to_ne_bytes(),
            next: NONE,
            function,
            cpu: event.cpu,
        });
        if let Some(nesting) = &mut self.nesting {
            nesting.push(Nesting {
                entry_timestamp: event.entry_timestamp.to_ne_bytes(),
                thread: event.thread,
            });
        }
        let packet = match self.packets.get_mut(self.last) {
            Some(packet) if packet.packet == event.packet => packet,
            _ => match self.find_or_add(event.packet, index) {
                Some(packet) => packet,
                None => return true,
            },
        };
        let before = std::mem::replace(&mut packet.last, index);
        if let Some(row) = self.rows.get_mut(before) {
            row.next = index;
        }
        true
    }

    /// The packet's list; `None` if this event was the one that began it.
    fn find_or_add(&mut self, packet: u64, index: u32) -> Option<&mut Packet> {
        let hash = FxBuildHasher.hash_one(packet);
        let found = self
            .table
            .find(hash, |candidate| self.packets.of(*candidate).packet == packet);
        if let Some(found) = found {
            self.last = *found;
            return self.packets.get_mut(self.last);
        }
        if self.table.len() == self.table.capacity() {
            self.grow_table();
        }
        self.last = self.packets.len as u32;
        self.packets.push(Packet {
            packet,
            first: index,
            last: index,
        });
        let packets = &self.packets;
        self.table.insert_unique(hash, self.last, |candidate| {
            FxBuildHasher.hash_one(packets.of(*candidate).packet)
        });
        None
    }

    /// Doubles the table. It is made anew from the packets, so that the old one is given back before and not after.
    #[cold]
    fn grow_table(&mut self) {
        let capacity = (2 * self.table.len()).max(64);
        self.table = HashTable::new();
        self.table = HashTable::with_capacity(capacity);
        for index in 0..self.packets.len as u32 {
            let hash = FxBuildHasher.hash_one(self.packets.of(index).packet);
            let packets = &self.packets;
            self.table.insert_unique(hash, index, |candidate| {
                FxBuildHasher.hash_one(packets.of(*candidate).packet)
            });
        }
    }

    fn push_payload(&mut self, payload: &[u8]) {
        for index in 0..self.payload_size {
            self.payload.push(payload.get(index).copied().unwrap_or_default());
        }
    }

    /// How many packets there are. They are numbered from 0 in the order of their first event.
    pub(super) fn packets(&self) -> u32 {
        self.packets.len as u32
    }

    /// Replaces the content of `events` by the packet's events, in the order in which they came.
    pub(super) fn events_of(&self, packet: u32, events: &mut Vec<u32>) {
        events.clear();
        let mut index = self.packets.of(packet).first;
        while index != NONE {
            events.push(index);
            index = self.rows.of(index).next;
        }
    }

    /// The event's time alone, for sorting.
    pub(super) fn timestamp(&self, event: u32) -> u64 {
        u64::from_ne_bytes(self.rows.of(event).timestamp)
    }

    /// The event.
    pub(super) fn event(&self, event: u32) -> Kept {
        let row = self.rows.of(event);
        let (entry_timestamp, context) = match &self.nesting {
            Some(nesting) => {
                let nesting = nesting.of(event);
                (
                    u64::from_ne_bytes(nesting.entry_timestamp),
                    Event::context_of(nesting.thread, row.cpu),
                )
            }
            None => (0, 0),
        };
        Kept {
            timestamp: u64::from_ne_bytes(row.timestamp),
            entry_timestamp,
            context,
            function: row.function & FUNCTION,
            cpu: row.cpu,
            kind: if row.function & RETURN == 0 {
                EventKind::Entry
            } else {
                EventKind::Return
            },
        }
    }

    /// The event's payload, empty if it has none, copied to `payload`.
    pub(super) fn payload(&self, event: u32, payload: &mut Vec<u8>) {
        payload.clear();
        if self.rows.of(event).function & PAYLOAD != 0 {
            let start = event as usize * self.payload_size;
            self.payload.copy(start, start + self.payload_size, payload);
        }
    }
}

/// A list that grows by chunks of the same size, which stay where they are.
#[derive(Debug)]
struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<T: Copy> Chunks<T> {
    #[inline]
    fn push(&mut self, item: T) {
        if self.len % CHUNK == 0 {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[self.len / CHUNK].push(item);
        self.len += 1;
    }

    #[inline]
    fn of(&self, index: u32) -> &T {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }

    #[inline]
    fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.chunks
            .get_mut(index as usize / CHUNK)?
            .get_mut(index as usize % CHUNK)
    }

    /// Appends the items from `start` to `end` to `out`.
    fn copy(&self, mut start: usize, end: usize, out: &mut Vec<T>) {
        while start < end {
            let until = end.min((start / CHUNK + 1) * CHUNK);
            let chunk = &self.chunks[start / CHUNK];
            out.extend_from_slice(&chunk[start % CHUNK..][..until - start]);
            start = until;
        }
    }
}
