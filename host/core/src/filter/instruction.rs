//! Instructions of BPF, as the kernel has them (include/uapi/linux/bpf.h). Imports nothing.

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

/// Two instructions of eight bytes.
pub(super) const SIZE: usize = 8;

/// Classes.
pub(super) const LDX: u8 = 0x61;
pub(super) const STX: u8 = 0x63;
pub(super) const ALU: u8 = 0x04;
pub(super) const ALU64: u8 = 0x07;
pub(super) const JMP: u8 = 0x05;
pub(super) const JMP32: u8 = 0x06;
/// The second operand is a register.
pub(super) const REGISTER: u8 = 0x08;

/// Operations of both arithmetic classes.
pub(super) const ADD: u8 = 0x00;
pub(super) const SUB: u8 = 0x10;
pub(super) const MUL: u8 = 0x20;
pub(super) const DIV: u8 = 0x30;
pub(super) const OR: u8 = 0x40;
pub(super) const AND: u8 = 0x50;
pub(super) const LSH: u8 = 0x60;
pub(super) const RSH: u8 = 0x70;
pub(super) const NEG: u8 = 0x80;
pub(super) const MOD: u8 = 0x90;
pub(super) const XOR: u8 = 0xa0;
pub(super) const MOV: u8 = 0xb0;
/// To big-endian order, which is that of packets.
pub(super) const TO_BE: u8 = 0xd0 | 0x08;

/// Jumps.
pub(super) const JA: u8 = 0x00;
pub(super) const JEQ: u8 = 0x10;
pub(super) const JGT: u8 = 0x20;
pub(super) const JGE: u8 = 0x30;
pub(super) const JSET: u8 = 0x40;
pub(super) const JNE: u8 = 0x50;
pub(super) const CALL: u8 = 0x80;
pub(super) const EXIT: u8 = 0x90;
pub(super) const JLT: u8 = 0xa0;
pub(super) const JLE: u8 = 0xb0;

/// The frame pointer.
pub(super) const FP: u8 = 10;

/// The helper `bpf_probe_read_kernel`.
pub(super) const PROBE_READ_KERNEL: i32 = 113;

impl Instruction {
    pub(super) fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction {
            code,
            destination,
            source,
            offset,
            immediate,
        }
    }

    /// An operation with a constant. Classes of 32 bits take it as unsigned.
    pub(super) fn constant(code: u8, destination: u8, constant: u32) -> Instruction {
        Instruction::new(code, destination, 0, 0, constant.cast_signed())
    }

    /// An operation with a register.
    pub(super) fn register(code: u8, destination: u8, source: u8) -> Instruction {
        Instruction::new(code | REGISTER, destination, source, 0, 0)
    }

    /// Loads bytes from memory in the machine's order.
    pub(super) fn load(size: u32, destination: u8, from: u8, offset: i16) -> Instruction {
        Instruction::new(LDX | width(size), destination, from, offset, 0)
    }

    /// Stores a register of 64 bits.
    pub(super) fn store(to: u8, offset: i16, source: u8) -> Instruction {
        Instruction::new(STX | width(8), to, source, offset, 0)
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

fn width(size: u32) -> u8 {
    match size {
        1 => 0x10,
        2 => 0x08,
        8 => 0x18,
        _ => 0x00,
    }
}
