//! Selects, among the functions that take a packet, those that ftrace can patch, with their addresses.
//!
//! The answer comes from the cheapest source that is complete:
//!
//! 1. the kernel's memory (`/proc/kcore`): its symbol tables for addresses (Linux 6.0+), and the first bytes of each
//!    wanted function;
//! 2. `/proc/kallsyms` for addresses, and those bytes;
//! 3. `available_filter_functions_addrs` (Linux 6.5+) for both;
//! 4. `available_filter_functions` and `/proc/kallsyms`;
//! 5. `available_filter_functions` alone, where the kernel hides addresses: names that occur twice are then lost.
//!
//! All five give the same functions. Measured on 6.12 in instructions that the kernel spends: 50, 370, 550, 730 and
//! 360 million; a listing may take 500 in all.

use super::arch::CODE_IS_KNOWN;
use super::error::KernelError;
use super::kcore::text::Text;
use super::kcore::{self, Kcore, ModuleLayout};
use super::symbols::{self, Symbol};
use super::wanted::{Wanted, plain_name};
use super::{Root, tracefs};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;

/// A symbol that is a wanted function.
pub(super) struct Hit {
    /// Index among the wanted functions.
    pub(super) wanted: u32,
    pub(super) name: String,
    pub(super) address: u64,
    /// Its name has a compiler's suffix.
    pub(super) suffixed: bool,
    /// Others have its name.
    pub(super) ambiguous: bool,
    /// It cannot be distinguished from them.
    pub(super) lost: bool,
}

/// The symbols that are wanted functions and can be patched, and where that was learnt, in words for `-v`.
///
/// `numbers` are the modules' numbers by their names; the kernel's own name is empty.
pub(super) fn find_attachable(
    root: &Root,
    wanted: &Wanted,
    numbers: HashMap<&[u8], u32>,
    layout: Option<ModuleLayout>,
) -> Result<(Vec<Hit>, &'static str), KernelError> {
    let mut hits = Hits {
        wanted,
        numbers,
        list: Vec::with_capacity(4096),
        text: Text::default(),
    };
    let source = hits.find(root, layout.as_ref())?;
    Ok((hits.list, source))
}

struct Hits<'a> {
    wanted: &'a Wanted,
    numbers: HashMap<&'a [u8], u32>,
    list: Vec<Hit>,
    text: Text,
}

impl Hits<'_> {
    /// Fills the list and says from where.
    fn find(&mut self, root: &Root, layout: Option<&ModuleLayout>) -> Result<&'static str, KernelError> {
        if let Some(source) = self.find_in_memory(root, layout) {
            return Ok(source);
        }
        if let Ok(path) = tracefs::file(root, "available_filter_functions_addrs") {
            let mut hidden = false;
            File::open(&path)
                .and_then(|file| {
                    symbols::read_filter_functions(file, true, |symbol| hidden |= self.add(symbol) == Some(0))
                })
                .map_err(|source| KernelError::read(path, source))?;
            if !hidden {
                self.resolve_names();
                return Ok("available_filter_functions_addrs");
            }
            self.list.clear();
        }
        let path = tracefs::file(root, "available_filter_functions").map_err(|(path, source)| match source.kind() {
            io::ErrorKind::NotFound => KernelError::NoTracefs,
            _ => KernelError::read(path, source),
        })?;
        File::open(&path)
            .and_then(|file| {
                symbols::read_filter_functions(file, false, |symbol| {
                    self.add(symbol);
                })
            })
            .map_err(|source| KernelError::read(path, source))?;
        let listed = std::mem::take(&mut self.list);
        if !self.read_kallsyms(root) {
            self.list = listed;
            self.resolve_names();
            for hit in &mut self.list {
                hit.lost = hit.ambiguous;
            }
            return Ok("available_filter_functions, without addresses");
        }
        self.keep_listed(&listed);
        Ok("available_filter_functions and /proc/kallsyms")
    }

    /// Fills the list with all wanted functions that have an address, patchable or not. False if the kernel hides
    /// addresses.
    fn read_kallsyms(&mut self, root: &Root) -> bool {
        self.list.clear();
        let mut hidden = false;
        let read = File::open(root.path("/proc/kallsyms")).and_then(|file| {
            // Addresses are shown to those who may see them, all or none.
            symbols::read_kallsyms(file, |symbol| hidden |= self.add(symbol) == Some(0))
        });
        if read.is_err() || hidden {
            self.list.clear();
            return false;
        }
        self.resolve_names();
        true
    }

    /// The short cut through the kernel's memory; from where. `None`, and the list empty, if it is closed or leads
    /// nowhere.
    fn find_in_memory(&mut self, root: &Root, layout: Option<&ModuleLayout>) -> Option<&'static str> {
        let kcore = Kcore::open(root).ok().filter(|_| CODE_IS_KNOWN)?;
        let source = if self.read_tables(root, &kcore, layout) {
            "the kernel's symbol tables and code (/proc/kcore)"
        } else if self.read_kallsyms(root) {
            "/proc/kallsyms and the kernel's code (/proc/kcore)"
        } else {
            return None;
        };
        let before = self.list.len();
        let mut failed = false;
        self.list
            .retain(|hit| match self.text.is_patchable(&kcore, hit.address) {
                Ok(patchable) => patchable,
                Err(_) => {
                    failed = true;
                    false
                }
            });
        // Most functions can be patched. If these cannot, we do not understand this kernel's code.
        if failed || self.list.len() < before.div_ceil(2) {
            self.list.clear();
            return None;
        }
        Some(source)
    }

    /// Fills the list with all wanted functions, patchable or not, from the kernel's symbol tables. False, and the list
    /// empty, if they are not understood, or not the same as what the kernel prints.
    fn read_tables(&mut self, root: &Root, kcore: &Kcore, layout: Option<&ModuleLayout>) -> bool {
        let read = kcore::for_each_function(root, kcore, layout, |symbol| {
            self.add(symbol);
        });
        if read.is_err() {
            self.list.clear();
            return false;
        }
        self.resolve_names();
        true
    }

    /// Notes a symbol, if it is a wanted function; its address, then.
    #[inline]
    fn add(&mut self, symbol: Symbol) -> Option<u64> {
        self.text.learn(&symbol);
        if !self.wanted.may_contain(symbol.name) {
            return None;
        }
        let (plain, suffixed) = plain_name(symbol.name)?;
        // Newer BTF may name the copy itself.
        let names = [symbol.name, plain];
        let names = if suffixed { &names[..] } else { &names[1..] };
        let wanted = names.iter().find_map(|name| self.look_up(name, symbol.module))?;
        let address = symbol.address();
        self.list.push(Hit {
            wanted,
            name: std::str::from_utf8(symbol.name).ok()?.to_owned(),
            address,
            suffixed,
            ambiguous: false,
            lost: false,
        });
        Some(address)
    }

    #[inline]
    fn look_up(&self, name: &[u8], module: &[u8]) -> Option<u32> {
        self.wanted
            .of_name(name)
            .find(|(_, function)| self.numbers.get(module) == Some(&function.module))
            .map(|(index, _)| index)
    }

    /// Drops second names of one address, and marks names that several addresses have.
    fn resolve_names(&mut self) {
        let mut seen = HashSet::with_capacity(self.list.len());
        self.list.retain(|hit| hit.address == 0 || seen.insert(hit.address));
        let mut counts: HashMap<&str, u32> = HashMap::with_capacity(self.list.len());
        for hit in &self.list {
            *counts.entry(&hit.name).or_default() += 1;
        }
        let ambiguous: Vec<bool> = self
            .list
            .iter()
            .map(|hit| counts.get(&*hit.name).is_some_and(|count| *count > 1))
            .collect();
        for (hit, ambiguous) in self.list.iter_mut().zip(ambiguous) {
            hit.ambiguous = ambiguous;
        }
    }

    /// Keeps those that are listed as patchable. If a name is listed less often than it occurs, it is unknown which one
    /// is meant.
    fn keep_listed(&mut self, listed: &[Hit]) {
        let count = |hits: &[Hit]| {
            let mut counts: HashMap<(u32, String), u32> = HashMap::with_capacity(hits.len());
            for hit in hits {
                *counts.entry((hit.wanted, hit.name.clone())).or_default() += 1;
            }
            counts
        };
        let (listed, present) = (count(listed), count(&self.list));
        self.list.retain_mut(|hit| {
            let key = (hit.wanted, std::mem::take(&mut hit.name));
            let patchable = listed.get(&key).copied().unwrap_or(0);
            hit.lost = patchable < present.get(&key).copied().unwrap_or(0);
            hit.name = key.1;
            patchable > 0
        });
    }
}
