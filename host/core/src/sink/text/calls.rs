//! The open calls of packets, for the indentation of the graph.
//!
//! Calls nest within a context, a thread or a CPU. A return closes its call and the ones in it, whose returns were lost.
//! All packets share one list of places, which is bounded: what does not fit is not indented.

use crate::event::Event;

/// The end of a list of calls.
pub(super) const NONE: u32 = u32::MAX;
/// Open calls of all packets, at most: 32 MB.
const MOST: usize = 1 << 20;
/// Calls that are one in the other, at most; the kernel's stack has no room for as many.
const DEEPEST: u32 = 64;

/// Open calls of one packet that are searched; what lies deeper is not indented. A recording may have any number.
const LONGEST: usize = 1024;

/// The open calls of all packets.
#[derive(Debug)]
pub(super) struct Calls {
    places: Vec<Call>,
    /// The first of the unused places, which are linked like calls.
    unused: u32,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    context: u64,
    timestamp: u64,
    function: u32,
    /// Calls of the same context around it.
    depth: u32,
    /// The packet's call before it.
    below: u32,
}

impl Default for Calls {
    fn default() -> Self {
        Calls {
            places: Vec::new(),
            unused: NONE,
        }
    }
}

impl Calls {
    /// Returns the depth of a call that begins or ends in this context. `top` is the packet's last open call.
    pub(super) fn depth(&self, top: u32, context: u64) -> u32 {
        let mut index = top;
        for _ in 0..LONGEST {
            let Some(call) = self.places.get(index as usize) else {
                break;
            };
            if call.context == context {
                return call.depth + 1;
            }
            index = call.below;
        }
        0
    }

    /// Opens a call, and returns its depth.
    pub(super) fn enter(&mut self, top: &mut u32, event: &Event) -> u32 {
        let context = event.context();
        let depth = self.depth(*top, context);
        if depth >= DEEPEST {
            return depth;
        }
        let call = Call {
            context,
            timestamp: event.timestamp,
            function: event.function,
            depth,
            below: *top,
        };
        if let Some(place) = self.places.get_mut(self.unused as usize) {
            *top = std::mem::replace(&mut self.unused, place.below);
            *place = call;
        } else if self.places.len() < MOST {
            *top = self.places.len() as u32;
            self.places.push(call);
        }
        depth
    }

    /// Closes the call that this return is of, and returns its depth.
    pub(super) fn leave(&mut self, top: &mut u32, event: &Event) -> u32 {
        let context = event.context();
        let mut index = *top;
        let mut searched = 0;
        let depth = loop {
            let call = self.places.get(index as usize).filter(|_| searched < LONGEST);
            let Some(call) = call else {
                return self.depth(*top, context);
            };
            searched += 1;
            let is_entry = call.function == event.function && call.timestamp == event.entry_timestamp;
            if call.context == context && is_entry {
                break call.depth;
            }
            index = call.below;
        };
        // What this context has opened since then is closed, too; calls of other contexts stay.
        let mut above = NONE;
        let mut index = *top;
        while let Some(&Call {
            context: other,
            depth: deep,
            below,
            ..
        }) = self.places.get(index as usize)
        {
            if other == context && deep >= depth {
                match self.places.get_mut(above as usize) {
                    Some(above) => above.below = below,
                    None => *top = below,
                }
                self.places[index as usize].below = self.unused;
                self.unused = index;
                if deep == depth {
                    break;
                }
            } else {
                above = index;
            }
            index = below;
        }
        depth
    }

    /// Forgets all calls of a packet.
    pub(super) fn forget(&mut self, top: &mut u32) {
        let first = std::mem::replace(top, NONE);
        let mut last = first;
        while let Some(call) = self.places.get(last as usize) {
            if call.below == NONE {
                self.places[last as usize].below = self.unused;
                self.unused = first;
                return;
            }
            last = call.below;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventKind;

    fn event(kind: EventKind, thread: u32, function: u32, timestamp: u64, entry_timestamp: u64) -> Event {
        Event {
            packet: 1,
            skb: 0,
            timestamp,
            entry_timestamp,
            function,
            cpu: 0,
            kind,
            thread,
            payload_offset: 0,
            payload_len: 0,
            spare: 0,
        }
    }

    #[test]
    fn a_return_closes_its_call_and_those_in_it() {
        let (mut calls, mut top) = (Calls::default(), NONE);
        let enter = |calls: &mut Calls, top: &mut u32, thread, function, time| {
            calls.enter(top, &event(EventKind::ENTRY, thread, function, time, 0))
        };
        let leave = |calls: &mut Calls, top: &mut u32, thread, function, entered| {
            calls.leave(top, &event(EventKind::RETURN, thread, function, 99, entered))
        };
        assert_eq!(enter(&mut calls, &mut top, 7, 0, 1), 0);
        assert_eq!(enter(&mut calls, &mut top, 7, 1, 2), 1);
        // Another context begins at the left.
        assert_eq!(enter(&mut calls, &mut top, 8, 2, 3), 0);
        assert_eq!(enter(&mut calls, &mut top, 7, 3, 4), 2);
        // The return of function 3 is lost.
        assert_eq!(leave(&mut calls, &mut top, 7, 1, 2), 1);
        assert_eq!(enter(&mut calls, &mut top, 8, 4, 5), 1);
        // The entry of this one is lost, and closes nothing.
        assert_eq!(leave(&mut calls, &mut top, 7, 9, 0), 1);
        assert_eq!(leave(&mut calls, &mut top, 7, 0, 1), 0);
        assert_eq!(enter(&mut calls, &mut top, 7, 0, 6), 0);
        calls.forget(&mut top);
        assert_eq!(top, NONE);
        let used = calls.places.len();
        for time in 0..used as u64 {
            assert_eq!(u64::from(enter(&mut calls, &mut top, 7, 0, time)), time);
        }
        assert_eq!(calls.places.len(), used, "places are used again");
    }

    #[test]
    fn deep_calls_take_no_more_places() {
        let (mut calls, mut top) = (Calls::default(), NONE);
        for time in 0..1000 {
            calls.enter(&mut top, &event(EventKind::ENTRY, 7, 0, time, 0));
        }
        assert_eq!(calls.places.len(), DEEPEST as usize);
        for time in (0..1000).rev() {
            calls.leave(&mut top, &event(EventKind::RETURN, 7, 0, 2000, time));
        }
        assert_eq!(top, NONE);
    }
}
