//! Pairs returns with their entries.
//!
//! Where returns are traced, a return event comes with its packet and its function, but the moment of the entry is
//! only in the entry's own event. [`OpenCalls`] keeps the calls that have not returned yet and completes each return
//! from its entry. It stands between the stream and the sinks, so that no sink has to pair.
//!
//! Within one packet and one context ([`Event::context`]) calls nest: the last that was entered is the first to
//! return. Events may be missing, though. A return belongs to the newest open call of its function; open calls above
//! that one have returned unseen, since their caller has. A return without any open call of its function has lost its
//! entry and stays as it is.
//!
//! One mistake cannot be avoided: when the entry of a recursive call is lost, its return is taken for that of the call
//! around it, since the events do not distinguish the two.

use std::collections::HashMap;

use crate::seeded::Seeded;

use super::{Event, EventKind};

/// The deepest nesting that is followed. Kernel stacks have 16 KiB, which no chain of this many calls fits into; what
/// looks deeper is calls whose return was lost.
pub const MAX_DEPTH: usize = 512;

/// Open calls that are kept by default. Each CPU runs a few contexts at a time, each some tens of calls deep, so that
/// this is for lost returns, which stay open for ever. It bounds the memory to some 100 MB.
const LIMIT: usize = 1 << 20;

/// The end of a list of calls.
const NONE: u32 = u32::MAX;

/// The calls of all packets that have not returned yet.
#[derive(Debug)]
pub struct OpenCalls {
    /// The stacks of all contexts but the current one; an empty stack is not kept.
    stacks: HashMap<Key, Stack, Seeded>,
    /// The context of the event before, which is often that of the next one too.
    current_key: Key,
    current: Stack,
    /// Every open call, linked to the one below it, and unused places linked to each other.
    calls: Vec<Call>,
    unused: u32,
    open: usize,
    limit: usize,
    pairing: Pairing,
}

/// Statistics of pairing entries and returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairing {
    /// Calls of which both were seen.
    pub paired: u64,
    /// Entries whose call is known to be over, since its caller has returned, but whose return was not seen.
    pub without_return: u64,
    /// Returns without an open entry.
    pub without_entry: u64,
    /// Entries dropped at the limit; their returns, if they come, count as `without_entry`.
    pub forgotten: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    packet: u64,
    context: u64,
}

#[derive(Clone, Copy, Debug)]
struct Stack {
    /// Index into `calls`.
    top: u32,
    depth: u32,
}

impl Stack {
    const EMPTY: Stack = Stack { top: NONE, depth: 0 };
}

#[derive(Clone, Copy, Debug)]
struct Call {
    timestamp: u64,
    skb: u64,
    function: u32,
    below: u32,
}

impl Default for OpenCalls {
    fn default() -> Self {
        OpenCalls::with_limit(LIMIT)
    }
}

impl OpenCalls {
    /// Keeps at most about `limit` calls, in any case enough for one context.
    pub fn with_limit(limit: usize) -> Self {
        OpenCalls {
            stacks: HashMap::default(),
            current_key: Key { packet: 0, context: 0 },
            current: Stack::EMPTY,
            calls: Vec::new(),
            unused: NONE,
            open: 0,
            limit: limit.clamp(2 * MAX_DEPTH, NONE as usize),
            pairing: Pairing::default(),
        }
    }

    /// Completes `skb` and `entry_timestamp` of every return whose entry is known. Events of other kinds stay as they are.
    /// Events come in the order of the
    /// stream, batch after batch.
    pub fn pair(&mut self, events: &mut [Event]) {
        for event in events.iter_mut().filter(|event| event.kind.is_call()) {
            let key = Key {
                packet: event.packet,
                context: event.context(),
            };
            if key != self.current_key {
                self.switch(key);
            }
            if event.kind == EventKind::ENTRY {
                self.enter(event);
            } else {
                self.leave(event);
            }
        }
    }

    /// Returns the statistics so far.
    pub fn pairing(&self) -> Pairing {
        self.pairing
    }

    /// Calls that are open now.
    pub fn open(&self) -> usize {
        self.open
    }

    fn switch(&mut self, key: Key) {
        if self.current.depth > 0 {
            self.stacks.insert(self.current_key, self.current);
        }
        self.current = self.stacks.remove(&key).unwrap_or(Stack::EMPTY);
        self.current_key = key;
    }

    fn enter(&mut self, event: &Event) {
        if self.current.depth as usize == MAX_DEPTH {
            self.forget_bottom();
        }
        if self.open == self.limit {
            self.forget_oldest();
        }
        let call = Call {
            timestamp: event.timestamp,
            skb: event.skb,
            function: event.function,
            below: self.current.top,
        };
        self.current.top = match self.calls.get_mut(self.unused as usize) {
            Some(place) => {
                let index = self.unused;
                self.unused = place.below;
                *place = call;
                index
            }
            None => {
                self.calls.push(call);
                (self.calls.len() - 1) as u32
            }
        };
        self.current.depth += 1;
        self.open += 1;
    }

    fn leave(&mut self, event: &mut Event) {
        let mut above = 0;
        let mut index = self.current.top;
        while let Some(call) = self.calls.get(index as usize) {
            if call.function == event.function {
                event.skb = call.skb;
                event.entry_timestamp = call.timestamp;
                let top = self.current.top;
                self.current.top = call.below;
                self.current.depth -= above + 1;
                self.release(top, index, above as usize + 1);
                self.pairing.paired += 1;
                self.pairing.without_return += u64::from(above);
                return;
            }
            above += 1;
            index = call.below;
        }
        self.pairing.without_entry += 1;
    }

    /// Gives back the places of a chain of `count` calls.
    fn release(&mut self, first: u32, last: u32, count: usize) {
        self.calls[last as usize].below = self.unused;
        self.unused = first;
        self.open -= count;
    }

    /// Forgets the lower half of the current stack.
    #[cold]
    fn forget_bottom(&mut self) {
        let keep = MAX_DEPTH / 2;
        let lowest = self.nth(self.current.top, keep - 1);
        let first = std::mem::replace(&mut self.calls[lowest as usize].below, NONE);
        let count = self.current.depth as usize - keep;
        let last = self.nth(first, count - 1);
        self.release(first, last, count);
        self.current.depth = keep as u32;
        self.pairing.forgotten += count as u64;
    }

    /// Forgets the half of the stacks that have been quiet for longest. Half, so that the search for them costs little
    /// per call.
    #[cold]
    fn forget_oldest(&mut self) {
        let calls = &self.calls;
        let mut times: Vec<u64> = self
            .stacks
            .values()
            .map(|stack| calls[stack.top as usize].timestamp)
            .collect();
        let middle = times.len() / 2;
        if times.is_empty() {
            return;
        }
        let (_, &mut middle, _) = times.select_nth_unstable(middle);
        let mut stacks = std::mem::take(&mut self.stacks);
        stacks.retain(|_, stack| {
            let kept = self.calls[stack.top as usize].timestamp > middle;
            if !kept {
                let count = stack.depth as usize;
                let last = self.nth(stack.top, count - 1);
                self.release(stack.top, last, count);
                self.pairing.forgotten += count as u64;
            }
            kept
        });
        self.stacks = stacks;
    }

    /// The call that is `steps` below this one.
    fn nth(&self, mut index: u32, steps: usize) -> u32 {
        for _ in 0..steps {
            index = self.calls[index as usize].below;
        }
        index
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventKind, packet: u64, thread: u32, function: u32, timestamp: u64) -> Event {
        Event {
            packet,
            // In a return the stream does not know it.
            skb: if kind == EventKind::ENTRY { packet << 8 } else { 0 },
            timestamp,
            entry_timestamp: 0,
            function,
            cpu: 0,
            kind,
            thread,
            payload_offset: 0,
            payload_len: 0,
            spare: 0,
        }
    }

    fn enter(packet: u64, thread: u32, function: u32, timestamp: u64) -> Event {
        event(EventKind::ENTRY, packet, thread, function, timestamp)
    }

    fn leave(packet: u64, thread: u32, function: u32, timestamp: u64) -> Event {
        event(EventKind::RETURN, packet, thread, function, timestamp)
    }

    /// The entry timestamps that the returns among the events get.
    fn entries(calls: &mut OpenCalls, events: &[Event]) -> Vec<u64> {
        let mut events = events.to_vec();
        calls.pair(&mut events);
        let returns = events.iter().filter(|event| event.kind == EventKind::RETURN);
        returns.map(|event| event.entry_timestamp).collect()
    }

    #[test]
    fn nested_and_recursive_calls_pair_from_the_inside() {
        let mut calls = OpenCalls::default();
        let events = [
            enter(1, 7, 0, 10),
            enter(1, 7, 0, 20),
            enter(1, 7, 1, 30),
            leave(1, 7, 1, 40),
            leave(1, 7, 0, 50),
            leave(1, 7, 0, 60),
        ];
        assert_eq!(entries(&mut calls, &events), [30, 20, 10]);
        assert_eq!(calls.open(), 0);
        assert!(calls.stacks.is_empty());
    }

    #[test]
    fn packets_and_threads_do_not_mix() {
        let mut calls = OpenCalls::default();
        let events = [
            enter(1, 7, 0, 10),
            enter(2, 7, 0, 20),
            enter(1, 8, 0, 30),
            leave(1, 7, 0, 40),
            leave(2, 7, 0, 50),
            leave(1, 8, 0, 60),
            leave(2, 8, 0, 70),
        ];
        assert_eq!(entries(&mut calls, &events), [10, 20, 30, 0]);
    }

    #[test]
    fn idle_tasks_are_contexts_per_cpu_threads_are_not() {
        let mut calls = OpenCalls::default();
        let on = |cpu, event| Event { cpu, ..event };
        let events = [
            on(0, enter(1, 0, 0, 10)),
            on(1, enter(1, 0, 0, 20)),
            on(0, leave(1, 0, 0, 30)),
            on(1, leave(1, 0, 0, 40)),
            on(0, enter(1, 7, 0, 50)),
            on(1, leave(1, 7, 0, 60)),
        ];
        assert_eq!(entries(&mut calls, &events), [10, 20, 50]);
    }

    #[test]
    fn lost_returns_are_skipped_lost_entries_ignored() {
        let mut calls = OpenCalls::default();
        let events = [
            enter(1, 7, 0, 10),
            enter(1, 7, 1, 20),
            leave(1, 7, 2, 30),
            leave(1, 7, 0, 40),
            leave(1, 7, 1, 50),
        ];
        assert_eq!(entries(&mut calls, &events), [0, 10, 0]);
        assert_eq!(
            calls.pairing(),
            Pairing {
                paired: 1,
                without_return: 1,
                without_entry: 2,
                forgotten: 0
            }
        );
    }

    #[test]
    fn a_return_gets_the_sk_buff_of_its_entry_if_any() {
        let mut calls = OpenCalls::default();
        let mut events = [enter(1, 7, 0, 10), leave(1, 7, 0, 20), leave(1, 7, 0, 30)];
        events[2].skb = 99;
        calls.pair(&mut events);
        assert_eq!([events[1].skb, events[2].skb], [1 << 8, 99]);
        assert_eq!([events[1].duration(), events[2].duration()], [Some(10), None]);
    }

    #[test]
    fn calls_without_returns_take_bounded_memory() {
        let mut calls = OpenCalls::with_limit(4096);
        for packet in 1..=100_000 {
            let events = [enter(packet, 7, 0, 2 * packet), enter(packet, 7, 1, 2 * packet + 1)];
            calls.pair(&mut events.clone());
            assert!(calls.open() <= 4096);
            let paired = entries(&mut calls, &[leave(packet, 7, 1, 3 * packet)]);
            assert_eq!(paired, [2 * packet + 1]);
        }
        assert!(calls.calls.len() <= 4096);
        let pairing = calls.pairing();
        assert_eq!(pairing.forgotten + calls.open() as u64, 100_000);
        // The oldest are gone, and say so.
        assert_eq!(entries(&mut calls, &[leave(1, 7, 0, 1_000_000)]), [0]);
        assert_eq!(calls.pairing().without_entry, 1);
    }

    #[test]
    fn a_context_without_returns_takes_bounded_memory() {
        let mut calls = OpenCalls::with_limit(0);
        for time in 1..100_000 {
            calls.pair(&mut [enter(1, 7, time as u32 % 3, time)]);
            assert!(calls.open() <= MAX_DEPTH);
        }
        assert_eq!(entries(&mut calls, &[leave(1, 7, 0, 100_000)]), [99_999]);
        assert!(calls.calls.len() <= MAX_DEPTH);
    }

    /// A stream of pseudo-random numbers that is the same in every run.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % bound
        }
    }

    /// Calls as a kernel makes them, properly nested in each context, and for each return the time of its entry.
    fn kernel(random: &mut Random, length: usize) -> Vec<(Event, u64)> {
        let mut stacks: HashMap<(u64, u32), Vec<(u32, u64)>> = HashMap::new();
        let mut events = Vec::new();
        for time in 1..=length as u64 {
            let (packet, thread) = (1 + random.below(3), 1 + random.below(3) as u32);
            let stack = stacks.entry((packet, thread)).or_default();
            if stack.len() < 40 && random.below(100) < 55 {
                let function = random.below(6) as u32;
                stack.push((function, time));
                events.push((enter(packet, thread, function, time), 0));
            } else if let Some((function, entered)) = stack.pop() {
                events.push((leave(packet, thread, function, time), entered));
            }
        }
        events
    }

    #[test]
    fn without_losses_every_return_finds_its_own_entry() {
        for seed in 1..60 {
            let events = kernel(&mut Random(seed), 2000);
            let truth: Vec<u64> = events
                .iter()
                .filter(|(event, _)| event.kind == EventKind::RETURN)
                .map(|(_, entered)| *entered)
                .collect();
            let events: Vec<Event> = events.into_iter().map(|(event, _)| event).collect();
            let mut calls = OpenCalls::default();
            assert_eq!(entries(&mut calls, &events), truth, "seed {seed}");
            assert_eq!(calls.pairing().paired, truth.len() as u64);
        }
    }

    #[test]
    fn without_recursion_losses_make_no_wrong_pair() {
        // With one function number per call a wrong pair cannot be excused by recursion.
        for seed in 1..60 {
            let mut random = Random(seed);
            let mut events = kernel(&mut random, 2000);
            let mut names = HashMap::new();
            for (event, entered) in &mut events {
                let call = match event.kind {
                    EventKind::ENTRY => event.timestamp,
                    _ => *entered,
                };
                let next = names.len() as u32;
                event.function = *names.entry(call).or_insert(next);
            }
            events.retain(|_| random.below(10) > 0);
            let kept: std::collections::HashSet<u64> = events
                .iter()
                .filter(|(event, _)| event.kind == EventKind::ENTRY)
                .map(|(event, _)| event.timestamp)
                .collect();
            let mut calls = OpenCalls::default();
            for (event, entered) in events {
                let mut paired = [event];
                calls.pair(&mut paired);
                if event.kind == EventKind::RETURN {
                    let expected = if kept.contains(&entered) { entered } else { 0 };
                    assert_eq!(paired[0].entry_timestamp, expected, "seed {seed}: {event:?}");
                }
            }
        }
    }

    #[test]
    fn with_recursion_and_losses_pairs_are_consistent() {
        for seed in 1..60 {
            let mut random = Random(seed);
            let mut events = kernel(&mut random, 2000);
            events.retain(|_| random.below(5) > 0);
            let mut open = HashMap::new();
            let mut calls = OpenCalls::with_limit(0);
            for (event, _) in events {
                let mut paired = [event];
                calls.pair(&mut paired);
                match event.kind {
                    EventKind::ENTRY => {
                        open.insert(event.timestamp, event);
                    }
                    EventKind::RETURN if paired[0].entry_timestamp != 0 => {
                        let entry = open.remove(&paired[0].entry_timestamp).expect("no entry pairs twice");
                        assert_eq!(
                            (entry.packet, entry.thread, entry.function),
                            (event.packet, event.thread, event.function)
                        );
                        assert_eq!(paired[0].skb, entry.skb);
                    }
                    _ => {}
                }
            }
        }
    }
}
