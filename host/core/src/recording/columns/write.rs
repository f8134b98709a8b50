//! Writes the columns of a block. Every event of a recording goes through [`Columns::push`].

use std::hash::BuildHasher;

use hashbrown::HashTable;

use super::{Differences, ENTERED, ESCAPE, FLAGS, Head, KIND, OTHER, Origin, Other, PAYLOAD, RETURN};
use crate::event::{Batch, Capture, Event, EventKind, PayloadLayout, Schema};
use crate::seeded::Seeded;

/// Maximum number of functions in a step.
const MAX_FUNCTION: u32 = u32::MAX >> FLAGS;

/// The events of a block that is being written.
#[derive(Debug, Default)]
pub(in crate::recording) struct Columns {
    layout: PayloadLayout,
    origins: Vec<Origin>,
    /// Numbers of origins.
    table: HashTable<u32>,
    hasher: Seeded,
    /// The origin of the event before and its number.
    current: Origin,
    number: u32,
    /// Number of events. The next three columns have as many items, and possibly more from the previous block, so that
    /// they need not be cleared.
    events: usize,
    steps: Vec<u32>,
    which: Vec<u32>,
    times: Vec<u16>,
    long_times: Vec<u64>,
    time: u64,
    durations: Differences,
    others: Vec<Other>,
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
    pub(in crate::recording) fn new(schema: &Schema) -> Self {
        Columns {
            layout: PayloadLayout::new(schema),
            first: u64::MAX,
            ..Columns::default()
        }
    }

    pub(in crate::recording) fn events(&self) -> u32 {
        self.events as u32
    }

    pub(in crate::recording) fn captures(&self) -> u32 {
        self.captures.len() as u32
    }

    /// The earliest and the latest timestamp.
    pub(in crate::recording) fn span(&self) -> (u64, u64) {
        (self.first.min(self.last), self.last)
    }

    /// Bytes of payloads and captures, which vary.
    pub(in crate::recording) fn extra_bytes(&self) -> usize {
        self.payload.len() + self.captured.len()
    }

    pub(in crate::recording) fn is_empty(&self) -> bool {
        self.events == 0 && self.captures.is_empty()
    }

    /// Appends the batch's events in this range.
    pub(in crate::recording) fn push(&mut self, batch: &Batch, range: std::ops::Range<usize>) {
        let events = batch.events.get(range).unwrap_or_default();
        self.push_numbers(events);
        if self.layout.longest() > 0 {
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
            number = number_of(self.hasher, &mut self.table, &mut self.origins, current);
        }
        for (((event, step), which), short) in events.iter().zip(steps).zip(which).zip(times) {
            let origin = Origin::of(event);
            if !origin.is(&current) {
                current = origin;
                number = number_of(self.hasher, &mut self.table, &mut self.origins, origin);
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
            match *step & KIND {
                KIND => self.durations.push(time.wrapping_sub(event.entry_timestamp)),
                OTHER => self.others.push(Other {
                    kind: event.kind.0,
                    spare: event.spare,
                    entry_timestamp: event.entry_timestamp,
                }),
                _ => {}
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
    pub(in crate::recording) fn push_capture(&mut self, batch: &Batch, capture: &Capture) {
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
            if !payload.is_empty() && self.layout.fits(payload.len()) {
                *step |= PAYLOAD;
                self.payload.extend_from_slice(payload);
                if self.layout.has_tail() {
                    self.payload_lengths.push(payload.len() as u32);
                }
            }
        }
    }

    /// Writes the block's content and begins a new block.
    pub(in crate::recording) fn take(&mut self, out: &mut Vec<u8>) {
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
        out.extend(self.others.iter().flat_map(|other| other.kind.to_le_bytes()));
        out.extend(self.others.iter().flat_map(|other| other.spare.to_le_bytes()));
        out.extend(self.others.iter().flat_map(|other| other.entry_timestamp.to_le_bytes()));
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
        self.others.clear();
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

    /// Returns whether both are equal, without a branch per number.
    #[inline]
    fn is(&self, other: &Origin) -> bool {
        let places = u64::from(self.cpu ^ other.cpu) | u64::from(self.thread ^ other.thread);
        (self.packet ^ other.packet) | (self.skb ^ other.skb) | places == 0
    }
}

/// The origin's number in this block; it gets one if it has none.
fn number_of(hasher: Seeded, table: &mut HashTable<u32>, origins: &mut Vec<Origin>, origin: Origin) -> u32 {
    let hash = hasher.hash_one(origin);
    if let Some(number) = table.find(hash, |number| origins[*number as usize] == origin) {
        return *number;
    }
    let number = origins.len() as u32;
    table.insert_unique(hash, number, |number| hasher.hash_one(origins[*number as usize]));
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

#[inline]
fn step(event: &Event) -> u32 {
    let function = event.function.min(MAX_FUNCTION) << FLAGS;
    let entered = u32::from(event.entry_timestamp != 0) * ENTERED;
    match event.kind {
        EventKind::ENTRY => function,
        EventKind::RETURN => function | entered | RETURN,
        _ => function | OTHER,
    }
}

fn narrow(numbers: &[u32], width: u32, out: &mut Vec<u8>) {
    match width {
        0 => {}
        1 => out.extend(numbers.iter().map(|number| *number as u8)),
        2 => out.extend(numbers.iter().flat_map(|number| (*number as u16).to_le_bytes())),
        _ => out.extend(numbers.iter().flat_map(|number| number.to_le_bytes())),
    }
}
