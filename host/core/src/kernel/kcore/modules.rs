//! The symbols of modules: each keeps the part of its ELF symbol table that the kernel needs (kernel/module/kallsyms.c).
//!
//! The kernel's structures are found through BTF, as they differ from kernel to kernel. Modules come and go while this
//! reads; a module's symbol of itself tells whether what was read is whole.

use super::super::btf::{Btf, Kind, Type};
use super::{Kcore, broken, field};
use std::io;

/// The symbol that the list of modules has, and the one that each module has of its own `struct module`.
pub(super) const HEAD: &[u8] = b"modules";
const SELF: &[u8] = b"__this_module";

/// Offsets of members in the kernel's structures, in bytes.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct ModuleLayout {
    /// Of `struct module`.
    state: u64,
    list: u64,
    name: u64,
    kallsyms: u64,
    /// Of `struct mod_kallsyms`.
    symbols: u64,
    count: u64,
    strings: u64,
    kinds: u64,
}

/// A module that is being put together, and is not in `/proc/modules` yet (include/linux/module.h).
const STATE_UNFORMED: u32 = 3;
/// Size of the name in `struct module`, with its NUL: `MODULE_NAME_LEN` for 64 bits.
const NAME_LEN: usize = 56;
/// An entry of an ELF symbol table, and of its name the longest, with its NUL: `KSYM_NAME_LEN`.
const SYMBOL_LEN: usize = 24;
const SYMBOL_NAME_LEN: usize = 512;
/// More modules, symbols of one or bytes of their names are a sign that something else was read.
const MAX_MODULES: usize = 1 << 14;
const MAX_SYMBOLS: usize = 1 << 20;
const MAX_STRINGS: usize = 1 << 26;

impl ModuleLayout {
    /// The layout that a kernel's BTF tells. `None` if the kernel has no modules, or none with symbols.
    pub(in super::super) fn find(btf: &Btf) -> Option<Self> {
        let module = btf.find(Kind::Struct, "module")?;
        let kallsyms = btf.find(Kind::Struct, "mod_kallsyms")?;
        let offset = |of: &Type, member: &str| {
            let found = of.members().find(|each| each.name == member)?;
            (found.bit_offset % 8 == 0).then_some(u64::from(found.bit_offset / 8))
        };
        Some(ModuleLayout {
            state: offset(&module, "state")?,
            list: offset(&module, "list")?,
            name: offset(&module, "name")?,
            kallsyms: offset(&module, "kallsyms")?,
            symbols: offset(&kallsyms, "symtab")?,
            count: offset(&kallsyms, "num_symtab")?,
            strings: offset(&kallsyms, "strtab")?,
            kinds: offset(&kallsyms, "typetab")?,
        })
    }
}

/// Hands every symbol of the modules in the list at `head` to `each`: kind, name, module, address. The modules' names.
pub(super) fn for_each_symbol(
    kcore: &Kcore,
    head: u64,
    layout: &ModuleLayout,
    mut each: impl FnMut(u8, &[u8], &[u8], u64),
) -> io::Result<Vec<Vec<u8>>> {
    let mut modules = Vec::new();
    let mut entry = kcore.long(head)?;
    for _ in 0..MAX_MODULES {
        if entry == head {
            return Ok(modules);
        }
        let module = entry.wrapping_sub(layout.list);
        entry = kcore.long(entry)?;
        if kcore.word(module.wrapping_add(layout.state))? == STATE_UNFORMED {
            continue;
        }
        let name = kcore.bytes(module.wrapping_add(layout.name), NAME_LEN)?;
        let name = until_nul(&name);
        read_module(kcore, module, layout, |kind, symbol, address| {
            each(kind, symbol, name, address);
        })?;
        modules.push(name.to_vec());
    }
    Err(broken("a list of modules without end"))
}

/// Hands one module's symbols to `each`: kind, name, address.
fn read_module(
    kcore: &Kcore,
    module: u64,
    layout: &ModuleLayout,
    mut each: impl FnMut(u8, &[u8], u64),
) -> io::Result<()> {
    let kallsyms = kcore.long(module.wrapping_add(layout.kallsyms))?;
    let pointer = |member: u64| kcore.long(kallsyms.wrapping_add(member));
    let count = kcore.word(kallsyms.wrapping_add(layout.count))? as usize;
    if count > MAX_SYMBOLS {
        return Err(broken("more symbols than any module has"));
    }
    let symbols = kcore.bytes(pointer(layout.symbols)?, count * SYMBOL_LEN)?;
    let symbols = || symbols.chunks_exact(SYMBOL_LEN);
    let kinds = kcore.bytes(pointer(layout.kinds)?, count)?;
    // Of `Elf64_Sym`: the name's place is first, the value at 8.
    let name_of = |symbol: &[u8]| u32::from_le_bytes(field(symbol, 0)) as usize;
    let strings_len = symbols()
        .map(name_of)
        .max()
        .unwrap_or(0)
        .saturating_add(SYMBOL_NAME_LEN);
    if strings_len > MAX_STRINGS {
        return Err(broken("longer names than any module has"));
    }
    let strings = kcore.bytes_up_to(pointer(layout.strings)?, strings_len)?;
    let mut is_whole = false;
    for (symbol, kind) in symbols().zip(&kinds) {
        let name = until_nul(strings.get(name_of(symbol)..).unwrap_or_default());
        let address = u64::from_le_bytes(field(symbol, 8));
        is_whole |= name == SELF && address == module;
        if !name.is_empty() {
            each(*kind, name, address);
        }
    }
    if !is_whole {
        return Err(broken("a module without a symbol of itself"));
    }
    Ok(())
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}
