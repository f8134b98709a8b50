//! The content of an `EVNT` block: events as columns, so that like stands by like and compresses well.
//!
//! ```text
//! 13 u32      how many: see `Head`
//! origins     u64 packet…  u64 sk_buff…  u32 CPU…  u32 thread…     each combination that occurs, once
//! steps       u16 or u32 per event: function << 3 | has a payload << 2 | has an entry's timestamp << 1 | is a return
//! which       nothing, u8, u16 or u32 per event: its origin; nothing if all have the same
//! times       low byte per event, then high byte per event: nanoseconds since the event before (since 0 for the first);
//!             0xffff: the next of the u64s that follow, to be added with wrapping
//! durations   the same per event with an entry's timestamp: nanoseconds since that
//! payloads    u32 length per event with a payload, if the trace's are tagged; then the bytes of all
//! names       per name of tagged values, from the first of the trace: u32 length, bytes
//! captures    per capture: u64 packet, u64 timestamp, u32 link, u32 length, u32 captured; then the bytes of all
//! ```
//!
//! Nothing refers to another block. Two bytes hold the time between two events but for pauses, and the low and the high
//! bytes stand apart because only the high ones are alike. [`Columns`] writes, [`Decoded`] reads.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;

use super::layout::MAX_BLOCK;
use crate::event::{Batch, Capture, Encoding, Event, EventKind, Link, MAX_TAGGED, Schema};

/// Events of a block at most, for a reader: memory that it needs beside the block itself.
pub(super) const MAX_EVENTS: u32 = 1 << 20;

const RETURN: u32 = 1;
const ENTERED: u32 = 2;
const PAYLOAD: u32 = 4;
const FLAGS: u32 = 3;
/// Functions that a step has room for.
const MAX_FUNCTION: u32 = u32::MAX >> FLAGS;
/// In place of a difference that does not fit.
const ESCAPE: u16 = u16::MAX;
/// Bytes of a capture's numbers.
const CAPTURE: usize = 28;
/// Names and the bytes of one that are read at most; nobody writes as many.
const MAX_NAMES: u32 = 1 << 16;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Origin {
    packet: u64,
    skb: u64,
    cpu: u32,
    thread: u32,
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

/// The events of a block that is being written.
#[derive(Debug, Default)]
pub(super) struct Columns {
    tagged: bool,
    /// Of a payload, if they are not tagged.
    payload_size: u32,
    origins: Vec<Origin>,
    /// Numbers of origins.
    table: HashTable<u32>,
    /// The origin of the event before and its number.
    current: Origin,
    number: u32,
    /// How many events there are. The three columns that follow have as many items, and perhaps more from the block
    /// before, so that nothing has to be cleared.
    events: usize,
    steps: Vec<u32>,
    which: Vec<u32>,
    times: Vec<u16>,
    long_times: Vec<u64>,
    time: u64,
    durations: Differences,
    payload_lengths: Vec<u32>,
    payload: Vec<u8>,
    names: Vec<String>,
    captures: Vec<Capture>,
    captured: Vec<u8>,
    first: u64,
    last: u64,
}

impl Columns {
    /// An empty block, for events of this schema.
    pub(super) fn new(schema: &Schema) -> Self {
        Columns {
            tagged: schema.encoding == Encoding::Tagged,
            payload_size: schema.size,
            first: u64::MAX,
            ..Columns::default()
        }
    }

    pub(super) fn events(&self) -> u32 {
        self.events as u32
    }

    pub(super) fn captures(&self) -> u32 {
        self.captures.len() as u32
    }

    /// The earliest and the latest timestamp.
    pub(super) fn span(&self) -> (u64, u64) {
        (self.first.min(self.last), self.last)
    }

    /// Bytes of payloads and captures, which vary.
    pub(super) fn extra_bytes(&self) -> usize {
        self.payload.len() + self.captured.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events == 0 && self.captures.is_empty()
    }

    /// Appends the batch's events in this range.
    pub(super) fn push(&mut self, batch: &Batch, range: std::ops::Range<usize>) {
        let events = batch.events.get(range).unwrap_or_default();
        self.push_numbers(events);
        if self.tagged || self.payload_size > 0 {
            self.push_payloads(batch, events);
        }
        if self.names.len() < batch.names.len() {
            self.names.extend_from_slice(&batch.names[self.names.len()..]);
        }
    }

    /// Everything but the payloads, in one pass: every event goes through here.
    fn push_numbers(&mut self, events: &[Event]) {
        let steps = room(&mut self.steps, self.events, events.len());
        let which = room(&mut self.which, self.events, events.len());
        let times = room(&mut self.times, self.events, events.len());
        let (mut time, mut number, mut current) = (self.time, self.number, self.current);
        // Numbers of the block before mean nothing in this one.
        if let (true, Some(event)) = (self.origins.is_empty(), events.first()) {
            current = Origin::of(event);
            number = number_of(&mut self.table, &mut self.origins, current);
        }
        for (((event, step), which), short) in events.iter().zip(steps).zip(which).zip(times) {
            let origin = Origin::of(event);
            if !origin.is(&current) {
                current = origin;
                number = number_of(&mut self.table, &mut self.origins, origin);
            }
            *which = number;
            let difference = event.timestamp.wrapping_sub(time);
            *short = if difference < ESCAPE.into() {
                difference as u16
            } else {
                // Only here can the time go back, and only then is the event before the latest.
                self.last = self.last.max(time);
                self.first = self.first.min(event.timestamp);
                self.long_times.push(difference);
                ESCAPE
            };
            time = event.timestamp;
            *step = self::step(event);
            if event.entry_timestamp != 0 {
                self.durations.push(time.wrapping_sub(event.entry_timestamp));
            }
        }
        self.events += events.len();
        (self.time, self.number, self.current) = (time, number, current);
        self.last = self.last.max(time);
        if let Some(event) = events.first() {
            self.first = self.first.min(event.timestamp);
        }
    }

    /// Appends one of the batch's captures.
    pub(super) fn push_capture(&mut self, batch: &Batch, capture: &Capture) {
        let bytes = batch.bytes_of(capture);
        self.captures.push(Capture {
            captured_len: bytes.len() as u32,
            ..*capture
        });
        self.captured.extend_from_slice(bytes);
        self.first = self.first.min(capture.timestamp);
        self.last = self.last.max(capture.timestamp);
    }

    fn push_payloads(&mut self, batch: &Batch, events: &[Event]) {
        let start = self.events - events.len();
        for (event, step) in events.iter().zip(&mut self.steps[start..]) {
            let payload = batch.payload_of(event);
            let is_one = match self.tagged {
                true => !payload.is_empty() && payload.len() <= MAX_TAGGED,
                false => payload.len() == self.payload_size as usize,
            };
            if is_one {
                *step |= PAYLOAD;
                self.payload.extend_from_slice(payload);
                if self.tagged {
                    self.payload_lengths.push(payload.len() as u32);
                }
            }
        }
    }

    /// Writes the block's content and begins a new block.
    pub(super) fn take(&mut self, out: &mut Vec<u8>) {
        let steps = &self.steps[..self.events];
        let times = &self.times[..self.events];
        let most = steps.iter().copied().max().unwrap_or(0);
        let head = Head {
            events: self.events as u32,
            origins: self.origins.len() as u32,
            step_width: if most <= u16::MAX.into() { 2 } else { 4 },
            origin_width: match self.origins.len() {
                0..=1 => 0,
                2..=0x100 => 1,
                0x101..=0x1_0000 => 2,
                _ => 4,
            },
            time_escapes: self.long_times.len() as u32,
            durations: self.durations.short.len() as u32,
            duration_escapes: self.durations.long.len() as u32,
            payload_lengths: self.payload_lengths.len() as u32,
            payload_bytes: self.payload.len() as u32,
            names: self.names.len() as u32,
            name_bytes: self.names.iter().map(|name| 4 + name.len() as u32).sum(),
            captures: self.captures.len() as u32,
            captured_bytes: self.captured.len() as u32,
        };
        out.extend(head.to_array().iter().flat_map(|word| word.to_le_bytes()));
        out.extend(self.origins.iter().flat_map(|origin| origin.packet.to_le_bytes()));
        out.extend(self.origins.iter().flat_map(|origin| origin.skb.to_le_bytes()));
        out.extend(self.origins.iter().flat_map(|origin| origin.cpu.to_le_bytes()));
        out.extend(self.origins.iter().flat_map(|origin| origin.thread.to_le_bytes()));
        narrow(steps, head.step_width, out);
        narrow(&self.which[..self.events], head.origin_width, out);
        write_differences(times, &self.long_times, out);
        write_differences(&self.durations.short, &self.durations.long, out);
        out.extend(self.payload_lengths.iter().flat_map(|length| length.to_le_bytes()));
        out.extend_from_slice(&self.payload);
        for name in &self.names {
            out.extend_from_slice(&(name.len() as u32).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
        }
        for capture in &self.captures {
            out.extend_from_slice(&capture.packet.to_le_bytes());
            out.extend_from_slice(&capture.timestamp.to_le_bytes());
            out.extend_from_slice(&(capture.link as u32).to_le_bytes());
            out.extend_from_slice(&capture.length.to_le_bytes());
            out.extend_from_slice(&capture.captured_len.to_le_bytes());
        }
        out.extend_from_slice(&self.captured);
        self.clear();
    }

    /// Keeps memory and names.
    fn clear(&mut self) {
        self.origins.clear();
        self.table.clear();
        self.events = 0;
        self.long_times.clear();
        self.time = 0;
        self.durations.clear();
        self.payload_lengths.clear();
        self.payload.clear();
        self.captures.clear();
        self.captured.clear();
        self.first = u64::MAX;
        self.last = 0;
    }
}

impl Origin {
    #[inline]
    fn of(event: &Event) -> Self {
        Origin {
            packet: event.packet,
            skb: event.skb,
            cpu: event.cpu,
            thread: event.thread,
        }
    }

    /// Whether it is the same, without a branch for each number.
    #[inline]
    fn is(&self, other: &Origin) -> bool {
        let places = u64::from(self.cpu ^ other.cpu) | u64::from(self.thread ^ other.thread);
        (self.packet ^ other.packet) | (self.skb ^ other.skb) | places == 0
    }
}

/// The origin's number in this block; it gets one if it has none.
fn number_of(table: &mut HashTable<u32>, origins: &mut Vec<Origin>, origin: Origin) -> u32 {
    let hash = hash(&origin);
    if let Some(number) = table.find(hash, |number| origins[*number as usize] == origin) {
        return *number;
    }
    let number = origins.len() as u32;
    table.insert_unique(hash, number, |number| self::hash(&origins[*number as usize]));
    origins.push(origin);
    number
}

/// The items from `start` on, which are there or are made.
fn room<T: Copy + Default>(column: &mut Vec<T>, start: usize, items: usize) -> &mut [T] {
    if column.len() < start + items {
        column.resize(start + items, T::default());
    }
    &mut column[start..start + items]
}

fn write_differences(short: &[u16], long: &[u64], out: &mut Vec<u8>) {
    out.extend(short.iter().map(|short| *short as u8));
    out.extend(short.iter().map(|short| (*short >> 8) as u8));
    out.extend(long.iter().flat_map(|long| long.to_le_bytes()));
}

fn hash(origin: &Origin) -> u64 {
    FxBuildHasher.hash_one(origin)
}

#[inline]
fn step(event: &Event) -> u32 {
    let function = event.function.min(MAX_FUNCTION) << FLAGS;
    function | (u32::from(event.entry_timestamp != 0) * ENTERED) | (event.kind as u32 * RETURN)
}

fn narrow(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    match width {
        0 => {}
        1 => out.extend(numbers.iter().map(|number| *number as u8)),
        2 => out.extend(numbers.iter().flat_map(|number| (*number as u16).to_le_bytes())),
        _ => out.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
    }
}

/// A block's content, checked as a whole, which gives its events in batches.
#[derive(Debug, Default)]
pub(super) struct Decoded {
    tagged: bool,
    payload_size: u32,
    origins: Vec<Origin>,
    steps: Vec<u32>,
    which: Vec<u32>,
    times: Differences,
    durations: Differences,
    payload_lengths: Vec<u32>,
    payload: Vec<u8>,
    names: Vec<String>,
    captures: Vec<Capture>,
    captured: Vec<u8>,
    /// What was given out.
    cursor: Cursor,
}

/// How far each column was read.
#[derive(Debug, Default)]
struct Cursor {
    events: usize,
    long_times: usize,
    durations: usize,
    long_durations: usize,
    payload_lengths: usize,
    payload: usize,
    time: u64,
    captures_given: bool,
}

/// Takes columns off the front of the content.
struct Columnar<'a>(&'a [u8]);

impl<'a> Columnar<'a> {
    fn take(&mut self, items: u32, width: usize) -> Option<&'a [u8]> {
        let (column, rest) = self.0.split_at_checked((items as usize).checked_mul(width)?)?;
        self.0 = rest;
        Some(column)
    }

    fn differences(&mut self, short: u32, long: u32, into: &mut Differences) -> Option<()> {
        let low = self.take(short, 1)?;
        let high = self.take(short, 1)?;
        into.clear();
        let halves = low.iter().zip(high);
        into.short
            .extend(halves.map(|(low, high)| u16::from_le_bytes([*low, *high])));
        let escaped = into.short.iter().filter(|short| **short == ESCAPE).count();
        let column = self.take(long, 8)?;
        into.long.extend(column.chunks_exact(8).map(self::long));
        (escaped == long as usize).then_some(())
    }
}

impl Decoded {
    /// Nothing yet, for blocks of a trace with this schema.
    pub(super) fn new(schema: &Schema) -> Self {
        Decoded {
            tagged: schema.encoding == Encoding::Tagged,
            payload_size: schema.size,
            ..Decoded::default()
        }
    }

    /// Reads a block's content in place of the one before. `None`, and no events, if anything in it is not as a writer
    /// makes it.
    pub(super) fn read(&mut self, content: &[u8]) -> Option<()> {
        self.cursor = Cursor::default();
        let read = self.parse(content);
        if read.is_none() {
            self.steps.clear();
            self.captures.clear();
        }
        read
    }

    fn parse(&mut self, content: &[u8]) -> Option<()> {
        let (bytes, rest) = content.split_first_chunk()?;
        let head = Head::parse(bytes);
        if head.events > MAX_EVENTS || head.origins > head.events || content.len() > MAX_BLOCK as usize {
            return None;
        }
        let mut rest = Columnar(rest);
        let packets = rest.take(head.origins, 8)?.chunks_exact(8).map(long);
        let skbs = rest.take(head.origins, 8)?.chunks_exact(8).map(long);
        let cpus = rest.take(head.origins, 4)?.chunks_exact(4).map(word);
        let threads = rest.take(head.origins, 4)?.chunks_exact(4).map(word);
        self.origins.clear();
        self.origins.extend(
            packets
                .zip(skbs)
                .zip(cpus.zip(threads))
                .map(|((packet, skb), (cpu, thread))| Origin {
                    packet,
                    skb,
                    cpu,
                    thread,
                }),
        );
        widen(&mut rest, head.events, head.step_width, &mut self.steps)?;
        widen(&mut rest, head.events, head.origin_width, &mut self.which)?;
        if self.steps.len() != head.events as usize || (head.origins == 0 && head.events > 0) {
            return None;
        }
        let most = self.which.iter().copied().max();
        if most.is_some_and(|most| most >= head.origins) {
            return None;
        }
        rest.differences(head.events, head.time_escapes, &mut self.times)?;
        rest.differences(head.durations, head.duration_escapes, &mut self.durations)?;
        let entered = self.steps.iter().filter(|step| **step & ENTERED != 0).count();
        if entered != head.durations as usize {
            return None;
        }
        self.read_payloads(&mut rest, &head)?;
        self.read_names(&mut rest, &head)?;
        self.read_captures(&mut rest, &head)?;
        rest.0.is_empty().then_some(())
    }

    fn read_payloads(&mut self, rest: &mut Columnar<'_>, head: &Head) -> Option<()> {
        let lengths = rest.take(head.payload_lengths, 4)?;
        self.payload_lengths.clear();
        self.payload_lengths.extend(lengths.chunks_exact(4).map(word));
        let with_payload = self.steps.iter().filter(|step| **step & PAYLOAD != 0).count();
        let bytes = if self.tagged {
            if with_payload != self.payload_lengths.len()
                || self.payload_lengths.iter().any(|length| *length as usize > MAX_TAGGED)
            {
                return None;
            }
            self.payload_lengths.iter().map(|length| *length as usize).sum()
        } else {
            with_payload.checked_mul(self.payload_size as usize)?
        };
        if bytes != head.payload_bytes as usize {
            return None;
        }
        self.payload.clear();
        self.payload.extend_from_slice(rest.take(head.payload_bytes, 1)?);
        Some(())
    }

    fn read_names(&mut self, rest: &mut Columnar<'_>, head: &Head) -> Option<()> {
        let mut bytes = Columnar(rest.take(head.name_bytes, 1)?);
        if head.names > MAX_NAMES {
            return None;
        }
        self.names.clear();
        for _ in 0..head.names {
            let length = word(bytes.take(1, 4)?);
            let name = std::str::from_utf8(bytes.take(length, 1)?).ok()?;
            self.names.push(name.to_owned());
        }
        bytes.0.is_empty().then_some(())
    }

    fn read_captures(&mut self, rest: &mut Columnar<'_>, head: &Head) -> Option<()> {
        let numbers = rest.take(head.captures, CAPTURE)?;
        self.captured.clear();
        self.captured.extend_from_slice(rest.take(head.captured_bytes, 1)?);
        self.captures.clear();
        let mut offset = 0_u32;
        for bytes in numbers.chunks_exact(CAPTURE) {
            let captured_len = word(&bytes[24..]);
            self.captures.push(Capture {
                packet: long(bytes),
                timestamp: long(&bytes[8..]),
                link: match word(&bytes[16..]) {
                    0 => Link::Ethernet,
                    1 => Link::Ip,
                    _ => return None,
                },
                length: word(&bytes[20..]),
                offset,
                captured_len,
            });
            offset = offset.checked_add(captured_len)?;
        }
        (offset == head.captured_bytes).then_some(())
    }

    /// The names of tagged values, from the first of the trace.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Appends up to `most` events that were not given out yet, and with the first of them the captures. `false` if
    /// there was nothing left.
    pub(super) fn fill(&mut self, batch: &mut Batch, most: usize) -> bool {
        let cursor = &mut self.cursor;
        let mut some = false;
        if !std::mem::replace(&mut cursor.captures_given, true) && !self.captures.is_empty() {
            let base = batch.captured.len() as u32;
            batch.captures.extend(self.captures.iter().map(|capture| Capture {
                offset: base + capture.offset,
                ..*capture
            }));
            batch.captured.extend_from_slice(&self.captured);
            some = true;
        }
        let start = cursor.events;
        let end = self.steps.len().min(start + most);
        cursor.events = end;
        let steps = &self.steps[start..end];
        let which = self.which.get(start..end).unwrap_or_default();
        let mut which = which.iter();
        let mut origin = self.origins.first().copied().unwrap_or_default();
        batch.events.reserve(steps.len());
        for (step, short) in steps.iter().zip(&self.times.short[start..end]) {
            if let Some(number) = which.next() {
                // Checked when the block was read.
                origin = self.origins[*number as usize];
            }
            let difference = expand(*short, &self.times.long, &mut cursor.long_times);
            cursor.time = cursor.time.wrapping_add(difference);
            let mut entry_timestamp = 0;
            if step & ENTERED != 0 {
                let short = self.durations.short[cursor.durations];
                cursor.durations += 1;
                let duration = expand(short, &self.durations.long, &mut cursor.long_durations);
                entry_timestamp = cursor.time.wrapping_sub(duration);
            }
            let payload_offset = batch.payload.len() as u32;
            let mut payload_len = 0;
            if step & PAYLOAD != 0 {
                payload_len = self.payload_size;
                if self.tagged {
                    payload_len = self.payload_lengths[cursor.payload_lengths];
                    cursor.payload_lengths += 1;
                }
                let end = cursor.payload + payload_len as usize;
                batch.payload.extend_from_slice(&self.payload[cursor.payload..end]);
                cursor.payload = end;
            }
            batch.events.push(Event {
                packet: origin.packet,
                skb: origin.skb,
                timestamp: cursor.time,
                entry_timestamp,
                function: step >> FLAGS,
                cpu: origin.cpu,
                kind: match step & RETURN {
                    0 => EventKind::Entry,
                    _ => EventKind::Return,
                },
                thread: origin.thread,
                payload_offset,
                payload_len,
                spare: 0,
            });
        }
        some || !steps.is_empty()
    }
}

#[inline]
fn expand(short: u16, long: &[u64], used: &mut usize) -> u64 {
    if short != ESCAPE {
        return short.into();
    }
    let difference = long[*used];
    *used += 1;
    difference
}

/// Numbers of that many bytes, which may be none.
fn widen(rest: &mut Columnar<'_>, items: u32, width: u32, into: &mut Vec<u32>) -> Option<()> {
    into.clear();
    match width {
        0 => {}
        1 => into.extend(rest.take(items, 1)?.iter().map(|byte| u32::from(*byte))),
        2 => into.extend(
            (rest.take(items, 2)?.as_chunks().0.iter()).map(|bytes: &[u8; 2]| u32::from(u16::from_le_bytes(*bytes))),
        ),
        4 => into.extend((rest.take(items, 4)?.as_chunks().0.iter()).map(|bytes: &[u8; 4]| u32::from_le_bytes(*bytes))),
        _ => return None,
    }
    Some(())
}
