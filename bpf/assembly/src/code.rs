//! Bits of an instruction's code (include/uapi/linux/bpf_common.h, bpf.h). Imports nothing.
//!
//! A code is a class, and with it: for loads and stores a mode and a size, for the others an operation and
//! [`REGISTER`] if the second operand is one.

/// The bits of the class.
pub const CLASS: u8 = 0x07;
/// Loads of 64-bit constants, and those of the classic BPF.
pub const LD: u8 = 0x00;
/// Loads into a register.
pub const LDX: u8 = 0x01;
/// Stores of a constant.
pub const ST: u8 = 0x02;
/// Stores of a register.
pub const STX: u8 = 0x03;
/// Arithmetic of 32 bits.
pub const ALU: u8 = 0x04;
/// Jumps that compare 64 bits.
pub const JMP: u8 = 0x05;
/// Jumps that compare 32 bits.
pub const JMP32: u8 = 0x06;
/// Arithmetic of 64 bits.
pub const ALU64: u8 = 0x07;

/// The bits of the operation, of those that compute and those that jump.
pub const OPERATION: u8 = 0xf0;
/// The second operand is a register.
pub const REGISTER: u8 = 0x08;

/// The whole code of the load of a 64-bit constant, which takes two instructions.
pub const LOAD_64: u8 = 0x18;
/// The bits of the mode.
pub const MODE: u8 = 0xe0;
/// The bits of the size.
pub const SIZE: u8 = 0x18;
/// Mode: bytes of the packet at a constant offset, in network order; without them, the program ends.
pub const ABSOLUTE: u8 = 0x20;
/// Mode: the same at an offset in a register.
pub const INDIRECT: u8 = 0x40;
/// Mode: memory.
pub const MEMORY: u8 = 0x60;
/// Mode: memory, with sign.
pub const MEMORY_SIGNED: u8 = 0x80;
/// Mode: atomic.
pub const ATOMIC: u8 = 0xc0;

/// Adds.
pub const ADD: u8 = 0x00;
/// Subtracts.
pub const SUB: u8 = 0x10;
/// Multiplies.
pub const MUL: u8 = 0x20;
/// Divides without sign.
pub const DIV: u8 = 0x30;
/// Bitwise or.
pub const OR: u8 = 0x40;
/// Bitwise and.
pub const AND: u8 = 0x50;
/// Shifts to the left.
pub const LSH: u8 = 0x60;
/// Shifts to the right.
pub const RSH: u8 = 0x70;
/// Negates.
pub const NEG: u8 = 0x80;
/// The rest of a division without sign.
pub const MOD: u8 = 0x90;
/// Bitwise exclusive or.
pub const XOR: u8 = 0xa0;
/// Copies.
pub const MOV: u8 = 0xb0;
/// Shifts to the right with sign.
pub const ARSH: u8 = 0xc0;
/// Changes the order of bytes.
pub const END: u8 = 0xd0;
/// To big-endian order, which is that of packets.
pub const TO_BE: u8 = END | REGISTER;

/// Jumps always.
pub const JA: u8 = 0x00;
/// Jumps if equal.
pub const JEQ: u8 = 0x10;
/// Jumps if greater, without sign.
pub const JGT: u8 = 0x20;
/// Jumps if greater or equal, without sign.
pub const JGE: u8 = 0x30;
/// Jumps if they have a bit in common.
pub const JSET: u8 = 0x40;
/// Jumps if not equal.
pub const JNE: u8 = 0x50;
/// Jumps if greater.
pub const JSGT: u8 = 0x60;
/// Jumps if greater or equal.
pub const JSGE: u8 = 0x70;
/// Calls a helper, or a function of the program.
pub const CALL: u8 = 0x80;
/// Returns.
pub const EXIT: u8 = 0x90;
/// Jumps if less, without sign.
pub const JLT: u8 = 0xa0;
/// Jumps if less or equal, without sign.
pub const JLE: u8 = 0xb0;
/// Jumps if less.
pub const JSLT: u8 = 0xc0;
/// Jumps if less or equal.
pub const JSLE: u8 = 0xd0;

/// Source register of a load of 64 bits: a map, by its file descriptor.
pub const MAP: u8 = 1;
/// Source register of a load of 64 bits: an address in a map's value.
pub const MAP_VALUE: u8 = 2;
/// Source register of a load of 64 bits: a function's address.
pub const FUNCTION: u8 = 4;
/// Source register of a call: a function of the program.
pub const OWN: u8 = 1;
