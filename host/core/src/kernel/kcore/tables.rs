//! The kernel's own symbol table: compressed names, and 32 bits for each address.
//!
//! scripts/kallsyms.c makes it and kernel/kallsyms.c reads it. Since 6.0 the kernel says in `VMCOREINFO` where it is,
//! for those who look at memory (kernel/vmcore_info.c). A name is a length and so many codes, each of which stands for
//! a few letters that are frequent; the first letter of all is the symbol's kind. What the 32 bits are relative to
//! differs, and nothing in the table says it: of what kernels are known to do, that is taken with which the table
//! agrees with what the kernel prints.

use super::super::lines::hexadecimal;
use super::{Kcore, broken, field};
use std::io;

/// The table, in the kernel's form.
pub(super) struct Tables {
    count: usize,
    names: Vec<u8>,
    /// Expansions of the codes, each NUL-terminated, and the offset of each.
    tokens: Vec<u8>,
    starts: Vec<u8>,
    offsets: Vec<u8>,
}

/// Meaning of a symbol's 32 bits.
#[derive(Clone, Copy, Debug)]
pub(super) enum Addressing {
    /// Above 0: an address in the memory of a CPU. Below: the negative distance from just before a base. This is x86-64
    /// up to 6.14 (`CONFIG_KALLSYMS_ABSOLUTE_PERCPU`).
    PerCpu { base: u64 },
    /// The distance from a base.
    Base { base: u64 },
    /// The distance from where the 32 bits themselves are: after 6.18, 7.2 for one.
    Itself { table: u64 },
}

impl Addressing {
    #[inline]
    fn address(self, index: usize, offset: u32) -> u64 {
        let signed = i64::from(offset.cast_signed());
        match self {
            Addressing::PerCpu { .. } if signed >= 0 => u64::from(offset),
            Addressing::PerCpu { base } => base.wrapping_sub(1).wrapping_add_signed(-signed),
            Addressing::Base { base } => base.wrapping_add(u64::from(offset)),
            Addressing::Itself { table } => table.wrapping_add(index as u64 * 4).wrapping_add_signed(signed),
        }
    }
}

/// More symbols, or bytes of names, no kernel has.
const MAX_SYMBOLS: usize = 1 << 24;
const MAX_NAMES: u64 = 1 << 26;
/// A token's start has 16 bits. Behind the last one, its text.
const MAX_TOKENS: usize = (1 << 16) + (1 << 10);
const CODES: usize = 256;

impl Tables {
    /// Reads the table. Its beginning has to be that of `/proc/kallsyms`, with a function in it, with one addressing.
    pub(super) fn read(kcore: &Kcore, printed: &[u8]) -> io::Result<(Self, Addressing)> {
        let note = kcore.note(b"VMCOREINFO").ok_or(broken("no VMCOREINFO"))?;
        let find = |name: &str| {
            note.split(|byte| *byte == b'\n').find_map(|line| {
                let rest = line.strip_prefix(b"SYMBOL(")?.strip_prefix(name.as_bytes())?;
                Some(hexadecimal(rest.strip_prefix(b")=")?)?.0)
            })
        };
        let place = |name| find(name).ok_or(broken("no symbol table in VMCOREINFO"));
        let count = kcore.word(place("kallsyms_num_syms")?)? as usize;
        if count > MAX_SYMBOLS {
            return Err(broken("more symbols than any kernel has"));
        }
        let (names, tokens) = (place("kallsyms_names")?, place("kallsyms_token_table")?);
        // Between the two is another table, which is not needed: the names may read on into it, and find nothing.
        let names_len = tokens
            .checked_sub(names)
            .filter(|len| *len <= MAX_NAMES)
            .ok_or(broken("names in an unknown place"))?;
        let offsets = place("kallsyms_offsets")?;
        let addressings = match find("kallsyms_relative_base") {
            Some(base) => {
                let base = kcore.long(base)?;
                vec![Addressing::PerCpu { base }, Addressing::Base { base }]
            }
            None => vec![Addressing::Itself { table: offsets }],
        };
        let tables = Tables {
            count,
            names: kcore.bytes(names, names_len as usize)?,
            tokens: kcore.bytes_up_to(tokens, MAX_TOKENS)?,
            starts: kcore.bytes(place("kallsyms_token_index")?, CODES * 2)?,
            offsets: kcore.bytes(offsets, count * 4)?,
        };
        for addressing in addressings {
            if tables.agrees(addressing, printed)? {
                return Ok((tables, addressing));
            }
        }
        Err(broken("a symbol table that is not the one that is printed"))
    }

    /// Returns whether the table begins like the printed one, whose last line may be cut.
    fn agrees(&self, addressing: Addressing, printed: &[u8]) -> io::Result<bool> {
        let whole = memchr::memrchr(b'\n', printed).unwrap_or(0);
        // Modules have tables of their own, and come last.
        let mut lines = printed[..whole]
            .split(|byte| *byte == b'\n')
            .take_while(|line| !line.ends_with(b"]"));
        let mut same = true;
        let mut with_function = false;
        let count = lines.clone().count();
        if count > self.count {
            return Err(broken("fewer symbols than are printed"));
        }
        self.first(count, addressing, |kind, name, address| {
            let Some((shown, [b' ', shown_kind, b' ', shown_name @ ..])) = lines.next().and_then(hexadecimal) else {
                same = false;
                return;
            };
            same &= (shown, *shown_kind, shown_name) == (address, kind, name);
            with_function |= address != 0 && matches!(kind, b't' | b'T');
        })?;
        Ok(same && with_function)
    }

    /// Hands every symbol to `each`: kind, name, address.
    pub(super) fn for_each(&self, addressing: Addressing, each: impl FnMut(u8, &[u8], u64)) -> io::Result<()> {
        self.first(self.count, addressing, each)
    }

    fn first(&self, count: usize, addressing: Addressing, mut each: impl FnMut(u8, &[u8], u64)) -> io::Result<()> {
        let tokens = self.texts();
        let mut rest = &self.names[..];
        let mut text = Vec::with_capacity(1024);
        for (index, offset) in self.offsets.chunks_exact(4).take(count).enumerate() {
            let cut = || broken("a symbol table that is cut short");
            let (codes, behind) = codes(rest).ok_or_else(cut)?;
            rest = behind;
            text.clear();
            for code in codes {
                text.extend_from_slice(tokens[usize::from(*code)]);
            }
            let (kind, name) = text.split_first().ok_or_else(cut)?;
            let offset = u32::from_le_bytes(field(offset, 0));
            each(*kind, name, addressing.address(index, offset));
        }
        Ok(())
    }

    /// Returns the expansion of each code.
    fn texts(&self) -> [&[u8]; CODES] {
        std::array::from_fn(|code| {
            let start = u16::from_le_bytes(field(&self.starts, code * 2));
            let text = self.tokens.get(usize::from(start)..).unwrap_or_default();
            &text[..memchr::memchr(0, text).unwrap_or(0)]
        })
    }
}

/// Cuts the first name's codes off. A length of more than 127 takes two bytes, since 6.1.
#[inline]
fn codes(names: &[u8]) -> Option<(&[u8], &[u8])> {
    let (first, rest) = names.split_first()?;
    let low = usize::from(first & 0x7f);
    if first & 0x80 == 0 {
        return rest.split_at_checked(low);
    }
    let (second, rest) = rest.split_first()?;
    rest.split_at_checked(low | usize::from(*second) << 7)
}
