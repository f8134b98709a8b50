//! Which function an address of the kernel's code belongs to. Imports `symbols`.
//!
//! All of `/proc/kallsyms` is read for that, which takes long, so it is read when the first address is looked up. It is
//! opened before: the kernel decides then whether it shows addresses (`kallsyms_open` in `kernel/kallsyms.c`), and a
//! trace gives up its rights.

use std::fs::File;

use super::Root;
use super::symbols::read_kallsyms;

/// The kernel's code, and that of the modules that are loaded when the first address is looked up.
#[derive(Debug, Default)]
pub struct Code {
    source: Option<File>,
    /// The functions in order of address.
    functions: Vec<Place>,
    /// Name and module of each, one behind the other.
    names: String,
}

#[derive(Debug)]
struct Place {
    address: u64,
    name: u32,
    module: u32,
    end: u32,
}

/// A function that contains an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeFunction<'a> {
    /// Its name, with the compiler's suffix if it has one.
    pub name: &'a str,
    /// `vmlinux`, or the module's name.
    pub module: &'a str,
    /// Its own address.
    pub address: u64,
}

impl Code {
    /// Opens the list of symbols. Without it, no function is known.
    pub fn open(root: &Root) -> Code {
        Code {
            source: File::open(root.path("/proc/kallsyms")).ok(),
            ..Code::default()
        }
    }

    /// Returns the function that contains an address: the nearest one before it.
    pub fn function_at(&mut self, address: u64) -> Option<CodeFunction<'_>> {
        if let Some(source) = self.source.take() {
            self.read(source);
        }
        let at = self.functions.partition_point(|place| place.address <= address);
        let place = self.functions.get(at.checked_sub(1)?)?;
        let text = |from: u32, to: u32| self.names.get(from as usize..to as usize).unwrap_or_default();
        Some(CodeFunction {
            name: text(place.name, place.module),
            module: match text(place.module, place.end) {
                "" => "vmlinux",
                module => module,
            },
            address: place.address,
        })
    }

    /// Reads what there is. Addresses are 0 where the kernel hides them.
    fn read(&mut self, source: File) {
        let (functions, names) = (&mut self.functions, &mut self.names);
        // What was read before an error is right.
        let _ = read_kallsyms(source, |symbol| {
            let address = symbol.address();
            if address == 0 {
                return;
            }
            let position = |names: &String| u32::try_from(names.len()).unwrap_or(u32::MAX);
            let name = position(names);
            names.push_str(&String::from_utf8_lossy(symbol.name));
            let module = position(names);
            names.push_str(&String::from_utf8_lossy(symbol.module));
            functions.push(Place {
                address,
                name,
                module,
                end: position(names),
            });
        });
        // Of several names of one address the first counts, as in the kernel's own messages.
        functions.sort_by_key(|place| place.address);
        functions.dedup_by_key(|place| place.address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::Tree;

    const SYMBOLS: &str = "\
0000000000000000 A fixed_percpu_data
ffffffff81000100 T kfree_skb_reason
ffffffff81000040 t nf_hook_slow
ffffffff81000040 T alias
ffffffff81000060 d data
ffffffffc0000000 t nft_do_chain\t[nf_tables]
";

    #[test]
    fn an_address_within_a_function_names_it() {
        let tree = Tree::new().with("/proc/kallsyms", SYMBOLS);
        let mut code = Code::open(&tree.root());
        let mut at = |address: u64| {
            let found = code.function_at(address)?;
            Some((found.name.to_owned(), found.module.to_owned(), address - found.address))
        };
        let expected = |name: &str, module: &str, offset| Some((name.to_owned(), module.to_owned(), offset));
        assert_eq!(at(0xffff_ffff_8100_003f), None);
        assert_eq!(at(0xffff_ffff_8100_0040), expected("nf_hook_slow", "vmlinux", 0));
        assert_eq!(at(0xffff_ffff_8100_00ff), expected("nf_hook_slow", "vmlinux", 0xbf));
        assert_eq!(at(0xffff_ffff_8100_0101), expected("kfree_skb_reason", "vmlinux", 1));
        assert_eq!(at(0xffff_ffff_c000_0123), expected("nft_do_chain", "nf_tables", 0x123));
    }

    #[test]
    fn hidden_addresses_name_no_function() {
        let hidden = "0000000000000000 T kfree_skb\n0000000000000000 t nft_do_chain\t[nf_tables]\n";
        for tree in [Tree::new(), Tree::new().with("/proc/kallsyms", hidden)] {
            assert_eq!(Code::open(&tree.root()).function_at(u64::MAX), None);
        }
    }
}
