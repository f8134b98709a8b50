//! Regroups events: those of each packet, in order of time, and the calls that they form; and packets that were made of
//! each other.
//!
//! No event is marked as a packet's last, and a trace may be long. So [`Journeys`] has a memory limit: at the limit,
//! the packets that were quiet for longest are assumed to be finished.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use crate::event::{Batch, Event, range};
use crate::fields::Fields;
use crate::heading::Headings;
use crate::outcome::End;
use crate::trace::Trace;

/// Default memory limit in bytes.
const LIMIT: usize = 64 << 20;

/// Bytes per packet besides its events.
const PACKET: usize = 352;

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
///
/// Where packets are [followed](Trace::is_followed), a journey also has what its packet was made of, what was made of
/// it, and its end; [`families`] puts journeys in the order of a tree.
#[derive(Debug)]
pub struct Journeys {
    packets: HashMap<u64, Journey, FxBuildHasher>,
    /// The last part number of packets that were removed, in case they come back. All are dropped when there are too
    /// many.
    parts: HashMap<u64, u32, FxBuildHasher>,
    /// The roots of those that were made of others. As `parts`.
    roots: HashMap<u64, u64, FxBuildHasher>,
    /// What is known of packets that have no journey, since no function was seen yet. As `parts`.
    unseen: HashMap<u64, Lineage, FxBuildHasher>,
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
            roots: HashMap::default(),
            unseen: HashMap::default(),
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
        for event in batch.events {
            if event.kind > Event::RETURN {
                self.note(event);
                continue;
            }
            let journey = self.packets.entry(event.packet).or_insert_with(|| {
                self.bytes += PACKET;
                let lineage = match self.unseen.is_empty() {
                    true => None,
                    false => self.unseen.remove(&event.packet),
                };
                let root = self.roots.remove(&event.packet).unwrap_or(event.packet);
                Journey {
                    packet: event.packet,
                    part: self.parts.remove(&event.packet).map_or(0, |part| part + 1),
                    lineage: lineage.unwrap_or_else(|| Lineage::new(root)),
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
        self.roots.clear();
        self.unseen.clear();
        let mut journeys: Vec<Journey> = std::mem::take(&mut self.packets).into_values().collect();
        journeys.iter_mut().for_each(Journey::sort);
        journeys.sort_unstable_by_key(Journey::order);
        journeys
    }

    /// Takes what an event says of a packet besides its calls.
    #[cold]
    fn note(&mut self, event: &Event) {
        if !matches!(event.kind, Event::BORN | Event::JOINED | Event::ENDED) {
            return;
        }
        let (root, above) = match event.kind {
            Event::BORN => (self.root(event.spare), self.nearest(event.spare)),
            _ => (self.root(event.packet), 0),
        };
        if event.kind == Event::BORN
            && event.spare != event.packet
            && let Some(parent) = self.packets.get_mut(&event.spare)
        {
            let before = parent.memory();
            parent.lineage.children.push(event.packet);
            self.bytes += parent.memory() - before;
        }
        let lineage = match self.packets.get_mut(&event.packet) {
            Some(journey) => &mut journey.lineage,
            None => {
                if self.unseen.len() > self.limit / 128 {
                    self.unseen.clear();
                }
                self.unseen.entry(event.packet).or_insert_with(|| Lineage::new(root))
            }
        };
        match event.kind {
            Event::BORN => {
                lineage.root = root;
                lineage.above = above;
                lineage.parent = Some(Parent {
                    packet: event.spare,
                    function: event.function,
                });
            }
            Event::JOINED => lineage.whole = Some(event.spare),
            _ => lineage.end = End::of(event),
        }
    }

    /// Returns the packet that a packet's family began with, as far as that is known.
    fn root(&self, packet: u64) -> u64 {
        let seen = self.packets.get(&packet).map(|journey| journey.lineage.root);
        let unseen = || self.unseen.get(&packet).map(|lineage| lineage.root);
        let before = || self.roots.get(&packet).copied();
        seen.or_else(unseen).or_else(before).unwrap_or(packet)
    }

    /// Returns the packet, or the nearest one that it was made of that has a journey, as far as that is known.
    fn nearest(&self, packet: u64) -> u64 {
        match self.unseen.get(&packet) {
            Some(lineage) if lineage.parent.is_some() => lineage.above,
            _ => packet,
        }
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
        if self.roots.len() > self.limit / 32 {
            self.roots.clear();
        }
        self.parts.insert(packet, journey.part);
        if journey.lineage.root != packet {
            self.roots.insert(packet, journey.lineage.root);
        }
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
    /// What the packet was made of, what was made of it, and its end. In a journey that was returned before the end of
    /// the trace, what was known by then; in further parts, what came later.
    pub lineage: Lineage,
}

/// The packets that a packet is related to, and its end. All of it is unknown unless packets are followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// The packet that it was made of.
    pub parent: Option<Parent>,
    /// The packet that its family began with: the packet itself if it was not made of another one.
    pub root: u64,
    /// The packets that were made of it, in order. Some may have no journey, as no traced function saw them.
    pub children: Vec<u64>,
    /// The packet that it became part of.
    pub whole: Option<u64>,
    /// How it ended; `None` if it had not ended.
    pub end: Option<End>,
    /// The parent or, if no function had seen that, the nearest packet before it that one had seen.
    above: u64,
}

/// The packet that another one was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its identity.
    pub packet: u64,
    /// The function that made the other, as an index into [`Trace::functions`]; of no function if that is not traced.
    pub function: u32,
}

impl Lineage {
    fn new(root: u64) -> Self {
        Lineage {
            root,
            ..Lineage::default()
        }
    }
}

/// Returns the journeys in the order of a tree, as their indices, each with its depth: a packet comes before those that
/// were made of it, which are one deeper. Where a packet between is missing, because no traced function saw it, they
/// are below the nearest one that there is. Otherwise the order stays the same.
///
/// ```
/// # use ipft_plugin::{Error, Headings, Journeys, Output, Trace, families};
/// # use std::io::Write;
/// # fn finish(journeys: &mut Journeys, trace: &Trace, out: &mut Output) -> Result<(), Error> {
/// let journeys = journeys.take();
/// let headings = Headings::new(trace);
/// for (depth, index) in families(&journeys) {
///     let journey = &journeys[index];
///     let name = journey.heading(trace, &headings);
///     let end = journey.lineage.end.map_or("not ended".to_owned(), |end| end.words(trace));
///     writeln!(out, "{:width$}{name}: {end}", "", width = 2 * depth)?;
/// }
/// # Ok(())
/// # }
/// ```
pub fn families(journeys: &[Journey]) -> Vec<(usize, usize)> {
    let mut numbers: HashMap<u64, usize, FxBuildHasher> = HashMap::default();
    for (index, journey) in journeys.iter().enumerate() {
        numbers.entry(journey.packet).or_insert(index);
    }
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); journeys.len()];
    let mut stack = Vec::new();
    for (index, journey) in journeys.iter().enumerate().rev() {
        let lineage = &journey.lineage;
        let parent = lineage.parent.and_then(|parent| {
            let known = numbers.get(&parent.packet);
            let known = known.or_else(|| numbers.get(&lineage.above));
            known.or_else(|| numbers.get(&lineage.root))
        });
        match parent.filter(|parent| **parent != index) {
            Some(parent) => children[*parent].push(index),
            None => stack.push((0, index)),
        }
    }
    let mut ordered = Vec::with_capacity(journeys.len());
    let mut is_placed = vec![false; journeys.len()];
    let mut next = 0;
    loop {
        while let Some((depth, index)) = stack.pop() {
            if std::mem::replace(&mut is_placed[index], true) {
                continue;
            }
            ordered.push((depth, index));
            stack.extend(children[index].iter().map(|child| (depth + 1, *child)));
        }
        // In a broken recording, packets may be made of each other.
        match is_placed[next..].iter().position(|is_placed| !is_placed) {
            Some(position) => {
                next += position;
                stack.push((0, next));
            }
            None => return ordered,
        }
    }
}

impl Journey {
    /// Allocated bytes.
    fn memory(&self) -> usize {
        self.events.capacity() * size_of::<Event>()
            + self.payload.capacity()
            + self.lineage.children.capacity() * size_of::<u64>()
    }

    /// Returns the packet's heading, or its identity if no function saw its addresses.
    pub fn heading(&self, trace: &Trace, headings: &Headings) -> String {
        let payloads = self.events.iter().map(|event| self.payload_of(event));
        let heading = match headings.are_there() {
            true => payloads
                .filter(|payload| !payload.is_empty())
                .find_map(|payload| headings.of(trace, payload)),
            false => None,
        };
        heading.unwrap_or_else(|| format!("packet {:#x}", self.packet))
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

    fn add(journeys: &mut Journeys, events: &[Event]) -> Vec<Journey> {
        journeys.add(&Batch {
            trace: &Trace::default(),
            events,
            payload: &[],
        })
    }

    /// Events of one kind each: packet, kind, spare word.
    fn events(list: &[(u64, u32, u64)]) -> Vec<Event> {
        let event = |(time, (packet, kind, spare)): (u64, &(u64, u32, u64))| Event {
            packet: *packet,
            timestamp: time,
            kind: *kind,
            spare: *spare,
            function: 3,
            ..Event::default()
        };
        (1..).zip(list).map(event).collect()
    }

    #[test]
    fn packets_know_their_families_and_ends() {
        let mut journeys = Journeys::default();
        let list = [
            (1, Event::ENTRY, 0),
            // No function sees packet 2, and none packet 3 before it ends.
            (2, Event::BORN, 1),
            (3, Event::BORN, 2),
            (4, Event::BORN, 1),
            (3, Event::ENDED, Event::DROPPED | 5),
            (3, Event::ENTRY, 0),
            (4, Event::ENTRY, 0),
            (4, Event::JOINED, 1),
            (4, Event::ENDED, Event::BECAME_PART),
            (5, Event::BORN, 99),
            (5, Event::ENTRY, 0),
            // A kind of a later version.
            (1, 17, 4),
        ];
        assert!(add(&mut journeys, &events(&list)).is_empty());
        let journeys = journeys.take();
        let lineage: Vec<_> = journeys
            .iter()
            .map(|Journey { packet, lineage, .. }| {
                let parent = lineage.parent.map(|parent| parent.packet);
                let outcome = lineage.end.map(|end| end.outcome.name());
                (
                    *packet,
                    parent,
                    lineage.root,
                    lineage.children.clone(),
                    lineage.whole,
                    outcome,
                )
            })
            .collect();
        assert_eq!(
            lineage,
            [
                (1, None, 1, vec![2, 4], None, None),
                (3, Some(2), 1, vec![], None, Some("dropped")),
                (4, Some(1), 1, vec![], Some(1), Some("joined")),
                (5, Some(99), 99, vec![], None, None),
            ]
        );
        assert_eq!(families(&journeys), [(0, 0), (1, 1), (1, 2), (0, 3)]);
    }

    #[test]
    fn families_end_where_packets_are_made_of_each_other() {
        let mut journeys = Journeys::default();
        let all = 10_000;
        // A chain, and two circles.
        let chain = (2..all).flat_map(|packet| [(packet, Event::BORN, packet - 1), (packet, Event::ENTRY, 0)]);
        let circles = [(1, 2), (2, 1), (3, 3)].map(|(packet, parent)| (all + packet, Event::BORN, all + parent));
        let seen = [1, 2, 3].map(|packet| (all + packet, Event::ENTRY, 0));
        let list: Vec<_> = [(1, Event::ENTRY, 0)]
            .into_iter()
            .chain(chain)
            .chain(circles)
            .chain(seen)
            .collect();
        add(&mut journeys, &events(&list));
        let journeys = journeys.take();
        let ordered = families(&journeys);
        let depths: Vec<usize> = ordered.iter().map(|(depth, _)| *depth).collect();
        assert_eq!(depths[..all as usize - 1], (0..all as usize - 1).collect::<Vec<_>>());
        assert_eq!(depths[all as usize - 1..], [0, 0, 1]);
        assert_eq!(families(&[]), []);
    }

    #[test]
    fn relations_of_unseen_packets_take_bounded_memory() {
        let mut journeys = Journeys::with_limit(100_000);
        for packet in 1..10_000 {
            add(
                &mut journeys,
                &events(&[(packet, Event::BORN, packet + 1), (packet, Event::ENDED, 0)]),
            );
            assert!(journeys.unseen.len() < 1000);
        }
        assert!(journeys.take().is_empty());
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
