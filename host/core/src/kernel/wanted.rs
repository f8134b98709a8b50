//! Functions that take a packet according to BTF, by name, for a lookup of every symbol of the kernel.
//!
//! A few thousand names are wanted and 200,000 symbols are not, so the first questions are answered by one bit each of
//! two small tables: could a name begin so, could a name look so? Only a symbol that passes both is looked up.

use super::btf::Btf;
use super::prototype::{Packet, PacketTypes};
use std::collections::HashMap;

/// A function that takes a packet, as its BTF describes it.
#[derive(Debug)]
pub(super) struct WantedFunction {
    /// Index into the list of modules.
    pub(super) module: u32,
    pub(super) packet: Packet,
    pub(super) btf_id: u32,
    /// Functions of this name and module that take the packet in another way, or take none.
    pub(super) conflicting: bool,
    /// No BTF describes this function.
    pub(super) without_btf: bool,
    /// The next wanted function of the same name, in another module.
    next: Option<u32>,
}

/// All functions.
pub(super) struct Wanted {
    functions: Vec<WantedFunction>,
    by_name: HashMap<Box<str>, u32>,
    beginnings: Filter,
    names: Filter,
}

/// A set of numbers that forgets which: it knows for sure what is not in it. 65,536 bits, for some 4,000 numbers.
struct Filter(Box<[u64; FILTER_WORDS]>);

const FILTER_WORDS: usize = 1024;

impl Filter {
    fn new() -> Self {
        Filter(Box::new([0; FILTER_WORDS]))
    }

    /// Spreads numbers over the bits.
    #[inline]
    fn place(number: u64) -> (usize, u32) {
        let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48;
        ((hash >> 6) as usize % FILTER_WORDS, (hash & 63) as u32)
    }

    fn insert(&mut self, number: u64) {
        let (word, bit) = Self::place(number);
        self.0[word] |= 1 << bit;
    }

    #[inline]
    fn may_contain(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.0[word] >> bit & 1 == 1
    }
}

/// The first bytes of a name, as a number.
const BEGINNING: usize = 8;

/// Key of a whole name in a filter: its length and both its ends.
#[inline]
fn digest(name: &[u8]) -> u64 {
    let ends = match (name.first_chunk::<8>(), name.last_chunk::<8>()) {
        (Some(first), Some(last)) => u64::from_ne_bytes(*first) ^ u64::from_ne_bytes(*last).rotate_left(29),
        _ => name.iter().fold(0, |hash, byte| hash << 8 | u64::from(*byte)),
    };
    ends ^ name.len() as u64
}

impl Wanted {
    pub(super) fn new() -> Self {
        Wanted {
            functions: Vec::with_capacity(4096),
            by_name: HashMap::with_capacity(4096),
            beginnings: Filter::new(),
            names: Filter::new(),
        }
    }

    /// Adds the functions of one BTF (without its base's) that take a packet.
    pub(super) fn add_btf(&mut self, btf: &Btf, module: u32, types: &mut PacketTypes) {
        // Older BTF has one FUNC for each of several static functions of one name. One that takes no packet makes the
        // name as doubtful as one that takes it elsewhere. A BTF has every string once, so equal names are at equal
        // offsets.
        let mut wanted_names = HashMap::new();
        let mut filter = Filter::new();
        for function in btf.functions() {
            if let Some(packet) = types.find(btf, &function) {
                let index = self.add(function.name(), module, packet, function.id(), false);
                wanted_names.insert(function.name_offset(), index);
                filter.insert(u64::from(function.name_offset()));
            }
        }
        if wanted_names.is_empty() {
            return;
        }
        for function in btf.functions() {
            if !filter.may_contain(u64::from(function.name_offset())) {
                continue;
            }
            let index = wanted_names.get(&function.name_offset());
            if let Some(wanted) = index.and_then(|index| self.functions.get_mut(*index as usize))
                && wanted.btf_id != function.id()
                && types.find(btf, &function) != Some(wanted.packet)
            {
                wanted.conflicting = true;
            }
        }
    }

    /// Adds one function, unless its name is already there for that module; its index.
    pub(super) fn add(&mut self, name: &str, module: u32, packet: Packet, btf_id: u32, without_btf: bool) -> u32 {
        if let Some(index) = self.get(name.as_bytes(), module) {
            return index;
        }
        let index = self.functions.len() as u32;
        self.names.insert(digest(name.as_bytes()));
        // A short name's symbol can be long by its suffix.
        for suffix in ["", ".isra.", ".constprop.", ".llvm."] {
            let symbol = name.bytes().chain(suffix.bytes());
            if let Some(beginning) = symbol.collect::<Vec<u8>>().first_chunk::<BEGINNING>() {
                self.beginnings.insert(u64::from_ne_bytes(*beginning));
            }
            if name.len() >= BEGINNING {
                break;
            }
        }
        let next = self.by_name.insert(name.into(), index);
        self.functions.push(WantedFunction {
            module,
            packet,
            btf_id,
            conflicting: false,
            without_btf,
            next,
        });
        index
    }

    /// All, in the order in which they were added.
    pub(super) fn functions(&self) -> &[WantedFunction] {
        &self.functions
    }

    /// Returns whether this symbol's name, with whatever suffix, needs a lookup.
    #[inline]
    pub(super) fn may_contain(&self, symbol: &[u8]) -> bool {
        match symbol.first_chunk::<BEGINNING>() {
            Some(beginning) => {
                self.beginnings.may_contain(u64::from_ne_bytes(*beginning))
                    // Of a name of one letter, even the suffix's number is among the first bytes.
                    || beginning[1] == b'.'
            }
            None => true,
        }
    }

    /// The wanted functions of this name, in whatever module.
    #[inline]
    pub(super) fn of_name(&self, name: &[u8]) -> impl Iterator<Item = (u32, &WantedFunction)> {
        let mut next = if self.names.may_contain(digest(name)) {
            std::str::from_utf8(name)
                .ok()
                .and_then(|name| self.by_name.get(name))
                .copied()
        } else {
            None
        };
        std::iter::from_fn(move || {
            let index = next?;
            let function = self.functions.get(index as usize)?;
            next = function.next;
            Some((index, function))
        })
    }

    fn get(&self, name: &[u8], module: u32) -> Option<u32> {
        self.of_name(name)
            .find(|(_, function)| function.module == module)
            .map(|(index, _)| index)
    }
}

/// Cuts a compiler's suffix off a symbol's name; the flag says that there was one.
///
/// Only suffixes of whole functions count. `.isra.N` and `.constprop.N` (GCC) are copies that may have lost arguments,
/// `.llvm.N` (Clang) is the function itself. What `.part.N` and `.cold` name is a piece of a function's body, with
/// arguments of its own: `None`.
#[inline]
pub(super) fn plain_name(symbol: &[u8]) -> Option<(&[u8], bool)> {
    let Some(dot) = memchr::memchr(b'.', symbol) else {
        return Some((symbol, false));
    };
    let (name, suffixes) = symbol.split_at(dot);
    let whole = suffixes.split(|byte| *byte == b'.').skip(1).all(|part| {
        matches!(part, b"isra" | b"constprop" | b"llvm") || (!part.is_empty() && part.iter().all(u8::is_ascii_digit))
    });
    (whole && !name.is_empty()).then_some((name, true))
}

#[cfg(test)]
mod tests {
    use super::super::function::PacketArgument;
    use super::super::testing::BtfBuilder;
    use super::*;

    const FIRST: Packet = Packet {
        argument: PacketArgument::Pointer,
        arguments: 1,
        trampoline: true,
        position: Ok(0),
        unfilled: None,
    };

    #[test]
    fn only_suffixes_of_whole_functions_are_cut() {
        let plain = |symbol: &'static str| {
            plain_name(symbol.as_bytes()).map(|(name, cut)| (std::str::from_utf8(name).unwrap(), cut))
        };
        assert_eq!(plain("ip_rcv"), Some(("ip_rcv", false)));
        assert_eq!(plain("ip_rcv.isra.0"), Some(("ip_rcv", true)));
        assert_eq!(plain("ip_rcv.constprop.0.isra.12"), Some(("ip_rcv", true)));
        assert_eq!(plain("ip_rcv.llvm.1234567890"), Some(("ip_rcv", true)));
        for piece in [
            "ip_rcv.part.0",
            "ip_rcv.cold",
            "ip_rcv.isra.0.cold",
            "ip_rcv.part.0.isra.0",
            "ip_rcv.",
            ".isra.0",
        ] {
            assert_eq!(plain(piece), None, "{piece}");
        }
    }

    #[test]
    fn short_names_are_found_with_and_without_suffix() {
        let mut wanted = Wanted::new();
        for name in ["a", "ip_rcv", "exactly8", "much_longer_than_that"] {
            wanted.add(name, 0, FIRST, 1, false);
            assert!(wanted.may_contain(name.as_bytes()), "{name}");
            for suffix in [".isra.0", ".constprop.0", ".llvm.5"] {
                assert!(
                    wanted.may_contain(format!("{name}{suffix}").as_bytes()),
                    "{name}{suffix}"
                );
            }
            assert_eq!(wanted.of_name(name.as_bytes()).count(), 1);
        }
        assert_eq!(wanted.of_name(b"ip_rc").count(), 0);
        assert_eq!(wanted.of_name(b"\xff\xfe").count(), 0);
    }

    #[test]
    fn one_name_in_two_modules_is_two_functions() {
        let mut wanted = Wanted::new();
        wanted.add("init", 1, FIRST, 10, false);
        wanted.add("init", 2, FIRST, 20, false);
        wanted.add("init", 2, FIRST, 21, false);
        let mut modules: Vec<_> = wanted
            .of_name(b"init")
            .map(|(_, each)| (each.module, each.btf_id))
            .collect();
        modules.sort_unstable();
        assert_eq!(modules, [(1, 10), (2, 20)]);
    }

    #[test]
    fn a_name_whose_functions_differ_is_in_conflict() {
        let mut b = BtfBuilder::new();
        let packet = b.composite(super::super::btf::Kind::Struct, "sk_buff", 8, &[]);
        let pointer = b.pointer(packet);
        let int = b.int("int", 4);
        let twice = b.string("twice");
        let same = b.string("same");
        for (name, parameters) in [
            (twice, vec![int]),
            (twice, vec![pointer]),
            (same, vec![pointer]),
            (same, vec![pointer]),
        ] {
            let id = b.function("", 0, &parameters);
            b.rename(id, name);
        }
        let data = b.build();
        let btf = Btf::parse(&data).unwrap();
        let mut wanted = Wanted::new();
        wanted.add_btf(&btf, 0, &mut PacketTypes::new(&btf));
        let conflicting = |name: &[u8]| wanted.of_name(name).next().unwrap().1.conflicting;
        assert!(conflicting(b"twice"));
        assert!(!conflicting(b"same"));
    }
}
