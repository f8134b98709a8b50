//! Selects the functions to trace: those that take a packet, that ftrace can patch, and that the user wants.
//!
//! What takes a packet comes from BTF. What can be patched comes from the cheapest source that answers completely:
//!
//! 1. `/proc/kallsyms` for addresses, and the first bytes of each wanted function through `/proc/kcore`;
//! 2. `available_filter_functions_addrs` (Linux 6.5+) for both;
//! 3. `available_filter_functions` and `/proc/kallsyms`;
//! 4. `available_filter_functions` alone, where the kernel hides addresses: names that occur twice are then lost.
//!
//! All four give the same functions. Measured on 6.12 in instructions that the kernel spends: 370, 550, 730 and 360
//! million.

use super::blacklist::Blacklist;
use super::btf::{Btf, BtfError};
use super::function::{Candidate, SkipReason, Skipped};
use super::prototype::PacketTypes;
use super::symbols::{self, Symbol};
use super::text::KernelText;
use super::wanted::{Wanted, WantedFunction, plain_name};
use super::{Root, tracefs};
use regex::bytes::{Regex, RegexBuilder};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the functions could not be found.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The kernel has no BTF.
    #[error(
        "this kernel has no type information: {path} does not exist; ipft needs a kernel built with CONFIG_DEBUG_INFO_BTF=y",
        path = path.display()
    )]
    NoBtf {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file that is no valid BTF.
    #[error("cannot use the type information in {}: {source}", path.display())]
    Btf {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: BtfError,
    },
    /// tracefs is in neither of its places.
    #[error(
        "cannot find the kernel's list of traceable functions: tracefs is not mounted; \
         try: mount -t tracefs tracefs /sys/kernel/tracing"
    )]
    NoTracefs,
    /// A file that cannot be read, for want of rights.
    #[error("not allowed to read {}: ipft must run as root", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// A file that cannot be read, for whatever other reason.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl KernelError {
    fn read(path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::PermissionDenied => KernelError::Denied { path },
            _ => KernelError::Read { path, source },
        }
    }
}

/// Which functions the user wants.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    function: Option<Regex>,
    module: Option<Regex>,
}

impl Filter {
    /// Keeps the functions whose name, and whose module's name (`vmlinux` for the kernel itself), contain a match of
    /// these regular expressions.
    pub fn new(function: Option<&str>, module: Option<&str>) -> Result<Self, regex::Error> {
        // Names are ASCII; leaving Unicode out makes the automaton small.
        let compile = |pattern: &str| RegexBuilder::new(pattern).unicode(false).build();
        Ok(Filter {
            function: function.map(compile).transpose()?,
            module: module.map(compile).transpose()?,
        })
    }

    fn matches_function(&self, name: &str) -> bool {
        self.function
            .as_ref()
            .is_none_or(|regex| regex.is_match(name.as_bytes()))
    }

    fn matches_module(&self, name: &str) -> bool {
        self.module.as_ref().is_none_or(|regex| regex.is_match(name.as_bytes()))
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The functions that can be traced, the kernel's first and then each module's, by name and address.
    pub candidates: Vec<Candidate>,
    /// The functions that take a packet and cannot be traced.
    pub skipped: Vec<Skipped>,
    /// The modules whose BTF could not be read, with the reason: their functions are missing.
    pub unreadable: Vec<(String, String)>,
    /// Where it was learnt what can be traced, in words for `-v`.
    pub source: &'static str,
}

/// The kernel itself, among the modules.
const VMLINUX: &str = "vmlinux";

/// Finds the functions that take a packet in the kernel and the modules that are loaded.
pub fn find_functions(root: &Root, filter: &Filter) -> Result<Found, KernelError> {
    let mut found = Found::default();
    let (modules, wanted) = read_types(root, filter, &mut found.unreadable)?;
    let numbers: HashMap<&[u8], u32> = modules
        .iter()
        .enumerate()
        .map(|(number, module)| (if module == VMLINUX { b"" } else { module.as_bytes() }, number as u32))
        .collect();
    let mut hits = Hits {
        wanted: &wanted,
        numbers,
        list: Vec::with_capacity(4096),
    };
    found.source = hits.find(root)?;
    let list = hits.list;
    let blacklist = Blacklist::read(root);
    for hit in &list {
        let Some(function) = wanted.functions().get(hit.wanted as usize) else {
            continue;
        };
        if !filter.matches_function(&hit.name) {
            continue;
        }
        let module = modules.get(function.module as usize).cloned().unwrap_or_default();
        match judge(hit, function, &blacklist) {
            Ok(position) => found.candidates.push(Candidate {
                name: hit.name.clone(),
                module,
                address: hit.address,
                position,
                argument: function.packet.argument,
                unsure: hit.suffixed || hit.ambiguous || function.without_btf,
                btf_id: function.btf_id,
                arguments: function.packet.arguments,
                ambiguous: hit.ambiguous,
            }),
            Err(reason) => found.skipped.push(Skipped {
                name: hit.name.clone(),
                module,
                reason,
            }),
        }
    }
    let place = |module: &str| (module != VMLINUX, module.to_owned());
    found
        .candidates
        .sort_by_cached_key(|each| (place(&each.module), each.name.clone(), each.address));
    found
        .skipped
        .sort_by_cached_key(|each| (place(&each.module), each.name.clone(), each.reason));
    found.skipped.dedup();
    Ok(found)
}

/// Whether a function can be traced, and the packet's register.
fn judge(hit: &Hit, function: &WantedFunction, blacklist: &Blacklist) -> Result<u8, SkipReason> {
    let position = function.packet.position?;
    if function.conflicting {
        return Err(SkipReason::ConflictingPrototypes);
    }
    if hit.lost {
        return Err(SkipReason::AmbiguousName);
    }
    if blacklist.contains(hit.address, &hit.name) {
        return Err(SkipReason::Blacklisted);
    }
    Ok(position)
}

/// Reads the BTF of the kernel and its modules: the modules' names, and the functions that take a packet.
fn read_types(
    root: &Root,
    filter: &Filter,
    unreadable: &mut Vec<(String, String)>,
) -> Result<(Vec<String>, Wanted), KernelError> {
    let folder = root.path("/sys/kernel/btf");
    let path = folder.join(VMLINUX);
    let data = std::fs::read(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => KernelError::NoBtf { path: path.clone() },
        _ => KernelError::read(path.clone(), source),
    })?;
    let vmlinux = Btf::parse(&data).map_err(|source| KernelError::Btf { path, source })?;
    let mut types = PacketTypes::new(&vmlinux);
    let mut modules = Vec::new();
    let mut wanted = Wanted::new();
    if filter.matches_module(VMLINUX) {
        modules.push(VMLINUX.to_owned());
        wanted.add_btf(&vmlinux, 0, &mut types);
    }
    for name in module_names(&folder)? {
        if !filter.matches_module(&name) {
            continue;
        }
        let number = modules.len() as u32;
        let data = match std::fs::read(folder.join(&name)) {
            Ok(data) => data,
            // Unloaded since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                unreadable.push((name, error.to_string()));
                continue;
            }
        };
        match Btf::parse_split(&data, &vmlinux) {
            Ok(btf) => {
                types.move_to(&btf);
                wanted.add_btf(&btf, number, &mut types);
                modules.push(name);
            }
            Err(error) => unreadable.push((name, error.to_string())),
        }
    }
    Ok((modules, wanted))
}

/// The modules that have BTF, in alphabetical order.
fn module_names(folder: &Path) -> Result<Vec<String>, KernelError> {
    let failed = |source| KernelError::read(folder.to_owned(), source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if let Some(name) = name.to_str().filter(|name| *name != VMLINUX) {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// A symbol that is a wanted function.
struct Hit {
    wanted: u32,
    name: String,
    address: u64,
    suffixed: bool,
    /// Others have its name.
    ambiguous: bool,
    /// It cannot be told from them.
    lost: bool,
}

/// The symbols that are wanted functions and can be patched.
struct Hits<'a> {
    wanted: &'a Wanted,
    /// Numbers of the modules by their names; the kernel's is empty.
    numbers: HashMap<&'a [u8], u32>,
    list: Vec<Hit>,
}

impl Hits<'_> {
    /// Fills the list and says from where.
    fn find(&mut self, root: &Root) -> Result<&'static str, KernelError> {
        if self.find_in_text(root) {
            return Ok("the kernel's code (/proc/kcore)");
        }
        if let Ok(path) = tracefs::file(root, "available_filter_functions_addrs") {
            let mut hidden = false;
            symbols::read_filter_functions(&path, true, |symbol| {
                hidden |= self.add(symbol) == Some(0);
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
        symbols::read_filter_functions(&path, false, |symbol| {
            self.add(symbol);
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
        let read = symbols::read_kallsyms(&root.path("/proc/kallsyms"), |symbol| {
            // Addresses are shown to those who may see them, all or none.
            hidden |= self.add(symbol) == Some(0);
        });
        if read.is_err() || hidden {
            self.list.clear();
            return false;
        }
        self.resolve_names();
        true
    }

    /// The short cut through the kernel's code. False, and the list empty, if it is closed or leads nowhere.
    fn find_in_text(&mut self, root: &Root) -> bool {
        let Ok(text) = KernelText::open(root) else {
            return false;
        };
        if !self.read_kallsyms(root) {
            return false;
        }
        let before = self.list.len();
        let mut failed = false;
        self.list.retain(|hit| match text.is_patchable(hit.address) {
            Ok(patchable) => patchable,
            Err(_) => {
                failed = true;
                false
            }
        });
        // Most functions can be patched. If these cannot, we do not understand this kernel's code.
        if failed || self.list.len() < before.div_ceil(2) {
            self.list.clear();
            return false;
        }
        true
    }

    /// Notes a symbol, if it is a wanted function; its address, then.
    #[inline]
    fn add(&mut self, symbol: Symbol) -> Option<u64> {
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
        let mut seen = std::collections::HashSet::with_capacity(self.list.len());
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

    /// Keeps those that are listed as patchable. Of a name that is listed less often than it occurs, nobody knows which
    /// one is meant.
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
