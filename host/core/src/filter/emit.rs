//! Emits the instructions that compute a value. Part of the translator; imports `ast`, `ebpf`, `error` and
//! `graph`.

use bpf_assembly::code::{
    ADD, ALU, ALU64, AND, CALL, DIV, JA, JEQ, JGE, JGT, JLE, JLT, JMP, JMP32, JNE, LSH, MOD, MOV, MUL, NEG, OR, RSH,
    SUB, TO_BE, XOR,
};
use bpf_assembly::helper::PROBE_READ_KERNEL;
use bpf_assembly::{FP, Instruction};

use super::ast::Operator;
use super::ebpf::{A, B, BUILT, BUILT_WITH_TAG, Form, IPV4_HEADER, LONGEST_PREFIX, Label, Translator};
use super::error::Problem;
use super::graph::{Compare, Load, Value, ValueId};

/// Bytes of padding before the frame, so that the network header is aligned.
const PADDING: u32 = 2;

/// Where helpers write to, and intermediate values below it.
const READ: i16 = -8;
const SLOTS: i16 = -16;
const MOST_SLOTS: i16 = 16;

impl Translator<'_> {
    /// Computes a value in the better form to compare it with a constant, and returns the constant in that form.
    pub(super) fn against_constant(&mut self, value: ValueId, compare: Compare, right: u32) -> Result<i32, Problem> {
        let memory = self.in_memory(value).filter(|load| match compare {
            Compare::Equal => right <= load.maximum(),
            Compare::Set => true,
            Compare::Greater | Compare::GreaterOrEqual => false,
        });
        let (form, right) = match memory {
            Some(load) => (Form::Memory, as_in_memory(right, load)),
            None => (Form::Number, right),
        };
        self.value(value, form, 0)?;
        Ok(right.cast_signed())
    }

    /// Returns the load whose bytes the value is, perhaps masked, if their order matters.
    fn in_memory(&self, value: ValueId) -> Option<Load> {
        match self.graph.values.get(value) {
            Value::Load(load) | Value::LoadAt(_, load) => Some(load).filter(|load| load.size > 1),
            Value::Binary(Operator::And, base, mask) => {
                self.graph.values.as_constant(mask)?;
                match self.graph.values.get(base) {
                    Value::Load(load) | Value::LoadAt(_, load) => Some(load).filter(|load| load.size > 1),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Rejects frames for which the value cannot be computed.
    pub(super) fn touch(&mut self, value: ValueId) -> Result<(), Problem> {
        match self.graph.values.get(value) {
            Value::Constant(_) | Value::Length | Value::HasMac => Ok(()),
            Value::Load(load) => {
                self.check(load.end());
                Ok(())
            }
            Value::Binary(Operator::And, of, mask) if self.graph.values.as_constant(mask).is_some() => self.touch(of),
            _ => self.value(value, Form::Number, 0),
        }
    }

    /// Rejects frames that are shorter.
    fn check(&mut self, end: u64) {
        if end <= self.state.available {
            return;
        }
        self.state.available = end;
        let compare = match u32::try_from(end) {
            Ok(end) => Instruction::constant(JMP32 | JLT, self.registers.available, end),
            // No frame is as long. As a condition, since the kernel refuses what follows an unconditional jump.
            Err(_) => Instruction::constant(JMP32 | JLE, self.registers.available, u32::MAX),
        };
        self.jump(compare, Label::OutOfReach);
    }

    /// Computes a value. `slot` is the first free place for intermediate values.
    pub(super) fn value(&mut self, id: ValueId, form: Form, slot: i16) -> Result<(), Problem> {
        let memory = self.in_memory(id);
        if let Some((held, is)) = self.state.held
            && held == id
        {
            if let (Form::Memory, Form::Number, Some(load)) = (is, form, memory) {
                self.make_number(load.size);
                self.state.held = Some((id, Form::Number));
                return Ok(());
            }
            if is == form || memory.is_none() {
                return Ok(());
            }
        }
        match self.graph.values.get(id) {
            Value::Constant(constant) => self.put(Instruction::constant(ALU | MOV, A, constant)),
            Value::Length => {
                let length = self.registers.length;
                self.put(Instruction::register(ALU | MOV, A, length));
            }
            Value::HasMac => {
                let header = self.registers.header;
                self.put(Instruction::load(2, A, header, 0));
            }
            Value::Load(load) => {
                self.check(load.end());
                if load.end() <= u64::from(LONGEST_PREFIX) {
                    self.load(load);
                } else {
                    self.put(Instruction::constant(ALU | MOV, 3, load.offset));
                    self.read(load.size);
                }
                self.formed(load.size, form);
            }
            Value::LoadAt(base, load) => self.load_at(base, load, form, slot)?,
            Value::HeaderLength(offset) => {
                self.check(u64::from(offset) + 1);
                let byte = Load { offset, size: 1 };
                if byte.end() <= u64::from(LONGEST_PREFIX) {
                    self.load(byte);
                } else {
                    self.put(Instruction::constant(ALU | MOV, 3, offset));
                    self.read(1);
                }
                self.put(Instruction::constant(ALU | AND, A, 15));
                self.put(Instruction::constant(ALU | LSH, A, 2));
            }
            Value::Negate(of) => {
                self.value(of, Form::Number, slot)?;
                self.put(Instruction::new(ALU | NEG, A, 0, 0, 0));
            }
            Value::Binary(operator, left, right) => self.binary(operator, left, right, memory.zip(Some(form)), slot)?,
            Value::Choose(of, is, yes, no) => {
                self.value(of, Form::Number, slot)?;
                let other = self.skip(Instruction::constant(JMP32 | JNE, A, is));
                let before = self.state;
                self.state.held = None;
                self.value(yes, Form::Number, slot)?;
                let done = self.skip(Instruction::new(JMP | JA, 0, 0, 0, 0));
                let after = std::mem::replace(&mut self.state, before);
                self.state.held = None;
                self.land(other);
                self.value(no, Form::Number, slot)?;
                self.land(done);
                self.state = self.state.join(after);
            }
        }
        self.state.held = Some((id, if memory.is_some() { form } else { Form::Number }));
        Ok(())
    }

    /// Loads bytes from the stack as they are in memory.
    fn load(&mut self, load: Load) {
        let header = self.registers.header;
        self.prefix = self.prefix.max(load.offset + load.size);
        let at = PADDING + load.offset;
        // The kernel refuses loads from the stack that are not aligned.
        let piece = match load.size {
            size if at.is_multiple_of(size) => size,
            _ if at.is_multiple_of(2) => 2,
            _ => 1,
        };
        for done in (0..load.size).step_by(piece as usize) {
            let to = if done == 0 { A } else { B };
            // Below the longest prefix.
            self.put(Instruction::load(piece, to, header, (at + done) as i16));
            let shift = match cfg!(target_endian = "little") {
                true => 8 * done,
                false => 8 * (load.size - done - piece),
            };
            if shift > 0 {
                self.put(Instruction::constant(ALU | LSH, to, shift));
            }
            if done > 0 {
                self.put(Instruction::register(ALU | OR, A, B));
            }
        }
    }

    fn formed(&mut self, size: u32, form: Form) {
        if form == Form::Number && size > 1 {
            self.make_number(size);
        }
    }

    fn make_number(&mut self, size: u32) {
        self.put(Instruction::constant(ALU | TO_BE, A, 8 * size));
    }

    /// Loads bytes at a computed offset.
    fn load_at(&mut self, base: ValueId, load: Load, form: Form, slot: i16) -> Result<(), Problem> {
        self.value(base, Form::Number, slot)?;
        let usual = Load {
            offset: load.offset.saturating_add(IPV4_HEADER),
            size: load.size,
        };
        let is_behind_ipv4 = matches!(self.graph.values.get(base), Value::HeaderLength(_));
        let mut done = None;
        if is_behind_ipv4 && usual.end() <= u64::from(LONGEST_PREFIX) {
            let other = self.skip(Instruction::constant(JMP32 | JNE, A, IPV4_HEADER));
            let before = self.state;
            self.check(usual.end());
            self.load(usual);
            self.state = before;
            done = Some(self.skip(Instruction::new(JMP | JA, 0, 0, 0, 0)));
            self.land(other);
        }

        self.put(Instruction::register(ALU64 | MOV, 3, A));
        if i32::try_from(load.offset).is_ok() {
            self.put(Instruction::constant(ALU64 | ADD, 3, load.offset));
        } else {
            self.put(Instruction::constant(ALU | MOV, B, load.offset));
            self.put(Instruction::register(ALU64 | ADD, 3, B));
        }
        self.put(Instruction::register(ALU64 | MOV, 1, 3));
        self.put(Instruction::constant(ALU64 | ADD, 1, load.size));
        let available = self.registers.available;
        self.jump(Instruction::register(JMP | JGT, 1, available), Label::OutOfReach);
        let built = if self.tags { BUILT_WITH_TAG } else { BUILT };
        if load.offset < built {
            // Those bytes are only in the frame that was built; the helper reads any address.
            self.prefix = self.prefix.max(built + 4);
            let behind = self.skip(Instruction::constant(JMP | JGE, 3, built));
            let (header, start) = (self.registers.header, self.registers.start);
            self.put(Instruction::register(ALU64 | ADD, 3, header));
            self.put(Instruction::constant(ALU64 | ADD, 3, PADDING));
            let read = self.skip(Instruction::new(JMP | JA, 0, 0, 0, 0));
            self.land(behind);
            self.put(Instruction::register(ALU64 | ADD, 3, start));
            self.land(read);
            self.read_address(load.size);
        } else {
            self.read(load.size);
        }
        if let Some(done) = done {
            self.land(done);
        }
        self.formed(load.size, form);
        Ok(())
    }

    /// Reads bytes of the frame at the offset in register 3.
    fn read(&mut self, size: u32) {
        let start = self.registers.start;
        self.put(Instruction::register(ALU64 | ADD, 3, start));
        self.read_address(size);
    }

    fn read_address(&mut self, size: u32) {
        self.stack = self.stack.min(READ);
        self.put(Instruction::register(ALU64 | MOV, 1, FP));
        self.put(Instruction::constant(ALU64 | ADD, 1, i32::from(READ).cast_unsigned()));
        self.put(Instruction::constant(ALU | MOV, 2, size));
        self.put(Instruction::new(JMP | CALL, 0, 0, 0, PROBE_READ_KERNEL));
        self.jump(Instruction::constant(JMP | JNE, A, 0), Label::OutOfReach);
        self.put(Instruction::load(size, A, FP, READ));
    }

    fn binary(
        &mut self,
        operator: Operator,
        left: ValueId,
        right: ValueId,
        memory: Option<(Load, Form)>,
        slot: i16,
    ) -> Result<(), Problem> {
        let operation = match operator {
            Operator::Add => ADD,
            Operator::Subtract => SUB,
            Operator::Multiply => MUL,
            Operator::Divide => DIV,
            Operator::Remainder => MOD,
            Operator::And => AND,
            Operator::Or => OR,
            Operator::Xor => XOR,
            Operator::ShiftLeft => LSH,
            Operator::ShiftRight => RSH,
        };
        // The generator refuses constants of zero as divisors, and shifts by more than 31 bits.
        if let Some(right) = self.graph.values.as_constant(right) {
            let (form, right) = match memory {
                Some((load, Form::Memory)) => (Form::Memory, as_in_memory(right, load)),
                _ => (Form::Number, right),
            };
            self.value(left, form, slot)?;
            self.put(Instruction::constant(ALU | operation, A, right));
            return Ok(());
        }
        self.both(left, right, slot)?;
        match operator {
            Operator::Divide | Operator::Remainder => {
                self.jump(Instruction::constant(JMP32 | JEQ, B, 0), Label::NoMatch);
                self.put(Instruction::register(ALU | operation, A, B));
            }
            Operator::ShiftLeft | Operator::ShiftRight => {
                // BPF shifts by the lower five bits, and classic BPF everything out.
                let shift = self.skip(Instruction::constant(JMP32 | JLT, B, 32));
                self.put(Instruction::constant(ALU | MOV, A, 0));
                let done = self.skip(Instruction::new(JMP | JA, 0, 0, 0, 0));
                self.land(shift);
                self.put(Instruction::register(ALU | operation, A, B));
                self.land(done);
            }
            _ => self.put(Instruction::register(ALU | operation, A, B)),
        }
        Ok(())
    }

    /// Computes two values, in both registers.
    pub(super) fn both(&mut self, left: ValueId, right: ValueId, slot: i16) -> Result<(), Problem> {
        if let Some(left) = self.graph.values.as_constant(left) {
            self.value(right, Form::Number, slot)?;
            self.put(Instruction::register(ALU | MOV, B, A));
            self.put(Instruction::constant(ALU | MOV, A, left));
            return Ok(());
        }
        self.value(left, Form::Number, slot)?;
        if slot == MOST_SLOTS {
            return Err(Problem::TooLarge(
                usize::from(MOST_SLOTS.unsigned_abs()),
                "intermediate values",
            ));
        }
        let at = SLOTS - 8 * slot;
        self.stack = self.stack.min(at);
        self.put(Instruction::store(FP, at, A));
        self.value(right, Form::Number, slot + 1)?;
        self.put(Instruction::register(ALU | MOV, B, A));
        self.put(Instruction::load(8, A, FP, at));
        self.state.held = None;
        Ok(())
    }
}

/// Returns the number as its bytes are in a packet.
fn as_in_memory(number: u32, load: Load) -> u32 {
    match load.size {
        2 => u32::from(((number & 0xffff) as u16).to_be()),
        _ => number.to_be(),
    }
}
