//! The text of instructions, as the kernel's verifier and llvm-objdump write them. Imports `code` and `instruction`.

use std::fmt::Write;

use crate::code::{
    ABSOLUTE, ADD, ALU, ALU64, AND, ARSH, ATOMIC, CALL, CLASS, DIV, END, EXIT, INDIRECT, JA, JEQ, JGE, JGT, JLE, JLT,
    JMP, JMP32, JNE, JSET, JSGE, JSGT, JSLE, JSLT, LD, LDX, LOAD_64, LSH, MAP, MEMORY_SIGNED, MOD, MODE, MOV, MUL, NEG,
    OPERATION, OR, REGISTER, RSH, ST, STX, SUB, XOR,
};
use crate::instruction::{Instruction, size_of};

/// Returns one line for each instruction, with its index.
pub fn text(code: &[Instruction]) -> String {
    let mut lines = String::new();
    let mut at = 0;
    while let Some(instruction) = code.get(at) {
        let second = (instruction.code == LOAD_64).then(|| code.get(at + 1)).flatten();
        let _ = writeln!(lines, "{at}: {}", line(*instruction, second));
        at += 1 + usize::from(second.is_some());
    }
    lines
}

fn line(instruction: Instruction, second: Option<&Instruction>) -> String {
    let Instruction {
        code,
        destination,
        source,
        offset,
        immediate,
    } = instruction;
    let operation = code & OPERATION;
    let class = code & CLASS;
    let letter = if matches!(class, ALU | JMP32) { 'w' } else { 'r' };
    let operand = match code & REGISTER {
        0 => immediate.to_string(),
        _ => format!("{letter}{source}"),
    };
    let type_of = |code: u8| {
        let letter = if code & MODE == MEMORY_SIGNED { 's' } else { 'u' };
        format!("*({letter}{} *)", size_of(code) * 8)
    };
    if code == LOAD_64 && source == MAP {
        return format!("r{destination} = map[fd:{immediate}]");
    }
    if code == LOAD_64 {
        let high = second.map_or(0, |second| second.immediate);
        let number = i64::from(high) << 32 | i64::from(immediate.cast_unsigned());
        return format!("r{destination} = {number} ll");
    }
    match class {
        LDX => format!("r{destination} = {}(r{source} {offset:+})", type_of(code)),
        LD if code & MODE == ABSOLUTE => format!("r0 = {}skb[{immediate}]", type_of(code)),
        LD if code & MODE == INDIRECT => format!("r0 = {}skb[r{source} {immediate:+}]", type_of(code)),
        STX if code & MODE == ATOMIC && immediate == 0 => {
            format!("lock {}(r{destination} {offset:+}) += r{source}", type_of(code))
        }
        STX => format!("{}(r{destination} {offset:+}) = r{source}", type_of(code)),
        ST => format!("{}(r{destination} {offset:+}) = {immediate}", type_of(code)),
        ALU | ALU64 => match (operation, arithmetic(operation)) {
            (MOV, _) => format!("{letter}{destination} = {operand}"),
            (NEG, _) => format!("{letter}{destination} = -{letter}{destination}"),
            (END, _) => {
                let order = if code & REGISTER == 0 { "le" } else { "be" };
                format!("r{destination} = {order}{immediate} r{destination}")
            }
            (_, Some(sign)) => format!("{letter}{destination} {sign}= {operand}"),
            _ => format!("unknown code {code:#04x}"),
        },
        JMP | JMP32 => match (operation, comparison(operation)) {
            (JA, _) => format!("goto {offset:+}"),
            (CALL, _) => format!("call {immediate}"),
            (EXIT, _) => "exit".to_owned(),
            (_, Some(sign)) => format!("if {letter}{destination} {sign} {operand} goto {offset:+}"),
            _ => format!("unknown code {code:#04x}"),
        },
        _ => format!("unknown code {code:#04x}"),
    }
}

fn arithmetic(operation: u8) -> Option<&'static str> {
    Some(match operation {
        ADD => "+",
        SUB => "-",
        MUL => "*",
        DIV => "/",
        OR => "|",
        AND => "&",
        LSH => "<<",
        RSH => ">>",
        MOD => "%",
        XOR => "^",
        ARSH => "s>>",
        _ => return None,
    })
}

fn comparison(operation: u8) -> Option<&'static str> {
    Some(match operation {
        JEQ => "==",
        JGT => ">",
        JGE => ">=",
        JSET => "&",
        JNE => "!=",
        JSGT => "s>",
        JSGE => "s>=",
        JLT => "<",
        JLE => "<=",
        JSLT => "s<",
        JSLE => "s<=",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_instruction_has_a_text() {
        let (first, second) = Instruction::number(3, -1 << 40);
        let code = [
            Instruction::copy(6, 1),
            first,
            second.unwrap(),
            Instruction::load(2, 7, 10, -8),
            Instruction::store(10, -16, 7),
            Instruction::constant(ALU | ADD, 7, 5),
            Instruction::new(ALU | END | REGISTER, 7, 0, 0, 16),
            Instruction::new(JMP | JSGE, 7, 0, 2, -3),
            Instruction::new(JMP32 | JNE | REGISTER, 7, 6, 1, 0),
            Instruction::call(113),
            Instruction::new(JMP | JA, 0, 0, 0, 0),
            Instruction::new(ALU64 | NEG, 7, 0, 0, 0),
            Instruction::packet(1, 23),
            Instruction::packet_at(2, 7, 14),
            Instruction::atomic_add(8, 0, 0, 8),
            Instruction::map(1, 5).0,
            Instruction::map(1, 5).1,
            Instruction::exit(),
            Instruction::new(0xff, 0, 0, 0, 0),
        ];
        let expected = "\
0: r6 = r1
1: r3 = -1099511627776 ll
3: r7 = *(u16 *)(r10 -8)
4: *(u64 *)(r10 -16) = r7
5: w7 += 5
6: r7 = be16 r7
7: if r7 s>= -3 goto +2
8: if w7 != w6 goto +1
9: call 113
10: goto +0
11: r7 = -r7
12: r0 = *(u8 *)skb[23]
13: r0 = *(u16 *)skb[r7 +14]
14: lock *(u64 *)(r0 +0) += r8
15: r1 = map[fd:5]
17: exit
18: unknown code 0xff
";
        assert_eq!(text(&code), expected);
    }
}
