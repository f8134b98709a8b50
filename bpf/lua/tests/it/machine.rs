//! Runs a program as the kernel's interpreter would, and refuses what its verifier refuses on the path that is taken:
//! registers and bytes of the stack that were not written, misaligned or foreign memory, arithmetic with pointers,
//! jumps out of the program, and what a helper must not be given.

use bpf_assembly::code::{
    ADD, ALU, ALU64, AND, ARSH, CALL, CLASS, DIV, END, EXIT, JA, JEQ, JGE, JGT, JLE, JLT, JMP, JNE, JSET, JSGE, JSGT,
    JSLE, JSLT, LDX, LOAD_64, LSH, MOD, MOV, MUL, NEG, OPERATION, OR, REGISTER, RSH, STX, SUB, TO_BE, XOR,
};
use bpf_assembly::helper::{PROBE_READ_KERNEL, PROBE_READ_KERNEL_STR};
use bpf_assembly::{FP, Instruction, size_of};

/// The most instructions of a run.
const MOST: usize = 200_000;
const STACK: usize = 512;

/// What a register has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u64),
    /// A byte of the stack, from its lower end on.
    Stack(i64),
    /// A byte of the result.
    Result(i64),
}

/// The kernel's memory.
pub(crate) trait Memory {
    /// Returns a byte that can be read.
    fn byte(&self, address: u64) -> Option<u8>;
}

pub(crate) struct Machine<'a> {
    registers: [Option<Value>; 11],
    stack: Vec<Option<Value8>>,
    pub(crate) result: Vec<u8>,
    memory: &'a dyn Memory,
}

/// A byte of the stack: of a number, or a part of a pointer.
#[derive(Clone, Copy, Debug)]
enum Value8 {
    Byte(u8),
    Pointer(Value, u8),
}

impl<'a> Machine<'a> {
    /// Runs a program with these arguments, and returns its result.
    pub(crate) fn run(
        memory: &'a dyn Memory,
        arguments: &[Value],
        result: usize,
        code: &[Instruction],
    ) -> Result<(u64, Vec<u8>), String> {
        let mut machine = Machine {
            registers: [None; 11],
            stack: vec![None; STACK],
            result: vec![0; result],
            memory,
        };
        for (register, argument) in (1..).zip(arguments) {
            machine.registers[register] = Some(*argument);
        }
        machine.registers[usize::from(FP)] = Some(Value::Stack(STACK as i64));
        let mut at = 0_usize;
        for _ in 0..MOST {
            let instruction = *code.get(at).ok_or("it runs past its end")?;
            let second = code.get(at + 1);
            let failed = |error: String| format!("instruction {at}: {error}\n{}", bpf_assembly::text(code));
            match machine.step(instruction, second).map_err(failed)? {
                Some(distance) => at = at.checked_add_signed(1 + distance as isize).ok_or("it jumps out")?,
                None => {
                    let Some(Value::Number(value)) = machine.registers[0] else {
                        return Err("it returns no number".to_owned());
                    };
                    return Ok((value, machine.result));
                }
            }
        }
        Err("it does not end".to_owned())
    }

    fn register(&self, index: u8) -> Result<Value, String> {
        self.registers[usize::from(index)].ok_or_else(|| format!("r{index} has no value"))
    }

    fn number(&self, index: u8) -> Result<u64, String> {
        match self.register(index)? {
            Value::Number(number) => Ok(number),
            pointer => Err(format!("r{index} is {pointer:?} and no number")),
        }
    }

    fn set(&mut self, index: u8, value: Value) -> Result<(), String> {
        if index > 9 {
            return Err(format!("r{index} cannot be written"));
        }
        self.registers[usize::from(index)] = Some(value);
        Ok(())
    }

    fn step(&mut self, instruction: Instruction, second: Option<&Instruction>) -> Result<Option<i64>, String> {
        let Instruction {
            code,
            destination,
            source,
            offset,
            immediate,
        } = instruction;
        if code == LOAD_64 {
            let second = second.filter(|second| second.code == 0).ok_or("half a constant")?;
            let number = u64::from(second.immediate.cast_unsigned()) << 32 | u64::from(immediate.cast_unsigned());
            self.set(destination, Value::Number(number))?;
            return Ok(Some(1));
        }
        match code & CLASS {
            LDX => {
                let value = self.load(self.register(source)?, offset, size_of(code))?;
                self.set(destination, value)?;
            }
            STX => {
                let (to, value) = (self.register(destination)?, self.register(source)?);
                self.store(to, offset, value, size_of(code))?;
            }
            class @ (ALU | ALU64) => {
                let value = self.compute(instruction, class == ALU64)?;
                self.set(destination, value)?;
            }
            JMP => match code & OPERATION {
                EXIT => return Ok(None),
                CALL => self.call(immediate)?,
                JA => return Ok(Some(offset.into())),
                operation => {
                    let left = self.number(destination)?;
                    let right = match code & REGISTER {
                        0 => i64::from(immediate) as u64,
                        _ => self.number(source)?,
                    };
                    let jumps = match operation {
                        JEQ => left == right,
                        JGT => left > right,
                        JGE => left >= right,
                        JSET => left & right != 0,
                        JNE => left != right,
                        JLT => left < right,
                        JLE => left <= right,
                        JSGT => left as i64 > right as i64,
                        JSGE => left as i64 >= right as i64,
                        JSLT => (left as i64) < right as i64,
                        JSLE => left as i64 <= right as i64,
                        _ => return Err("unknown jump".to_owned()),
                    };
                    return Ok(Some(if jumps { offset.into() } else { 0 }));
                }
            },
            _ => return Err("unknown class".to_owned()),
        }
        Ok(Some(0))
    }

    fn compute(&self, instruction: Instruction, wide: bool) -> Result<Value, String> {
        let Instruction {
            code,
            destination,
            source,
            immediate,
            ..
        } = instruction;
        let operation = code & OPERATION;
        let right = match (operation, code & REGISTER) {
            (NEG | END, _) => Value::Number(0),
            (_, 0) => Value::Number(i64::from(immediate) as u64),
            _ => self.register(source)?,
        };
        if operation == MOV && wide {
            return Ok(right);
        }
        let left = self.register(destination)?;
        let constant = code & REGISTER == 0;
        let (left, right) = match (left, right) {
            (Value::Number(left), Value::Number(right)) => (left, right),
            (Value::Stack(at), Value::Number(right)) if wide && constant && operation == ADD => {
                return Ok(Value::Stack(at.wrapping_add(right as i64)));
            }
            (Value::Result(at), Value::Number(right)) if wide && constant && operation == ADD => {
                return Ok(Value::Result(at.wrapping_add(right as i64)));
            }
            _ => return Err("arithmetic with a pointer".to_owned()),
        };
        if !wide {
            return match (code & !CLASS, immediate) {
                (TO_BE, 16) => Ok(Value::Number((left as u16).to_be().into())),
                (TO_BE, 32) => Ok(Value::Number((left as u32).to_be().into())),
                (TO_BE, 64) => Ok(Value::Number(left.to_be())),
                _ => Err("unknown operation of 32 bits".to_owned()),
            };
        }
        if matches!(operation, LSH | RSH | ARSH) && constant && !(0..64).contains(&immediate) {
            return Err("the verifier refuses this constant shift".to_owned());
        }
        if matches!(operation, DIV | MOD) && constant && immediate == 0 {
            return Err("the verifier refuses a constant divisor of 0".to_owned());
        }
        Ok(Value::Number(match operation {
            ADD => left.wrapping_add(right),
            SUB => left.wrapping_sub(right),
            MUL => left.wrapping_mul(right),
            DIV => left.checked_div(right).unwrap_or(0),
            MOD => left.checked_rem(right).unwrap_or(left),
            OR => left | right,
            AND => left & right,
            XOR => left ^ right,
            LSH => left << (right & 63),
            RSH => left >> (right & 63),
            ARSH => ((left as i64) >> (right & 63)) as u64,
            NEG => left.wrapping_neg(),
            _ => return Err("unknown operation".to_owned()),
        }))
    }

    fn on_stack(at: i64, size: usize) -> Result<usize, String> {
        let start = usize::try_from(at).ok().filter(|start| start + size <= STACK);
        start.ok_or_else(|| format!("{size} bytes at {} are not on the stack", at - STACK as i64))
    }

    fn load(&self, from: Value, offset: i16, size: usize) -> Result<Value, String> {
        let Value::Stack(at) = from else {
            return Err("a load from memory that is not on the stack".to_owned());
        };
        let at = at + i64::from(offset);
        if at % size as i64 != 0 {
            return Err(format!("{size} bytes at {at} are misaligned"));
        }
        let start = Self::on_stack(at, size)?;
        let bytes: Option<Vec<Value8>> = self.stack[start..start + size].iter().copied().collect();
        let bytes = bytes.ok_or("it reads bytes of the stack that were not written")?;
        if let (8, Value8::Pointer(pointer, 0)) = (size, bytes[0]) {
            return Ok(pointer);
        }
        let mut wide = [0; 8];
        for (to, byte) in wide.iter_mut().zip(&bytes) {
            let Value8::Byte(byte) = byte else {
                return Err("it reads a part of a pointer".to_owned());
            };
            *to = *byte;
        }
        Ok(Value::Number(u64::from_le_bytes(wide)))
    }

    fn store(&mut self, to: Value, offset: i16, value: Value, size: usize) -> Result<(), String> {
        match (to, value) {
            (Value::Stack(at), value) => {
                let at = at + i64::from(offset);
                if at % size as i64 != 0 {
                    return Err("a misaligned store".to_owned());
                }
                let start = Self::on_stack(at, size)?;
                for (index, byte) in self.stack[start..start + size].iter_mut().enumerate() {
                    *byte = Some(match value {
                        Value::Number(number) => Value8::Byte(number.to_le_bytes()[index]),
                        pointer if size == 8 => Value8::Pointer(pointer, index as u8),
                        _ => return Err("a part of a pointer is stored".to_owned()),
                    });
                }
                Ok(())
            }
            (Value::Result(at), Value::Number(number)) => {
                let at = at + i64::from(offset);
                if at % size as i64 != 0 {
                    return Err("a misaligned store".to_owned());
                }
                self.write_result(at, &number.to_le_bytes()[..size])
            }
            _ => Err("a pointer is stored in the result, or something in the kernel's memory".to_owned()),
        }
    }

    fn write_result(&mut self, at: i64, bytes: &[u8]) -> Result<(), String> {
        let start = usize::try_from(at).map_err(|_| "before the result")?;
        let to = self.result.get_mut(start..start + bytes.len());
        to.ok_or("behind the result")?.copy_from_slice(bytes);
        Ok(())
    }

    fn call(&mut self, helper: i32) -> Result<(), String> {
        let (to, size, from) = (self.register(1)?, self.number(2)? as usize, self.number(3)?);
        if size == 0 {
            return Err("it reads no bytes".to_owned());
        }
        let bytes = (0..size as u64).map(|index| self.memory.byte(from.wrapping_add(index)));
        let written = match helper {
            PROBE_READ_KERNEL => {
                let all: Option<Vec<u8>> = bytes.collect();
                all.unwrap_or_else(|| vec![0; size])
            }
            PROBE_READ_KERNEL_STR => {
                let mut text: Vec<u8> = Vec::new();
                let mut fault = false;
                for byte in bytes.take(size - 1) {
                    match byte {
                        Some(0) => break,
                        Some(byte) => text.push(byte),
                        None => {
                            fault = true;
                            break;
                        }
                    }
                }
                match fault {
                    true => vec![0; size],
                    false => {
                        text.push(0);
                        text
                    }
                }
            }
            _ => return Err(format!("unknown helper {helper}")),
        };
        match to {
            Value::Stack(at) => {
                let start = Self::on_stack(at, size)?;
                // What a string does not fill keeps what it had, which nothing may rely on.
                for (index, byte) in self.stack[start..start + size].iter_mut().enumerate() {
                    *byte = Some(Value8::Byte(written.get(index).copied().unwrap_or(0xee)));
                }
            }
            Value::Result(at) => self.write_result(at, &written)?,
            Value::Number(_) => return Err("it writes to no memory of its own".to_owned()),
        }
        self.registers[0] = Some(Value::Number(0));
        self.registers[1..6].fill(None);
        Ok(())
    }
}
