//! Finds the operands that user space replaces (`IPFT_..._PLACE` in `wire.h`) in a compiled object, and checks that each
//! program has the expected ones. Imports `layout`.
//!
//! Anything unexpected is a panic: it stops the build. So no place is left out when the compiler arranges it otherwise.

use crate::layout::{Defines, Elf, Section};

/// Size of an instruction (`struct bpf_insn`), and where its operand is.
const INSTRUCTION: usize = 8;
const OPERAND: usize = 4;

/// Operation codes: `dst &= imm`, `if w(dst) == imm`, `if w(dst) != imm`, and the first half of `dst = imm64`.
const AND: u8 = 0x57;
const EQUAL: u8 = 0x16;
const UNEQUAL: u8 = 0x56;
const LOAD_64: u8 = 0x18;

/// Positions of instructions in an object.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) masks: Vec<usize>,
    pub(crate) marks: Vec<usize>,
}

/// Finds the places in an object. Programs that send no event for an entry, which `is_silent` recognizes by their
/// names, have none.
pub(crate) fn find(object: &[u8], defines: &Defines, is_silent: impl Fn(&str) -> bool) -> Places {
    let value = |name: &str| u32::try_from(defines.value(name)).expect("an operand has 32 bits");
    let (mask, mark) = (value("IPFT_MASK_PLACE"), value("IPFT_MARK_PLACE"));
    let function = value("IPFT_FUNCTION_PLACE");

    let mut places = Places::default();
    let elf = Elf::parse(object);
    for section in elf.sections.iter().filter(|section| section.is_code()) {
        let (mut masks, mut marks) = (Vec::new(), Vec::new());
        for at in (section.start..section.end()).step_by(INSTRUCTION) {
            let instruction = &object[at..at + INSTRUCTION];
            let operand = u32::from_le_bytes(instruction[OPERAND..].try_into().expect("four bytes"));
            match (operand, instruction[0]) {
                (operand, AND) if operand == mask => masks.push(at),
                (operand, EQUAL | UNEQUAL) if operand == mark => marks.push(at),
                (operand, LOAD_64) if operand == function => {}
                (operand, code) => assert!(
                    ![mask, mark, function].contains(&operand),
                    "the operand {operand:#x} is in an instruction where none is replaced (code {code:#x})"
                ),
            }
        }
        check(&elf, section, &is_silent, &masks, &marks);
        places.masks.extend(masks);
        places.marks.extend(marks);
    }
    assert!(!places.marks.is_empty(), "no program compares a mark");
    places
}

/// Panics unless each program that sends events for entries has one mask and one mark, and nothing else has any.
fn check(elf: &Elf<'_>, section: &Section<'_>, is_silent: &impl Fn(&str) -> bool, masks: &[usize], marks: &[usize]) {
    let mut expected = 0;
    for function in elf
        .functions
        .iter()
        .filter(|function| function.section == section.index)
    {
        let range = section.start + function.start..section.start + function.start + function.size;
        let wanted = usize::from(function.is_global && !is_silent(function.name));
        for found in [masks, marks] {
            let count = found.iter().filter(|at| range.contains(at)).count();
            assert!(
                count == wanted,
                "{} has {count} places of the mark, not {wanted}",
                function.name
            );
        }
        expected += wanted;
    }
    assert!(
        masks.len() == expected && marks.len() == expected,
        "a place is in no function"
    );
}
