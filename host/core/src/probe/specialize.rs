//! Specializes relocated instructions for one trace: what the configuration says becomes constants, and code that it rules
//! out goes. It imports nothing.
//!
//! The kernel removes such code as well, but only after it has walked through it, once per program, and a trace has some
//! 90 programs: with a filter, one has 4,500 instructions, of which 600 remain. It also keeps the loads of constants.
//! Old kernels add the stack of functions that are never called to that of their callers (`check_max_stack_depth` before
//! 6.3), so programs load that would not.
//!
//! It is a conditional propagation of constants (Wegman and Zadeck 1991), limited to what ipft's programs need: registers,
//! not the stack. What it does not know is kept as it is.

use bpf_assembly::code;
use libbpf_sys::bpf_insn;

/// A map of constants: what loads from it yield.
#[derive(Clone, Copy, Debug)]
pub(super) struct Constants<'a> {
    /// The map's descriptor in the instructions.
    pub(super) map: i32,
    /// The map's value.
    pub(super) bytes: &'a [u8],
}

/// What a register has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Unknown,
    Number(u64),
    /// The address of a byte of the constants.
    Constants(i64),
}

impl Value {
    fn join(self, other: Value) -> Value {
        if self == other { self } else { Value::Unknown }
    }
}

type Registers = [Value; 11];

const NOTHING_KNOWN: Registers = [Value::Unknown; 11];

/// Where an instruction goes next.
enum Next {
    /// To the next one.
    On,
    /// There, always.
    Jump(usize),
    /// There, or to the next one.
    Branch(usize),
    /// To the next one, after this function.
    Call(usize),
    /// Back to the caller.
    Exit,
}

/// Returns the instructions with the constants in them and without what cannot run, or none if it meets an instruction
/// that it does not know: those are then loaded as they are.
pub(super) fn specialize(instructions: &[bpf_insn], constants: &Constants<'_>) -> Option<Vec<bpf_insn>> {
    let known = reach(instructions, constants)?;
    let mut kept: Vec<Option<Replacement>> = Vec::with_capacity(instructions.len());
    for (at, instruction) in instructions.iter().enumerate() {
        kept.push(match &known[at] {
            Some(registers) => Some(replace(instruction, at, registers, constants)?),
            None => None,
        });
    }
    remove_unused(instructions, &mut kept)?;
    lay_out(instructions, &kept)
}

/// An instruction that can run, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replacement {
    /// As it was.
    Same,
    /// A number goes into the register of its result.
    Number(u8, u64),
    /// A jump, whose condition holds.
    Jump,
    /// Nothing: a jump whose condition does not hold, or a result without use.
    Nothing,
}

/// Returns the number of slots of an instruction.
fn slots(instruction: &bpf_insn) -> usize {
    if instruction.code == code::LOAD_64 { 2 } else { 1 }
}

fn class(instruction: &bpf_insn) -> u8 {
    instruction.code & code::CLASS
}

fn operation(instruction: &bpf_insn) -> u8 {
    instruction.code & code::OPERATION
}

fn is_jump(instruction: &bpf_insn) -> bool {
    matches!(class(instruction), code::JMP | code::JMP32)
}

/// Returns a place relative to the instruction behind this one.
fn relative(at: usize, offset: i64) -> Option<usize> {
    usize::try_from(i64::try_from(at).ok()? + 1 + offset).ok()
}

/// Returns where an instruction goes next, whatever its condition says.
fn next(instruction: &bpf_insn, at: usize) -> Option<Next> {
    if !is_jump(instruction) {
        return Some(Next::On);
    }
    Some(match operation(instruction) {
        code::EXIT => Next::Exit,
        code::CALL if instruction.src_reg() == code::OWN => Next::Call(relative(at, instruction.imm.into())?),
        code::CALL => Next::On,
        code::JA if class(instruction) == code::JMP32 => Next::Jump(relative(at, instruction.imm.into())?),
        code::JA => Next::Jump(relative(at, instruction.off.into())?),
        code::JEQ..=code::JSGE | code::JLT..=code::JSLE => Next::Branch(relative(at, instruction.off.into())?),
        // may_goto, and what is not known yet.
        _ => return None,
    })
}

/// Returns what is known at each instruction that can run.
fn reach(instructions: &[bpf_insn], constants: &Constants<'_>) -> Option<Vec<Option<Registers>>> {
    let mut known: Vec<Option<Registers>> = vec![None; instructions.len()];
    let mut waiting = vec![(0, NOTHING_KNOWN)];
    while let Some((at, new)) = waiting.pop() {
        let place = known.get_mut(at)?;
        let registers = match place {
            None => new,
            Some(old) => {
                let mut joined = *old;
                for (old, new) in joined.iter_mut().zip(new) {
                    *old = old.join(new);
                }
                if joined == *old {
                    continue;
                }
                joined
            }
        };
        *place = Some(registers);
        let instruction = instructions.get(at)?;
        let behind = at + slots(instruction);
        let after = execute(instruction, instructions.get(at + 1), &registers, constants)?;
        match next(instruction, at)? {
            Next::On => waiting.push((behind, after)),
            Next::Jump(target) => waiting.push((target, after)),
            Next::Branch(target) => {
                let holds = condition(instruction, &registers);
                if holds != Some(false) {
                    waiting.push((target, after));
                }
                if holds != Some(true) {
                    waiting.push((behind, after));
                }
            }
            Next::Call(function) => {
                waiting.push((function, arguments(&registers)));
                waiting.push((behind, after));
            }
            Next::Exit => {}
        }
    }
    Some(known)
}

/// Returns what a function knows at its beginning.
fn arguments(registers: &Registers) -> Registers {
    let mut known = NOTHING_KNOWN;
    known[1..=5].copy_from_slice(&registers[1..=5]);
    known
}

/// Returns a constant, as a load of this code yields it.
fn load(code: u8, offset: i64, constants: &Constants<'_>) -> Option<u64> {
    let size = match code & code::SIZE {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    };
    let start = usize::try_from(offset).ok()?;
    let bytes = constants.bytes.get(start..start.checked_add(size)?)?;
    let mut word = [0; 8];
    word[..size].copy_from_slice(bytes);
    Some(u64::from_le_bytes(word))
}

/// Returns a register, or none if the program has none of that number.
fn register(registers: &Registers, number: u8) -> Option<Value> {
    registers.get(usize::from(number)).copied()
}

/// Returns what is known behind an instruction. `second` is the second slot of a load of 64 bits.
fn execute(
    instruction: &bpf_insn,
    second: Option<&bpf_insn>,
    registers: &Registers,
    constants: &Constants<'_>,
) -> Option<Registers> {
    let mut after = *registers;
    let mut set = |number: u8, value| {
        *after.get_mut(usize::from(number))? = value;
        Some(())
    };
    let (result, source) = (instruction.dst_reg(), instruction.src_reg());
    match class(instruction) {
        code::LD if instruction.code == code::LOAD_64 => {
            let value = match source {
                code::MAP_VALUE if instruction.imm == constants.map => Value::Constants(second?.imm.into()),
                // A number may be a place that is written to later: it is not looked at.
                _ if source != code::FUNCTION => Value::Unknown,
                _ => return None,
            };
            set(result, value)?;
        }
        // Loads of the classic BPF.
        code::LD => return None,
        code::LDX => {
            let value = match (instruction.code & code::MODE, register(registers, source)?) {
                (code::MEMORY, Value::Constants(offset)) => {
                    load(instruction.code, offset + i64::from(instruction.off), constants)
                }
                (code::MEMORY | code::MEMORY_SIGNED, _) => None,
                _ => return None,
            };
            set(result, value.map_or(Value::Unknown, Value::Number))?;
        }
        code::ST => {}
        // What it fetches, it puts into the source, or, if it compares, into r0.
        code::STX if instruction.code & code::MODE == code::ATOMIC => {
            for number in [result, source, 0] {
                set(number, Value::Unknown)?;
            }
        }
        code::STX => {}
        code::ALU | code::ALU64 => set(result, compute(instruction, registers)?)?,
        _ if operation(instruction) == code::CALL => {
            for number in 0..=5 {
                set(number, Value::Unknown)?;
            }
        }
        _ => {}
    }
    Some(after)
}

/// Returns the second operand of an instruction that computes or jumps.
fn operand(instruction: &bpf_insn, registers: &Registers) -> Option<Value> {
    if instruction.code & code::REGISTER != 0 {
        register(registers, instruction.src_reg())
    } else {
        Some(Value::Number(i64::from(instruction.imm) as u64))
    }
}

/// Returns the result of an instruction that computes.
fn compute(instruction: &bpf_insn, registers: &Registers) -> Option<Value> {
    let (left, right) = (
        register(registers, instruction.dst_reg())?,
        operand(instruction, registers)?,
    );
    let is_wide = class(instruction) == code::ALU64;
    // Division by sign, moves with sign or between address spaces.
    if instruction.off != 0 {
        return Some(Value::Unknown);
    }
    Some(match (operation(instruction), left, right) {
        (code::MOV, _, Value::Constants(_)) if is_wide => right,
        (code::ADD, Value::Constants(start), Value::Number(bytes)) if is_wide => {
            Value::Constants(start.wrapping_add(bytes as i64))
        }
        (operation, left, Value::Number(right)) => {
            let left = match (operation, left) {
                (code::MOV, _) => 0,
                (_, Value::Number(left)) => left,
                _ => return Some(Value::Unknown),
            };
            let result = match is_wide {
                true => wide(operation, left, right),
                false => narrow(operation, left as u32, right as u32).map(u64::from),
            };
            result.map_or(Value::Unknown, Value::Number)
        }
        _ => Value::Unknown,
    })
}

fn wide(operation: u8, left: u64, right: u64) -> Option<u64> {
    Some(match operation {
        code::MOV => right,
        code::ADD => left.wrapping_add(right),
        code::SUB => left.wrapping_sub(right),
        code::MUL => left.wrapping_mul(right),
        code::OR => left | right,
        code::AND => left & right,
        code::XOR => left ^ right,
        code::LSH => left << (right & 63),
        code::RSH => left >> (right & 63),
        code::ARSH => ((left as i64) >> (right & 63)) as u64,
        code::NEG => left.wrapping_neg(),
        _ => return None,
    })
}

fn narrow(operation: u8, left: u32, right: u32) -> Option<u32> {
    // The lower half of the result is that of 64 bits, but for shifts.
    let (left, right) = match operation {
        code::ARSH => (i64::from(left as i32) as u64, right & 31),
        code::LSH | code::RSH => (left.into(), right & 31),
        _ => (left.into(), right),
    };
    wide(operation, left, right.into()).map(|result| result as u32)
}

/// Returns whether a condition holds, if that is known.
fn condition(instruction: &bpf_insn, registers: &Registers) -> Option<bool> {
    let left = register(registers, instruction.dst_reg())?;
    let (Value::Number(left), Value::Number(right)) = (left, operand(instruction, registers)?) else {
        return None;
    };
    let (left, right, signed_left, signed_right) = match class(instruction) {
        code::JMP => (left, right, left as i64, right as i64),
        _ => {
            let (left, right) = (left as u32, right as u32);
            (left.into(), right.into(), (left as i32).into(), (right as i32).into())
        }
    };
    Some(match operation(instruction) {
        code::JEQ => left == right,
        code::JNE => left != right,
        code::JGT => left > right,
        code::JGE => left >= right,
        code::JLT => left < right,
        code::JLE => left <= right,
        code::JSET => left & right != 0,
        code::JSGT => signed_left > signed_right,
        code::JSGE => signed_left >= signed_right,
        code::JSLT => signed_left < signed_right,
        code::JSLE => signed_left <= signed_right,
        _ => return None,
    })
}

/// Returns how an instruction that can run is written.
fn replace(instruction: &bpf_insn, at: usize, registers: &Registers, constants: &Constants<'_>) -> Option<Replacement> {
    if matches!(next(instruction, at)?, Next::Branch(_)) {
        return Some(match condition(instruction, registers) {
            Some(true) => Replacement::Jump,
            Some(false) => Replacement::Nothing,
            None => Replacement::Same,
        });
    }
    let result = instruction.dst_reg();
    if !matches!(class(instruction), code::LDX | code::ALU | code::ALU64) {
        return Some(Replacement::Same);
    }
    let after = execute(instruction, None, registers, constants)?;
    Some(match register(&after, result)? {
        // An instruction that has its number in itself is written as it is.
        Value::Number(_) if is_number(instruction) => Replacement::Same,
        Value::Number(number) => Replacement::Number(result, number),
        _ => Replacement::Same,
    })
}

/// Returns whether an instruction puts the number that it has in itself into a register.
fn is_number(instruction: &bpf_insn) -> bool {
    class(instruction) != code::LDX && instruction.code & (code::OPERATION | code::REGISTER) == code::MOV
}

/// A set of registers.
type Set = u16;

fn bit(register: u8) -> Set {
    1 << register
}

/// Returns the registers that an instruction reads, and those that it sets.
fn uses(instruction: &bpf_insn, replacement: Replacement) -> (Set, Set) {
    const ARGUMENTS: Set = 0b11_1110;
    let (result, source) = (bit(instruction.dst_reg()), bit(instruction.src_reg()));
    match replacement {
        Replacement::Nothing | Replacement::Jump => return (0, 0),
        Replacement::Number(register, _) => return (0, bit(register)),
        Replacement::Same => {}
    }
    let has_register = instruction.code & code::REGISTER != 0;
    let second = if has_register { source } else { 0 };
    match class(instruction) {
        code::LD => (0, result),
        code::LDX => (source, result),
        code::ST => (result, 0),
        code::STX if instruction.code & code::MODE == code::ATOMIC => (result | source | bit(0), 0),
        code::STX => (result | source, 0),
        code::ALU | code::ALU64 => match operation(instruction) {
            code::MOV => (second, result),
            // Of `END`, the bit says which order.
            code::NEG | code::END => (result, result),
            _ => (result | second, result),
        },
        _ => match operation(instruction) {
            code::EXIT => (bit(0), 0),
            code::CALL => (ARGUMENTS, ARGUMENTS | bit(0)),
            code::JA => (0, 0),
            _ => (result | second, 0),
        },
    }
}

/// Returns whether an instruction does nothing but set a register.
fn only_sets(instruction: &bpf_insn, replacement: Replacement) -> bool {
    match replacement {
        Replacement::Number(..) => true,
        Replacement::Same => matches!(class(instruction), code::LD | code::ALU | code::ALU64),
        _ => false,
    }
}

/// Removes instructions whose results have no use.
fn remove_unused(instructions: &[bpf_insn], kept: &mut [Option<Replacement>]) -> Option<()> {
    let mut live: Vec<Set> = vec![0; instructions.len() + 1];
    loop {
        let mut changed = false;
        for (at, instruction) in instructions.iter().enumerate().rev() {
            let Some(replacement) = kept[at] else { continue };
            let behind = live.get(at + slots(instruction)).copied()?;
            let there = |target: usize| live.get(target).copied();
            let after = match (next(instruction, at)?, replacement) {
                (Next::Exit, _) => 0,
                (Next::Jump(target), _) | (Next::Branch(target), Replacement::Jump) => there(target)?,
                (Next::Branch(target), Replacement::Same) => behind | there(target)?,
                _ => behind,
            };
            let (read, set) = uses(instruction, replacement);
            let before = if only_sets(instruction, replacement) && after & set == 0 {
                after
            } else {
                (after & !set) | read
            };
            changed |= std::mem::replace(&mut live[at], before) != before;
        }
        if !changed {
            break;
        }
    }
    for (at, instruction) in instructions.iter().enumerate() {
        if let Some(replacement) = &mut kept[at] {
            let after = live.get(at + slots(instruction)).copied()?;
            if only_sets(instruction, *replacement) && after & uses(instruction, *replacement).1 == 0 {
                *replacement = Replacement::Nothing;
            }
        }
    }
    Some(())
}

/// Returns whether a number is that of an instruction of one slot, which extends the sign of 32 bits.
fn is_short(number: u64) -> bool {
    i32::try_from(number as i64).is_ok() || u32::try_from(number).is_ok()
}

/// Writes the instructions that are kept.
fn lay_out(instructions: &[bpf_insn], kept: &[Option<Replacement>]) -> Option<Vec<bpf_insn>> {
    // Slots of each, from the end on: a jump over nothing goes.
    let mut sizes = vec![0_usize; instructions.len()];
    for (at, instruction) in instructions.iter().enumerate().rev() {
        sizes[at] = match kept[at] {
            None | Some(Replacement::Nothing) => 0,
            Some(Replacement::Number(_, number)) => 2 - usize::from(is_short(number)),
            Some(Replacement::Same | Replacement::Jump) => {
                let jump = match (next(instruction, at)?, kept[at]) {
                    (Next::Jump(target), _) | (Next::Branch(target), Some(Replacement::Jump)) => Some(target),
                    _ => None,
                };
                let over = jump.and_then(|target| sizes.get(at + 1..target));
                match over {
                    Some(between) if between.iter().all(|size| *size == 0) => 0,
                    _ => slots(instruction),
                }
            }
        };
    }
    let mut places = Vec::with_capacity(instructions.len() + 1);
    let mut place = 0_usize;
    for size in &sizes {
        places.push(place);
        place += size;
    }
    places.push(place);

    let distance = |at: usize, target: usize| {
        let (from, to) = (places.get(at)?, places.get(target)?);
        i64::try_from(*to).ok()?.checked_sub(i64::try_from(*from).ok()? + 1)
    };
    let mut written = Vec::with_capacity(place);
    for (at, instruction) in instructions.iter().enumerate() {
        let (Some(replacement), true) = (kept[at], sizes[at] > 0) else {
            continue;
        };
        let mut copy = *instruction;
        match (replacement, next(instruction, at)?) {
            (Replacement::Number(register, number), _) => {
                write_number(&mut written, register, number);
                continue;
            }
            (Replacement::Jump, Next::Branch(target)) => {
                copy = bpf_insn {
                    code: code::JMP | code::JA,
                    off: i16::try_from(distance(at, target)?).ok()?,
                    ..bpf_insn::default()
                };
            }
            (_, Next::Jump(target)) if class(instruction) == code::JMP32 => {
                copy.imm = i32::try_from(distance(at, target)?).ok()?;
            }
            (_, Next::Jump(target) | Next::Branch(target)) => {
                copy.off = i16::try_from(distance(at, target)?).ok()?;
            }
            (_, Next::Call(function)) => copy.imm = i32::try_from(distance(at, function)?).ok()?,
            _ => {}
        }
        written.push(copy);
        if slots(instruction) == 2 {
            written.push(*instructions.get(at + 1)?);
        }
    }
    Some(written)
}

fn write_number(written: &mut Vec<bpf_insn>, register: u8, number: u64) {
    let mut first = bpf_insn {
        imm: number as i32,
        ..bpf_insn::default()
    };
    first.set_dst_reg(register);
    if i32::try_from(number as i64).is_ok() {
        first.code = code::ALU64 | code::MOV;
        written.push(first);
    } else if u32::try_from(number).is_ok() {
        // The upper half becomes 0.
        first.code = code::ALU | code::MOV;
        written.push(first);
    } else {
        first.code = code::LOAD_64;
        let second = bpf_insn {
            imm: (number >> 32) as i32,
            ..bpf_insn::default()
        };
        written.extend([first, second]);
    }
}

#[cfg(test)]
mod tests;
