//! Reads the relevant kernel symbols: `/proc/kallsyms`, and ftrace's lists of patchable functions.
//!
//! All three files are long, and each line costs the kernel some thousand instructions to make, so the caller reads
//! as few of them as it can; what is here only turns lines into [`Symbol`]s.

use super::lines::{for_each_line, hexadecimal};
use super::{KernelError, Root};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};

/// One function as a file names it. The text comes from the kernel and from the loaders of modules: it need not be
/// UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol<'a> {
    pub(super) name: &'a [u8],
    /// Empty for the kernel itself.
    pub(super) module: &'a [u8],
    address: Address<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address<'a> {
    Known(u64),
    /// As written in the file; empty if it is missing.
    Digits(&'a [u8]),
}

impl<'a> Symbol<'a> {
    pub(super) fn new(name: &'a [u8], module: &'a [u8], address: u64) -> Self {
        Symbol {
            name,
            module,
            address: Address::Known(address),
        }
    }

    /// 0 if the file does not have it. Few are used, so digits are parsed on demand.
    pub(super) fn address(&self) -> u64 {
        match self.address {
            Address::Known(address) => address,
            Address::Digits(digits) => hexadecimal(digits).map_or(0, |(address, _)| address),
        }
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
    Some(Symbol {
        name,
        module,
        address: Address::Digits(digits),
    })
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
    Some(Symbol {
        name,
        module,
        address: Address::Digits(digits),
    })
}

/// Reads the functions in `/proc/kallsyms`.
pub(super) fn read_kallsyms(source: impl Read, mut each: impl FnMut(Symbol)) -> io::Result<()> {
    for_each_line(source, |line| {
        if let Some(symbol) = kallsyms_line(line) {
            each(symbol);
        }
    })
}

/// Kernel addresses are the upper half of all.
const KERNEL_HALF: u64 = 1 << 63;

/// Reads all functions and data with an address, sorted by address. Of several names of one address the first counts,
/// as in the kernel's own messages. Empty if the kernel hides addresses.
pub fn read_symbols(root: &Root) -> Result<Vec<(u64, String)>, KernelError> {
    let path = root.path("/proc/kallsyms");
    let mut all = Vec::new();
    File::open(&path)
        .and_then(|file| {
            for_each_line(file, |line| {
                let Some((address, [b' ', kind, b' ', rest @ ..])) = hexadecimal(line) else {
                    return;
                };
                // Absolute symbols, and offsets into the memory of a CPU, are no addresses.
                if address >= KERNEL_HALF && !matches!(kind, b'a' | b'A') {
                    let (name, _) = name_and_module(rest);
                    all.push((address, String::from_utf8_lossy(name).into_owned()));
                }
            })
        })
        .map_err(|error| KernelError::read(path, error))?;
    all.sort_by_key(|(address, _)| *address);
    all.dedup_by_key(|(address, _)| *address);
    Ok(all)
}

/// Addresses of the variables in which a CPU counts the contexts that it runs (`bpf/src/field/task.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contexts {
    /// Of the table of the CPUs' offsets.
    pub per_cpu_offset: u64,
    /// Of `__preempt_count`, or of `pcpu_hot`, which has it from 6.2 to 6.14: what an offset is added to.
    pub preempt_count: u64,
}

impl Contexts {
    /// Finds the variables. `None` if the kernel hides addresses.
    pub fn find(root: &Root) -> Option<Contexts> {
        let (mut offsets, mut count, mut hot) = (None, None, None);
        let file = File::open(root.path("/proc/kallsyms")).ok()?;
        for_each_line(file, |line| {
            if let Some((address, [b' ', _, b' ', name @ ..])) = hexadecimal(line) {
                match name {
                    b"__per_cpu_offset" => offsets = Some(address),
                    b"__preempt_count" => count = Some(address),
                    b"pcpu_hot" => hot = Some(address),
                    _ => {}
                }
            }
        })
        .ok()?;
        Some(Contexts {
            per_cpu_offset: offsets.filter(|address| *address >= KERNEL_HALF)?,
            preempt_count: hot.or(count)?,
        })
    }
}

/// Of these names, those that several symbols bear, of whatever kind and module. A list that cannot be read tells of
/// none.
pub fn shared_names<'a>(root: &Root, names: impl IntoIterator<Item = &'a str>) -> HashSet<&'a str> {
    let mut counts: HashMap<&[u8], (&'a str, u32)> =
        names.into_iter().map(|name| (name.as_bytes(), (name, 0))).collect();
    let read = File::open(root.path("/proc/kallsyms")).and_then(|file| {
        for_each_line(file, |line| {
            let Some((_, [b' ', _, b' ', rest @ ..])) = hexadecimal(line) else {
                return;
            };
            if let Some((_, count)) = counts.get_mut(name_and_module(rest).0) {
                *count += 1;
            }
        })
    });
    match read {
        Ok(()) => (counts.into_values())
            .filter(|(_, count)| *count > 1)
            .map(|(name, _)| name)
            .collect(),
        Err(_) => HashSet::new(),
    }
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

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, Tree};
    use super::*;

    fn kallsyms(text: &[u8]) -> Vec<(String, String, u64)> {
        let mut all = Vec::new();
        read_kallsyms(text, |symbol| {
            all.push((
                String::from_utf8_lossy(symbol.name).into_owned(),
                String::from_utf8_lossy(symbol.module).into_owned(),
                symbol.address(),
            ));
        })
        .unwrap();
        all
    }

    #[test]
    fn of_all_symbols_only_functions_are_read() {
        let text = b"0000000000000000 A fixed_percpu_data\n\
            ffffffff94b66e90 T ip_rcv\n\
            ffffffff94b66ea0 d ip_rcv_data\n\
            ffffffffc04e9b20 t tcf_mirred_act\t[act_mirred]\n\
            ffffffff94b66eb0 W weak_one";
        let expect = |name: &str, module: &str, address| (name.to_owned(), module.to_owned(), address);
        assert_eq!(
            kallsyms(text),
            [
                expect("ip_rcv", "", 0xffff_ffff_94b6_6e90),
                expect("tcf_mirred_act", "act_mirred", 0xffff_ffff_c04e_9b20),
                expect("weak_one", "", 0xffff_ffff_94b6_6eb0),
            ]
        );
    }

    #[test]
    fn both_lists_of_traceable_functions_are_read() {
        let read = |text: &[u8], with_address| {
            let mut all = Vec::new();
            read_filter_functions(text, with_address, |symbol| {
                all.push((symbol.name.to_vec(), symbol.module.to_vec(), symbol.address()));
            })
            .unwrap();
            all
        };
        assert_eq!(
            read(b"ip_rcv\nveth_xmit [veth]\n", false),
            [
                (b"ip_rcv".to_vec(), vec![], 0),
                (b"veth_xmit".to_vec(), b"veth".to_vec(), 0)
            ]
        );
        assert_eq!(
            read(b"ffffffff9f602014 ip_rcv\n0xffffffffc0000010 veth_xmit [veth]\n", true),
            [
                (b"ip_rcv".to_vec(), vec![], 0xffff_ffff_9f60_2014),
                (b"veth_xmit".to_vec(), b"veth".to_vec(), 0xffff_ffff_c000_0010)
            ]
        );
    }

    #[test]
    fn a_line_that_reads_cut_in_two_is_whole_again() {
        /// Gives a few bytes at a time, as files of the kernel give a page.
        struct Slow<'a>(&'a [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let len = 7.min(self.0.len()).min(buffer.len());
                buffer[..len].copy_from_slice(&self.0[..len]);
                self.0 = &self.0[len..];
                Ok(len)
            }
        }
        let text: String = (0..100).map(|number| format!("function_{number}\n")).collect();
        let mut names = Vec::new();
        read_filter_functions(Slow(text.as_bytes()), false, |symbol| names.push(symbol.name.to_vec())).unwrap();
        let expected: Vec<Vec<u8>> = (0..100)
            .map(|number| format!("function_{number}").into_bytes())
            .collect();
        assert_eq!(names, expected);
    }

    #[test]
    fn a_line_without_end_is_an_error_and_not_a_gigabyte() {
        let error = read_filter_functions(io::repeat(b'x'), false, |_| {}).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn arbitrary_bytes_do_not_make_the_readers_panic() {
        let pieces: [&[u8]; 12] = [
            b"ffffffff94b66e90",
            b" ",
            b"t",
            b"T",
            b"\n",
            b"[",
            b"]",
            b"\t",
            b"0x",
            b"name",
            b"\xff",
            b"",
        ];
        let mut random = Random(2);
        for _ in 0..5_000 {
            let text: Vec<u8> = (0..random.below(30))
                .flat_map(|_| pieces[random.below(pieces.len())].to_vec())
                .collect();
            kallsyms(&text);
            for with_address in [false, true] {
                read_filter_functions(&text[..], with_address, |symbol| {
                    symbol.address();
                })
                .unwrap();
            }
        }
    }

    #[test]
    fn a_name_of_several_symbols_is_shared() {
        let tree = Tree::new().with(
            "/proc/kallsyms",
            "ffffffff81000000 T ip_rcv\n\
             ffffffff81000100 t get_port\n\
             ffffffff81000200 D table\n\
             ffffffffc0000000 t get_port\t[ip_set]\n\
             ffffffffc0000100 t table\t[other]\n\
             ffffffffc0000200 t alone\t[other]\n",
        );
        let mut shared: Vec<_> = shared_names(&tree.root(), ["get_port", "alone", "table", "gone"])
            .into_iter()
            .collect();
        shared.sort_unstable();
        assert_eq!(shared, ["get_port", "table"]);
        assert!(shared_names(&Tree::new().root(), ["get_port"]).is_empty());
    }
}
