//! The functions that `/proc/kallsyms` lists, read from the kernel's own tables and those of its modules.
//!
//! The kernel prints the file at 2,200 instructions a line, a third of a second for one kernel; what is read here, it
//! has in memory. What is read is checked against the file's beginning and against `/proc/modules`, and whatever does
//! not agree is an error: the caller then reads the file.

use super::super::Root;
use super::super::symbols::Symbol;
use super::modules::{self, ModuleLayout};
use super::tables::Tables;
use super::{Kcore, broken};
use std::fs::{self, File};
use std::io::{self, Read};

/// Bytes of `/proc/kallsyms` that are read for comparison. The symbols of per-CPU memory come first, if they have
/// separate addresses; code must follow within these bytes.
const COMPARED: u64 = 128 << 10;

/// Hands every function of the kernel and its modules to `each`, in the order of `/proc/kallsyms`. After an error, what
/// `each` got is worth nothing.
pub(in super::super) fn for_each_function(
    root: &Root,
    kcore: &Kcore,
    layout: Option<&ModuleLayout>,
    mut each: impl FnMut(Symbol),
) -> io::Result<()> {
    let mut printed = Vec::with_capacity(COMPARED as usize);
    File::open(root.path("/proc/kallsyms"))?
        .take(COMPARED)
        .read_to_end(&mut printed)?;
    let (tables, addressing) = Tables::read(kcore, &printed)?;
    let mut heads = Vec::new();
    tables.for_each(addressing, |kind, name, address| {
        if is_function(kind) {
            each(Symbol::new(name, b"", address));
        }
        // Of whatever kind: some kernels have it among the data that they write-protect, and print that as code.
        if name == modules::HEAD {
            heads.push(address);
        }
    })?;
    let loaded = match fs::read_to_string(root.path("/proc/modules")) {
        Ok(text) => text,
        // A kernel without modules.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let (&[head], Some(layout)) = (&heads[..], layout) else {
        return if loaded.is_empty() {
            Ok(())
        } else {
            Err(broken("no list of modules"))
        };
    };
    let mut found = modules::for_each_symbol(kcore, head, layout, |kind, name, module, address| {
        if is_function(kind) {
            each(Symbol::new(name, module, address));
        }
    })?;
    let mut expected: Vec<&[u8]> = loaded
        .lines()
        .filter_map(|line| line.as_bytes().split(|byte| *byte == b' ').next())
        .collect();
    found.sort_unstable();
    expected.sort_unstable();
    if found != expected {
        return Err(broken("other modules than those in /proc/modules"));
    }
    Ok(())
}

fn is_function(kind: u8) -> bool {
    matches!(kind, b't' | b'T' | b'w' | b'W')
}
