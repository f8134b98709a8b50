//! Writes the filter's function as a relocatable object that libbpf's linker joins with the probes. Imports
//! `instruction`.
//!
//! libbpf wants the types of the function (.BTF), and for each function where it begins and a line of source
//! (.BTF.ext). The symbol is hidden, so that the kernel verifies the function as a part of each program and not on its
//! own.

use super::instruction::{Instruction, SIZE};

/// The functions of a filter, as `bpf/src/filter/frame.h` declares them.
pub(super) const FILTER: &str = "ipft_filter";
pub(super) const INNER: &str = "ipft_inner_filter";

/// The magic number of .BTF and .BTF.ext, and the version.
const BTF_MAGIC: u16 = 0xeb9f;
const BTF_VERSION: u8 = 1;

/// Kinds of types (include/uapi/linux/btf.h).
const INT: u32 = 1 << 24;
const POINTER: u32 = 2 << 24;
const CONST: u32 = 10 << 24;
const FUNC: u32 = 12 << 24;
const FUNC_PROTO: u32 = 13 << 24;
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
    // A program has less than 2^15 instructions.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

/// Returns the object of a function of this name.
pub(super) fn write(name: &str, code: &[Instruction]) -> Vec<u8> {
    let text: Vec<u8> = code.iter().flat_map(|instruction| instruction.bytes()).collect();
    let mut strings = Bytes(vec![0]);
    let [strtab, text_name, symtab, btf_name, ext_name, function] =
        [".strtab", ".text", ".symtab", ".BTF", ".BTF.ext", name].map(|name| strings.text(name));

    let mut symbols = Bytes(vec![0; 24]);
    symbols.u32s(&[function]);
    symbols.0.extend([GLOBAL_FUNCTION, HIDDEN]);
    symbols.u16(TEXT);
    symbols.u64(0);
    symbols.u64(text.len() as u64);

    let (types, ext) = types(name);
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

/// Returns .BTF and .BTF.ext. The linker compares the names of types, too, with those of the probes' declaration.
fn types(name: &str) -> (Vec<u8>, Vec<u8>) {
    let mut strings = Bytes(vec![0]);
    let [
        int,
        long,
        unsigned,
        header,
        start,
        available,
        length,
        function,
        text,
        file,
        line,
    ] = [
        "int",
        "unsigned long long",
        "unsigned int",
        "header",
        "start",
        "available",
        "length",
        name,
        ".text",
        "filter",
        "the compiled filter",
    ]
    .map(|text| strings.text(text));
    let mut types = Bytes::default();
    types.u32s(&[int, INT, 4, SIGNED | 32]);
    types.u32s(&[long, INT, 8, 64]);
    types.u32s(&[unsigned, INT, 4, 32]);
    types.u32s(&[0, CONST, 0]);
    types.u32s(&[0, POINTER, 4]);
    types.u32s(&[0, FUNC_PROTO | 4, 1, header, 5, start, 2, available, 3, length, 3]);
    types.u32s(&[function, FUNC | GLOBAL, 6]);
    const FUNCTION_TYPE: u32 = 7;

    let mut btf = magic();
    let (types_len, strings_len) = (count(&types.0), count(&strings.0));
    btf.u32s(&[24, 0, types_len, types_len, strings_len]);
    btf.0.extend(types.0);
    btf.0.extend(strings.0);

    // Sizes of an entry, then for the section its name, the number of entries, and these.
    let mut functions = Bytes::default();
    functions.u32s(&[8, text, 1, 0, FUNCTION_TYPE]);
    let mut lines = Bytes::default();
    lines.u32s(&[16, text, 1, 0, file, line, 1 << 10]);
    let mut ext = magic();
    let (functions_len, lines_len) = (count(&functions.0), count(&lines.0));
    ext.u32s(&[24, 0, functions_len, functions_len, lines_len]);
    ext.0.extend(functions.0);
    ext.0.extend(lines.0);
    (btf.0, ext.0)
}

fn magic() -> Bytes {
    let mut bytes = Bytes::default();
    bytes.u16(BTF_MAGIC);
    bytes.0.extend([BTF_VERSION, 0]);
    bytes
}
