//! Test support for this module: hand-made BTF, and trees that look like `/proc` and `/sys`.

use super::Root;
pub(crate) use super::btf::Builder as BtfBuilder;
use super::btf::Kind;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A symbol: its kind, name and address.
pub(crate) type Printed<'a> = (u8, &'a str, u64);

/// Base of the 32-bit symbol addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Relative {
    PerCpu,
    Base,
    Itself,
}

/// Writes a kernel's memory, as `/proc/kcore` shows it.
pub(crate) struct CoreBuilder {
    segments: Vec<(u64, Vec<u8>)>,
    note: String,
}

/// Addresses of a made kernel's symbols and modules.
const SYMBOL_TABLES: u64 = 0xffff_ffff_9000_0000;
const MODULES: u64 = 0xffff_ffff_c100_0000;
/// Offsets of the relevant members in a made module's `struct module`.
const MODULE: [(&str, u32); 4] = [("state", 0), ("list", 8), ("name", 24), ("kallsyms", 80)];
const MODULE_SYMBOLS: [(&str, u32); 4] = [("symtab", 0), ("num_symtab", 8), ("strtab", 16), ("typetab", 24)];
const MODULE_LEN: u64 = 1 << 12;
const KALLSYMS: u64 = 0x100;

/// Adds the structures that [`CoreBuilder::modules`] makes.
pub(crate) fn add_module_types(types: &mut BtfBuilder, int: u32) {
    for (name, members) in [("module", MODULE), ("mod_kallsyms", MODULE_SYMBOLS)] {
        let members = members.map(|(member, at)| (member, int, at * 8));
        types.composite(Kind::Struct, name, 128, &members);
    }
}

impl CoreBuilder {
    pub(crate) fn new() -> Self {
        CoreBuilder {
            segments: Vec::new(),
            note: "OSRELEASE=6.12.1\n".to_owned(),
        }
    }

    pub(crate) fn segment(mut self, address: u64, bytes: Vec<u8>) -> Self {
        self.segments.push((address, bytes));
        self
    }

    /// A symbol table, and the note that says where it is. Each code stands for the letter of its number, but for one.
    pub(crate) fn symbols(mut self, relative: Relative, symbols: &[Printed]) -> Self {
        const SHORT: &[u8] = b"skb_";
        const CODE: u8 = 1;
        let (mut names, mut offsets) = (Vec::new(), Vec::new());
        let (mut tokens, mut starts) = (Vec::new(), Vec::new());
        for code in 0..=255 {
            starts.extend_from_slice(&(tokens.len() as u16).to_le_bytes());
            tokens.extend_from_slice(if code == CODE {
                SHORT
            } else {
                std::slice::from_ref(&code)
            });
            tokens.push(0);
        }
        for (kind, name, _) in symbols {
            let mut codes = vec![*kind];
            let mut rest = name.as_bytes();
            while let Some((first, behind)) = rest.split_first() {
                let short = rest.strip_prefix(SHORT);
                codes.push(if short.is_some() { CODE } else { *first });
                rest = short.unwrap_or(behind);
            }
            if codes.len() > 127 {
                names.extend([(codes.len() & 127 | 128) as u8, (codes.len() >> 7) as u8]);
            } else {
                names.push(codes.len() as u8);
            }
            names.extend(codes);
        }
        let mut memory = (symbols.len() as u32).to_le_bytes().to_vec();
        let mut places = vec![("kallsyms_num_syms", SYMBOL_TABLES)];
        let mut place = |name, bytes: &[u8]| {
            memory.resize(memory.len().next_multiple_of(8), 0);
            let address = SYMBOL_TABLES + memory.len() as u64;
            places.push((name, address));
            memory.extend_from_slice(bytes);
            address
        };
        place("kallsyms_names", &names);
        place("kallsyms_token_table", &tokens);
        place("kallsyms_token_index", &starts);
        let base = symbols
            .iter()
            .map(|symbol| symbol.2)
            .filter(|address| address >> 63 == 1)
            .min()
            .unwrap_or(0);
        if !matches!(relative, Relative::Itself) {
            place("kallsyms_relative_base", &base.to_le_bytes());
        }
        let table = place("kallsyms_offsets", &[]);
        for (index, (_, _, address)) in symbols.iter().enumerate() {
            let distance = match relative {
                Relative::PerCpu if address >> 63 == 0 => *address,
                Relative::PerCpu => base.wrapping_sub(1).wrapping_sub(*address),
                Relative::Base => address.wrapping_sub(base),
                Relative::Itself => address.wrapping_sub(table + index as u64 * 4),
            };
            offsets.extend_from_slice(&(distance as u32).to_le_bytes());
        }
        memory.extend(offsets);
        for (name, address) in places {
            self.note += &format!("SYMBOL({name})={address:x}\n");
        }
        self.segment(SYMBOL_TABLES, memory)
    }

    /// Loaded modules, in the list that the symbol at `head` begins. Each has a symbol of itself.
    pub(crate) fn modules(mut self, head: u64, modules: &[(&str, &[Printed])]) -> Self {
        let start = |number: usize| MODULES + number as u64 * MODULE_LEN;
        let entry = |number: usize| start(number) + u64::from(MODULE[1].1);
        let next = |number: usize| if number < modules.len() { entry(number) } else { head };
        self = self.segment(head, next(0).to_le_bytes().to_vec());
        for (number, (name, symbols)) in modules.iter().enumerate() {
            let itself = (b'd', "__this_module", start(number));
            let symbols: Vec<&Printed> = symbols.iter().chain([&itself]).collect();
            let mut table = Vec::new();
            let mut strings = vec![0];
            for (_, name, address) in &symbols {
                let mut entry = [0; 24];
                entry[..4].copy_from_slice(&(strings.len() as u32).to_le_bytes());
                entry[8..16].copy_from_slice(&address.to_le_bytes());
                table.extend(entry);
                strings.extend_from_slice(name.as_bytes());
                strings.push(0);
            }
            let kinds: Vec<u8> = symbols.iter().map(|symbol| symbol.0).collect();
            let mut memory = vec![0; MODULE_LEN as usize];
            let mut put = |at: u64, bytes: &[u8]| memory[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
            put(MODULE[1].1.into(), &next(number + 1).to_le_bytes());
            put(MODULE[2].1.into(), name.as_bytes());
            put(MODULE[3].1.into(), &(start(number) + KALLSYMS).to_le_bytes());
            put(
                KALLSYMS + u64::from(MODULE_SYMBOLS[1].1),
                &(symbols.len() as u32).to_le_bytes(),
            );
            for (content, member, at) in [(&table, 0, 0x400), (&strings, 2, 0x800), (&kinds, 3, 0xc00)] {
                put(at, content);
                put(
                    KALLSYMS + u64::from(MODULE_SYMBOLS[member].1),
                    &(start(number) + at).to_le_bytes(),
                );
            }
            self = self.segment(start(number), memory);
        }
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        const HEADER: usize = 64;
        const PROGRAM_HEADER: usize = 56;
        let name = b"VMCOREINFO\0\0";
        let mut note = Vec::new();
        for word in [11, self.note.len() as u32, 0] {
            note.extend_from_slice(&word.to_le_bytes());
        }
        note.extend_from_slice(name);
        note.extend_from_slice(self.note.as_bytes());
        let count = self.segments.len() + 1;
        let mut file = vec![0; HEADER];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32..40].copy_from_slice(&(HEADER as u64).to_le_bytes());
        file[54..56].copy_from_slice(&(PROGRAM_HEADER as u16).to_le_bytes());
        file[56..58].copy_from_slice(&(count as u16).to_le_bytes());
        let mut offset = (HEADER + count * PROGRAM_HEADER) as u64;
        let parts = || {
            [(4u32, 0, &note)]
                .into_iter()
                .chain(self.segments.iter().map(|(address, bytes)| (1, *address, bytes)))
        };
        for (kind, address, bytes) in parts() {
            let len = bytes.len() as u64;
            file.extend(kind.to_le_bytes().into_iter().chain([0; 4]));
            for word in [offset, address, 0, len, len, 0] {
                file.extend_from_slice(&word.to_le_bytes());
            }
            offset += len;
        }
        for (_, _, bytes) in parts() {
            file.extend_from_slice(bytes);
        }
        file
    }
}

/// A folder that stands for `/`, deleted when dropped.
pub(crate) struct Tree(PathBuf);

impl Tree {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ipft-kernel-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Tree(path)
    }

    pub(crate) fn root(&self) -> Root {
        Root::at(&self.0)
    }

    /// Writes a file at an absolute path of the tree.
    pub(crate) fn with(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.root().path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub(crate) fn without(self, path: &str) -> Self {
        let path = self.root().path(path);
        if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }
        .unwrap();
        self
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        fs::create_dir_all(self.root().path(path)).unwrap();
        self
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Numbers that look random and are the same in every run (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ word >> 31) % bound.max(1) as u64) as usize
    }
}
