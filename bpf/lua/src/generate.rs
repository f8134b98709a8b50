//! Makes instructions of what a source computes. Imports `emit`, `ir` and `bpf_assembly`.
//!
//! R6 has the packet's address during the whole function, R9 the address of the result if there is one. Values are
//! computed in R7, R8 and, without a result, R9, which keep them over calls of helpers; what needs more is on the
//! stack. Local variables are on the stack. The verifier of 5.10 does not know the range of a number that comes back
//! from there, which only counters need: they are constants on each path.

use bpf_assembly::code::{
    ADD, ALU, ALU64, AND, ARSH, DIV, JEQ, JGT, JMP, JNE, JSGE, JSGT, JSLE, JSLT, LSH, MOD, MUL, NEG, OR, REGISTER, RSH,
    SUB, TO_BE, XOR,
};
use bpf_assembly::helper::{MAP_DELETE, MAP_LOOKUP, MAP_UPDATE, PROBE_READ_KERNEL, PROBE_READ_KERNEL_STR};
use bpf_assembly::{FP, Instruction};

use crate::emit::{Emitter, Label};
use crate::ir::{Compare, Condition, Element, From, Load, Node, Operation, Step, Steps, Store};

/// The register of the packet's address, and that of the result's.
const PACKET: u8 = 6;
const RESULT: u8 = 9;
/// The registers of values.
const FIRST: u8 = 7;

/// The most bytes of the stack: the kernel allows 512 to all functions that call each other.
pub(crate) const MOST_STACK: u32 = 200;
const SLOT: i16 = 8;
/// Where a value and a key are on the stack, for helpers.
const VALUE: i16 = -8;
const KEY: i16 = -16;

/// What a function is given and returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Convention {
    /// `int f(u64 packet)`
    Condition,
    /// `int module(void *ctx, void *packet, void *result)`
    Module,
    /// `int f(struct __sk_buff *context)`: a program of its own.
    Socket,
}

impl Convention {
    /// Returns the most bytes of its stack. Functions that are linked to others share theirs with them.
    pub(crate) fn most_stack(self) -> u32 {
        match self {
            Convention::Condition | Convention::Module => MOST_STACK,
            Convention::Socket => 512,
        }
    }
}

/// The program needs more of something than there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    Stack,
    Instructions,
}

pub(crate) struct Generator {
    pub(crate) emitter: Emitter,
    /// Registers of values.
    registers: u8,
    most: u32,
    /// Bytes of the stack: for helpers to write to, then local variables, then what registers had.
    read: i16,
    locals: i16,
    spilled: i16,
    excess: Option<Excess>,
    /// Where `break` leads.
    ends: Vec<Label>,
}

/// Generates a function of these statements. `bytes`: the most bytes that a comparison reads.
pub(crate) fn generate(
    steps: &Steps,
    convention: Convention,
    locals: usize,
    bytes: usize,
) -> Result<(Emitter, u32), Excess> {
    // A key and a value are passed by their addresses.
    let least = if convention == Convention::Socket { 16 } else { 8 };
    let read = i16::try_from(bytes.next_multiple_of(8).max(least)).map_err(|_| Excess::Stack)?;
    let locals = i16::try_from(locals)
        .ok()
        .and_then(|count| count.checked_mul(SLOT))
        .ok_or(Excess::Stack)?;
    let mut generator = Generator {
        emitter: Emitter::default(),
        registers: match convention {
            Convention::Condition | Convention::Socket => 3,
            Convention::Module => 2,
        },
        most: convention.most_stack(),
        read,
        locals,
        spilled: 0,
        excess: None,
        ends: Vec::new(),
    };
    generator.emitter.source(steps.first().map_or(0, |(byte, _)| *byte));
    match convention {
        // Loads of the packet want the context in this register.
        Convention::Condition | Convention::Socket => generator.emitter.copy(PACKET, 1),
        Convention::Module => {
            generator.emitter.copy(PACKET, 2);
            generator.emitter.copy(RESULT, 3);
        }
    }
    generator.steps(steps);
    generator.emitter.number(0, 0);
    generator.emitter.exit();
    let stack = i32::from(read) + i32::from(locals) + i32::from(generator.spilled);
    let stack = u32::try_from(stack).map_err(|_| Excess::Stack)?;
    match generator.excess {
        Some(excess) => Err(excess),
        None if stack > convention.most_stack() => Err(Excess::Stack),
        None => Ok((generator.emitter, stack)),
    }
}

/// An operation on 64 bits with a register.
fn with_register(operation: u8, destination: u8, source: u8) -> Instruction {
    Instruction::register(ALU64 | operation, destination, source)
}

/// An operation on 64 bits with a constant, whose sign is extended.
fn with_constant(operation: u8, destination: u8, constant: i32) -> Instruction {
    Instruction::new(ALU64 | operation, destination, 0, 0, constant)
}

/// Returns a number if an instruction can have it in itself.
fn short(node: &Node) -> Option<i32> {
    match node {
        Node::Number(value) => i32::try_from(*value).ok(),
        _ => None,
    }
}

impl Generator {
    fn local(&self, slot: usize) -> i16 {
        let place = i16::try_from(slot).unwrap_or(0).saturating_mul(SLOT);
        (-self.read).saturating_sub(place).saturating_sub(SLOT)
    }

    fn register(depth: u8) -> u8 {
        FIRST + depth
    }

    /// Returns a place for what a register had, for the `level`-th one that is without a register.
    fn spill(&mut self, level: i16) -> i16 {
        let end = level.saturating_add(1).saturating_mul(SLOT);
        self.spilled = self.spilled.max(end);
        if i32::from(self.read) + i32::from(self.locals) + i32::from(end) > self.most.cast_signed() {
            self.excess = Some(Excess::Stack);
        }
        (-self.read).saturating_sub(self.locals).saturating_sub(end)
    }

    fn steps(&mut self, steps: &Steps) {
        for (byte, step) in steps {
            self.emitter.source(*byte);
            self.step(step);
            if self.emitter.is_too_large() {
                self.excess = Some(Excess::Instructions);
                return;
            }
        }
    }

    fn step(&mut self, step: &Step) {
        let first = Self::register(0);
        match step {
            Step::Set(slot, node) => {
                self.value(node, 0, 0);
                let to = self.local(*slot);
                self.emitter.put(Instruction::store(FP, to, first));
            }
            Step::If(condition, then, otherwise) => {
                let (other, end) = (self.emitter.label(), self.emitter.label());
                self.branch(condition, false, other, 0, 0);
                self.steps(then);
                self.emitter.jump(end);
                self.emitter.land(other);
                self.steps(otherwise);
                self.emitter.land(end);
            }
            Step::Loop {
                turns,
                counter,
                condition,
                body,
                advance,
                tested_last,
            } => {
                let (start, end) = (self.emitter.label(), self.emitter.label());
                let counter = self.local(*counter);
                self.emitter.number(first, 0);
                self.emitter.put(Instruction::store(FP, counter, first));
                self.emitter.land(start);
                if !tested_last {
                    self.branch(condition, false, end, 0, 0);
                }
                self.ends.push(end);
                self.steps(body);
                self.ends.pop();
                self.steps(advance);
                if *tested_last {
                    self.branch(condition, false, end, 0, 0);
                }
                let most = i32::try_from(*turns).unwrap_or(i32::MAX);
                self.emitter.put(Instruction::load(8, first, FP, counter));
                self.emitter.put(with_constant(ADD, first, 1));
                self.emitter.put(Instruction::store(FP, counter, first));
                self.emitter
                    .jump_if(Instruction::new(JMP | JSLT, first, 0, 0, most), start);
                self.emitter.land(end);
            }
            Step::Break => {
                if let Some(end) = self.ends.last().copied() {
                    self.emitter.jump(end);
                }
            }
            Step::Put(element, node) => {
                let other = self.two(&element.key, node, 0, 0);
                self.emitter
                    .put(Instruction::store_sized(element.value.bytes.into(), FP, VALUE, other));
                self.key(element, first);
                self.emitter.copy(3, FP);
                self.emitter.put(with_constant(ADD, 3, VALUE.into()));
                self.emitter.number(4, 0);
                self.emitter.put(Instruction::call(MAP_UPDATE));
            }
            Step::Remove(element) => {
                self.value(&element.key, 0, 0);
                self.key(element, first);
                self.emitter.put(Instruction::call(MAP_DELETE));
            }
            Step::Add(element, node) => {
                let other = self.two(&element.key, node, 0, 0);
                // The helper keeps this register.
                let amount = Self::register(1);
                self.emitter.copy(amount, other);
                self.key(element, first);
                self.emitter.put(Instruction::call(MAP_LOOKUP));
                let end = self.emitter.label();
                self.emitter.jump_if(Instruction::new(JMP | JEQ, 0, 0, 0, 0), end);
                let bytes = element.value.bytes.into();
                self.emitter.put(Instruction::atomic_add(bytes, 0, 0, amount));
                self.emitter.land(end);
            }
            Step::Store(store) => self.store(store),
            Step::Return(node) => {
                match node {
                    Node::Number(value) => self.emitter.number(0, *value),
                    node => {
                        self.value(node, 0, 0);
                        self.emitter.copy(0, first);
                    }
                }
                self.emitter.exit();
            }
        }
    }

    /// Puts a map and the address of a key, which a register has, into the first two arguments.
    fn key(&mut self, element: &Element, from: u8) {
        let bytes = element.key_bytes.into();
        self.emitter.put(Instruction::store_sized(bytes, FP, KEY, from));
        self.emitter.map(1, element.descriptor);
        self.emitter.copy(2, FP);
        self.emitter.put(with_constant(ADD, 2, KEY.into()));
    }

    fn store(&mut self, store: &Store) {
        let first = Self::register(0);
        let to = i16::try_from(store.to).unwrap_or(i16::MAX);
        match &store.from {
            From::Number(node) => {
                self.value(node, 0, 0);
                self.emitter
                    .put(Instruction::store_sized(store.size, RESULT, to, first));
            }
            From::Memory { base, offset, string } => {
                let source = self.address(base, 0, 0);
                self.emitter.copy(1, RESULT);
                if store.to > 0 {
                    self.emitter.put(with_constant(ADD, 1, store.to.cast_signed()));
                }
                self.emitter.number(2, store.size.into());
                self.read_from(source, *offset);
                let helper = if *string {
                    PROBE_READ_KERNEL_STR
                } else {
                    PROBE_READ_KERNEL
                };
                self.emitter.put(Instruction::call(helper));
            }
        }
    }

    /// Computes an address, and returns the register that has it.
    fn address(&mut self, base: &Node, depth: u8, level: i16) -> u8 {
        match base {
            Node::Packet => PACKET,
            base => {
                self.value(base, depth, level);
                Self::register(depth)
            }
        }
    }

    /// Puts an address and an offset into the third argument.
    fn read_from(&mut self, source: u8, offset: i64) {
        match i32::try_from(offset) {
            Ok(offset) => {
                self.emitter.copy(3, source);
                if offset != 0 {
                    self.emitter.put(with_constant(ADD, 3, offset));
                }
            }
            Err(_) => {
                self.emitter.number(3, offset);
                self.emitter.put(with_register(ADD, 3, source));
            }
        }
    }

    fn read(&mut self, helper: i32, source: u8, offset: i64, bytes: usize, to: i16) {
        self.emitter.copy(1, FP);
        self.emitter.put(with_constant(ADD, 1, to.into()));
        self.emitter.number(2, i64::try_from(bytes).unwrap_or(8));
        self.read_from(source, offset);
        self.emitter.put(Instruction::call(helper));
    }

    /// Computes a number in the register of this depth. `level`: numbers that are on the stack.
    fn value(&mut self, node: &Node, depth: u8, level: i16) {
        let to = Self::register(depth);
        match node {
            Node::Number(value) => self.emitter.number(to, *value),
            Node::Packet => self.emitter.copy(to, PACKET),
            Node::Local(slot) => {
                let from = self.local(*slot);
                self.emitter.put(Instruction::load(8, to, FP, from));
            }
            Node::Context { offset, bytes } => {
                let load = Instruction::load((*bytes).into(), to, PACKET, *offset);
                self.emitter.put(load);
            }
            Node::Frame { base, bytes } => self.frame(base, *bytes, depth, level),
            Node::Element(element) => {
                self.value(&element.key, depth, level);
                self.key(element, to);
                self.emitter.put(Instruction::call(MAP_LOOKUP));
                let end = self.emitter.label();
                self.emitter.number(to, 0);
                self.emitter.jump_if(Instruction::new(JMP | JEQ, 0, 0, 0, 0), end);
                let bytes = element.value.bytes;
                self.emitter.put(Instruction::load(bytes.into(), to, 0, 0));
                let unused = 64 - 8 * i32::from(bytes);
                if element.value.signed && unused > 0 {
                    self.emitter.put(with_constant(LSH, to, unused));
                    self.emitter.put(with_constant(ARSH, to, unused));
                }
                self.emitter.land(end);
            }
            Node::Load { base, offset, load } => {
                let source = self.address(base, depth, level);
                self.load(source, *offset, *load, to);
            }
            Node::Negate(inner) => {
                self.value(inner, depth, level);
                self.emitter.put(Instruction::new(ALU64 | NEG, to, 0, 0, 0));
            }
            Node::ShiftSigned(count, inner) => {
                self.value(inner, depth, level);
                self.emitter.put(with_constant(ARSH, to, i32::from(*count)));
            }
            Node::Swap(bytes, inner) => {
                self.value(inner, depth, level);
                let bits = 8 * i32::from(*bytes);
                self.emitter.put(Instruction::new(ALU | TO_BE, to, 0, 0, bits));
            }
            Node::Narrow(inner) => {
                self.value(inner, depth, level);
                self.emitter.put(with_constant(LSH, to, 32));
                self.emitter.put(with_constant(ARSH, to, 32));
            }
            Node::Truth(condition) => {
                let (no, end) = (self.emitter.label(), self.emitter.label());
                self.branch(condition, false, no, depth, level);
                self.emitter.number(to, 1);
                self.emitter.jump(end);
                self.emitter.land(no);
                self.emitter.number(to, 0);
                self.emitter.land(end);
            }
            Node::Select(condition, then, otherwise) => {
                let (other, end) = (self.emitter.label(), self.emitter.label());
                self.branch(condition, false, other, depth, level);
                self.value(then, depth, level);
                self.emitter.jump(end);
                self.emitter.land(other);
                self.value(otherwise, depth, level);
                self.emitter.land(end);
            }
            Node::Binary(operation, left, right) => match short(right).filter(|_| has_constant(*operation, right)) {
                Some(constant) => {
                    self.value(left, depth, level);
                    self.with_constant(*operation, to, constant);
                }
                None => {
                    let other = self.two(left, right, depth, level);
                    self.compute(*operation, to, other);
                }
            },
        }
    }

    /// Reads bytes of the packet into the register of this depth.
    fn frame(&mut self, base: &Node, bytes: u8, depth: u8, level: i16) {
        let to = Self::register(depth);
        let constant = |number: i64| i32::try_from(number).ok();
        // A constant at the end of a sum is a part of the instruction.
        let (register, offset) = match base {
            Node::Number(number) if constant(*number).is_some() => (None, constant(*number).unwrap_or(0)),
            Node::Binary(Operation::Add, inner, last) if short(last).is_some() => {
                self.value(inner, depth, level);
                (Some(to), short(last).unwrap_or(0))
            }
            base => {
                self.value(base, depth, level);
                (Some(to), 0)
            }
        };
        let load = |size: u32, offset: i32| match register {
            None => Instruction::packet(size, offset),
            Some(register) => Instruction::packet_at(size, register, offset),
        };
        if bytes < 8 {
            self.emitter.put(load(bytes.into(), offset));
            self.emitter.copy(to, 0);
            return;
        }
        self.emitter.put(load(4, offset));
        self.emitter.put(with_constant(LSH, 0, 32));
        self.emitter.put(Instruction::store(FP, VALUE, 0));
        self.emitter.put(load(4, offset.wrapping_add(4)));
        self.emitter.put(Instruction::load(8, to, FP, VALUE));
        self.emitter.put(with_register(OR, to, 0));
    }

    /// Computes two numbers, the first in the register of this depth, and returns the register of the second.
    fn two(&mut self, left: &Node, right: &Node, depth: u8, level: i16) -> u8 {
        let to = Self::register(depth);
        match right {
            Node::Packet => {
                self.value(left, depth, level);
                return PACKET;
            }
            // Those need no call, so a register that calls overwrite will do.
            Node::Number(value) => {
                self.value(left, depth, level);
                self.emitter.number(1, *value);
                return 1;
            }
            Node::Local(slot) => {
                self.value(left, depth, level);
                let from = self.local(*slot);
                self.emitter.put(Instruction::load(8, 1, FP, from));
                return 1;
            }
            _ => {}
        }
        self.value(left, depth, level);
        if depth + 1 < self.registers {
            self.value(right, depth + 1, level);
            return Self::register(depth + 1);
        }
        let place = self.spill(level);
        self.emitter.put(Instruction::store(FP, place, to));
        self.value(right, depth, level + 1);
        self.emitter.copy(1, to);
        self.emitter.put(Instruction::load(8, to, FP, place));
        1
    }

    fn load(&mut self, source: u8, offset: i64, load: Load, to: u8) {
        let bytes = u32::from(load.bytes);
        let scratch = -SLOT;
        self.read(PROBE_READ_KERNEL, source, offset, usize::from(load.bytes), scratch);
        self.emitter.put(Instruction::load(bytes, to, FP, scratch));
        let bits = 8 * load.bytes;
        let (above, below) = load.around.unwrap_or((0, 0));
        let right = if load.signed { ARSH } else { RSH };
        let unused = 64 - bits + above;
        let moves = load.around.is_some() || load.signed && load.bytes < 8;
        if moves {
            if unused > 0 {
                self.emitter.put(with_constant(LSH, to, i32::from(unused)));
            }
            if unused + below > 0 {
                self.emitter.put(with_constant(right, to, i32::from(unused + below)));
            }
        }
    }

    fn with_constant(&mut self, operation: Operation, to: u8, constant: i32) {
        if let Some(code) = code_of(operation) {
            self.emitter.put(with_constant(code, to, constant));
            return;
        }
        match operation {
            Operation::ShiftLeft | Operation::ShiftRight => {
                let left = (operation == Operation::ShiftLeft) == (constant >= 0);
                match i32::try_from(constant.unsigned_abs()) {
                    Ok(0) => {}
                    Ok(count @ 1..=63) => self.emitter.put(with_constant(if left { LSH } else { RSH }, to, count)),
                    _ => self.emitter.number(to, 0),
                }
            }
            Operation::Divide | Operation::Modulo => {
                // With n = x < 0 ? -1 : 0, x // c is ((x ^ n) / c) ^ n, of a natural dividend.
                let divide = operation == Operation::Divide;
                self.emitter.copy(1, to);
                self.emitter.put(with_constant(ARSH, 1, 63));
                self.emitter.put(with_register(XOR, to, 1));
                self.emitter
                    .put(with_constant(if divide { DIV } else { MOD }, to, constant));
                self.emitter.put(with_register(XOR, to, 1));
                if !divide {
                    self.emitter.put(with_constant(AND, 1, constant));
                    self.emitter.put(with_register(ADD, to, 1));
                }
            }
            Operation::Least | Operation::Greatest => {
                let jump = if operation == Operation::Least { JSLE } else { JSGE };
                let end = self.emitter.label();
                self.emitter
                    .jump_if(Instruction::new(JMP | jump, to, 0, 0, constant), end);
                self.emitter.number(to, constant.into());
                self.emitter.land(end);
            }
            // They have a code.
            _ => {}
        }
    }

    fn compute(&mut self, operation: Operation, to: u8, other: u8) {
        if let Some(code) = code_of(operation) {
            self.emitter.put(with_register(code, to, other));
            return;
        }
        match operation {
            Operation::ShiftLeft | Operation::ShiftRight => self.shift(operation, to, other),
            Operation::Divide | Operation::Modulo => self.divide(operation, to, other),
            Operation::Least | Operation::Greatest => {
                let jump = if operation == Operation::Least { JSLE } else { JSGE };
                let end = self.emitter.label();
                self.emitter
                    .jump_if(Instruction::new(JMP | jump | REGISTER, to, other, 0, 0), end);
                self.emitter.copy(to, other);
                self.emitter.land(end);
            }
            _ => {}
        }
    }

    /// Shifts by a number of bits that is not known.
    fn shift(&mut self, operation: Operation, to: u8, other: u8) {
        let (forward, backward) = match operation {
            Operation::ShiftLeft => (LSH, RSH),
            _ => (RSH, LSH),
        };
        let [negative, zero, end] = [(); 3].map(|()| self.emitter.label());
        self.emitter.copy(1, other);
        self.emitter.jump_if(Instruction::new(JMP | JSLT, 1, 0, 0, 0), negative);
        self.emitter.jump_if(Instruction::new(JMP | JSGT, 1, 0, 0, 63), zero);
        self.emitter.put(with_register(forward, to, 1));
        self.emitter.jump(end);
        self.emitter.land(negative);
        self.emitter.put(Instruction::new(ALU64 | NEG, 1, 0, 0, 0));
        self.emitter.jump_if(Instruction::new(JMP | JGT, 1, 0, 0, 63), zero);
        self.emitter.put(with_register(backward, to, 1));
        self.emitter.jump(end);
        self.emitter.land(zero);
        self.emitter.number(to, 0);
        self.emitter.land(end);
    }

    /// Divides by a number that is not known, toward minus infinity. The machine divides without sign.
    fn divide(&mut self, operation: Operation, to: u8, other: u8) {
        let [positive, divisor, same, done] = [(); 4].map(|()| self.emitter.label());
        // R2: divisor, R3: dividend, R4: its sign is that of the quotient, R5: the divisor's size.
        self.emitter.copy(2, other);
        self.emitter.copy(3, to);
        self.emitter.copy(4, to);
        self.emitter.put(with_register(XOR, 4, 2));
        self.emitter.copy(5, 2);
        self.emitter
            .jump_if(Instruction::new(JMP | JSGE, to, 0, 0, 0), positive);
        self.emitter.put(Instruction::new(ALU64 | NEG, to, 0, 0, 0));
        self.emitter.land(positive);
        self.emitter.jump_if(Instruction::new(JMP | JSGE, 5, 0, 0, 0), divisor);
        self.emitter.put(Instruction::new(ALU64 | NEG, 5, 0, 0, 0));
        self.emitter.land(divisor);
        self.emitter.jump_if(Instruction::new(JMP | JSGE, 4, 0, 0, 0), same);
        // Of different signs: -((x + y - 1) / y), rounded up before it is negated.
        self.emitter.put(with_register(ADD, to, 5));
        self.emitter.put(with_constant(SUB, to, 1));
        self.emitter.put(with_register(DIV, to, 5));
        self.emitter.put(Instruction::new(ALU64 | NEG, to, 0, 0, 0));
        self.emitter.jump(done);
        self.emitter.land(same);
        self.emitter.put(with_register(DIV, to, 5));
        self.emitter.land(done);
        if operation == Operation::Modulo {
            // x - (x // y) * y
            self.emitter.put(with_register(MUL, to, 2));
            self.emitter.put(with_register(SUB, 3, to));
            self.emitter.copy(to, 3);
        }
    }

    /// Jumps if the condition is as wanted, else goes on.
    fn branch(&mut self, condition: &Condition, wanted: bool, target: Label, depth: u8, level: i16) {
        match condition {
            Condition::Constant(value) => {
                if *value == wanted {
                    self.emitter.jump(target);
                }
            }
            Condition::Not(inner) => self.branch(inner, !wanted, target, depth, level),
            Condition::And(left, right) | Condition::Or(left, right) => {
                let is_and = matches!(condition, Condition::And(..));
                if is_and == wanted {
                    // Both decide: the first one may end the test.
                    let skip = self.emitter.label();
                    self.branch(left, !wanted, skip, depth, level);
                    self.branch(right, wanted, target, depth, level);
                    self.emitter.land(skip);
                } else {
                    self.branch(left, wanted, target, depth, level);
                    self.branch(right, wanted, target, depth, level);
                }
            }
            Condition::Compare(compare, left, right) => {
                let code = jump(*compare, wanted);
                let to = Self::register(depth);
                let instruction = match short(right) {
                    Some(constant) => {
                        self.value(left, depth, level);
                        Instruction::new(JMP | code, to, 0, 0, constant)
                    }
                    None => {
                        let other = self.two(left, right, depth, level);
                        Instruction::new(JMP | code | REGISTER, to, other, 0, 0)
                    }
                };
                self.emitter.jump_if(instruction, target);
            }
            Condition::Has(element) => {
                self.value(&element.key, depth, level);
                self.key(element, Self::register(depth));
                self.emitter.put(Instruction::call(MAP_LOOKUP));
                let code = if wanted { JNE } else { JEQ };
                self.emitter.jump_if(Instruction::new(JMP | code, 0, 0, 0, 0), target);
            }
            Condition::Bytes {
                base,
                offset,
                string,
                expected,
            } => {
                let source = self.address(base, depth, level);
                let to = -self.read;
                let helper = if *string {
                    PROBE_READ_KERNEL_STR
                } else {
                    PROBE_READ_KERNEL
                };
                // One more, so that a longer string is not cut to an equal one.
                let bytes = expected.len() + usize::from(*string);
                self.read(helper, source, *offset, bytes, to);
                let skip = self.emitter.label();
                let other = if wanted { skip } else { target };
                let mut at = 0_i16;
                let mut rest = expected.as_slice();
                while !rest.is_empty() {
                    let size = [8, 4, 2, 1].into_iter().find(|size| *size <= rest.len()).unwrap_or(1);
                    let (chunk, behind) = rest.split_at(size);
                    rest = behind;
                    let number = number_of(chunk);
                    let bytes = u32::try_from(size).unwrap_or(1);
                    self.emitter.put(Instruction::load(bytes, 1, FP, to.saturating_add(at)));
                    match i32::try_from(number) {
                        Ok(constant) => self
                            .emitter
                            .jump_if(Instruction::new(JMP | JNE, 1, 0, 0, constant), other),
                        Err(_) => {
                            self.emitter.number(2, number);
                            self.emitter
                                .jump_if(Instruction::new(JMP | JNE | REGISTER, 1, 2, 0, 0), other);
                        }
                    }
                    at = at.saturating_add(i16::try_from(size).unwrap_or(1));
                }
                if wanted {
                    self.emitter.jump(target);
                }
                self.emitter.land(skip);
            }
        }
    }
}

/// Returns the jump that a comparison becomes.
fn jump(compare: Compare, wanted: bool) -> u8 {
    match (compare, wanted) {
        (Compare::Equal, true) | (Compare::NotEqual, false) => JEQ,
        (Compare::Equal, false) | (Compare::NotEqual, true) => JNE,
        (Compare::Less, true) | (Compare::GreaterOrEqual, false) => JSLT,
        (Compare::Less, false) | (Compare::GreaterOrEqual, true) => JSGE,
        (Compare::LessOrEqual, true) | (Compare::Greater, false) => JSLE,
        (Compare::LessOrEqual, false) | (Compare::Greater, true) => JSGT,
    }
}

/// Returns the code of an operation that is one instruction.
fn code_of(operation: Operation) -> Option<u8> {
    Some(match operation {
        Operation::Add => ADD,
        Operation::Subtract => SUB,
        Operation::Multiply => MUL,
        Operation::And => AND,
        Operation::Or => OR,
        Operation::Xor => XOR,
        Operation::PlainDivide => DIV,
        Operation::PlainModulo => MOD,
        Operation::ShiftLeft
        | Operation::ShiftRight
        | Operation::Divide
        | Operation::Modulo
        | Operation::Least
        | Operation::Greatest => return None,
    })
}

/// Returns whether an operation has a form with this constant.
fn has_constant(operation: Operation, right: &Node) -> bool {
    match operation {
        // Negative divisors are rare.
        Operation::Divide | Operation::Modulo => matches!(right, Node::Number(1..)),
        Operation::PlainDivide | Operation::PlainModulo => !matches!(right, Node::Number(0)),
        _ => true,
    }
}

/// Returns bytes as a load makes a number of them.
fn number_of(chunk: &[u8]) -> i64 {
    let mut bytes = [0; 8];
    let place = if cfg!(target_endian = "little") {
        0
    } else {
        8 - chunk.len()
    };
    if let Some(to) = bytes.get_mut(place..place + chunk.len()) {
        to.copy_from_slice(chunk);
    }
    i64::from_ne_bytes(bytes)
}
