//! Regroups events: those of each packet, in order of time, and the calls that they form.
//!
//! No event is marked as a packet's last, and a trace may be long. So [`Journeys`] has a memory limit: at the limit,
//! the packets that were quiet for longest are assumed to be finished.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use crate::event::{Batch, Event, range};
use crate::fields::Fields;
use crate::trace::Trace;

/// Default memory limit in bytes.
const LIMIT: usize = 64 << 20;

/// Bytes per packet besides its events.
const PACKET: usize = 192;

/// Initial capacity for events, since few packets have fewer.
const FIRST_EVENTS: usize = 8;

/// Limit of events after which a journey is returned in parts.
const MAX_EVENTS: usize = 1 << 16;

/// Limit of nesting searched for the entry of a return. Kernel stacks hold fewer calls; deeper ones have lost their
/// return.
const MAX_DEPTH: usize = 512;

/// Collects the events of each packet.
///
/// ```
/// # use ipft_plugin::{Batch, Error, Journeys, Output, Plugin, Summary, Trace};
/// # #[derive(Default)]
/// # struct Longest { journeys: Journeys, longest: u64 }
/// # impl Longest { fn see(&mut self, journey: &ipft_plugin::Journey) { self.longest = self.longest.max(journey.duration()); } }
/// impl Plugin for Longest {
///     fn events(&mut self, batch: &Batch, _out: &mut Output) -> Result<(), Error> {
///         for journey in self.journeys.add(batch) {
///             self.see(&journey);
///         }
///         Ok(())
///     }
///
///     fn finish(&mut self, _trace: &Trace, _summary: &Summary, _out: &mut Output) -> Result<(), Error> {
///         for journey in self.journeys.take() {
///             self.see(&journey);
///         }
///         Ok(())
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Journeys {
    packets: HashMap<u64, Journey, FxBuildHasher>,
    /// The last part number of packets that were removed, in case they come back. All are dropped when there are too
    /// many.
    parts: HashMap<u64, u32, FxBuildHasher>,
    bytes: usize,
    limit: usize,
    payloads: bool,
}

impl Default for Journeys {
    fn default() -> Self {
        Journeys::with_limit(LIMIT)
    }
}

impl Journeys {
    /// Sets the memory limit in bytes; the events of one batch are always kept.
    pub fn with_limit(bytes: usize) -> Self {
        Journeys {
            packets: HashMap::default(),
            parts: HashMap::default(),
            bytes: 0,
            limit: bytes,
            payloads: true,
        }
    }

    /// Drops payloads, so that more events fit.
    pub fn without_payloads(mut self) -> Self {
        self.payloads = false;
        self
    }

    /// Adds the events of a batch, and returns the journeys that are assumed to be finished: none below the memory
    /// limit. Events of kinds that this version does not know are ignored.
    pub fn add(&mut self, batch: &Batch) -> Vec<Journey> {
        let mut over = Vec::new();
        for event in batch.events.iter().filter(|event| event.kind <= Event::RETURN) {
            let journey = self.packets.entry(event.packet).or_insert_with(|| {
                self.bytes += PACKET;
                Journey {
                    packet: event.packet,
                    part: self.parts.remove(&event.packet).map_or(0, |part| part + 1),
                    ..Journey::default()
                }
            });
            let payload = match self.payloads {
                true => batch.payload_of(event),
                false => &[],
            };
            let before = journey.memory();
            journey.push(event, payload);
            self.bytes += journey.memory() - before;
            if journey.events.len() >= MAX_EVENTS {
                over.extend(self.remove(event.packet));
            }
        }
        // Again if the other packets use the memory.
        while self.bytes > self.limit && !self.packets.is_empty() {
            self.take_quiet(&mut over);
        }
        over
    }

    /// Returns the remaining journeys, in the order of their first events.
    pub fn take(&mut self) -> Vec<Journey> {
        self.bytes = 0;
        self.parts.clear();
        let mut journeys: Vec<Journey> = std::mem::take(&mut self.packets).into_values().collect();
        journeys.iter_mut().for_each(Journey::sort);
        journeys.sort_unstable_by_key(Journey::order);
        journeys
    }

    /// Removes the half of the packets that were quiet for longest. Half, so that the search costs little per event.
    #[cold]
    fn take_quiet(&mut self, over: &mut Vec<Journey>) {
        let mut last: Vec<(u64, u64)> = self
            .packets
            .values()
            .map(|journey| (journey.last(), journey.packet))
            .collect();
        last.sort_unstable();
        let first = over.len();
        for (_, packet) in &last[..last.len().div_ceil(2)] {
            over.extend(self.remove(*packet));
        }
        over[first..].sort_unstable_by_key(Journey::order);
    }

    fn remove(&mut self, packet: u64) -> Option<Journey> {
        let mut journey = self.packets.remove(&packet)?;
        journey.sort();
        self.bytes -= PACKET + journey.memory();
        // About half the memory of the events.
        if self.parts.len() > self.limit / 32 {
            self.parts.clear();
        }
        self.parts.insert(packet, journey.part);
        Some(journey)
    }
}

/// The events of one packet.
#[derive(Clone, Debug, Default)]
pub struct Journey {
    /// Identity of the packet.
    pub packet: u64,
    /// Number of the part; 0 for the first. After some millions of packets in parts the count restarts.
    pub part: u32,
    /// The events, in order of time. `payload_offset` refers to `payload`.
    pub events: Vec<Event>,
    /// Their payload bytes.
    pub payload: Vec<u8>,
}

impl Journey {
    /// Allocated bytes.
    fn memory(&self) -> usize {
        self.events.capacity() * size_of::<Event>() + self.payload.capacity()
    }

    fn push(&mut self, event: &Event, payload: &[u8]) {
        if self.events.capacity() == 0 {
            self.events.reserve_exact(FIRST_EVENTS);
        }
        let fits = u32::try_from(self.payload.len()).is_ok_and(|offset| offset.checked_add(1 << 16).is_some());
        let payload = if fits { payload } else { &[] };
        self.events.push(Event {
            payload_offset: self.payload.len() as u32,
            payload_len: payload.len() as u32,
            ..*event
        });
        self.payload.extend_from_slice(payload);
    }

    /// Events of a packet may be out of order in recordings, which store them as delivered.
    fn sort(&mut self) {
        if !self.events.is_sorted_by_key(|event| event.timestamp) {
            self.events.sort_by_key(|event| event.timestamp);
        }
    }

    fn order(&self) -> (u64, u64) {
        (self.first(), self.packet)
    }

    /// Returns the time of the first event, in nanoseconds.
    pub fn first(&self) -> u64 {
        self.events.first().map_or(0, |event| event.timestamp)
    }

    /// Returns the time of the last event, in nanoseconds.
    pub fn last(&self) -> u64 {
        self.events.last().map_or(0, |event| event.timestamp)
    }

    /// Returns the nanoseconds from the first event to the last.
    pub fn duration(&self) -> u64 {
        self.last().saturating_sub(self.first())
    }

    /// Returns the payload of one of its events; empty if it has none.
    pub fn payload_of(&self, event: &Event) -> &[u8] {
        range(&self.payload, event)
    }

    /// Returns all fields of one of its events.
    pub fn fields<'a>(&'a self, trace: &'a Trace, event: &Event) -> Fields<'a> {
        Fields::new(trace, self.payload_of(event))
    }

    /// Returns the calls that the events form, in the order of their starts where known.
    ///
    /// An entry whose return was lost, or is still to come, is a call without an end; a return whose entry was lost is
    /// a call without a start, at the place of its return. Neither counts as enclosing other calls, since its extent is
    /// unknown. Without returns (tracer `function`) no call has an end.
    pub fn calls(&self) -> Vec<Call> {
        let mut calls = Vec::with_capacity(self.events.len());
        // The open calls of each context. There are few contexts.
        let mut contexts: Vec<(u64, Vec<u32>)> = Vec::new();
        let mut order = Vec::with_capacity(self.events.len());
        for (index, event) in self.events.iter().enumerate() {
            let context = position(&mut contexts, event.context());
            let stack = &mut contexts[context].1;
            let entry = match event.is_return() {
                true => entry_of(stack, &calls, event),
                false => None,
            };
            match entry {
                Some(position) => {
                    let call = stack[position];
                    stack.truncate(position);
                    calls[call as usize].exit = Some(index as u32);
                    calls[call as usize].returned = Some(event.timestamp);
                    order.push((context, call, false));
                }
                None => {
                    let call = calls.len() as u32;
                    calls.push(Call::new(index as u32, event));
                    if event.is_entry() {
                        stack.push(call);
                    }
                    order.push((context, call, true));
                }
            }
        }
        // Only now is it known which calls have both ends and so enclose others.
        let mut stacks: Vec<Vec<u32>> = vec![Vec::new(); contexts.len()];
        for (context, index, begins) in order {
            let stack = &mut stacks[context];
            if !begins {
                stack.pop();
                let Some(&parent) = stack.last() else { continue };
                let duration = calls[index as usize].duration().unwrap_or_default();
                let parent = &mut calls[parent as usize];
                parent.own = parent.own.saturating_sub(duration);
                continue;
            }
            let call = &mut calls[index as usize];
            call.depth = stack.len() as u32;
            call.parent = stack.last().copied();
            call.own = call.duration().unwrap_or_default();
            if call.entry.is_some() && call.exit.is_some() {
                stack.push(index);
            }
        }
        calls
    }
}

/// Returns the index of a context in the list, adding it if it is new.
fn position(contexts: &mut Vec<(u64, Vec<u32>)>, context: u64) -> usize {
    // Usually that of the previous event, which was among the last to be added.
    match contexts.iter().rposition(|(other, _)| *other == context) {
        Some(position) => position,
        None => {
            contexts.push((context, Vec::new()));
            contexts.len() - 1
        }
    }
}

/// Returns the entry of this return, as a position in the stack.
fn entry_of(stack: &[u32], calls: &[Call], event: &Event) -> Option<usize> {
    let deepest = stack.len().saturating_sub(MAX_DEPTH);
    let found = stack[deepest..].iter().rposition(|call| {
        let call = &calls[*call as usize];
        call.function == event.function && call.entered == Some(event.entry_timestamp)
    });
    found.map(|position| deepest + position)
}

/// A call of a function with the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Index into [`Trace::functions`].
    pub function: u32,
    /// The CPU of the entry; if it was lost, that of the return.
    pub cpu: u32,
    /// The calling thread, 0 in the idle task.
    pub thread: u32,
    /// The entry, as an index into [`Journey::events`]; `None` if it was lost.
    pub entry: Option<u32>,
    /// The return, as an index into [`Journey::events`]; `None` if it was lost, or is not traced.
    pub exit: Option<u32>,
    /// Start time in nanoseconds; may be known although the entry is missing.
    pub entered: Option<u64>,
    /// End time in nanoseconds.
    pub returned: Option<u64>,
    /// Number of enclosing calls in its thread.
    pub depth: u32,
    /// The enclosing call, as an index into the list of calls; it is earlier in the list.
    pub parent: Option<u32>,
    /// Nanoseconds without the traced calls inside; 0 if the duration is unknown.
    pub own: u64,
}

impl Call {
    fn new(index: u32, event: &Event) -> Self {
        let entry = event.is_entry();
        let entered = if entry { event.timestamp } else { event.entry_timestamp };
        Call {
            function: event.function,
            cpu: event.cpu,
            thread: event.thread,
            entry: entry.then_some(index),
            exit: (!entry).then_some(index),
            entered: (entry || entered != 0).then_some(entered),
            returned: (!entry).then_some(event.timestamp),
            depth: 0,
            parent: None,
            own: 0,
        }
    }

    /// Returns the nanoseconds from entry to return, if both are known.
    pub fn duration(&self) -> Option<u64> {
        Some(self.returned?.saturating_sub(self.entered?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Builds events from a sketch: `0+a` enters `a` in context 0, `0-a5` returns from the call entered at position 5,
    /// `0-a` from an unknown one.
    fn journey(sketch: &[&str]) -> Journey {
        let mut journey = Journey::default();
        for (time, word) in (1..).zip(sketch) {
            let (context, word) = word.split_at(1);
            let (kind, word) = word.split_at(1);
            let (function, entered) = word.split_at(1);
            let event = Event {
                packet: 1,
                timestamp: time,
                entry_timestamp: entered.parse().unwrap_or(0),
                thread: u32::from(context.as_bytes()[0]),
                function: u32::from(function.as_bytes()[0] - b'a'),
                kind: u32::from(kind == "-"),
                ..Event::default()
            };
            journey.push(&event, &[]);
        }
        journey
    }

    /// Function, depth, parent, duration, own time.
    type Sketch = (char, u32, Option<u32>, Option<u64>, u64);

    fn calls(sketch: &[&str]) -> Vec<Sketch> {
        let calls = journey(sketch).calls();
        calls
            .iter()
            .map(|call| {
                let function = char::from(b'a' + call.function as u8);
                (function, call.depth, call.parent, call.duration(), call.own)
            })
            .collect()
    }

    #[test]
    fn calls_nest_and_own_time_excludes_callees() {
        assert_eq!(
            calls(&["0+a", "0+b", "0-b2", "0+a", "0-a4", "0-a1"]),
            [
                ('a', 0, None, Some(5), 3),
                ('b', 1, Some(0), Some(1), 1),
                ('a', 1, Some(0), Some(1), 1)
            ]
        );
    }

    #[test]
    fn each_thread_has_its_own_depth() {
        assert_eq!(
            calls(&["0+a", "1+b", "0+c", "1-b2", "0-c3", "0-a1"]),
            [
                ('a', 0, None, Some(5), 3),
                ('b', 0, None, Some(2), 2),
                ('c', 1, Some(0), Some(2), 2)
            ]
        );
    }

    #[test]
    fn a_call_with_a_lost_end_encloses_no_call() {
        assert_eq!(
            calls(&["0-d", "0+a", "0+b", "0+c", "0-c4", "0-a2", "0-c", "0+a"]),
            [
                ('d', 0, None, None, 0),
                ('a', 0, None, Some(4), 3),
                ('b', 1, Some(1), None, 0),
                ('c', 1, Some(1), Some(1), 1),
                ('c', 0, None, None, 0),
                ('a', 0, None, None, 0)
            ]
        );
    }

    #[test]
    fn a_return_without_its_entry_keeps_its_duration() {
        let calls = journey(&["0+b", "0-b1", "0+b", "0-a1"]).calls();
        let last = calls.last().unwrap();
        assert_eq!((last.entry, last.exit, last.duration()), (None, Some(3), Some(3)));
    }

    #[test]
    fn entries_alone_are_calls_side_by_side() {
        let calls = calls(&["0+a", "0+b", "1+c"]);
        assert!(calls.iter().all(|call| (call.1, call.2, call.3) == (0, None, None)));
        assert_eq!(calls.len(), 3);
    }

    #[test]
    fn long_traces_keep_all_events_in_bounded_memory() {
        let trace = Trace::default();
        let mut journeys = Journeys::with_limit(100_000);
        let mut given_out = Vec::new();
        let mut events = 0;
        for time in 1..=2000 {
            let of = |packet| Event {
                packet,
                timestamp: time,
                payload_len: 3,
                ..Event::default()
            };
            let batch = [of(time), of(1), of(time / 2 + 1)];
            events += batch.len();
            given_out.extend(journeys.add(&Batch {
                trace: &trace,
                events: &batch,
                payload: b"abc",
            }));
            let kept: usize = journeys.packets.values().map(|journey| journey.memory() + PACKET).sum();
            assert_eq!(kept, journeys.bytes);
            assert!(kept <= 100_000);
        }
        given_out.extend(journeys.take());
        assert_eq!(
            given_out.iter().map(|journey| journey.events.len()).sum::<usize>(),
            events
        );
        for journey in &given_out {
            assert!(journey.events.iter().all(|event| event.packet == journey.packet));
            assert!(journey.events.is_sorted_by_key(|event| event.timestamp));
            assert!(journey.events.iter().all(|event| journey.payload_of(event) == b"abc"));
        }
        // Distinguish the parts of a packet.
        let mut parts: Vec<_> = given_out.iter().map(|journey| (journey.packet, journey.part)).collect();
        parts.sort_unstable();
        let all = parts.len();
        parts.dedup();
        assert_eq!(parts.len(), all);
        assert!(all > 2001, "some packets came in parts: {all}");
    }

    #[test]
    fn an_endless_packet_is_returned_in_parts() {
        let trace = Trace::default();
        let mut journeys = Journeys::default();
        let events = vec![
            Event {
                packet: 7,
                ..Event::default()
            };
            MAX_EVENTS + 5
        ];
        let batch = Batch {
            trace: &trace,
            events: &events,
            payload: &[],
        };
        let over = journeys.add(&batch);
        assert_eq!(over.len(), 1);
        let rest = journeys.take();
        assert_eq!((rest[0].part, rest[0].events.len()), (1, 5));
    }
}
