//! Instructions of BPF, as the kernel has them (include/uapi/linux/bpf.h). Imports `code`.

use crate::code::{ABSOLUTE, ALU64, ATOMIC, INDIRECT, JMP, LD, LDX, LOAD_64, MAP, MEMORY, MOV, REGISTER, STX};

/// Bytes of an instruction.
pub const SIZE: usize = 8;
/// The frame pointer.
pub const FP: u8 = 10;

/// One instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Class, operation, and whether the second operand is a register.
    pub code: u8,
    /// The register that is written, or the first operand.
    pub destination: u8,
    /// The register that is read.
    pub source: u8,
    /// The distance of a jump, or the offset of a load.
    pub offset: i16,
    /// A constant.
    pub immediate: i32,
}

impl Instruction {
    /// Any instruction.
    pub fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction {
            code,
            destination,
            source,
            offset,
            immediate,
        }
    }

    /// An operation with a constant. Classes of 32 bits take it as unsigned.
    pub fn constant(code: u8, destination: u8, constant: u32) -> Instruction {
        Instruction::new(code, destination, 0, 0, constant.cast_signed())
    }

    /// An operation with a register.
    pub fn register(code: u8, destination: u8, source: u8) -> Instruction {
        Instruction::new(code | REGISTER, destination, source, 0, 0)
    }

    /// Copies a register.
    pub fn copy(destination: u8, source: u8) -> Instruction {
        Instruction::register(ALU64 | MOV, destination, source)
    }

    /// Loads bytes from memory in the machine's order: 1, 2, 4 or 8.
    pub fn load(size: u32, destination: u8, from: u8, offset: i16) -> Instruction {
        Instruction::new(LDX | MEMORY | width(size), destination, from, offset, 0)
    }

    /// Stores a register of 64 bits.
    pub fn store(to: u8, offset: i16, source: u8) -> Instruction {
        Instruction::store_sized(8, to, offset, source)
    }

    /// Stores the lower bytes of a register: 1, 2, 4 or 8.
    pub fn store_sized(size: u32, to: u8, offset: i16, source: u8) -> Instruction {
        Instruction::new(STX | MEMORY | width(size), to, source, offset, 0)
    }

    /// Loads 1, 2 or 4 bytes of the packet into R0, in the order of numbers. R6 must have the context. A packet without
    /// them ends the program with 0.
    pub fn packet(size: u32, offset: i32) -> Instruction {
        Instruction::new(LD | ABSOLUTE | width(size), 0, 0, 0, offset)
    }

    /// As [`Instruction::packet`], at an offset from a register.
    pub fn packet_at(size: u32, from: u8, offset: i32) -> Instruction {
        Instruction::new(LD | INDIRECT | width(size), 0, from, 0, offset)
    }

    /// Adds a register to memory of 4 or 8 bytes, as one step.
    pub fn atomic_add(size: u32, to: u8, offset: i16, source: u8) -> Instruction {
        Instruction::new(STX | ATOMIC | width(size), to, source, offset, 0)
    }

    /// Puts a map into a register, by its file descriptor: two instructions.
    pub fn map(destination: u8, descriptor: i32) -> (Instruction, Instruction) {
        let first = Instruction::new(LOAD_64, destination, MAP, 0, descriptor);
        (first, Instruction::new(0, 0, 0, 0, 0))
    }

    /// Calls a helper of the kernel.
    pub fn call(helper: i32) -> Instruction {
        Instruction::new(JMP | crate::code::CALL, 0, 0, 0, helper)
    }

    /// Returns.
    pub fn exit() -> Instruction {
        Instruction::new(JMP | crate::code::EXIT, 0, 0, 0, 0)
    }

    /// Puts a number into a register: one instruction, or two if it has more than 32 bits and a sign.
    pub fn number(destination: u8, number: i64) -> (Instruction, Option<Instruction>) {
        let low = number as i32;
        if i64::from(low) == number {
            return (Instruction::new(ALU64 | MOV, destination, 0, 0, low), None);
        }
        let second = Instruction::new(0, 0, 0, 0, (number >> 32) as i32);
        (Instruction::new(LOAD_64, destination, 0, 0, low), Some(second))
    }

    /// Returns the instruction as this machine's kernel reads it.
    pub fn bytes(self) -> [u8; SIZE] {
        // struct bpf_insn has bit fields, whose order follows that of bytes.
        let registers = match cfg!(target_endian = "little") {
            true => self.destination | self.source << 4,
            false => self.destination << 4 | self.source,
        };
        let [a, b] = self.offset.to_ne_bytes();
        let [c, d, e, f] = self.immediate.to_ne_bytes();
        [self.code, registers, a, b, c, d, e, f]
    }
}

/// Returns the bits of a code that stand for so many bytes.
fn width(size: u32) -> u8 {
    match size {
        1 => 0x10,
        2 => 0x08,
        8 => 0x18,
        _ => 0x00,
    }
}

/// Returns the number of bytes that a load or store is of.
pub fn size_of(code: u8) -> usize {
    match code & crate::code::SIZE {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}
