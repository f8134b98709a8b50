//! x86-64.

use super::super::btf::{Btf, Kind, Type};
use super::super::function::SkipReason;

/// clang's definition for BPF programs that read registers (`bpf_tracing.h`).
pub const BPF_TARGET: &str = "-D__TARGET_ARCH_x86";

/// Whether the code of functions can be examined.
pub(in super::super) const CODE_IS_KNOWN: bool = true;

/// Bytes at a function's beginning that say whether ftrace can patch it.
pub(in super::super) const ENTRY: usize = 9;

/// Dimensions of an array in a struct that is looked at: BTF may claim any number.
const MAX_DIMENSIONS: u32 = 32;

/// Argument registers for integers and pointers: rdi, rsi, rdx, rcx, r8, r9.
const REGISTERS: u8 = 6;

/// How the x86-64 System V ABI passes a value (its section 3.2.3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Passing {
    Registers(u8),
    Stack,
    Unknown,
}

/// The register of the parameter `index`, which is a pointer.
pub(in super::super) fn register(btf: &Btf, prototype: &Type, index: usize) -> Result<u8, SkipReason> {
    let mut next = 0;
    // A struct that is returned in memory has its address in the first register.
    if prototype.target() != 0 && passing(btf, prototype.target()) == Passing::Stack {
        next += 1;
    }
    for parameter in prototype.parameters().take(index) {
        match passing(btf, parameter.type_id) {
            // Arguments that do not fit in the remaining registers go to the stack as a whole and leave them free.
            Passing::Registers(count) if next + count <= REGISTERS => next += count,
            Passing::Registers(_) | Passing::Stack => {}
            Passing::Unknown => return Err(SkipReason::UnknownRegisters),
        }
    }
    if next < REGISTERS {
        Ok(next)
    } else {
        Err(SkipReason::OnStack)
    }
}

fn passing(btf: &Btf, id: u32) -> Passing {
    let Some(found) = btf.peel(id) else {
        return Passing::Unknown;
    };
    match found.kind() {
        Kind::Pointer | Kind::Enum | Kind::Enum64 => Passing::Registers(1),
        Kind::Int => match found.size() {
            Some(1..=8) => Passing::Registers(1),
            Some(16) => Passing::Registers(2),
            _ => Passing::Unknown,
        },
        Kind::Struct | Kind::Union => match found.size() {
            // C's empty struct is not passed at all.
            Some(0) => Passing::Registers(0),
            Some(size @ 1..=16) => match fields(btf, &found, 0, &mut 64) {
                Fields::Aligned => Passing::Registers(size.div_ceil(8) as u8),
                Fields::Unaligned => Passing::Stack,
                Fields::Unknown => Passing::Unknown,
            },
            Some(_) => Passing::Stack,
            None => Passing::Unknown,
        },
        _ => Passing::Unknown,
    }
}

/// Properties that decide how a small struct is passed: one with a misaligned field goes to the stack, one with a
/// floating-point field to other registers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fields {
    Aligned,
    Unaligned,
    Unknown,
}

/// Looks at the fields of a struct that begins `base` bits into the argument. `budget` bounds the fields looked at:
/// no struct of 16 bytes has that many, but BTF can claim that one has.
fn fields(btf: &Btf, composite: &Type, base: u64, budget: &mut u32) -> Fields {
    for member in composite.members() {
        let Some(left) = budget.checked_sub(1) else {
            return Fields::Unknown;
        };
        *budget = left;
        let offset = base + u64::from(member.bit_offset);
        let mut leaf = btf.peel(member.type_id);
        for _ in 0..MAX_DIMENSIONS {
            match leaf.and_then(|found| found.array()) {
                Some(array) => leaf = btf.peel(array.element),
                None => break,
            }
        }
        let Some(leaf) = leaf else {
            return Fields::Unknown;
        };
        let alignment = match leaf.kind() {
            Kind::Struct | Kind::Union => match fields(btf, &leaf, offset, budget) {
                Fields::Aligned => continue,
                other => return other,
            },
            Kind::Pointer => 8,
            Kind::Int | Kind::Enum | Kind::Enum64 => leaf.size().unwrap_or(0).max(1),
            _ => return Fields::Unknown,
        };
        if member.bits.is_none() && !offset.is_multiple_of(u64::from(alignment) * 8) {
            return Fields::Unaligned;
        }
    }
    Fields::Aligned
}

/// Whether a function at this address begins with ftrace's NOP, or with a call or a jump to a `tracer`: it was compiled
/// for ftrace then (arch/x86/kernel/ftrace.c).
pub(in super::super) fn is_patchable(address: u64, code: [u8; ENTRY], is_tracer: impl Fn(u64) -> bool) -> bool {
    let [a, b, c, d, e, f, g, h, i] = code;
    let (first, second) = ([a, b, c, d, e], [e, f, g, h, i]);
    let traced = |address, code| target(address, code).is_some_and(&is_tracer);
    // Behind the mark of a target of indirect calls.
    let mark = u32::from_le_bytes([a, b, c, d]);
    is_nop(first)
        || traced(address, first)
        || is_nop(second)
        || (ENDBR.contains(&mark) && traced(address.wrapping_add(4), second))
}

/// Returns the target of a relative call, or of a jump, which BPF trampolines that return for the function use from
/// 6.19 on (include/linux/bpf.h, `bpf_trampoline_use_jmp`).
fn target(address: u64, code: [u8; 5]) -> Option<u64> {
    let [0xe8 | 0xe9, distance @ ..] = code else {
        return None;
    };
    Some((address.wrapping_add(5)).wrapping_add_signed(i64::from(i32::from_le_bytes(distance))))
}

/// `endbr64`, and the NOPs that replace it in functions without indirect calls (arch/x86/include/asm/ibt.h).
const ENDBR: [u32; 3] = [0xfa1e_0ff3, 0x001f_0f66, 0xd640_1f0f];

/// Returns whether ftrace's NOP is here (arch/x86/include/asm/nops.h; up to 5.12 arch/x86/kernel/alternative.c, where
/// the oldest AMD processors have one of their own). While the kernel patches it, its first byte is a breakpoint.
fn is_nop(code: [u8; 5]) -> bool {
    matches!(code, [0x0f | 0xcc, 0x1f, 0x44, 0, 0] | [0x66, 0x66, 0x66, 0x66, 0x90])
}

/// Returns where a function goes on behind ftrace's NOP, or none if it does not begin with one.
pub(in super::super) fn behind_nop(code: &[u8]) -> Option<usize> {
    let is_nop_at = |at: usize| {
        let found = code.get(at..at + 5).and_then(|code| code.try_into().ok());
        // The breakpoint of a kernel that is patching it is none.
        found.is_some_and(|code: [u8; 5]| code[0] != 0xcc && is_nop(code))
    };
    let mark = code.first_chunk().map(|mark| u32::from_le_bytes(*mark))?;
    if is_nop_at(0) {
        Some(5)
    } else {
        (ENDBR.contains(&mark) && is_nop_at(4)).then_some(9)
    }
}

/// Returns whether some instruction may jump to this offset. The code is not decoded: any byte may begin a jump.
pub(in super::super) fn may_jump_to(code: &[u8], offset: usize) -> bool {
    let distance = |end: usize| offset as i64 - end as i64;
    let short = code.windows(2).take(offset + 0x82).enumerate();
    // jmp rel8, jcc rel8, and loop and jrcxz.
    let is_short = |(at, code): (usize, &[u8])| {
        matches!(code[0], 0xeb | 0x70..=0x7f | 0xe0..=0xe3) && i64::from(code[1] as i8) == distance(at + 2)
    };
    // jmp rel32 (e9), jcc rel32 (0f 80 to 8f).
    let near = code.windows(5).enumerate();
    let is_near = |(at, code): (usize, &[u8])| {
        matches!(code[0], 0xe9 | 0x80..=0x8f)
            && i64::from(i32::from_le_bytes([code[1], code[2], code[3], code[4]])) == distance(at + 5)
    };
    short.into_iter().any(is_short) || near.into_iter().any(is_near)
}
