//! Reads the columns of a block. They are checked as a whole before the first event is returned.

use super::{Differences, ESCAPE, FLAGS, Head, KIND, OTHER, Origin, Other, PAYLOAD, RETURN, long, word};
use crate::event::{Batch, Capture, Event, EventKind, Link, PayloadLayout, Schema};
use crate::recording::limits::{MAX_EVENTS, MAX_NAME_BYTES, MAX_NAMES, TooLarge, at_most};

/// Bytes of a capture's numbers.
const CAPTURE: usize = 28;

/// A block's content, checked as a whole, which gives its events in batches.
#[derive(Debug, Default)]
pub(in crate::recording) struct Decoded {
    layout: PayloadLayout,
    origins: Vec<Origin>,
    steps: Vec<u32>,
    which: Vec<u32>,
    times: Differences,
    durations: Differences,
    others: Vec<Other>,
    payload_lengths: Vec<u32>,
    payload: Vec<u8>,
    names: Vec<String>,
    captures: Vec<Capture>,
    captured: Vec<u8>,
    /// Events returned so far.
    cursor: Cursor,
}

/// Read positions of the columns.
#[derive(Debug, Default)]
struct Cursor {
    events: usize,
    long_times: usize,
    durations: usize,
    long_durations: usize,
    others: usize,
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
    /// Creates an empty reader for blocks of a trace with this schema.
    pub(in crate::recording) fn new(schema: &Schema) -> Self {
        Decoded {
            layout: PayloadLayout::new(schema),
            ..Decoded::default()
        }
    }

    /// Reads a block's content in place of the one before. An error, and no events, if anything in it is not as a writer
    /// makes it: which number is too large, if one is.
    pub(in crate::recording) fn read(&mut self, content: &[u8]) -> Result<(), Option<TooLarge>> {
        self.cursor = Cursor::default();
        let read = match content
            .split_first_chunk()
            .map(|(head, rest)| (Head::parse(head), rest))
        {
            Some((head, rest)) => check(&head, rest.len())
                .map_err(Some)
                .and_then(|()| self.parse(&head, rest).ok_or(None)),
            None => Err(None),
        };
        if read.is_err() {
            self.steps.clear();
            self.captures.clear();
        }
        read
    }

    fn parse(&mut self, head: &Head, rest: &[u8]) -> Option<()> {
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
        let entered = self.steps.iter().filter(|step| **step & KIND == KIND).count();
        if entered != head.durations as usize {
            return None;
        }
        self.read_others(&mut rest)?;
        self.read_payloads(&mut rest, head)?;
        self.read_names(&mut rest, head)?;
        self.read_captures(&mut rest, head)?;
        rest.0.is_empty().then_some(())
    }

    fn read_others(&mut self, rest: &mut Columnar<'_>) -> Option<()> {
        let count = self.steps.iter().filter(|step| **step & KIND == OTHER).count() as u32;
        let kinds = rest.take(count, 4)?.chunks_exact(4).map(word);
        let spares = rest.take(count, 8)?.chunks_exact(8).map(long);
        let entry_timestamps = rest.take(count, 8)?.chunks_exact(8).map(long);
        self.others.clear();
        let others = kinds.zip(spares).zip(entry_timestamps);
        self.others.extend(others.map(|((kind, spare), entry_timestamp)| Other {
            kind,
            spare,
            entry_timestamp,
        }));
        let is_other = |other: &Other| !EventKind(other.kind).is_call();
        self.others.iter().all(is_other).then_some(())
    }

    fn read_payloads(&mut self, rest: &mut Columnar<'_>, head: &Head) -> Option<()> {
        let lengths = rest.take(head.payload_lengths, 4)?;
        self.payload_lengths.clear();
        self.payload_lengths.extend(lengths.chunks_exact(4).map(word));
        let with_payload = self.steps.iter().filter(|step| **step & PAYLOAD != 0).count();
        let bytes = if self.layout.has_tail() {
            let fits = |length: &u32| self.layout.fits(*length as usize);
            if with_payload != self.payload_lengths.len() || !self.payload_lengths.iter().all(fits) {
                return None;
            }
            self.payload_lengths.iter().map(|length| *length as usize).sum()
        } else {
            with_payload.checked_mul(self.layout.prefix())?
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
    pub(in crate::recording) fn names(&self) -> &[String] {
        &self.names
    }

    /// Appends up to `most` events that were not given out yet, and with the first of them the captures. `false` if
    /// there was nothing left.
    pub(in crate::recording) fn fill(&mut self, batch: &mut Batch, most: usize) -> bool {
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
            // An entry or a return, as the bit says, unless it is of another kind.
            let (mut kind, mut entry_timestamp, mut spare) = (EventKind(step & RETURN), 0, 0);
            match step & KIND {
                KIND => {
                    let short = self.durations.short[cursor.durations];
                    cursor.durations += 1;
                    let duration = expand(short, &self.durations.long, &mut cursor.long_durations);
                    entry_timestamp = cursor.time.wrapping_sub(duration);
                }
                OTHER => {
                    let other = self.others[cursor.others];
                    cursor.others += 1;
                    (kind, entry_timestamp, spare) = (EventKind(other.kind), other.entry_timestamp, other.spare);
                }
                _ => {}
            }
            let payload_offset = batch.payload.len() as u32;
            let mut payload_len = 0;
            if step & PAYLOAD != 0 {
                payload_len = self.layout.prefix() as u32;
                if self.layout.has_tail() {
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
                kind,
                thread: origin.thread,
                payload_offset,
                payload_len,
                spare,
            });
        }
        some || !steps.is_empty()
    }
}

/// Compares the numbers at the beginning of a block with how much there is of it.
fn check(head: &Head, rest: usize) -> Result<(), TooLarge> {
    let rest = rest as u64;
    let events = at_most("events", head.events.into(), MAX_EVENTS.min(rest))?;
    // Minimum bytes per item of each.
    for (field, found, most) in [
        ("origins", head.origins, events.min(rest / 24)),
        ("long times", head.time_escapes, events.min(rest / 8)),
        ("durations", head.durations, events),
        (
            "long durations",
            head.duration_escapes,
            u64::from(head.durations).min(rest / 8),
        ),
        ("lengths of payloads", head.payload_lengths, events.min(rest / 4)),
        ("bytes of all payloads", head.payload_bytes, rest),
        ("names", head.names, MAX_NAMES.min(rest / 4)),
        (
            "bytes of all names, with their lengths",
            head.name_bytes,
            MAX_NAME_BYTES.min(rest),
        ),
        ("captures", head.captures, rest / CAPTURE as u64),
        ("bytes of all captures", head.captured_bytes, rest),
    ] {
        at_most(field, found.into(), most)?;
    }
    Ok(())
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
