//! Formats the rows of the aggregate: one event each, in columns.
//!
//! Nearly every row is usual: every part fits its column, so that all columns begin where they always do. Such a row is
//! made in place out of parts of fixed size, which costs a third of what appending part after part does. What is not
//! usual is appended, and reads the same.

use super::graph::Line;
use super::journal::Kept;
use super::texts::FunctionTexts;
use crate::event::{EventKind, Function};
use crate::text::*;

/// Start positions of the columns of a usual row. The timestamp begins at 0.
const CPU: usize = 21;
/// The module, with the space in front of it.
const MODULE: usize = 24;
/// The call in the graph; without the graph the function's column with the space in front of it begins a byte earlier.
const CALL: usize = 50;
/// The columns of the module and the function, with the spaces in front of them.
const NAMES_WIDTH: usize = 25 + 33;
/// Columns of the call in the graph.
const CALL_WIDTH: usize = 64;
/// Room for a usual row: the deepest call that is usual, in its column's width.
const ROOM: usize = 192;
/// Calls at least this deep are not usual.
const DEEP: u32 = ((ROOM - CALL - CALL_WIDTH) / 2) as u32;

/// The parts of rows: the texts of all functions, ready to copy.
#[derive(Debug)]
pub(super) struct Rows {
    /// The module's column and what is before the call; without the graph the function's column too.
    columns: FunctionTexts,
    /// The function's name alone.
    names: FunctionTexts,
    /// The texts of functions whose names fit their columns, for usual rows.
    usual: Vec<Option<Usual>>,
    clock: Clock,
    /// The CPU of the row before, and its three digits.
    cpu: u32,
    cpu_digits: [u8; 3],
    graph: bool,
}

/// The parts of a usual row that depend on the function.
#[derive(Debug)]
struct Usual {
    /// The columns of the module and, without the graph, of the function.
    names: [u8; NAMES_WIDTH],
    /// `name() {` and spaces.
    entry: [u8; CALL_WIDTH],
    entry_len: usize,
}

impl Rows {
    /// Rows of a trace of these functions, with the graph or without.
    pub(super) fn new(functions: &[Function], graph: bool) -> Self {
        let mut rows = Rows {
            usual: Vec::new(),
            columns: FunctionTexts::default(),
            names: FunctionTexts::default(),
            clock: Clock::default(),
            cpu: 0,
            cpu_digits: *b"000",
            graph,
        };
        rows.append_functions(functions);
        rows
    }

    /// Returns the names of the functions.
    pub(super) fn names(&self) -> &FunctionTexts {
        &self.names
    }

    /// Functions that are new.
    pub(super) fn append_functions(&mut self, functions: &[Function]) {
        let graph = self.graph;
        self.columns.append(functions, |out, function| {
            out.push(b' ');
            push_right_aligned(out, &function.module, 24);
            out.push(b' ');
            if !graph {
                push_right_aligned(out, &function.name, 32);
            }
        });
        self.names
            .append(functions, |out, function| push_visible(out, &function.name));
        for function in self.usual.len()..self.columns.len() {
            self.usual.push(self.usual(function as u32));
        }
    }

    fn usual(&self, function: u32) -> Option<Usual> {
        let width = if self.graph { CALL - MODULE } else { NAMES_WIDTH };
        let mut text = Vec::new();
        self.columns.push(&mut text, function);
        if text.len() != width {
            return None;
        }
        let names = *padded(&mut text)?;
        let mut entry = Vec::new();
        self.names.push(&mut entry, function);
        entry.extend_from_slice(b"() {");
        let entry_len = entry.len();
        Some(Usual {
            names,
            entry: *padded(&mut entry)?,
            entry_len,
        })
    }

    /// Appends the event's row, up to the fields. `line` is its place in the graph, if there is one.
    #[inline(always)]
    pub(super) fn push(&mut self, out: &mut Vec<u8>, event: &Kept, line: Option<&Line>) {
        let start = out.len();
        out.extend_from_slice(&[b' '; ROOM]);
        let end = out.last_chunk_mut().and_then(|row| self.fill(row, event, line));
        match end {
            Some(end) => out.truncate(start + end),
            None => {
                out.truncate(start);
                self.append(out, event, line);
            }
        }
    }

    /// Writes a usual row into a buffer of spaces, and returns its length; `None` if it is not usual.
    #[inline(always)]
    fn fill(&mut self, row: &mut [u8; ROOM], event: &Kept, line: Option<&Line>) -> Option<usize> {
        let usual = self.usual.get(event.function as usize)?.as_ref()?;
        self.clock.fill(row.first_chunk_mut()?, event.timestamp)?;
        if event.cpu != self.cpu {
            if event.cpu >= 1000 {
                return None;
            }
            self.cpu = event.cpu;
            self.cpu_digits = three_digits(event.cpu);
        }
        row[CPU..MODULE].copy_from_slice(&self.cpu_digits);
        row[MODULE..MODULE + NAMES_WIDTH].copy_from_slice(&usual.names);
        let Some(line) = line else {
            return Some(MODULE + NAMES_WIDTH);
        };
        if line.level >= DEEP {
            return None;
        }
        let start = CALL + 2 * line.level as usize;
        let length = match (event.kind, line.paired) {
            (EventKind::ENTRY, _) => {
                row[start..start + CALL_WIDTH].copy_from_slice(&usual.entry);
                usual.entry_len
            }
            (EventKind::RETURN, true) => {
                let duration = event.timestamp.saturating_sub(event.entry_timestamp);
                let microseconds = duration / 1000;
                if microseconds >= 10_000 {
                    return None;
                }
                let (digits, length) = up_to_four_digits(microseconds as u32);
                let [a, b, c] = three_digits((duration % 1000) as u32);
                row[start..start + 5].copy_from_slice(b"} /* ");
                row[start + 5..start + 9].copy_from_slice(&digits);
                let end = start + 5 + length;
                row[end..end + 10].copy_from_slice(&[b'.', a, b, c, b' ', b'u', b's', b' ', b'*', b'/']);
                length + 15
            }
            _ => return None,
        };
        Some((start + length).max(CALL + CALL_WIDTH))
    }

    /// Appends a row whose parts may be as long as they like.
    #[cold]
    fn append(&mut self, out: &mut Vec<u8>, event: &Kept, line: Option<&Line>) {
        let start = out.len();
        self.clock.push(out, event.timestamp);
        push_spaces(out, start + CPU - out.len());
        push_three_digits(out, u64::from(event.cpu));
        self.columns.push(out, event.function);
        if let Some(line) = line {
            let start = out.len();
            push_spaces(out, 2 * line.level as usize);
            match (event.kind, line.paired) {
                (EventKind::ENTRY, _) => {
                    self.names.push(out, event.function);
                    out.extend_from_slice(b"() {");
                }
                (EventKind::RETURN, true) => {
                    out.extend_from_slice(b"} /* ");
                    let duration = event.timestamp.saturating_sub(event.entry_timestamp);
                    push_unsigned(out, duration / 1000);
                    out.push(b'.');
                    push_three_digits(out, duration % 1000);
                    out.extend_from_slice(b" us */");
                }
                _ => {
                    out.extend_from_slice(b"} /* ");
                    self.names.push(out, event.function);
                    out.extend_from_slice(b" */");
                }
            }
            let used = out.len() - start;
            push_spaces(out, CALL_WIDTH.saturating_sub(used));
        }
    }
}

/// The text with spaces behind it up to `N` bytes; none if it is longer.
fn padded<const N: usize>(text: &mut Vec<u8>) -> Option<&[u8; N]> {
    if text.len() <= N {
        text.resize(N, b' ');
    }
    text.as_slice().try_into().ok()
}

/// A name, made visible, with spaces in front up to the width in characters.
fn push_right_aligned(out: &mut Vec<u8>, name: &str, width: usize) {
    let mut visible = Vec::with_capacity(name.len());
    push_visible(&mut visible, name);
    let characters = visible.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    push_spaces(out, width.saturating_sub(characters));
    out.extend_from_slice(&visible);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::graph::Graph;

    #[test]
    fn a_usual_row_reads_the_same_as_an_appended_one() {
        let names = [
            "a",
            "twenty_six_letters_in_name",
            "é",
            "\x1b",
            &"n".repeat(60),
            &"n".repeat(61),
        ];
        let modules = ["vmlinux", "", &"m".repeat(24), &"m".repeat(25), "é"];
        let mut functions = Vec::new();
        for name in names {
            for module in modules {
                functions.push(Function {
                    name: name.to_owned(),
                    module: module.to_owned(),
                    address: 0,
                });
            }
        }
        let times = [7, 99_999_999, 100_000_000, 464_048_546_191_357, u64::MAX];
        let durations = [0, 1, 999, 1000, 12_345, 9_999_999, 10_000_000, u64::MAX];
        let mut usual = 0;
        for graph in [false, true] {
            let mut rows = Rows::new(&functions, graph);
            for function in 0..functions.len() as u32 + 2 {
                for (case, cpu) in [0, 7, 42, 999, 1000, u32::MAX].into_iter().enumerate() {
                    for (timestamp, duration) in times.iter().flat_map(|time| durations.map(|it| (*time, it))) {
                        let event = Kept {
                            index: 0,
                            timestamp,
                            entry_timestamp: timestamp.saturating_sub(duration),
                            thread: 0,
                            function,
                            cpu,
                            kind: [EventKind::ENTRY, EventKind::RETURN][case % 2],
                        };
                        let level = [0, 1, 20, DEEP - 1, DEEP, 200][(function as usize + case) % 6];
                        let line = Graph::line(level, event.kind, duration % 2 == 0);
                        let line = graph.then_some(&line);
                        let (mut pushed, mut appended) = (Vec::new(), Vec::new());
                        rows.push(&mut pushed, &event, line);
                        rows.append(&mut appended, &event, line);
                        assert_eq!(String::from_utf8(pushed).unwrap(), String::from_utf8(appended).unwrap());
                        usual += usize::from(rows.fill(&mut [b' '; ROOM], &event, line).is_some());
                    }
                }
            }
        }
        assert!(usual > 1000, "{usual} usual rows are too few to have compared anything");
    }

    #[test]
    fn columns_are_where_the_old_tool_has_them() {
        let functions = [Function {
            name: "nf_hook_slow".to_owned(),
            module: "vmlinux".to_owned(),
            address: 0,
        }];
        let event = Kept {
            index: 0,
            timestamp: 75_681_521_100,
            entry_timestamp: 0,
            thread: 0,
            function: 0,
            cpu: 0,
            kind: EventKind::ENTRY,
        };
        let mut out = Vec::new();
        Rows::new(&functions, false).push(&mut out, &event, None);
        let expected = "75681521100          000                  vmlinux                     nf_hook_slow";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        Rows::new(&functions, true).push(&mut out, &event, Some(&Graph::line(1, EventKind::ENTRY, true)));
        let expected = "75681521100          000                  vmlinux   nf_hook_slow() {                                              ";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
