//! Translates a filter to BPF: its branches; `emit.rs` has the values. Imports `error` and `graph`.
//!
//! The function's contract is in the paragraph of `mod.rs`. Bytes at constant offsets are on the caller's stack, where
//! a load costs an instruction; it has to be aligned, or is made of smaller ones. Others are read by a helper: kernels
//! before 5.12 refuse variable offsets into the stack. As most IPv4 headers have 20 bytes, what follows them is loaded
//! from the stack in that case.

use bpf_assembly::Instruction;
use bpf_assembly::code::{ALU, ALU64, EXIT, JA, JEQ, JGE, JGT, JLE, JLT, JMP, JMP32, JNE, JSET, MOV, REGISTER};

use super::error::Problem;
use super::graph::{Branch, Compare, Graph, Operand, Target, Value, ValueId};

/// The most bytes of the frame at constant offsets; with the padding, ten words.
pub(super) const LONGEST_PREFIX: u32 = 78;
/// The length of an IPv4 header without options.
pub(super) const IPV4_HEADER: u32 = 20;

/// Bytes of the frame that the kernel's side builds; behind them, the frame is as it is in memory.
pub(super) const BUILT: u32 = 14;
/// The same with an accelerated VLAN tag.
pub(super) const BUILT_WITH_TAG: u32 = 18;

/// Results of the function.
const MATCH: u32 = 1;
const NO_MATCH: u32 = 0;
const OUT_OF_REACH: u32 = u32::MAX;

/// Registers: the value at hand, and the second operand.
pub(super) const A: u8 = 0;
pub(super) const B: u8 = 5;
/// A translated filter.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) code: Vec<Instruction>,
    /// Bytes of the frame that are loaded from the stack.
    pub(super) prefix: u32,
    /// Bytes of the function's own stack.
    pub(super) stack: u32,
}

/// Where a jump leads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    Match,
    NoMatch,
    OutOfReach,
    Branch(usize),
}

impl From<Target> for Label {
    fn from(target: Target) -> Label {
        match target {
            Target::Match => Label::Match,
            Target::NoMatch => Label::NoMatch,
            Target::Branch(index) => Label::Branch(index),
        }
    }
}

/// Whether a value is a number, or bytes as they are in memory. Those are as good for comparing with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Number,
    Memory,
}

/// What is known when a branch begins.
#[derive(Clone, Copy)]
pub(super) struct State {
    /// The frame has at least so many bytes.
    pub(super) available: u64,
    /// The value in the register.
    pub(super) held: Option<(ValueId, Form)>,
}

pub(super) struct Registers {
    pub(super) header: u8,
    pub(super) start: u8,
    pub(super) available: u8,
    pub(super) length: u8,
}

pub(super) struct Translator<'a> {
    pub(super) graph: &'a Graph,
    pub(super) tags: bool,
    code: Vec<Instruction>,
    jumps: Vec<(usize, Label)>,
    pub(super) registers: Registers,
    pub(super) state: State,
    pub(super) prefix: u32,
    pub(super) stack: i16,
}

/// Translates the filter. `tags` says that accelerated VLAN tags are inserted.
pub(super) fn translate(graph: &Graph, tags: bool) -> Result<Program, Problem> {
    let mut translator = Translator::new(graph, tags);
    let count = graph.branches.len();
    let mut states: Vec<Option<State>> = vec![None; count];
    let mut starts = vec![0; count];
    let begin = translator.state;
    let mut falls_through = (count == 0).then(|| graph.start.into());
    if let Target::Branch(first) = graph.start {
        states[first] = Some(begin);
    }
    for (index, branch) in graph.branches.iter().enumerate() {
        starts[index] = translator.code.len();
        translator.state = states[index].take().unwrap_or(begin);
        let next = match index + 1 {
            next if next < count => Label::Branch(next),
            _ => Label::NoMatch,
        };
        falls_through = translator.branch(branch, next)?.then_some(next);
        for target in [branch.yes, branch.no] {
            if let Target::Branch(to) = target {
                let joined = match states[to] {
                    Some(other) => other.join(translator.state),
                    None => translator.state,
                };
                states[to] = Some(joined);
            }
        }
    }
    translator.finish(&starts, falls_through)
}

impl State {
    pub(super) fn join(self, other: State) -> State {
        State {
            available: self.available.min(other.available),
            held: self.held.filter(|held| other.held == Some(*held)),
        }
    }
}

impl Translator<'_> {
    fn new(graph: &Graph, tags: bool) -> Translator<'_> {
        let mut translator = Translator {
            graph,
            tags,
            code: Vec::new(),
            jumps: Vec::new(),
            registers: Registers {
                header: 1,
                start: 2,
                available: 3,
                length: 4,
            },
            state: State {
                available: 0,
                held: None,
            },
            prefix: 0,
            stack: 0,
        };
        let used = graph.used();
        if used.iter().any(is_far) {
            // A helper overwrites the registers of the arguments.
            translator.registers = Registers {
                header: 9,
                start: 6,
                available: 7,
                length: 8,
            };
            translator.put(Instruction::register(ALU64 | MOV, 9, 1));
            translator.put(Instruction::register(ALU64 | MOV, 6, 2));
            translator.put(Instruction::register(ALU | MOV, 7, 3));
            if used.contains(&Value::Length) {
                translator.put(Instruction::register(ALU | MOV, 8, 4));
            }
        }
        translator
    }

    fn finish(mut self, starts: &[usize], falls_through: Option<Label>) -> Result<Program, Problem> {
        let mut ends = Vec::new();
        let mut blocks = [
            (Label::NoMatch, NO_MATCH),
            (Label::Match, MATCH),
            (Label::OutOfReach, OUT_OF_REACH),
        ];
        blocks.sort_by_key(|(label, _)| Some(*label) != falls_through);
        for (label, result) in blocks {
            // The kernel refuses instructions that cannot be reached.
            if Some(label) == falls_through || self.jumps.iter().any(|(_, to)| *to == label) {
                ends.push((label, self.code.len()));
                self.put(Instruction::constant(ALU | MOV, A, result));
                self.put(Instruction::new(JMP | EXIT, 0, 0, 0, 0));
            }
        }
        for (at, label) in std::mem::take(&mut self.jumps) {
            let to = match label {
                Label::Branch(index) => starts[index],
                end => ends.iter().find(|(label, _)| *label == end).map_or(0, |(_, at)| *at),
            };
            let distance = i16::try_from(to.wrapping_sub(at + 1).cast_signed());
            self.code[at].offset = distance.map_err(|_| Problem::TooLarge(32_767, "instructions"))?;
        }
        Ok(Program {
            code: self.code,
            prefix: self.prefix,
            stack: u32::from(self.stack.unsigned_abs()),
        })
    }

    pub(super) fn put(&mut self, instruction: Instruction) {
        self.code.push(instruction);
    }

    pub(super) fn jump(&mut self, instruction: Instruction, to: Label) {
        self.jumps.push((self.code.len(), to));
        self.put(instruction);
    }

    /// Emits a jump forward whose distance is set by [`Self::land`].
    pub(super) fn skip(&mut self, instruction: Instruction) -> usize {
        self.put(instruction);
        self.code.len() - 1
    }

    pub(super) fn land(&mut self, from: usize) {
        // Parts of one value, which are short.
        let distance = self.code.len() - from - 1;
        self.code[from].offset = i16::try_from(distance).unwrap_or(i16::MAX);
    }

    /// Returns whether what follows is reached without a jump.
    fn branch(&mut self, branch: &Branch, next: Label) -> Result<bool, Problem> {
        let test = branch.test;
        let (yes, no) = (Label::from(branch.yes), Label::from(branch.no));
        if yes == no {
            // Only frames that are too short have another outcome.
            self.touch(test.left)?;
            if let Operand::Value(right) = test.right {
                self.touch(right)?;
            }
            if yes != next {
                self.jump(Instruction::new(JMP | JA, 0, 0, 0, 0), yes);
            }
            return Ok(yes == next);
        }
        let (source, operand) = match test.right {
            Operand::Constant(right) => (0, self.against_constant(test.left, test.compare, right)?),
            Operand::Value(right) => {
                self.both(test.left, right, 0)?;
                self.state.held = Some((test.left, Form::Number));
                (REGISTER, 0)
            }
        };
        let (when, unless) = match test.compare {
            Compare::Equal => (JEQ, Some(JNE)),
            Compare::Greater => (JGT, Some(JLE)),
            Compare::GreaterOrEqual => (JGE, Some(JLT)),
            Compare::Set => (JSET, None),
        };
        let compare = |operation| {
            let register = if source == 0 { 0 } else { B };
            Instruction::new(JMP32 | operation | source, A, register, 0, operand)
        };
        match unless {
            Some(unless) if yes == next => self.jump(compare(unless), no),
            _ => {
                self.jump(compare(when), yes);
                if no != next {
                    self.jump(Instruction::new(JMP | JA, 0, 0, 0, 0), no);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Returns whether a helper reads the value.
fn is_far(value: &Value) -> bool {
    match value {
        Value::Load(load) => load.end() > u64::from(LONGEST_PREFIX),
        Value::HeaderLength(offset) => *offset >= LONGEST_PREFIX,
        Value::LoadAt(..) => true,
        _ => false,
    }
}
