//! Tests of what is left, and that it computes the same as before: of random programs, by an interpreter.

use super::*;

const MAP: i32 = 7;

fn constants(bytes: &[u8]) -> Constants<'_> {
    Constants { map: MAP, bytes }
}

fn instruction(code: u8, result: u8, source: u8, off: i16, imm: i32) -> bpf_insn {
    let mut instruction = bpf_insn {
        code,
        off,
        imm,
        ..bpf_insn::default()
    };
    instruction.set_dst_reg(result);
    instruction.set_src_reg(source);
    instruction
}

fn mov(register: u8, number: i32) -> bpf_insn {
    instruction(code::ALU64 | code::MOV, register, 0, 0, number)
}

fn copy(register: u8, source: u8) -> bpf_insn {
    instruction(code::ALU64 | code::MOV | code::REGISTER, register, source, 0, 0)
}

fn address(register: u8, offset: i32) -> [bpf_insn; 2] {
    let first = instruction(code::LOAD_64, register, code::MAP_VALUE, 0, MAP);
    [first, instruction(0, 0, 0, 0, offset)]
}

/// A load of 32 bits.
fn load_word(register: u8, source: u8, off: i16) -> bpf_insn {
    instruction(code::LDX | code::MEMORY, register, source, off, 0)
}

fn jump(operation: u8, register: u8, number: i32, off: i16) -> bpf_insn {
    instruction(code::JMP | operation, register, 0, off, number)
}

fn helper(number: i32) -> bpf_insn {
    instruction(code::JMP | code::CALL, 0, 0, 0, number)
}

fn call(offset: i32) -> bpf_insn {
    instruction(code::JMP | code::CALL, 0, code::OWN, 0, offset)
}

fn exit() -> bpf_insn {
    instruction(code::JMP | code::EXIT, 0, 0, 0, 0)
}

/// The members of an instruction: code, registers, offset and number.
fn parts(instruction: &bpf_insn) -> (u8, u8, u8, i16, i32) {
    let (result, source) = (instruction.dst_reg(), instruction.src_reg());
    (instruction.code, result, source, instruction.off, instruction.imm)
}

fn assert_becomes(program: &[bpf_insn], bytes: &[u8], expected: &[bpf_insn]) {
    let left = specialize(program, &constants(bytes)).expect("it knows the instructions");
    let left: Vec<_> = left.iter().map(parts).collect();
    let expected: Vec<_> = expected.iter().map(parts).collect();
    assert_eq!(left, expected);
}

/// `if (constants[4]) helper(1); return 0`, as a compiler writes it.
fn guarded() -> Vec<bpf_insn> {
    let [first, second] = address(1, 0);
    vec![
        first,
        second,
        load_word(2, 1, 4),
        jump(code::JEQ, 2, 0, 1),
        helper(1),
        mov(0, 0),
        exit(),
    ]
}

#[test]
fn code_that_the_constants_rule_out_goes() {
    assert_becomes(&guarded(), &[1, 0, 0, 0, 0, 0, 0, 0], &[mov(0, 0), exit()]);
}

#[test]
fn code_that_runs_stays_without_its_condition() {
    // The helper may read all that its registers for arguments have.
    let [first, second] = address(1, 0);
    let expected = [first, second, mov(2, 9), helper(1), mov(0, 0), exit()];
    assert_becomes(&guarded(), &[0, 0, 0, 0, 9, 0, 0, 0], &expected);
}

#[test]
fn numbers_keep_their_width() {
    let of = |bytes: &[u8; 8], code: u8| {
        let [first, second] = address(1, 0);
        let load = instruction(code::LDX | code::MEMORY | code, 0, 1, 0, 0);
        specialize(&[first, second, load, exit()], &constants(bytes)).unwrap()
    };
    let double = 0x18;
    assert_eq!(of(&[0xff; 8], double).len(), 2);
    assert_eq!(of(&[0xff; 8], double)[0].imm, -1);
    // The upper half of a word is 0.
    assert_eq!(of(&[0xff; 8], 0x00)[0].code, code::ALU | code::MOV);
    assert_eq!(of(&[0xff; 8], 0x08)[0].imm, 0xffff);
    assert_eq!(of(&[0xff; 8], 0x10)[0].imm, 0xff);
    assert_eq!(of(&[0, 0, 0, 0, 1, 0, 0, 0], double).len(), 3);
}

#[test]
fn loads_behind_the_constants_are_kept() {
    let [first, second] = address(1, 0);
    let program = [first, second, load_word(0, 1, 6), exit()];
    assert_becomes(&program, &[0; 8], &program);
    let program = [first, second, load_word(0, 1, -4), exit()];
    assert_becomes(&program, &[0; 8], &program);
}

#[test]
fn functions_without_a_call_go_and_calls_meet_theirs() {
    let [first, second] = address(1, 0);
    let program = [
        first,
        second,
        load_word(1, 1, 0),
        jump(code::JNE, 1, 0, 2),
        call(3), // the first function
        exit(),
        call(3), // the second
        exit(),
        mov(0, 1),
        exit(),
        mov(0, 2),
        exit(),
    ];
    let expected = [mov(1, 5), call(1), exit(), mov(0, 2), exit()];
    assert_becomes(&program, &[5, 0, 0, 0], &expected);
}

#[test]
fn arguments_that_all_calls_share_are_known() {
    let function = [jump(code::JEQ, 1, 3, 1), helper(1), mov(0, 0), exit()];
    let mut program = vec![mov(1, 3), call(3), mov(1, 3), call(1), exit()];
    program.extend(function);
    let expected = [mov(1, 3), call(3), mov(1, 3), call(1), exit(), mov(0, 0), exit()];
    assert_becomes(&program, &[], &expected);
    program[2] = mov(1, 4);
    assert_becomes(&program, &[], &program);
}

#[test]
fn registers_of_a_loop_are_not_known() {
    let program = [
        mov(6, 0),
        helper(1),
        instruction(code::ALU64 | code::ADD, 6, 0, 0, 1),
        jump(code::JLT, 6, 4, -3),
        mov(0, 0),
        exit(),
    ];
    assert_becomes(&program, &[], &program);
}

#[test]
fn a_place_that_is_written_later_is_no_number() {
    let number = [instruction(code::LOAD_64, 1, 0, 0, 1), instruction(0, 0, 0, 0, 0)];
    let program = [
        number[0],
        number[1],
        jump(code::JEQ, 1, 1, 1),
        helper(1),
        mov(0, 0),
        exit(),
    ];
    assert_becomes(&program, &[], &program);
}

#[test]
fn unknown_instructions_are_refused() {
    let none = constants(&[]);
    let function = instruction(code::LOAD_64, 1, code::FUNCTION, 0, 1);
    for unknown in [
        function,
        jump(0xe0, 0, 0, 0),                   // may_goto
        instruction(0x20, 0, 0, 0, 0),         // a load of the classic BPF
        jump(code::JA, 0, 0, -2),              // before the beginning
        instruction(code::ALU64, 15, 0, 0, 0), // no such register
    ] {
        assert!(
            specialize(&[unknown, exit(), exit()], &none).is_none(),
            "{:?}",
            parts(&unknown)
        );
    }
    assert!(specialize(&[mov(0, 0)], &none).is_none(), "it has no end");
    assert!(specialize(&[], &none).is_none());
}

/// The interpreter below computes by the same functions, so this says what they give.
#[test]
fn results_are_those_of_the_kernel() {
    // include/linux/filter.h and kernel/bpf/core.c: shifts by the lower bits, and 32 bits are extended by zeros.
    for (operation, left, right, in_64, in_32) in [
        (code::ADD, u64::MAX, 1, 0, 0),
        (code::SUB, 0, 1, u64::MAX, 0xffff_ffff),
        (code::MUL, 1 << 40 | 3, 5, 5 << 40 | 15, 15),
        (code::OR, 0xf0, 0x0f, 0xff, 0xff),
        (code::AND, 0xff, 0x0f, 0x0f, 0x0f),
        (code::XOR, 0xff, 0x0f, 0xf0, 0xf0),
        (code::MOV, 7, 1 << 32 | 9, 1 << 32 | 9, 9),
        (code::LSH, 3, 33, 3 << 33, 6),
        (code::LSH, 3, 65, 6, 6),
        (code::RSH, 0xf000_0000_8000_0000, 36, 0x0f00_0000, 0x0800_0000),
        (
            code::ARSH,
            0xf000_0000_8000_0000,
            36,
            0xffff_ffff_ff00_0000,
            0xf800_0000,
        ),
        (code::NEG, 1, 0, u64::MAX, 0xffff_ffff),
    ] {
        assert_eq!(wide(operation, left, right), Some(in_64), "{operation:#x}");
        assert_eq!(
            narrow(operation, left as u32, right as u32),
            Some(in_32),
            "{operation:#x}"
        );
    }
    let minus_one = u64::from(u32::MAX);
    for (operation, left, right, in_64, in_32) in [
        (code::JEQ, 1 << 32 | 5, 5, false, true),
        (code::JNE, 1 << 32 | 5, 5, true, false),
        (code::JGT, minus_one, 1, true, true),
        (code::JGE, 1, 1, true, true),
        (code::JLT, minus_one, 1, false, false),
        (code::JLE, 1, 1, true, true),
        (code::JSET, 1 << 32, 1 << 32, true, false),
        (code::JSGT, minus_one, 1, true, false),
        (code::JSGE, minus_one, 1, true, false),
        (code::JSLT, minus_one, 1, false, true),
        (code::JSLE, minus_one, 1, false, true),
    ] {
        let mut registers = NOTHING_KNOWN;
        (registers[1], registers[2]) = (Value::Number(left), Value::Number(right));
        for (class, expected) in [(code::JMP, in_64), (code::JMP32, in_32)] {
            let jump = instruction(class | operation | code::REGISTER, 1, 2, 0, 0);
            assert_eq!(
                condition(&jump, &registers),
                Some(expected),
                "{class:#x} {operation:#x}"
            );
        }
    }
}

/// What a program does that others see: helpers with their arguments, and the result.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    helpers: Vec<(i32, [u64; 5])>,
    result: u64,
}

/// Where the constants are.
const START: u64 = 1 << 40;

/// What registers have that nothing has set.
const UNSET: u64 = 0x5555_5555_5555;

fn run(program: &[bpf_insn], bytes: &[u8], input: u64) -> Seen {
    let mut seen = Seen::default();
    seen.result = run_function(program, bytes, 0, [input, 0, 0, 0, 0], &mut seen);
    seen
}

fn run_function(program: &[bpf_insn], bytes: &[u8], start: usize, input: [u64; 5], seen: &mut Seen) -> u64 {
    let mut registers = [UNSET; 11];
    registers[1..=5].copy_from_slice(&input);
    let mut at = start;
    loop {
        let instruction = &program[at];
        let mut to = at + slots(instruction);
        let (result, source) = (usize::from(instruction.dst_reg()), usize::from(instruction.src_reg()));
        let operation = operation(instruction);
        let right = match instruction.code & code::REGISTER {
            0 => i64::from(instruction.imm) as u64,
            _ => registers[source],
        };
        match class(instruction) {
            code::LD if instruction.src_reg() == code::MAP_VALUE => {
                registers[result] = START + u64::from(program[at + 1].imm as u32);
            }
            code::LD => {
                registers[result] = u64::from(instruction.imm as u32) | u64::from(program[at + 1].imm as u32) << 32;
            }
            code::LDX => {
                let place = registers[source].wrapping_add_signed(instruction.off.into());
                let constant = usize::try_from(place.wrapping_sub(START)).ok();
                let constant = constant.and_then(|at| bytes.get(at..at.checked_add(4)?));
                registers[result] = match constant {
                    Some(bytes) => u32::from_le_bytes(bytes.try_into().unwrap()).into(),
                    None => place.wrapping_mul(0x9e37_79b9) & 0xffff_ffff,
                };
            }
            code::ALU64 => {
                registers[result] = match operation {
                    code::END => registers[result].swap_bytes(),
                    operation => wide(operation, registers[result], right).unwrap(),
                };
            }
            code::ALU => {
                registers[result] = narrow(operation, registers[result] as u32, right as u32)
                    .unwrap()
                    .into();
            }
            _ => match operation {
                code::EXIT => return registers[0],
                code::CALL => {
                    let arguments: [u64; 5] = registers[1..=5].try_into().unwrap();
                    registers[0] = if instruction.src_reg() == code::OWN {
                        let function = relative(at, instruction.imm.into()).unwrap();
                        run_function(program, bytes, function, arguments, seen)
                    } else {
                        seen.helpers.push((instruction.imm, arguments));
                        arguments
                            .iter()
                            .fold(3, |sum: u64, word| sum.wrapping_mul(31).wrapping_add(*word))
                    };
                    registers[1..=5].fill(UNSET);
                }
                code::JA => to = relative(at, instruction.off.into()).unwrap(),
                _ => {
                    let known = registers.map(Value::Number);
                    if condition(instruction, &known).unwrap() {
                        to = relative(at, instruction.off.into()).unwrap();
                    }
                }
            },
        }
        at = to;
    }
}

/// Numbers that only look random.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())]
    }
}

/// Writes a function of so many instructions, from `start` of the program on, whose jumps go forward. `functions` are
/// where the others begin.
fn write(dice: &mut Dice, start: usize, length: usize, functions: &[usize]) -> Vec<bpf_insn> {
    const COMPUTED: [u8; 11] = [
        code::ADD,
        code::SUB,
        code::MUL,
        code::OR,
        code::AND,
        code::LSH,
        code::RSH,
        code::XOR,
        code::MOV,
        code::ARSH,
        code::NEG,
    ];
    const CONDITIONS: [u8; 11] = [
        code::JEQ,
        code::JGT,
        code::JGE,
        code::JSET,
        code::JNE,
        code::JSGT,
        code::JSGE,
        code::JLT,
        code::JLE,
        code::JSLT,
        code::JSLE,
    ];
    let numbers = [-1, 0, 1, 2, 7, 40, 0x7fff_ffff, i32::MIN];
    let mut program: Vec<bpf_insn> = Vec::new();
    // Places in the middle of an instruction, which no jump may meet.
    let mut seconds = Vec::new();
    while program.len() < length {
        let register = dice.roll(10) as u8;
        let source = dice.roll(10) as u8;
        let form = dice.pick(&[0, code::REGISTER]);
        let off = dice.roll(6) as i16;
        let written = match dice.roll(12) {
            0 => {
                seconds.push(program.len() + 1);
                let offset = dice.roll(5) as i32 * 4;
                program.extend(address(register, offset));
                continue;
            }
            1 | 2 => load_word(register, source, off * 4),
            3 => helper(off.into()),
            4 if !functions.is_empty() => {
                let place = start + program.len() + 1;
                call(dice.pick(functions) as i32 - place as i32)
            }
            4 | 5 => mov(register, dice.pick(&numbers)),
            6 => copy(register, source),
            7 => jump(code::JA, 0, 0, off),
            8 | 9 => {
                let class = dice.pick(&[code::JMP, code::JMP32]);
                let source = if form == 0 { 0 } else { source };
                instruction(
                    class | dice.pick(&CONDITIONS) | form,
                    register,
                    source,
                    off,
                    dice.pick(&numbers),
                )
            }
            10 if off == 0 => instruction(code::ALU64 | code::END, register, 0, 0, 64),
            _ => {
                let class = dice.pick(&[code::ALU, code::ALU64]);
                let operation = dice.pick(&COMPUTED);
                let form = if operation == code::NEG { 0 } else { form };
                let (source, number) = if form == 0 {
                    (0, dice.pick(&numbers))
                } else {
                    (source, 0)
                };
                instruction(class | operation | form, register, source, 0, number)
            }
        };
        program.push(written);
    }
    let end = program.len();
    program.push(exit());
    for (at, instruction) in program.iter_mut().enumerate().take(end) {
        let is_within = seconds.contains(&at);
        if !is_within && matches!(next(instruction, at), Some(Next::Jump(_) | Next::Branch(_))) {
            let mut target = (at + 1 + instruction.off as usize).min(end);
            target += usize::from(seconds.contains(&target));
            instruction.off = (target - at - 1) as i16;
        }
    }
    program
}

#[test]
fn random_programs_compute_the_same_as_before() {
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let (mut before, mut after) = (0, 0);
    for round in 0..4_000 {
        let lengths = [20 + dice.roll(40), 5 + dice.roll(20), 5 + dice.roll(20)];
        // The last instruction of a function may have two slots, so where the next begins is known only now.
        let mut third = Vec::new();
        let mut second = Vec::new();
        let mut program = Vec::new();
        for _ in 0..2 {
            let begins = [program.len(), program.len() + second.len()];
            let mut again = Dice(dice.0);
            program = write(&mut again, 0, lengths[0], &begins);
            second = write(&mut again, program.len(), lengths[1], &[begins[1]]);
            third = write(&mut again, program.len() + second.len(), lengths[2], &[]);
        }
        dice.roll(2);
        program.extend(second);
        program.extend(third);
        let mut bytes = [0; 16];
        for byte in bytes.iter_mut().step_by(4) {
            *byte = dice.roll(3) as u8;
        }
        let special = specialize(&program, &constants(&bytes)).expect("it knows the instructions");
        before += program.len();
        after += special.len();
        for input in [0, 1, u64::MAX, dice.0] {
            assert_eq!(
                run(&program, &bytes, input),
                run(&special, &bytes, input),
                "program {round}: {:?}",
                program.iter().map(parts).collect::<Vec<_>>()
            );
        }
    }
    assert!(
        after * 3 < before * 2,
        "{before} instructions became {after}: little to compare"
    );
}
