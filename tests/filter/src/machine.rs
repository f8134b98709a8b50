//! Runs the filter's instructions as the kernel's interpreter would, and refuses what the kernel's verifier would
//! refuse on the path that is taken: misaligned loads, registers that were not written, memory outside the frame.

use ipft_core::filter::{Filter, Instruction, Verdict};

/// Addresses of the frame that the kernel's side builds, of the rest of the packet, and of the end of the stack.
const HEADER: u64 = 0x1000;
const START: u64 = 0x10_0000;
const STACK: u64 = 0x2000;
const STACK_SIZE: usize = 512;
/// The most instructions of a run: programs only jump forward.
const MOST: usize = 40_000;

struct Machine<'a> {
    registers: [Option<u64>; 11],
    header: Vec<u8>,
    stack: Vec<Option<u8>>,
    frame: &'a [u8],
    /// Bytes of the frame that are only at `HEADER`.
    built: usize,
}

/// Runs the program on the first bytes of a frame of `length` bytes.
pub fn run(filter: &Filter, frame: &[u8], length: u32) -> Result<Verdict, String> {
    run_with(filter, frame, length, true)
}

/// The same, with or without MAC addresses.
pub fn run_with(filter: &Filter, frame: &[u8], length: u32, has_mac: bool) -> Result<Verdict, String> {
    let prefix = filter.prefix() as usize;
    let mut header = vec![u8::from(has_mac), 0];
    header.extend((0..prefix).map(|index| frame.get(index).copied().unwrap_or(0xee)));
    let mut machine = Machine {
        registers: [None; 11],
        header,
        stack: vec![None; STACK_SIZE],
        frame,
        built: if filter.has_vlan() { 18 } else { 14 },
    };
    // Registers of 32-bit arguments may have anything in their upper half.
    let upper = 0xdead_beef << 32;
    machine.registers[1] = Some(HEADER);
    machine.registers[2] = Some(START);
    machine.registers[3] = Some(upper | frame.len() as u64);
    machine.registers[4] = Some(upper | u64::from(if filter.has_length() { length } else { 0 }));
    machine.registers[10] = Some(STACK + STACK_SIZE as u64);
    match machine.execute(filter.program())? as u32 as i32 {
        1 => Ok(Verdict::Match),
        0 => Ok(Verdict::NoMatch),
        -1 => Ok(Verdict::OutOfReach),
        other => Err(format!("it returned {other}")),
    }
}

impl Machine<'_> {
    fn register(&self, index: u8) -> Result<u64, String> {
        self.registers[usize::from(index)].ok_or_else(|| format!("r{index} has no value"))
    }

    fn execute(&mut self, program: &[Instruction]) -> Result<u64, String> {
        let mut at = 0;
        for _ in 0..MOST {
            let instruction = *program.get(at).ok_or("it runs past its end")?;
            let failed = |error| format!("instruction {at}, {instruction:02x?}: {error}");
            match self.step(instruction).map_err(failed)? {
                Some(distance) if distance >= 0 => at += 1 + distance as usize,
                Some(_) => return Err("it jumps back".to_owned()),
                None => return self.register(0),
            }
        }
        Err("it does not end".to_owned())
    }

    /// Returns the distance to the next instruction, or nothing at the end.
    fn step(&mut self, instruction: Instruction) -> Result<Option<i16>, String> {
        let Instruction {
            code,
            destination,
            source,
            offset,
            immediate,
        } = instruction;
        let operation = code & 0xf0;
        match code & 7 {
            1 => {
                let address = self.register(source)?.wrapping_add_signed(offset.into());
                let size = size(code);
                let bytes = self.read(address, size)?;
                let mut wide = [0; 8];
                wide[..size].copy_from_slice(&bytes);
                self.write(destination, u64::from_le_bytes(wide))?;
            }
            3 => {
                let address = self.register(destination)?.wrapping_add_signed(offset.into());
                let value = self.register(source)?.to_le_bytes();
                let start = self.on_stack(address, size(code))?;
                for (to, from) in self.stack[start..].iter_mut().zip(&value[..size(code)]) {
                    *to = Some(*from);
                }
            }
            class @ (4 | 7) => {
                let value = self.compute(instruction, class == 7)?;
                self.write(destination, value)?;
            }
            class @ (5 | 6) => match operation {
                0x90 => return Ok(None),
                0x80 => self.call(immediate)?,
                0x00 => return Ok(Some(offset)),
                _ => {
                    let mut left = self.register(destination)?;
                    let mut right = match code & 8 {
                        0 => i64::from(immediate) as u64,
                        _ => self.register(source)?,
                    };
                    if class == 6 {
                        (left, right) = (u64::from(left as u32), u64::from(right as u32));
                    }
                    let jumps = match operation {
                        0x10 => left == right,
                        0x20 => left > right,
                        0x30 => left >= right,
                        0x40 => left & right != 0,
                        0x50 => left != right,
                        0xa0 => left < right,
                        0xb0 => left <= right,
                        _ => return Err("unknown jump".to_owned()),
                    };
                    return Ok(Some(if jumps { offset } else { 0 }));
                }
            },
            _ => return Err("unknown class".to_owned()),
        }
        Ok(Some(0))
    }

    fn write(&mut self, register: u8, value: u64) -> Result<(), String> {
        if register > 9 {
            return Err(format!("r{register} cannot be written"));
        }
        self.registers[usize::from(register)] = Some(value);
        Ok(())
    }

    fn compute(&self, instruction: Instruction, wide: bool) -> Result<u64, String> {
        let Instruction {
            code,
            destination,
            source,
            immediate,
            ..
        } = instruction;
        let operation = code & 0xf0;
        let right = match (operation, code & 8) {
            (0x80 | 0xd0, _) => 0,
            (_, 0) => i64::from(immediate) as u64,
            _ => self.register(source)?,
        };
        let left = if operation == 0xb0 {
            0
        } else {
            self.register(destination)?
        };
        if wide {
            return match operation {
                0x00 => Ok(left.wrapping_add(right)),
                0xb0 => Ok(right),
                _ => Err("unknown operation".to_owned()),
            };
        }
        let (left, right) = (left as u32, right as u32);
        let value = match operation {
            0x00 => left.wrapping_add(right),
            0x10 => left.wrapping_sub(right),
            0x20 => left.wrapping_mul(right),
            0x30 => left.checked_div(right).ok_or("division by zero")?,
            0x40 => left | right,
            0x50 => left & right,
            0x60 => left.checked_shl(right).ok_or("shift by more than 31 bits")?,
            0x70 => left.checked_shr(right).ok_or("shift by more than 31 bits")?,
            0x80 => left.wrapping_neg(),
            0x90 => left.checked_rem(right).ok_or("division by zero")?,
            0xa0 => left ^ right,
            0xb0 => right,
            0xd0 if immediate == 16 => u32::from((left as u16).to_be()),
            0xd0 if immediate == 32 => left.to_be(),
            _ => return Err("unknown operation".to_owned()),
        };
        Ok(value.into())
    }

    /// `bpf_probe_read_kernel`.
    fn call(&mut self, helper: i32) -> Result<(), String> {
        if helper != 113 {
            return Err(format!("unknown helper {helper}"));
        }
        let (to, size, from) = (self.register(1)?, self.register(2)? as usize, self.register(3)?);
        let bytes = match from.checked_sub(START) {
            Some(offset) => {
                let start = offset as usize;
                if start < self.built {
                    return Err(format!("byte {start} of the frame is not in memory"));
                }
                let bytes = self.frame.get(start..start + size);
                bytes.ok_or("it reads behind the frame")?.to_vec()
            }
            None => (0..size as u64)
                .map(|index| self.read(from + index, 1).map(|bytes| bytes[0]))
                .collect::<Result<_, _>>()?,
        };
        let start = self.on_stack(to, size)?;
        for (to, from) in self.stack[start..].iter_mut().zip(bytes) {
            *to = Some(from);
        }
        self.registers[0] = Some(0);
        self.registers[1..6].fill(None);
        Ok(())
    }

    fn on_stack(&self, address: u64, size: usize) -> Result<usize, String> {
        let start = address.checked_sub(STACK).map(|start| start as usize);
        let start = start.filter(|start| start + size <= STACK_SIZE);
        start.ok_or_else(|| format!("address {address:#x} is not on the stack"))
    }

    fn read(&self, address: u64, size: usize) -> Result<Vec<u8>, String> {
        if !address.is_multiple_of(size as u64) {
            return Err(format!("{size} bytes at {address:#x} are misaligned"));
        }
        if address >= STACK {
            let start = self.on_stack(address, size)?;
            let bytes: Option<Vec<u8>> = self.stack[start..start + size].iter().copied().collect();
            return bytes.ok_or_else(|| "it reads what was not written".to_owned());
        }
        let start = address.checked_sub(HEADER).ok_or("it reads below the frame")? as usize;
        let bytes = self.header.get(start..start + size);
        Ok(bytes.ok_or("it reads behind the prefix")?.to_vec())
    }
}

fn size(code: u8) -> usize {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}
