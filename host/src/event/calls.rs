//! Which entry a return belongs to.
//!
//! Where returns are traced, a return event comes with its packet and its function, but the moment of the entry is
//! only in the entry's own event. [`OpenCalls`] keeps the calls that have not returned yet and completes each return
//! from its entry. It stands between the stream and the sinks, so that no sink has to pair.
//!
//! Within one packet and one context ([`Event::context`]) calls nest: the last that was entered is the first to
//! return. Events may be missing, though. A return belongs to the newest open call of its function; open calls above
//! that one have returned unseen, since their caller has. A return without any open call of its function has lost its
//! entry and stays as it is.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

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
    stacks: HashMap<Key, Stack, FxBuildHasher>,
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

/// How well entries and returns went together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pairing {
    /// Calls of which both were seen.
    pub paired: u64,
    /// Entries whose call is known to be over, since its caller has returned, but whose return was not seen.
    pub without_return: u64,
    /// Returns without an open entry.
    pub without_entry: u64,
    /// Entries forgotten for want of room; their returns, if they come, count as `without_entry`.
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

    /// Completes `skb` and `entry_timestamp` of every return whose entry is known. Events come in the order of the
    /// stream, batch after batch.
    pub fn pair(&mut self, events: &mut [Event]) {
        for event in events {
            let key = Key {
                packet: event.packet,
                context: event.context(),
            };
            if key != self.current_key {
                self.switch(key);
            }
            match event.kind {
                EventKind::Entry => self.enter(event),
                EventKind::Return => self.leave(event),
            }
        }
    }

    /// What was paired so far.
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
