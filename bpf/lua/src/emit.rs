//! Collects instructions with jumps between them, removes what cannot run, and resolves the jumps. Imports
//! `bpf_assembly`.

use bpf_assembly::code::{JA, JMP};
use bpf_assembly::{Instruction, Line};

/// A place in the instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label(usize);

#[derive(Debug, Clone, Copy)]
enum Item {
    /// An instruction, with the second half of a constant of 64 bits.
    Plain(Instruction, Option<Instruction>),
    /// A jump, always or if its condition holds.
    Jump(Instruction, Label),
    Exit,
    Label(Label),
    /// From here on, instructions are of this byte of the source.
    Source(usize),
}

/// Indices of instructions, and the byte of the source that they are of from there on.
pub(crate) type Sources = Vec<(usize, usize)>;

/// Instructions, with the bytes of the source that they are of.
#[derive(Debug, Default)]
pub(crate) struct Emitter {
    items: Vec<Item>,
    labels: usize,
}

/// The most items. Jumps have 16 bits, and each item may be two instructions.
const MOST: usize = 12_000;

impl Emitter {
    pub(crate) fn put(&mut self, instruction: Instruction) {
        self.items.push(Item::Plain(instruction, None));
    }

    pub(crate) fn number(&mut self, destination: u8, number: i64) {
        let (first, second) = Instruction::number(destination, number);
        self.items.push(Item::Plain(first, second));
    }

    pub(crate) fn map(&mut self, destination: u8, descriptor: i32) {
        let (first, second) = Instruction::map(destination, descriptor);
        self.items.push(Item::Plain(first, Some(second)));
    }

    pub(crate) fn copy(&mut self, destination: u8, source: u8) {
        if destination != source {
            self.put(Instruction::copy(destination, source));
        }
    }

    pub(crate) fn label(&mut self) -> Label {
        self.labels += 1;
        Label(self.labels - 1)
    }

    pub(crate) fn land(&mut self, label: Label) {
        self.items.push(Item::Label(label));
    }

    pub(crate) fn jump(&mut self, to: Label) {
        self.jump_if(Instruction::new(JMP | JA, 0, 0, 0, 0), to);
    }

    pub(crate) fn jump_if(&mut self, instruction: Instruction, to: Label) {
        self.items.push(Item::Jump(instruction, to));
    }

    pub(crate) fn exit(&mut self) {
        self.items.push(Item::Exit);
    }

    pub(crate) fn source(&mut self, byte: usize) {
        self.items.push(Item::Source(byte));
    }

    pub(crate) fn is_too_large(&self) -> bool {
        self.items.len() > MOST
    }

    /// Returns the instructions, and for some of them the byte of the source; none if they are too many.
    pub(crate) fn finish(self) -> Option<(Vec<Instruction>, Sources)> {
        if self.is_too_large() {
            return None;
        }
        let mut places = vec![0; self.labels];
        for (at, item) in self.items.iter().enumerate() {
            if let Item::Label(Label(label)) = item {
                *places.get_mut(*label)? = at;
            }
        }
        let runs = reachable(&self.items, &places);
        // A jump to what follows it goes, and others may then jump to what follows them.
        let mut kept = runs;
        for (at, item) in self.items.iter().enumerate() {
            if let Item::Jump(instruction, Label(label)) = item
                && instruction.code == JMP | JA
                && let Some(target) = places.get(*label).copied()
                && let Some(between) = self.items.get(at + 1..target)
            {
                let first = at + 1;
                let is_empty = between
                    .iter()
                    .enumerate()
                    .all(|(index, item)| matches!(item, Item::Label(_) | Item::Source(_)) || !kept[first + index]);
                if is_empty {
                    kept[at] = false;
                }
            }
        }
        let mut starts = Vec::with_capacity(self.items.len() + 1);
        let mut count = 0_usize;
        for (at, item) in self.items.iter().enumerate() {
            starts.push(count);
            count += match item {
                _ if !kept[at] => 0,
                Item::Plain(_, second) => 1 + usize::from(second.is_some()),
                Item::Jump(..) | Item::Exit => 1,
                Item::Label(_) | Item::Source(_) => 0,
            };
        }
        let mut code = Vec::with_capacity(count);
        let mut sources = Sources::new();
        for (at, item) in self.items.iter().enumerate() {
            if let Item::Source(byte) = item {
                match sources.last_mut() {
                    Some(last) if last.0 == starts[at] => last.1 = *byte,
                    _ => sources.push((starts[at], *byte)),
                }
            }
            if !kept[at] {
                continue;
            }
            match item {
                Item::Plain(first, second) => {
                    code.push(*first);
                    code.extend(*second);
                }
                Item::Jump(instruction, Label(label)) => {
                    let target = *starts.get(*places.get(*label)?)?;
                    let from = i64::try_from(starts[at] + 1).ok()?;
                    let distance = i64::try_from(target).ok()? - from;
                    code.push(Instruction {
                        offset: i16::try_from(distance).ok()?,
                        ..*instruction
                    });
                }
                Item::Exit => code.push(Instruction::exit()),
                Item::Label(_) | Item::Source(_) => {}
            }
        }
        sources.retain(|(at, _)| *at < code.len());
        Some((code, sources))
    }
}

/// Returns which items can run: the kernel refuses others.
fn reachable(items: &[Item], places: &[usize]) -> Vec<bool> {
    let mut runs = vec![false; items.len()];
    let mut waiting = vec![0];
    while let Some(mut at) = waiting.pop() {
        while let Some(item) = items.get(at) {
            if std::mem::replace(&mut runs[at], true) {
                break;
            }
            match item {
                Item::Jump(instruction, Label(label)) => {
                    waiting.extend(places.get(*label));
                    if instruction.code == JMP | JA {
                        break;
                    }
                }
                Item::Exit => break,
                _ => {}
            }
            at += 1;
        }
    }
    runs
}

/// Returns the lines of a source for the bytes that instructions are of.
pub(crate) fn lines(text: &str, sources: &[(usize, usize)]) -> Vec<Line> {
    let newlines: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
    let line_of = |(instruction, byte): &(usize, usize)| {
        let byte = (*byte).min(text.len());
        let before = newlines.partition_point(|newline| *newline < byte);
        let last = before.checked_sub(1).and_then(|last| newlines.get(last));
        let start = last.map_or(0, |newline| newline + 1);
        let line = text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        const LONGEST: usize = 200;
        let line: String = line
            .chars()
            .map(|each| if each.is_control() { ' ' } else { each })
            .take(LONGEST)
            .collect();
        Line {
            instruction: *instruction,
            // The kernel refuses lines without text.
            text: if line.trim().is_empty() { "-".to_owned() } else { line },
            line: u32::try_from(1 + before).unwrap_or(u32::MAX),
            column: u32::try_from(1 + byte - start).unwrap_or(u32::MAX),
        }
    };
    sources.iter().map(line_of).collect()
}
