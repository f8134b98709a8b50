//! Runs a program as the kernel's interpreter would, and refuses what its verifier refuses on the path that is taken:
//! registers and bytes of the stack that were not written, misaligned or foreign memory, arithmetic with pointers,
//! jumps out of the program, and what a helper must not be given.

use bpf_assembly::code::{
    ABSOLUTE, ADD, ALU, ALU64, AND, ARSH, ATOMIC, CALL, CLASS, DIV, END, EXIT, INDIRECT, JA, JEQ, JGE, JGT, JLE, JLT,
    JMP, JNE, JSET, JSGE, JSGT, JSLE, JSLT, LD, LDX, LOAD_64, LSH, MAP, MOD, MODE, MOV, MUL, NEG, OPERATION, OR,
    REGISTER, RSH, STX, SUB, TO_BE, XOR,
};
use bpf_assembly::helper::{MAP_DELETE, MAP_LOOKUP, MAP_UPDATE, PROBE_READ_KERNEL, PROBE_READ_KERNEL_STR};
use bpf_assembly::{FP, Instruction, size_of};

use super::kernel::Kernel;

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
    /// What a socket's program is given.
    Context,
    Map(i32),
    /// An element that was looked up, and whether a test has found that it is one.
    Element(usize, bool),
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
    kernel: Option<&'a mut Kernel>,
    /// The maps and keys of elements that were looked up.
    found: Vec<(i32, Vec<u8>)>,
}

/// No memory can be read.
struct Nowhere;

impl Memory for Nowhere {
    fn byte(&self, _: u64) -> Option<u8> {
        None
    }
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
        Self::run_all(memory, None, arguments, result, code)
    }

    /// Runs a program of a socket, and returns its result.
    pub(crate) fn run_socket(kernel: &'a mut Kernel, code: &[Instruction]) -> Result<u64, String> {
        Self::run_all(&Nowhere, Some(kernel), &[Value::Context], 0, code).map(|(result, _)| result)
    }

    fn run_all(
        memory: &'a dyn Memory,
        kernel: Option<&'a mut Kernel>,
        arguments: &[Value],
        result: usize,
        code: &[Instruction],
    ) -> Result<(u64, Vec<u8>), String> {
        let mut machine = Machine {
            registers: [None; 11],
            stack: vec![None; STACK],
            result: vec![0; result],
            memory,
            kernel,
            found: Vec::new(),
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
            if source == MAP {
                self.set(destination, Value::Map(immediate))?;
                return Ok(Some(1));
            }
            let number = u64::from(second.immediate.cast_unsigned()) << 32 | u64::from(immediate.cast_unsigned());
            self.set(destination, Value::Number(number))?;
            return Ok(Some(1));
        }
        match code & CLASS {
            LD => {
                if self.registers[6] != Some(Value::Context) {
                    return Err("a load of the packet without the context in r6".to_owned());
                }
                let offset = match code & MODE {
                    ABSOLUTE => immediate,
                    INDIRECT => (self.number(source)? as i32).wrapping_add(immediate),
                    _ => return Err("unknown load".to_owned()),
                };
                let kernel = self.kernel.as_ref().ok_or("there is no packet")?;
                let loaded = kernel.load(offset, size_of(code));
                self.registers[1..6].fill(None);
                self.registers[0] = Some(Value::Number(loaded.unwrap_or(0)));
                if loaded.is_none() {
                    return Ok(None);
                }
            }
            STX if code & MODE == ATOMIC => {
                let (to, amount) = (self.register(destination)?, self.number(source)?);
                let value = self.element(to, offset, size_of(code))?;
                let mut wide = [0; 8];
                wide[..value.len()].copy_from_slice(value);
                let sum = u64::from_le_bytes(wide).wrapping_add(amount).to_le_bytes();
                let size = value.len();
                value.copy_from_slice(&sum[..size]);
            }
            LDX if matches!(self.register(source)?, Value::Context) => {
                let kernel = self.kernel.as_ref().ok_or("there is no context")?;
                let start = usize::try_from(offset).map_err(|_| "before the context")?;
                let bytes = kernel.context.get(start..start + 4).filter(|_| size_of(code) == 4);
                let bytes = bytes.ok_or("an invalid access to the context")?;
                let number = u32::from_le_bytes(bytes.try_into().unwrap());
                self.set(destination, Value::Number(number.into()))?;
            }
            LDX if matches!(self.register(source)?, Value::Element(..)) => {
                let value = self.element(self.register(source)?, offset, size_of(code))?;
                let mut wide = [0; 8];
                wide[..value.len()].copy_from_slice(value);
                self.set(destination, Value::Number(u64::from_le_bytes(wide)))?;
            }
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
                // The test of what a lookup returned, on which all copies are what it says.
                operation @ (JEQ | JNE)
                    if matches!(self.register(destination)?, Value::Element(..)) && code & REGISTER == 0 =>
                {
                    let Some(Value::Element(index, _)) = self.registers[usize::from(destination)] else {
                        return Err("no element".to_owned());
                    };
                    let known = Value::Element(index, true);
                    for register in self.registers.iter_mut().flatten() {
                        if *register == Value::Element(index, false) {
                            *register = known;
                        }
                    }
                    return Ok(Some(if operation == JNE { offset.into() } else { 0 }));
                }
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

    /// Returns an element's bytes.
    fn element(&mut self, of: Value, offset: i16, size: usize) -> Result<&mut Vec<u8>, String> {
        let Value::Element(index, tested) = of else {
            return Err("no element of a map".to_owned());
        };
        if !tested {
            return Err("an element is used that may not be there".to_owned());
        }
        let (map, key) = &self.found[index];
        let kernel = self.kernel.as_mut().ok_or("there are no maps")?;
        let map = kernel.maps.get_mut(map).ok_or("no such map")?;
        if offset != 0 || size != map.value {
            return Err(format!("{size} bytes at {offset} of an element of {}", map.value));
        }
        map.elements
            .get_mut(key)
            .ok_or_else(|| "the element is gone".to_owned())
    }

    fn bytes_on_stack(&self, register: u8, size: usize) -> Result<Vec<u8>, String> {
        let Value::Stack(at) = self.register(register)? else {
            return Err(format!("r{register} is no address on the stack"));
        };
        let start = Self::on_stack(at, size)?;
        let bytes = self.stack[start..start + size].iter();
        let bytes: Option<Vec<u8>> = bytes
            .map(|byte| match byte {
                Some(Value8::Byte(byte)) => Some(*byte),
                _ => None,
            })
            .collect();
        bytes.ok_or_else(|| "a helper reads bytes that were not written".to_owned())
    }

    fn call_of_map(&mut self, helper: i32) -> Result<(), String> {
        let Value::Map(descriptor) = self.register(1)? else {
            return Err("r1 is no map".to_owned());
        };
        let map = |machine: &Self| {
            let kernel = machine.kernel.as_ref().ok_or("there are no maps")?;
            kernel
                .maps
                .get(&descriptor)
                .map(|map| (map.key, map.value))
                .ok_or("no such map")
        };
        let (key, value) = map(self)?;
        let key = self.bytes_on_stack(2, key)?;
        let put = match helper {
            MAP_UPDATE if self.number(4)? == 0 => Some(self.bytes_on_stack(3, value)?),
            MAP_UPDATE => return Err("unknown flags".to_owned()),
            _ => None,
        };
        let kernel = self.kernel.as_mut().ok_or("there are no maps")?;
        let map = kernel.maps.get_mut(&descriptor).ok_or("no such map")?;
        let result = match (helper, put) {
            (MAP_UPDATE, Some(value)) => {
                map.elements.insert(key, value);
                Value::Number(0)
            }
            (MAP_DELETE, _) => {
                map.elements.remove(&key);
                Value::Number(0)
            }
            _ if map.elements.contains_key(&key) => {
                self.found.push((descriptor, key));
                Value::Element(self.found.len() - 1, false)
            }
            _ => Value::Number(0),
        };
        self.registers[0] = Some(result);
        self.registers[1..6].fill(None);
        Ok(())
    }

    fn write_result(&mut self, at: i64, bytes: &[u8]) -> Result<(), String> {
        let start = usize::try_from(at).map_err(|_| "before the result")?;
        let to = self.result.get_mut(start..start + bytes.len());
        to.ok_or("behind the result")?.copy_from_slice(bytes);
        Ok(())
    }

    fn call(&mut self, helper: i32) -> Result<(), String> {
        if matches!(helper, MAP_LOOKUP | MAP_UPDATE | MAP_DELETE) {
            return self.call_of_map(helper);
        }
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
            _ => return Err("it writes to no memory of its own".to_owned()),
        }
        self.registers[0] = Some(Value::Number(0));
        self.registers[1..6].fill(None);
        Ok(())
    }
}
