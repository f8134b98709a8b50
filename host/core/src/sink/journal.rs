//! The events of a trace, stored compactly in memory and found by packet.
//!
//! An event takes 20 bytes, 12 more where returns are traced, and its payload beside, with 4 more if payloads differ in
//! length. A packet takes 16, and up to 12 in a hash table, and 32 where packets are followed. Storage grows by chunks
//! that never move: a vector that doubles would for a moment need three times what it holds. Events of one packet form
//! a list, oldest first, whose links are indices.
//!
//! Packets are forgotten in the order of their first event. That makes storage free in the order in which it was taken:
//! when all packets that begin in a chunk or before are forgotten, nothing in that chunk is needed any more. So a trace
//! can go on for ever in bounded memory, and no event is ever moved.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::blocks::Blocks;
use super::lineage::Lineage;
use super::recent::Recent;
use crate::event::{Batch, Event, EventKind, MAX_PREFIX, MAX_TAGGED, PayloadLayout, Schema};
use crate::seeded::Seeded;

/// Items per chunk.
const CHUNK: usize = 1 << 14;
/// The end of a packet's list, and no packet.
const NONE: u32 = u32::MAX;
/// In [`Row::function`]: the event is a return.
const RETURN: u32 = 1 << 31;
/// In [`Row::function`]: the event has a payload.
const PAYLOAD: u32 = 1 << 30;
/// The bits of [`Row::function`] that hold the index, which no kernel comes near to exhaust.
const FUNCTION: u32 = PAYLOAD - 1;

/// The most chunks at a time: links are 32 bits wide, and one value is no index. Some 80 GB of memory are full before.
const MOST_CHUNKS: usize = NONE as usize / CHUNK;

/// Bytes of the first table, and more.
const SMALLEST_TABLE: usize = 1 << 10;

/// The events of all packets that are not forgotten.
#[derive(Debug, Default)]
pub(super) struct Journal {
    chunks: Blocks<Chunk>,
    /// Position of the next event; the beginning of a chunk if there is none with space.
    next: u32,
    /// Bytes of all chunks but the newest, which may still grow.
    full_chunks: usize,
    nesting: bool,
    layout: PayloadLayout,
    /// Bytes that every event has for its payload; 0 if payloads can differ in length.
    payload_size: usize,
    packets: Blocks<Packets>,
    /// Where packets are followed: what is known of those that have no event here.
    others: Option<Recent<Lineage>>,
    /// Number of dropped packets of the oldest block.
    forgotten: usize,
    /// Numbers of packets, by identity.
    table: HashTable<u32>,
    hasher: Seeded,
    /// The packet of the event before: a batch often holds a run of one packet.
    last: u32,
    /// A packet's event was older than the one before.
    unsorted: bool,
}

/// Up to `CHUNK` packets. The vectors have their final capacity.
#[derive(Debug, Default)]
struct Packets {
    packets: Vec<Packet>,
    /// Beside every packet, where packets are followed.
    lineages: Vec<Lineage>,
}

/// Up to `CHUNK` events. The vectors have their final capacity.
#[derive(Debug, Default)]
struct Chunk {
    rows: Vec<Row>,
    /// Beside every row, if returns are traced.
    nesting: Vec<Nesting>,
    /// `payload_size` bytes beside every row; payloads that can differ in length, one behind the other.
    payload: Vec<u8>,
    /// Beside every row, if payloads can differ in length: where its payload ends. It begins where the one before ends.
    ends: Vec<u32>,
}

/// An event as the journal gives it back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// Its position in the journal.
    pub(super) index: u32,
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

/// The stored part of any event. The timestamp is split so that the row has no padding.
#[derive(Clone, Copy, Debug)]
struct Row {
    timestamp: [u8; 8],
    next: u32,
    function: u32,
    cpu: u32,
}

/// The additional part where returns are traced.
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
    assert!(size_of::<Lineage>() == 32);
    // The payloads of a chunk fit into the 32 bits of an end.
    assert!(CHUNK * (MAX_PREFIX + MAX_TAGGED) < u32::MAX as usize);
};

impl Journal {
    /// An empty journal, for events with payloads of this schema.
    pub(super) fn new(nesting: bool, schema: &Schema) -> Self {
        let layout = PayloadLayout::new(schema);
        Journal {
            nesting,
            layout,
            payload_size: if layout.has_tail() { 0 } else { layout.prefix() },
            last: NONE,
            ..Journal::default()
        }
    }

    /// Also keeps what was made of which packet, and how packets ended; in so many bytes for packets that have no
    /// event.
    pub(super) fn with_lineages(mut self, bytes: usize) -> Self {
        self.others = Some(Recent::within(bytes));
        self
    }

    /// The bytes of memory that it can come to take with these events more. More than there are if it cannot take them
    /// at all.
    pub(super) fn bytes_with(&self, events: &[Event]) -> usize {
        let payload = match self.layout.has_tail() {
            true => events
                .iter()
                .map(|event| (event.payload_len as usize).min(self.layout.longest()))
                .sum(),
            false => 0,
        };
        self.bytes_with_more(events.len(), payload)
    }

    /// As [`Journal::bytes_with`], of a number of events and, if payloads can differ in length, of bytes in all of
    /// them.
    fn bytes_with_more(&self, events: usize, payload: usize) -> usize {
        let room = CHUNK - (self.next as usize).wrapping_sub(1) % CHUNK - 1;
        let chunks = events.saturating_sub(room).div_ceil(CHUNK);
        let packet_blocks = self.packets.len() + events.div_ceil(CHUNK);
        if self.chunks.len() + chunks > MOST_CHUNKS || packet_blocks > MOST_CHUNKS {
            return usize::MAX;
        }
        let newest = self.chunks.newest().map(|place| &self.chunks[place as usize]);
        let of_newest = newest.map_or(0, |chunk| {
            // A vector that has to grow doubles, and old and new are there at once.
            let grown = match self.layout.has_tail() && chunk.payload.len() + payload > chunk.payload.capacity() {
                true => 2 * (chunk.payload.len() + payload).max(chunk.payload.capacity()),
                false => 0,
            };
            chunk.bytes() + grown
        });
        let table = match self.table.capacity() - self.table.len() < events {
            true if self.table_doubles() => (2 * self.table.allocation_size()).max(SMALLEST_TABLE),
            _ => self.table.allocation_size(),
        };
        let (lineage, others) = match &self.others {
            Some(others) => (size_of::<Lineage>(), others.bytes()),
            None => (0, 0),
        };
        self.full_chunks
            + of_newest
            + others
            + chunks * self.new_chunk_bytes()
            + packet_blocks * CHUNK * (size_of::<Packet>() + lineage)
            + table
            + self.chunks.bytes()
            + self.packets.bytes()
    }

    /// Keeps one of the batch's entries and returns. It has two callers, so the compiler would make a call of it, which
    /// costs a fifth more per event.
    #[inline(always)]
    pub(super) fn push(&mut self, event: &Event, batch: &Batch) {
        if (self.next as usize).is_multiple_of(CHUNK) {
            self.add_chunk();
        }
        let index = self.next;
        let Some(chunk) = self.chunks.get_mut(index as usize / CHUNK) else {
            return;
        };
        let mut function = event.function.min(FUNCTION);
        if event.kind == EventKind::RETURN {
            function |= RETURN;
        }
        if self.payload_size != 0 {
            let payload = batch.payload_of(event);
            if payload.len() == self.payload_size {
                function |= PAYLOAD;
                chunk.payload.extend_from_slice(payload);
            } else {
                chunk.payload.resize(chunk.payload.len() + self.payload_size, 0);
            }
        } else if self.layout.has_tail() {
            let payload = batch.payload_of(event);
            // One of another length breaks the contract of `Event`.
            if self.layout.fits(payload.len()) {
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
        self.next += 1;
        self.link(event, index);
    }

    /// Appends the event to its packet's list.
    #[inline(always)]
    fn link(&mut self, event: &Event, index: u32) {
        let last = self.last as usize;
        let packet = match self
            .packets
            .get_mut(last / CHUNK)
            .and_then(|block| block.packets.get_mut(last % CHUNK))
        {
            Some(packet) if packet.packet == event.packet => packet,
            _ => match self.find_or_add(event.packet, index) {
                Some(packet) => packet,
                None => return,
            },
        };
        let before = std::mem::replace(&mut packet.last, index) as usize;
        let row = self
            .chunks
            .get_mut(before / CHUNK)
            .and_then(|chunk| chunk.rows.get_mut(before % CHUNK));
        if let Some(row) = row {
            row.next = index;
            self.unsorted |= u64::from_ne_bytes(row.timestamp) > event.timestamp;
        }
    }

    /// The packet's list; `None` if this event is the one that begins it.
    fn find_or_add(&mut self, identity: u64, index: u32) -> Option<&mut Packet> {
        let hasher = self.hasher;
        let hash = hasher.hash_one(identity);
        let packets = &self.packets;
        let found = self
            .table
            .find(hash, |number| packet(packets, *number).packet == identity);
        if let Some(&number) = found {
            self.last = number;
            return self
                .packets
                .get_mut(number as usize / CHUNK)?
                .packets
                .get_mut(number as usize % CHUNK);
        }
        if self.table.len() == self.table.capacity() {
            self.grow_table();
        }
        let place = match self.packets.newest() {
            Some(newest) if self.packets[newest as usize].packets.len() < CHUNK => newest,
            _ => self.packets.add(Packets {
                packets: Vec::with_capacity(CHUNK),
                lineages: Vec::with_capacity(if self.others.is_some() { CHUNK } else { 0 }),
            }),
        };
        let block = self.packets.get_mut(place as usize)?;
        self.last = place * CHUNK as u32 + block.packets.len() as u32;
        if let Some(others) = &mut self.others {
            block.lineages.push(others.take(identity).unwrap_or_default());
        }
        block.packets.push(Packet {
            packet: identity,
            first: index,
            last: index,
        });
        let packets = &self.packets;
        self.table.insert_unique(hash, self.last, |number| {
            hasher.hash_one(packet(packets, *number).packet)
        });
        None
    }

    /// Keeps an event that is no call, if [`Lineage`] has a place for it. It may be that of a packet that has no event
    /// here.
    pub(super) fn note(&mut self, event: &Event) {
        let Some(others) = self.others.as_mut().filter(|_| Lineage::is_of(event.kind)) else {
            return;
        };
        let packets = &self.packets;
        let found = self.table.find(self.hasher.hash_one(event.packet), |number| {
            packet(packets, *number).packet == event.packet
        });
        let lineage = found.and_then(|number| {
            let block = self.packets.get_mut(*number as usize / CHUNK)?;
            block.lineages.get_mut(*number as usize % CHUNK)
        });
        match lineage {
            Some(lineage) => lineage.note(event),
            None => others.of(event.packet).note(event),
        }
    }

    /// What is known of the packet with this number, where packets are followed.
    pub(super) fn lineage(&self, number: u32) -> Option<&Lineage> {
        let block = &self.packets[number as usize / CHUNK];
        block.lineages.get(number as usize % CHUNK)
    }

    #[cold]
    fn add_chunk(&mut self) {
        let payload = self.new_payload_capacity();
        if let Some(full) = self.chunks.newest_mut() {
            if self.layout.has_tail() {
                full.payload.shrink_to_fit();
            }
            self.full_chunks += full.bytes();
        }
        let place = self.chunks.add(Chunk {
            rows: Vec::with_capacity(CHUNK),
            nesting: Vec::with_capacity(if self.nesting { CHUNK } else { 0 }),
            payload: Vec::with_capacity(payload),
            ends: Vec::with_capacity(if self.layout.has_tail() { CHUNK } else { 0 }),
        });
        self.next = place * CHUNK as u32;
    }

    /// Returns the capacity of a new chunk's payloads. Those that differ in length probably need about as much as
    /// before; a chunk that needs more grows.
    fn new_payload_capacity(&self) -> usize {
        match self.chunks.newest() {
            Some(newest) if self.layout.has_tail() => {
                let before = self.chunks[newest as usize].payload.len();
                before + before / 8
            }
            _ => CHUNK * self.payload_size,
        }
    }

    fn new_chunk_bytes(&self) -> usize {
        let nesting = if self.nesting { size_of::<Nesting>() } else { 0 };
        let end = if self.layout.has_tail() { size_of::<u32>() } else { 0 };
        CHUNK * (size_of::<Row>() + nesting + end) + self.new_payload_capacity()
    }

    /// Number of slots in the table, including those of dropped packets.
    fn table_places(&self) -> usize {
        self.table.num_buckets() / 8 * 7
    }

    /// Returns whether a full table is full of packets that are still stored. Otherwise rebuilding it is enough, which
    /// costs each new packet at most seven lookups.
    fn table_doubles(&self) -> bool {
        self.table.len() > self.table_places() / 8 * 7
    }

    /// Grows the table by rebuilding it, so that the old one is freed before, not after.
    #[cold]
    fn grow_table(&mut self) {
        let capacity = match self.table_doubles() {
            true => 2 * self.table.len(),
            false => self.table_places(),
        };
        let capacity = capacity.max(64);
        self.table = HashTable::new();
        self.table = HashTable::with_capacity(capacity);
        let packets = &self.packets;
        let hasher = self.hasher;
        let hash = |number: &u32| hasher.hash_one(packet(packets, *number).packet);
        for (place, block) in packets.iter() {
            let forgotten = if packets.oldest() == Some(place) {
                self.forgotten
            } else {
                0
            };
            for index in forgotten..block.packets.len() {
                let number = place * CHUNK as u32 + index as u32;
                self.table.insert_unique(hash(&number), number, hash);
            }
        }
    }

    /// The packet whose first event is the oldest.
    pub(super) fn oldest(&self) -> Option<u32> {
        let place = self.packets.oldest()?;
        (self.forgotten < self.packets[place as usize].packets.len())
            .then(|| place * CHUNK as u32 + self.forgotten as u32)
    }

    /// Forgets the oldest packet, and gives back the memory that nothing needs any more. If the packet goes on it is
    /// one that was never seen.
    pub(super) fn forget_oldest(&mut self) {
        let Some(number) = self.oldest() else {
            return;
        };
        let packets = &self.packets;
        let identity = packet(packets, number).packet;
        let found = self
            .table
            .find_entry(self.hasher.hash_one(identity), |entry| *entry == number);
        if let Ok(entry) = found {
            entry.remove();
        }
        if self.last == number {
            self.last = NONE;
        }
        self.forgotten += 1;
        if self.forgotten == CHUNK {
            self.packets.take_oldest();
            self.forgotten = 0;
        }
        let needed = self
            .oldest()
            .map(|number| packet(&self.packets, number).first / CHUNK as u32);
        while self.chunks.len() > 1 && self.chunks.oldest() != needed {
            if let Some(chunk) = self.chunks.take_oldest() {
                self.full_chunks -= chunk.bytes();
            }
        }
    }

    /// The trace has ended: nothing is pushed any more, and packets need not be found by their identity.
    pub(super) fn close(&mut self) {
        self.table = HashTable::new();
    }

    /// The identity of the packet with this number.
    pub(super) fn identity(&self, number: u32) -> u64 {
        packet(&self.packets, number).packet
    }

    /// Returns whether the events of every packet came in order of time.
    pub(super) fn is_sorted(&self) -> bool {
        !self.unsorted
    }

    /// The packet's events, in the order in which they came.
    #[inline]
    pub(super) fn events_of(&self, number: u32) -> impl Iterator<Item = Kept> + Clone {
        let mut next = packet(&self.packets, number).first;
        std::iter::from_fn(move || {
            let index = next;
            if index == NONE {
                return None;
            }
            let chunk = &self.chunks[index as usize / CHUNK];
            next = chunk.rows[index as usize % CHUNK].next;
            Some(chunk.event(index))
        })
    }

    /// The event at this index.
    pub(super) fn event(&self, index: u32) -> Kept {
        self.chunks[index as usize / CHUNK].event(index)
    }

    /// The event's payload, empty if it has none.
    #[inline]
    pub(super) fn payload(&self, event: u32) -> &[u8] {
        let chunk = &self.chunks[event as usize / CHUNK];
        if self.layout.has_tail() {
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

impl Chunk {
    #[inline]
    fn event(&self, index: u32) -> Kept {
        let row = &self.rows[index as usize % CHUNK];
        let (entry_timestamp, thread) = match self.nesting.get(index as usize % CHUNK) {
            Some(nesting) => (u64::from_ne_bytes(nesting.entry_timestamp), nesting.thread),
            None => (0, 0),
        };
        Kept {
            index,
            timestamp: u64::from_ne_bytes(row.timestamp),
            entry_timestamp,
            thread,
            function: row.function & FUNCTION,
            cpu: row.cpu,
            kind: if row.function & RETURN == 0 {
                EventKind::ENTRY
            } else {
                EventKind::RETURN
            },
        }
    }

    fn bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.nesting.capacity() * size_of::<Nesting>()
            + self.payload.capacity()
            + self.ends.capacity() * size_of::<u32>()
    }
}

/// The packet with this number.
#[inline]
fn packet(packets: &Blocks<Packets>, number: u32) -> &Packet {
    &packets[number as usize / CHUNK].packets[number as usize % CHUNK]
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use super::*;

    fn event(packet: u64, timestamp: u64, payload_len: u32) -> Event {
        Event {
            packet,
            skb: 0,
            timestamp,
            entry_timestamp: timestamp / 2,
            function: timestamp as u32 % 1000,
            cpu: 0,
            kind: EventKind::RETURN,
            thread: packet as u32,
            payload_offset: 0,
            payload_len,
            spare: 0,
        }
    }

    fn batch(payload: &[u8]) -> Batch {
        Batch {
            payload: payload.to_vec(),
            ..Batch::default()
        }
    }

    /// The packets of a journal that forgets as it goes, next to a list that does the same.
    #[test]
    fn kept_packets_are_whole_dropped_ones_restart() {
        let schemas = [(8, false), (0, true), (3, true), (0, false)];
        for (seed, (size, tail)) in (1_u64..).zip(schemas) {
            let schema = Schema {
                size,
                tail,
                ..Schema::default()
            };
            let mut journal = Journal::new(true, &schema);
            let mut order: VecDeque<u64> = VecDeque::new();
            let mut times: HashMap<u64, Vec<u64>> = HashMap::new();
            let mut random = seed;
            let mut next_packet = 0_u64;
            let mut again = 0;
            for time in 0..12 * CHUNK as u64 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                // New packets, old ones, and now and then one that is long forgotten.
                let identity = match random % 8 {
                    0..3 => {
                        next_packet += 1;
                        next_packet
                    }
                    3..7 => next_packet.saturating_sub(random >> 8 & 1023),
                    _ => random >> 8 & 63,
                };
                let length = if size == 8 || time % 2 == 0 { 8 } else { 3 };
                journal.push(&event(identity, time, length), &batch(&time.to_ne_bytes()));
                let times_of = times.entry(identity).or_default();
                if times_of.is_empty() {
                    again += u32::from(identity < 64);
                    order.push_back(identity);
                }
                times_of.push(time);
                while order.len() > 2000 + (time / 16) as usize % 500 {
                    let identity = order.pop_front().unwrap();
                    let times = times.remove(&identity).unwrap();
                    let oldest = journal.oldest().unwrap();
                    assert_eq!(packet(&journal.packets, oldest).packet, identity);
                    let kept: Vec<Kept> = journal.events_of(oldest).collect();
                    assert!(kept.iter().map(|kept| kept.timestamp).eq(times.iter().copied()));
                    for kept in kept {
                        assert_eq!(kept.entry_timestamp, kept.timestamp / 2);
                        let payload = journal.payload(kept.index);
                        match (size, tail) {
                            (0, false) => assert_eq!(payload, b""),
                            _ => assert_eq!(payload, &kept.timestamp.to_ne_bytes()[..payload.len()]),
                        }
                    }
                    journal.forget_oldest();
                }
            }
            assert!(again > 1000, "{again}");
            assert!(journal.chunks.len() < 12, "{} chunks", journal.chunks.len());
            while journal.oldest().is_some() {
                journal.forget_oldest();
            }
            assert_eq!(
                (journal.chunks.len(), journal.full_chunks, journal.table.len()),
                (1, 0, 0)
            );
        }
    }

    #[test]
    fn the_table_does_not_grow_with_dropped_packets() {
        let mut journal = Journal::new(false, &Schema::default());
        for packet in 1..=200_000 {
            journal.push(&event(packet, packet, 0), &Batch::default());
            if packet > 1000 {
                journal.forget_oldest();
            }
        }
        assert!(journal.table.num_buckets() <= 4096, "{}", journal.table.num_buckets());
        assert_eq!(journal.table.len(), 1000);
    }

    fn taken(journal: &Journal) -> usize {
        let packets = journal.packets.iter().map(|(_, block)| {
            block.packets.capacity() * size_of::<Packet>() + block.lineages.capacity() * size_of::<Lineage>()
        });
        journal.chunks.iter().map(|(_, chunk)| chunk.bytes()).sum::<usize>()
            + packets.sum::<usize>()
            + journal.table.allocation_size()
    }

    #[test]
    fn the_predicted_bytes_are_those_used() {
        let schema = Schema {
            size: 16,
            ..Schema::default()
        };
        for (per_packet, nesting) in [(1, false), (1, true), (40, true)] {
            let batch = batch(&[0; 16]);
            let mut journal = Journal::new(nesting, &schema);
            for index in 0..40 * CHUNK as u64 {
                let foreseen = journal.bytes_with_more(1, 16);
                journal.push(&event(index / per_packet, index, 16), &batch);
                assert!(taken(&journal) <= foreseen);
            }
            // Not much more either.
            let each = journal.bytes_with_more(CHUNK, 16 * CHUNK) / (41 * CHUNK);
            let expected = 36 + if nesting { 12 } else { 0 } + 32_usize.div_ceil(per_packet as usize) + 1;
            assert!(each <= expected, "{each} bytes an event, {per_packet} events a packet");
        }
    }

    #[test]
    fn lineages_are_kept_and_forgotten_with_their_packets() {
        let of = |kind, packet, spare| Event {
            kind,
            spare,
            function: 7,
            ..event(packet, 1, 0)
        };
        let mut journal = Journal::new(false, &Schema::default()).with_lineages(1 << 16);
        let room = journal.bytes_with_more(0, 0);
        let all = 3 * CHUNK as u64;
        for packet in 1..=all {
            // Births come before the packet's first event, ends after it; some packets have none.
            journal.note(&of(EventKind::BORN, packet, packet + 1));
            if packet % 3 != 0 {
                journal.push(&of(EventKind::ENTRY, packet, 0), &Batch::default());
            }
            journal.note(&of(EventKind::ENDED, packet, packet));
            journal.note(&of(EventKind::DECIDED, packet, 0));
            assert!(taken(&journal) <= journal.bytes_with_more(0, 0));
        }
        for packet in (1..=all).filter(|packet| packet % 3 != 0) {
            let oldest = journal.oldest().unwrap();
            let mut expected = Lineage::default();
            expected.note(&of(EventKind::BORN, packet, packet + 1));
            expected.note(&of(EventKind::ENDED, packet, packet));
            assert_eq!(
                (journal.identity(oldest), journal.lineage(oldest)),
                (packet, Some(&expected))
            );
            journal.forget_oldest();
        }
        // What is left is the newest block and the table, and no memory of the packets that had no event.
        let left = journal.bytes_with_more(0, 0);
        assert!(
            left <= room + CHUNK * 48 + (2 * CHUNK * 20) + (1 << 18),
            "{left}, {room}"
        );
    }

    #[test]
    fn the_memory_limit_comes_before_the_link_limit() {
        let journal = Journal::new(false, &Schema::default());
        assert_eq!(journal.bytes_with_more(NONE as usize, 0), usize::MAX);
        assert!(journal.bytes_with_more(1 << 20, 0) < 64 << 20);
    }
}
