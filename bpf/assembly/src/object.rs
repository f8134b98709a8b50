//! Writes a function as a relocatable object that libbpf's linker joins with programs. Imports `instruction` and
//! `bpf_btf`.
//!
//! libbpf wants the types of the function (.BTF), and for each function where it begins and at least one line of
//! source (.BTF.ext), which the verifier's log then quotes. The symbol is hidden, so that the kernel verifies the
//! function as a part of each program and not on its own.

use bpf_btf::{Builder, Kind};

use crate::instruction::{Instruction, SIZE};

/// The magic number of .BTF.ext, and the version.
const BTF_MAGIC: u16 = 0xeb9f;
const BTF_VERSION: u8 = 1;

/// An integer of BTF that has a sign, and a function that others see.
const SIGNED: u32 = 1 << 24;
const GLOBAL: u32 = 1;

/// ELF (include/uapi/linux/elf.h).
const RELOCATABLE: u16 = 1;
const BPF: u16 = 247;
const HEADER: u16 = 64;
const PROGBITS: u32 = 1;
const SYMTAB: u32 = 2;
const STRTAB: u32 = 3;
const ALLOCATED_CODE: u64 = 6;
const GLOBAL_FUNCTION: u8 = 1 << 4 | 2;
const HIDDEN: u8 = 2;

/// The indices of sections.
const STRINGS: u32 = 1;
const TEXT: u16 = 2;

/// The bits that a column has in a line's record, and the most of a line's number.
const COLUMN_BITS: u32 = 10;
const LAST_COLUMN: u32 = (1 << COLUMN_BITS) - 1;
const LAST_LINE: u32 = (1 << (32 - COLUMN_BITS)) - 1;

/// The type of a parameter. The linker compares types, and their names, with those of the caller's declaration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parameter {
    /// `void *`
    Pointer,
    /// `const void *`
    ConstPointer,
    /// `unsigned long long`, as `__u64`
    U64,
    /// `unsigned int`, as `__u32`
    U32,
}

/// A line of source, of which instructions were made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The index of the first of these instructions.
    pub instruction: usize,
    /// The line's text.
    pub text: String,
    /// Its number, from 1 on.
    pub line: u32,
    /// The column, from 1 on.
    pub column: u32,
}

/// A function that returns an `int`.
#[derive(Debug, Clone, Copy)]
pub struct Object<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its parameters with their names.
    pub parameters: &'a [(&'a str, Parameter)],
    /// Its instructions.
    pub code: &'a [Instruction],
    /// The name of its source.
    pub file: &'a str,
    /// Lines of its source, in the order of their instructions, at least one for the first instruction.
    pub lines: &'a [Line],
}

/// Bytes in this machine's order.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn u16(&mut self, value: u16) {
        self.0.extend(value.to_ne_bytes());
    }

    fn u32s(&mut self, values: &[u32]) {
        self.0.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
    }

    fn u64(&mut self, value: u64) {
        self.0.extend(value.to_ne_bytes());
    }

    /// Adds text that ends with a zero, and returns its offset.
    fn text(&mut self, text: &str) -> u32 {
        let at = count(&self.0);
        self.0.extend(text.bytes().chain([0]));
        at
    }

    fn align(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
    }
}

fn count(bytes: &[u8]) -> u32 {
    // A program has less than 2^16 instructions.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

impl Object<'_> {
    /// Returns the object.
    pub fn write(&self) -> Vec<u8> {
        let text: Vec<u8> = self.code.iter().flat_map(|instruction| instruction.bytes()).collect();
        let mut strings = Bytes(vec![0]);
        let [strtab, text_name, symtab, btf_name, ext_name, function] =
            [".strtab", ".text", ".symtab", ".BTF", ".BTF.ext", self.name].map(|name| strings.text(name));

        let mut symbols = Bytes(vec![0; 24]);
        symbols.u32s(&[function]);
        symbols.0.extend([GLOBAL_FUNCTION, HIDDEN]);
        symbols.u16(TEXT);
        symbols.u64(0);
        symbols.u64(text.len() as u64);

        let (types, ext) = self.types();
        let mut file = Bytes(vec![0; usize::from(HEADER)]);
        let mut sections = Bytes(vec![0; usize::from(HEADER)]);
        let mut add = |file: &mut Bytes, name: u32, kind: u32, bytes: &[u8], flags: u64, link: u32, alignment: u64| {
            file.align();
            let entry = if kind == SYMTAB { 24 } else { 0 };
            sections.u32s(&[name, kind]);
            for value in [flags, 0, file.0.len() as u64, bytes.len() as u64] {
                sections.u64(value);
            }
            // For symbols: their strings, and the number of local ones.
            sections.u32s(&[link, link]);
            sections.u64(alignment);
            sections.u64(entry);
            file.0.extend(bytes);
        };
        add(&mut file, strtab, STRTAB, &strings.0, 0, 0, 1);
        add(&mut file, text_name, PROGBITS, &text, ALLOCATED_CODE, 0, SIZE as u64);
        add(&mut file, symtab, SYMTAB, &symbols.0, 0, STRINGS, 8);
        add(&mut file, btf_name, PROGBITS, &types, 0, 0, 4);
        add(&mut file, ext_name, PROGBITS, &ext, 0, 0, 4);
        file.align();
        let table = file.0.len() as u64;
        file.0.extend(&sections.0);
        let sections = sections.0.len() / usize::from(HEADER);

        let mut header = Bytes(vec![0x7f, b'E', b'L', b'F', 2]);
        header.0.push(if cfg!(target_endian = "little") { 1 } else { 2 });
        header.0.push(1);
        header.0.resize(16, 0);
        header.u16(RELOCATABLE);
        header.u16(BPF);
        header.u32s(&[1]);
        for value in [0, 0, table] {
            header.u64(value);
        }
        header.u32s(&[0]);
        for value in [
            HEADER,
            0,
            0,
            HEADER,
            u16::try_from(sections).unwrap_or(0),
            STRINGS as u16,
        ] {
            header.u16(value);
        }
        file.0[..usize::from(HEADER)].copy_from_slice(&header.0);
        file.0
    }

    /// Returns .BTF and .BTF.ext.
    fn types(&self) -> (Vec<u8>, Vec<u8>) {
        let mut types = Builder::new();
        let int = types.add(Kind::Int, "int", false, 0, 4, &[SIGNED | 32]);
        let mut made: Vec<(Parameter, u32)> = Vec::new();
        let mut rest = Vec::new();
        for (name, parameter) in self.parameters {
            let known = made.iter().find(|(kind, _)| kind == parameter).map(|(_, id)| *id);
            let id = known.unwrap_or_else(|| match parameter {
                Parameter::Pointer => types.pointer(0),
                Parameter::ConstPointer => {
                    let constant = types.refer(Kind::Const, "", 0);
                    types.pointer(constant)
                }
                Parameter::U64 => types.int("unsigned long long", 8),
                Parameter::U32 => types.int("unsigned int", 4),
            });
            made.push((*parameter, id));
            rest.extend([types.string(name), id]);
        }
        let parameters = u32::try_from(self.parameters.len()).unwrap_or(u32::MAX);
        let prototype = types.add(Kind::Prototype, "", false, parameters, int, &rest);
        let function = types.add(Kind::Function, self.name, false, GLOBAL, prototype, &[]);
        let (text, file) = (types.string(".text"), types.string(self.file));

        // Sizes of an entry, then for the section its name, the number of entries, and these.
        let mut functions = Bytes::default();
        functions.u32s(&[8, text, 1, 0, function]);
        let mut lines = Bytes::default();
        lines.u32s(&[16, text, u32::try_from(self.lines.len()).unwrap_or(u32::MAX)]);
        let mut last: Option<(&str, u32)> = None;
        for line in self.lines {
            let source = match last {
                Some((text, at)) if text == line.text => at,
                _ => types.string(&line.text),
            };
            last = Some((&line.text, source));
            let place = line.line.min(LAST_LINE) << COLUMN_BITS | line.column.min(LAST_COLUMN);
            let at = u32::try_from(line.instruction * SIZE).unwrap_or(u32::MAX);
            lines.u32s(&[at, file, source, place]);
        }
        let mut ext = Bytes::default();
        ext.u16(BTF_MAGIC);
        ext.0.extend([BTF_VERSION, 0]);
        let (functions_len, lines_len) = (count(&functions.0), count(&lines.0));
        ext.u32s(&[24, 0, functions_len, functions_len, lines_len]);
        ext.0.extend(functions.0);
        ext.0.extend(lines.0);
        (types.build(), ext.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpf_btf::Btf;

    #[test]
    fn types_of_a_function_are_read_back() {
        let code = [Instruction::number(0, 1).0, Instruction::exit()];
        let line = Line {
            instruction: 0,
            text: "return true".to_owned(),
            line: 1,
            column: 1,
        };
        let object = Object {
            name: "judge",
            parameters: &[
                ("packet", Parameter::ConstPointer),
                ("start", Parameter::U64),
                ("length", Parameter::U32),
                ("more", Parameter::U32),
                ("data", Parameter::Pointer),
            ],
            code: &code,
            file: "expression",
            lines: &[line.clone(), line],
        };
        let (types, ext) = object.types();
        let btf = Btf::parse(&types).unwrap();
        let function = btf.find(Kind::Function, "judge").unwrap();
        let prototype = btf.get(function.target()).unwrap();
        let kinds: Vec<_> = (prototype.parameters())
            .map(|parameter| (parameter.name(), btf.peel(parameter.type_id).unwrap().kind()))
            .collect();
        assert_eq!(
            kinds,
            [
                ("packet", Kind::Pointer),
                ("start", Kind::Int),
                ("length", Kind::Int),
                ("more", Kind::Int),
                ("data", Kind::Pointer)
            ]
        );
        assert_eq!(btf.size_of(prototype.target()), Some(4));
        // The header, a function, and two lines.
        assert_eq!(ext.len(), 24 + 20 + 12 + 2 * 16);
        assert!(object.write().starts_with(b"\x7fELF"));
    }
}
