//! Computes the indentation of each line of one packet's call graph.
//!
//! Calls nest within a context: a thread, or for the idle task a CPU. When two of them handle a packet at once (a
//! softirq on another CPU goes on while the function that queued the packet is still returning), their lines alternate
//! by time; each is indented by its own context's depth, and the CPU column distinguishes them.
//!
//! A pair of entry and return indents the events in between. An entry whose return was lost does not indent: its end is
//! unknown, and indentation without an end would spoil the rest. Neither does a return whose entry was lost remove
//! indentation.

use crate::seeded::Seeded;
use hashbrown::HashMap;

use super::journal::Kept;
use crate::event::{EventKind, MAX_DEPTH};

/// Limit of distinguished contexts per packet, far more than the CPUs and threads that work on one. Further ones in a
/// recording share one.
const MOST_CONTEXTS: usize = 1 << 14;

/// Lays out one packet after the other; what it holds is scratch space.
#[derive(Debug, Default)]
pub(super) struct Graph {
    lines: Vec<Line>,
    contexts: HashMap<u64, u32, Seeded>,
    /// The open calls of each context, as indices into `lines`. More are kept than are in use.
    stacks: Vec<Vec<Open>>,
    /// Number of used `stacks`.
    used: usize,
    /// Scratch space of `level_by_pairs`.
    levels: Vec<u32>,
}

/// One line of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Calls around it.
    pub(super) level: u32,
    pub(super) kind: EventKind,
    /// For an entry: whether its return was seen; for a return: whether its entry was.
    pub(super) paired: bool,
    context: u32,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    line: u32,
    function: u32,
    timestamp: u64,
}

impl Graph {
    /// The lines of one packet's events, which come in order of time.
    pub(super) fn lay_out(&mut self, events: impl Iterator<Item = Kept>) -> &[Line] {
        self.lines.clear();
        self.contexts.clear();
        self.stacks[..self.used].iter_mut().for_each(Vec::clear);
        self.used = 0;
        let mut current = None;
        let mut all_paired = true;
        for event in events {
            let key = event.context();
            let context = match current {
                Some((same, context)) if same == key => context,
                _ => self.context(key),
            };
            current = Some((key, context));
            let index = self.lines.len() as u32;
            let stack = &mut self.stacks[context as usize];
            let mut line = Line {
                level: stack.len() as u32,
                kind: event.kind,
                paired: false,
                context,
            };
            if event.kind == EventKind::ENTRY {
                stack.push(Open {
                    line: index,
                    function: event.function,
                    timestamp: event.timestamp,
                });
            } else if let Some(position) = entry_of(stack, &event) {
                self.lines[stack[position].line as usize].paired = true;
                all_paired &= position + 1 == stack.len();
                stack.truncate(position);
                line.level = position as u32;
                line.paired = true;
            } else {
                all_paired = false;
            }
            self.lines.push(line);
        }
        // Where everything pairs up, the height of the stack was the level. Elsewhere it has counted entries that
        // turned out to have no return.
        if !all_paired || self.stacks[..self.used].iter().any(|stack| !stack.is_empty()) {
            self.level_by_pairs();
        }
        &self.lines
    }

    /// Sets the levels anew, counting pairs only.
    #[cold]
    fn level_by_pairs(&mut self) {
        self.levels.clear();
        self.levels.resize(self.used, 0);
        for line in &mut self.lines {
            let level = &mut self.levels[line.context as usize];
            if line.paired && line.kind == EventKind::RETURN {
                *level -= 1;
            }
            line.level = *level;
            if line.paired && line.kind == EventKind::ENTRY {
                *level += 1;
            }
        }
    }

    /// The number of a context that is not the one of the event before.
    fn context(&mut self, key: u64) -> u32 {
        if self.used == MOST_CONTEXTS {
            let last = self.used as u32 - 1;
            return self.contexts.get(&key).copied().unwrap_or(last);
        }
        let next = self.used as u32;
        let context = *self.contexts.entry(key).or_insert(next);
        if context == next {
            self.used += 1;
            if self.stacks.len() < self.used {
                self.stacks.push(Vec::new());
            }
        }
        context
    }
}

/// The entry of this return, as a position in the stack.
fn entry_of(stack: &[Open], event: &Kept) -> Option<usize> {
    let is_entry = |open: &Open| open.function == event.function && open.timestamp == event.entry_timestamp;
    // Unless something was lost it is the last.
    if stack.last().is_some_and(is_entry) {
        return Some(stack.len() - 1);
    }
    let deepest = stack.len().saturating_sub(MAX_DEPTH);
    stack[deepest..]
        .iter()
        .rposition(is_entry)
        .map(|position| deepest + position)
}

#[cfg(test)]
impl Graph {
    /// A line as the graph makes them.
    pub(super) fn line(level: u32, kind: EventKind, paired: bool) -> Line {
        Line {
            level,
            kind,
            paired,
            context: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines from a sketch: `+a` enters, `-a5` returns from the call that was entered at position 5, `-a` from one
    /// that is not known. A number in front is the context.
    fn levels(sketch: &[&str]) -> Vec<(u32, bool)> {
        let mut events = Vec::new();
        for (time, word) in (1..).zip(sketch) {
            let (context, word) = word.split_at(1);
            let (kind, word) = word.split_at(1);
            let (function, entered) = word.split_at(1);
            events.push(Kept {
                index: 0,
                timestamp: time,
                entry_timestamp: entered.parse().unwrap_or(0),
                thread: u32::from(context.as_bytes()[0]),
                function: u32::from(function.as_bytes()[0]),
                cpu: 0,
                kind: match kind {
                    "+" => EventKind::ENTRY,
                    _ => EventKind::RETURN,
                },
            });
        }
        let mut graph = Graph::default();
        // The previous layout leaves no state.
        graph.lay_out(events.iter().take(events.len() / 2).copied());
        let lines = graph.lay_out(events.iter().copied());
        lines.iter().map(|line| (line.level, line.paired)).collect()
    }

    #[test]
    fn calls_are_as_deep_as_the_calls_around_them() {
        assert_eq!(
            levels(&["0+a", "0+b", "0-b2", "0+a", "0-a4", "0-a1"]),
            [(0, true), (1, true), (1, true), (1, true), (1, true), (0, true)]
        );
    }

    #[test]
    fn contexts_have_depths_of_their_own() {
        assert_eq!(
            levels(&["0+a", "1+b", "0+c", "1-b2", "0-c3", "0-a1"]),
            [(0, true), (0, true), (1, true), (0, true), (1, true), (0, true)]
        );
    }

    #[test]
    fn an_entry_without_a_return_does_not_indent() {
        assert_eq!(
            levels(&["0+a", "0+b", "0+c", "0-c3", "0-a1", "0+d"]),
            [(0, true), (1, false), (1, true), (1, true), (0, true), (0, false)]
        );
        assert_eq!(levels(&["0+a", "0+b", "0-b2"]), [(0, false), (0, true), (0, true)]);
    }

    #[test]
    fn a_return_without_an_entry_never_goes_below_zero() {
        assert_eq!(
            levels(&["0-a", "0-b", "0+c", "0-a", "0-c3"]),
            [(0, false), (0, false), (0, true), (1, false), (0, true)]
        );
    }

    #[test]
    fn a_return_with_another_entry_time_does_not_match() {
        assert_eq!(levels(&["0+a", "0-a7"]), [(0, false), (0, false)]);
    }
}
