//! The queue between the trace and a plugin's own thread: events that the plugin has not taken yet.
//!
//! The trace adds a batch under one lock and never waits for the plugin. Events that do not fit are counted, as are all
//! later ones until the plugin takes the queue: missed events are reported at their place in the trace.

use ipft_core::event::{Batch, Event, Function, Summary};

/// Maximum events in the queue.
const MAX_EVENTS: usize = 1 << 20;

/// Maximum bytes of their payload.
const MAX_PAYLOAD: usize = 64 << 20;

/// Maximum events per call, and bytes of their payload: more has no benefit, and costs the plugin memory.
const MAX_CALL: usize = 4096;
const MAX_CALL_PAYLOAD: usize = 4 << 20;

/// The content of the queue.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// New functions of the table.
    pub(super) functions: Vec<Function>,
    /// Events with their payloads and new names.
    pub(super) batch: Batch,
    /// Events after these that did not fit.
    pub(super) missed: u64,
    /// The end of the trace, if it was reached.
    pub(super) end: Option<Summary>,
}

impl Pending {
    /// Adds the events that fit; returns the number of those that did not.
    pub(super) fn add(&mut self, batch: &Batch, names_known: usize) -> u64 {
        let new = batch.names.get(names_known..).unwrap_or_default();
        self.batch.names.extend_from_slice(new);
        let fits = self.fitting(batch);
        let base = self.batch.payload.len();
        // The accepted total is below `MAX_PAYLOAD`.
        let shift = base as u32;
        if fits == batch.events.len() {
            self.batch.payload.extend_from_slice(&batch.payload);
            let moved = batch
                .events
                .iter()
                .map(|event| moved(event, batch.payload.len(), shift));
            self.batch.events.extend(moved);
        } else {
            for event in &batch.events[..fits] {
                let start = self.batch.payload.len() as u32;
                let payload = batch.payload_of(event);
                self.batch.payload.extend_from_slice(payload);
                self.batch.events.push(Event {
                    payload_offset: start,
                    payload_len: payload.len() as u32,
                    ..*event
                });
            }
        }
        let missed = (batch.events.len() - fits) as u64;
        self.missed += missed;
        missed
    }

    /// Returns how many of a batch's events fit, from the first on.
    fn fitting(&self, batch: &Batch) -> usize {
        if self.missed > 0 {
            return 0;
        }
        let room = MAX_EVENTS - self.batch.events.len();
        let mut bytes = MAX_PAYLOAD - self.batch.payload.len();
        if batch.events.len() <= room && batch.payload.len() <= bytes {
            return batch.events.len();
        }
        let fits = |event: &&Event| match bytes.checked_sub(batch.payload_of(event).len()) {
            Some(left) => {
                bytes = left;
                true
            }
            None => false,
        };
        batch.events.iter().take(room).take_while(fits).count()
    }

    /// Returns whether the queue is not empty.
    pub(super) fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.batch.events.is_empty() && self.missed == 0 && self.end.is_none()
    }

    /// Clears the queue, keeping its memory.
    pub(super) fn clear(&mut self) {
        self.functions.clear();
        self.batch.clear();
        self.batch.names.clear();
        self.missed = 0;
        self.end = None;
    }
}

/// Returns an event whose payload has moved; a range outside the payload becomes an empty one.
#[inline]
fn moved(event: &Event, payload: usize, shift: u32) -> Event {
    let end = u64::from(event.payload_offset) + u64::from(event.payload_len);
    let (payload_offset, payload_len) = if event.payload_len == 0 || end > payload as u64 {
        (0, 0)
    } else {
        (event.payload_offset + shift, event.payload_len)
    };
    Event {
        payload_offset,
        payload_len,
        ..*event
    }
}

/// Returns how many of the events, at least one, go into one call.
pub(super) fn call_size(events: &[Event]) -> usize {
    let mut payload = 0;
    let fits = |event: &&Event| {
        payload += event.payload_len as usize;
        payload <= MAX_CALL_PAYLOAD
    };
    // An event whose payload exceeds a call's limit gets its own call.
    events.iter().take(MAX_CALL).take_while(fits).count().max(1)
}

/// Moves some events into their own batch: they refer to the returned payload.
pub(super) fn cut<'a>(events: &mut [Event], payload: &'a [u8]) -> &'a [u8] {
    let (mut start, mut end) = (u32::MAX, 0);
    for event in &*events {
        if event.payload_len > 0 {
            start = start.min(event.payload_offset);
            end = end.max(event.payload_offset + event.payload_len);
        }
    }
    if start >= end {
        return &[];
    }
    if start > 0 {
        for event in events {
            event.payload_offset = event.payload_offset.saturating_sub(start);
        }
    }
    &payload[start as usize..end as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipft_core::event::EventKind;

    fn batch(count: u64, payload: usize) -> Batch {
        let mut batch = Batch::default();
        for packet in 1..=count {
            batch.events.push(Event {
                packet,
                skb: 0,
                timestamp: 0,
                entry_timestamp: 0,
                function: 0,
                cpu: 0,
                kind: EventKind::ENTRY,
                thread: 0,
                payload_offset: batch.payload.len() as u32,
                payload_len: payload as u32,
                spare: 0,
            });
            batch.payload.extend(std::iter::repeat_n(packet as u8, payload));
        }
        batch
    }

    fn payloads(batch: &Batch) -> Vec<Vec<u8>> {
        let payload = |event| batch.payload_of(event).to_vec();
        batch.events.iter().map(payload).collect()
    }

    #[test]
    fn joining_and_cutting_batches_keeps_payloads() {
        let mut pending = Pending::default();
        let mut expected = Vec::new();
        for (count, payload) in [(3, 8), (2, 0), (5, 3), (1, 64)] {
            let batch = batch(count, payload);
            expected.extend(payloads(&batch));
            assert_eq!(pending.add(&batch, 0), 0);
        }
        assert_eq!(payloads(&pending.batch), expected);
        for size in 1..=12 {
            let mut found = Vec::new();
            let mut events = pending.batch.events.clone();
            for slice in events.chunks_mut(size) {
                let payload = cut(slice, &pending.batch.payload).to_vec();
                let events = slice.to_vec();
                found.extend(payloads(&Batch {
                    events,
                    payload,
                    ..Batch::default()
                }));
            }
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn a_call_is_neither_empty_nor_too_large() {
        let size = |count, payload| call_size(&batch(count, payload).events);
        assert_eq!((size(1, 0), size(4096, 64), size(10_000, 0)), (1, 4096, 4096));
        assert_eq!((size(3, MAX_CALL_PAYLOAD / 2), size(2, MAX_CALL_PAYLOAD + 1)), (2, 1));
    }

    #[test]
    fn a_payload_out_of_range_is_empty() {
        let mut pending = Pending::default();
        let mut wrong = batch(3, 4);
        wrong.events[0].payload_offset = u32::MAX;
        wrong.events[1].payload_len = 100;
        pending.add(&wrong, 0);
        assert_eq!(payloads(&pending.batch), [vec![], vec![], vec![3; 4]]);
    }

    #[test]
    fn after_an_overflow_events_are_missed_until_a_take() {
        let mut pending = Pending::default();
        let many = batch(1 << 18, 0);
        for _ in 0..4 {
            assert_eq!(pending.add(&many, 0), 0);
        }
        assert_eq!(pending.add(&batch(3, 1), 0), 3);
        assert_eq!((pending.batch.events.len(), pending.missed), (MAX_EVENTS, 3));
        pending.clear();
        let wide = batch(5, MAX_PAYLOAD / 4);
        assert_eq!(pending.add(&wide, 0), 1);
        assert_eq!(pending.batch.events.len(), 4);
        assert_eq!(pending.add(&batch(1, 0), 0), 1, "nothing overtakes what is missing");
        assert_eq!(pending.missed, 2);
    }

    #[test]
    fn names_are_passed_once_even_with_missed_events() {
        let mut pending = Pending {
            missed: 1,
            ..Pending::default()
        };
        let mut named = batch(1, 0);
        named.names = ["a", "b", "c"].map(str::to_owned).to_vec();
        pending.add(&named, 1);
        pending.add(&named, 3);
        assert_eq!(pending.batch.names, ["b", "c"]);
    }
}
