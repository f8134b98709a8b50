//! Gives stacks of drops their places in the function table, and puts them before the ends of their packets. May import
//! the events.

use std::collections::HashMap;

use crate::event::{Batch, Event, EventKind, Function};

/// Stacks in the function table, at most: a trace may run for weeks. Drops with further ones have none.
const MOST: usize = 16_384;

/// The stacks that are in the function table, with their indices.
#[derive(Debug, Default)]
pub(super) struct Stacks {
    known: HashMap<String, u32>,
    /// The drops of the batch that have one: the event's index, and that of the stack.
    found: Vec<(usize, u32)>,
}

impl Stacks {
    /// Notes the stack of the drop at this place of the batch. If the stack is not in the function table, it gets the index
    /// that `add` returns for it.
    pub(super) fn note(&mut self, at: usize, name: &str, add: impl FnOnce(Function) -> u32) {
        let index = match self.known.get(name) {
            Some(index) => *index,
            None if self.known.len() >= MOST => return,
            None => {
                let index = add(Function {
                    name: name.to_owned(),
                    module: "vmlinux".to_owned(),
                    address: 0,
                });
                self.known.insert(name.to_owned(), index);
                index
            }
        };
        self.found.push((at, index));
    }

    /// Inserts the stacks of a batch. Nothing else may know its events by their places any more.
    pub(super) fn insert(&mut self, batch: &mut Batch) {
        if self.found.is_empty() {
            return;
        }
        self.found.sort_unstable();
        let mut found = self.found.drain(..).peekable();
        let events = std::mem::take(&mut batch.events);
        batch.events.reserve(events.len() + found.len());
        for (at, event) in events.into_iter().enumerate() {
            if let Some((_, function)) = found.next_if(|(place, _)| *place == at) {
                batch.events.push(Event {
                    kind: EventKind::STACK,
                    function,
                    payload_offset: 0,
                    payload_len: 0,
                    spare: 0,
                    ..event
                });
            }
            batch.events.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(packet: u64, kind: EventKind) -> Event {
        Event {
            packet,
            skb: packet,
            timestamp: packet,
            entry_timestamp: 0,
            function: 0,
            cpu: 0,
            kind,
            thread: 0,
            payload_offset: 0,
            payload_len: 0,
            spare: 7,
        }
    }

    #[test]
    fn stacks_come_before_their_ends() {
        let mut stacks = Stacks::default();
        let mut batch = Batch::default();
        let kinds = [EventKind::ENTRY, EventKind::ENDED, EventKind::ENDED, EventKind::ENTRY];
        batch.events = (1..).zip(kinds).map(|(packet, kind)| event(packet, kind)).collect();
        let mut added = Vec::new();
        for (at, name) in [(2, "b < a"), (1, "c"), (0, "b < a")] {
            stacks.note(at, name, |function| {
                added.push(function.name);
                added.len() as u32 + 9
            });
        }
        stacks.insert(&mut batch);
        let all = batch
            .events
            .iter()
            .map(|event| (event.packet, event.kind, event.function));
        let stack = EventKind::STACK;
        assert_eq!(
            all.collect::<Vec<_>>(),
            [
                (1, stack, 10),
                (1, EventKind::ENTRY, 0),
                (2, stack, 11),
                (2, EventKind::ENDED, 0),
                (3, stack, 10),
                (3, EventKind::ENDED, 0),
                (4, EventKind::ENTRY, 0),
            ]
        );
        assert_eq!(added, ["b < a", "c"]);
        stacks.insert(&mut batch);
        assert_eq!(batch.events.len(), 7);
    }

    #[test]
    fn beyond_the_limit_there_are_none() {
        let mut stacks = Stacks::default();
        for number in 0..=MOST {
            stacks.note(0, &number.to_string(), |_| number as u32);
        }
        assert_eq!((stacks.known.len(), stacks.found.len()), (MOST, MOST));
    }
}
