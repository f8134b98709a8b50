//! Reads the kernel's symbols that can matter: `/proc/kallsyms`, and ftrace's lists of functions that it can patch.
//!
//! All three files are long, and each line costs the kernel some thousand instructions to make, so the caller reads
//! as few of them as it can; what is here only turns lines into [`Symbol`]s.

use super::lines::{for_each_line, hexadecimal};
use std::io::{self, Read};

/// One function as a file names it. The text comes from the kernel and from whoever loads modules: it is no UTF-8
/// that one could rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol<'a> {
    pub(super) name: &'a [u8],
    /// Empty for the kernel itself.
    pub(super) module: &'a [u8],
    /// The address as the file writes it, empty if it does not.
    digits: &'a [u8],
}

impl Symbol<'_> {
    /// 0 if the file does not say. Few symbols are ever asked, so it is read only then.
    pub(super) fn address(&self) -> u64 {
        hexadecimal(self.digits).map_or(0, |(address, _)| address)
    }
}

/// Cuts `NAME<TAB or space>[MODULE]` in two.
#[inline]
fn name_and_module(text: &[u8]) -> (&[u8], &[u8]) {
    if let Some(inner) = text.strip_suffix(b"]")
        && let Some(open) = memchr::memrchr(b'[', inner)
        && let Some(name) = inner.get(..open.saturating_sub(1))
        && matches!(inner.get(open.wrapping_sub(1)), Some(b' ' | b'\t'))
    {
        return (name, &inner[open + 1..]);
    }
    (text, &[])
}

/// A line of `/proc/kallsyms`, if it is a function's: `ffffffff94b66e90 T ip_rcv`, with `<TAB>[MODULE]` behind it.
#[inline]
fn kallsyms_line(line: &[u8]) -> Option<Symbol<'_>> {
    // On 64-bit machines an address has 16 digits. A line is looked at in one place, and most are done with then.
    let (digits, rest) = line.split_at_checked(16)?;
    let [b' ', b't' | b'T' | b'w' | b'W', b' ', text @ ..] = rest else {
        return None;
    };
    let (name, module) = name_and_module(text);
    Some(Symbol { name, module, digits })
}

/// A line of `available_filter_functions`: `ip_rcv`, with ` [MODULE]` behind it. Its sister
/// `available_filter_functions_addrs` has the address and a space before it.
#[inline]
fn filter_line(line: &[u8], with_address: bool) -> Option<Symbol<'_>> {
    let (digits, text) = if with_address {
        let space = memchr::memchr(b' ', line)?;
        (&line[..space], &line[space + 1..])
    } else {
        (&line[..0], line)
    };
    let (name, module) = name_and_module(text);
    Some(Symbol { name, module, digits })
}

/// Reads the functions in `/proc/kallsyms`.
pub(super) fn read_kallsyms(source: impl Read, mut each: impl FnMut(Symbol)) -> io::Result<()> {
    for_each_line(source, |line| {
        if let Some(symbol) = kallsyms_line(line) {
            each(symbol);
        }
    })
}

/// Reads `available_filter_functions`, or its sister with addresses.
pub(super) fn read_filter_functions(
    source: impl Read,
    with_address: bool,
    mut each: impl FnMut(Symbol),
) -> io::Result<()> {
    for_each_line(source, |line| {
        if let Some(symbol) = filter_line(line, with_address) {
            each(symbol);
        }
    })
}
