//! Finds the functions to trace: those that take a packet and that ftrace can patch.
//!
//! What takes a packet comes from BTF (for modules of a kernel that has none for modules, from a table that is built
//! in), what can be patched from the kernel's symbols. This file brings the two together.

use super::attachable::{Hit, find_attachable};
use super::blacklist::Blacklist;
use super::btf::Btf;
use super::error::KernelError;
use super::function::{Candidate, SkipReason, Skipped};
use super::kcore::ModuleLayout;
use super::prototype::PacketTypes;
use super::release::release;
use super::types::{TypeBytes, Types};
use super::wanted::{Wanted, WantedFunction};
use super::{Root, known};
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// The result.
#[derive(Debug, Default)]
pub struct Found {
    /// The functions that can be traced, the kernel's first and then each module's, by name and address.
    pub candidates: Vec<Candidate>,
    /// The functions that take a packet and cannot be traced.
    pub skipped: Vec<Skipped>,
    /// Those of them that are only skipped because their sk_buff is not filled when they are entered.
    pub unfilled: Vec<Candidate>,
    /// Loaded modules whose types are not known: their functions are missing.
    pub missing: Vec<MissingModule>,
    /// The source of the list of traceable functions, in words for `-v`.
    pub source: &'static str,
}

/// A loaded module whose types are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingModule {
    /// The module.
    pub name: String,
    /// The reason.
    pub reason: String,
}

/// The kernel itself, among the modules.
const VMLINUX: &str = "vmlinux";

/// Finds the functions that take a packet in the kernel and the modules that are loaded.
pub fn find_functions(root: &Root) -> Result<Found, KernelError> {
    find_functions_with(root, &TypeBytes::new(root).types())
}

/// Finds them by the kernel's types, which others may have read.
pub fn find_functions_with(root: &Root, types: &Types<'_>) -> Result<Found, KernelError> {
    let mut found = Found::default();
    let (modules, wanted, layout) = read_types(root, types, &mut found.missing)?;
    let numbers: HashMap<&[u8], u32> = modules
        .iter()
        .enumerate()
        .map(|(number, module)| (if module == VMLINUX { b"" } else { module.as_bytes() }, number as u32))
        .collect();
    let (hits, source) = find_attachable(root, &wanted, numbers, layout)?;
    found.source = source;
    let blacklist = Blacklist::read(root);
    for hit in hits {
        let Some(function) = wanted.functions().get(hit.wanted as usize) else {
            continue;
        };
        // A copy that lost an argument may have moved the packet, and only BTF could say that it did not.
        if hit.suffixed && function.without_btf {
            continue;
        }
        let module = modules.get(function.module as usize).cloned().unwrap_or_default();
        let candidate = |name: String, module: String, position: u8| Candidate {
            name,
            module,
            address: hit.address,
            position,
            argument: function.packet.argument,
            unsure: hit.suffixed || hit.ambiguous || function.without_btf,
            btf_id: function.btf_id,
            arguments: function.packet.arguments,
            trampoline: function.packet.trampoline,
            ambiguous: hit.ambiguous,
        };
        match judge(&hit, function, &blacklist, function.packet.position) {
            Ok(position) => found.candidates.push(candidate(hit.name, module, position)),
            Err(reason) => {
                let unfilled = function.packet.unfilled.ok_or(reason);
                if let (SkipReason::Unfilled, Ok(position)) = (reason, judge(&hit, function, &blacklist, unfilled)) {
                    found
                        .unfilled
                        .push(candidate(hit.name.clone(), module.clone(), position));
                }
                found.skipped.push(Skipped {
                    name: hit.name,
                    module,
                    reason,
                });
            }
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

/// Returns whether a function can be traced, and the packet's register, if it has one.
fn judge(
    hit: &Hit,
    function: &WantedFunction,
    blacklist: &Blacklist,
    position: Result<u8, SkipReason>,
) -> Result<u8, SkipReason> {
    let position = position?;
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

/// Reads the BTF of the kernel and its modules: the modules' names, the functions that take a packet, and how the
/// kernel keeps modules.
fn read_types(
    root: &Root,
    types: &Types<'_>,
    missing: &mut Vec<MissingModule>,
) -> Result<(Vec<String>, Wanted, Option<ModuleLayout>), KernelError> {
    let folder = root.path("/sys/kernel/btf");
    let vmlinux = types.get()?;
    let mut types = PacketTypes::new(vmlinux);
    let mut wanted = Wanted::new();
    wanted.add_btf(vmlinux, 0, &mut types);
    let mut modules = vec![VMLINUX.to_owned()];
    let typed = module_names(&folder)?;
    for name in &typed {
        let mut fail = |reason: String| {
            missing.push(MissingModule {
                name: name.clone(),
                reason,
            });
        };
        let data = match std::fs::read(folder.join(name)) {
            Ok(data) => data,
            // Unloaded since the folder was read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                fail(error.to_string());
                continue;
            }
        };
        match Btf::parse_split(&data, vmlinux) {
            Ok(btf) => {
                types.move_to(&btf);
                wanted.add_btf(&btf, modules.len() as u32, &mut types);
                modules.push(name.clone());
            }
            Err(error) => fail(error.to_string()),
        }
    }
    add_untyped(root, &typed, &mut modules, &mut wanted, missing);
    Ok((modules, wanted, ModuleLayout::find(vmlinux)))
}

/// Adds the functions of loaded modules that have no BTF, as far as they are known otherwise.
fn add_untyped(
    root: &Root,
    typed: &[String],
    modules: &mut Vec<String>,
    wanted: &mut Wanted,
    missing: &mut Vec<MissingModule>,
) {
    let known = known::modules_of(&release(root));
    // Where the list of modules cannot be read, those without BTF are as unknown as they are on other kernels.
    let loaded = std::fs::read_to_string(root.path("/proc/modules")).unwrap_or_default();
    for name in loaded.lines().filter_map(|line| line.split(' ').next()) {
        if typed.binary_search_by(|other| other.as_str().cmp(name)).is_ok() {
            continue;
        }
        let Some(functions) = known.get(name) else {
            missing.push(MissingModule {
                name: name.to_owned(),
                reason: "the kernel has no type information (BTF) for it".to_owned(),
            });
            continue;
        };
        let number = modules.len() as u32;
        modules.push(name.to_owned());
        for (function, packet) in functions.parse() {
            wanted.add(function, number, packet, 0, true);
        }
    }
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
