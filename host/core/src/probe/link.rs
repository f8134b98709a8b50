//! Links the objects of packet filters, of an expression and of an extension with ipft's, using libbpf's static linker,
//! so that `ipft_filter`, `ipft_inner_filter`, `ipft_where` and `module` are functions of each program and cost a call.
//!
//! The linker compares the declarations of `module` on both sides, and extensions declare it with `void *ctx` or with
//! `struct pt_regs *ctx`. So it gets a copy of the extension in which all three parameters are `void *`.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;

use libbpf_rs::Linker;
use object::{Object as _, ObjectSection as _};
use rustix::fs::MemfdFlags;

use super::{ProbeError, libbpf_log};
use crate::kernel::btf::{Btf, Kind};

/// Returns the object in which `programs` call the functions of the filters and the extension's `module`.
pub(super) fn link(programs: &[u8], filters: &[Vec<u8>], extension: Option<&[u8]>) -> Result<Vec<u8>, ProbeError> {
    let failed = |what: &'static str| move |error: std::io::Error| ProbeError::Link(format!("{what}: {error}"));
    let reported = |error: libbpf_rs::Error| ProbeError::Link(format!("{error}\n{}", libbpf_log::take()));
    libbpf_log::begin();

    let memory = rustix::fs::memfd_create("ipft-linked", MemfdFlags::CLOEXEC)
        .map_err(|error| failed("cannot make a file in memory")(error.into()))?;
    let mut linked = File::from(memory);
    let mut linker = Linker::new(format!("/proc/self/fd/{}", linked.as_raw_fd())).map_err(reported)?;
    linker.add_buf(programs).map_err(reported)?;
    for filter in filters {
        linker.add_buf(filter).map_err(reported)?;
    }
    if let Some(extension) = extension {
        linker.add_buf(&with_plain_parameters(extension)).map_err(reported)?;
        if !has_license(extension) {
            let license = ipft_bpf::LICENSE.unpack().map_err(ProbeError::Unpack)?;
            linker.add_buf(&license).map_err(reported)?;
        }
    }
    linker.link().map_err(reported)?;
    drop(linker);

    let mut bytes = Vec::new();
    linked.rewind().map_err(failed("cannot read what was linked"))?;
    linked
        .read_to_end(&mut bytes)
        .map_err(failed("cannot read what was linked"))?;
    Ok(bytes)
}

fn has_license(extension: &[u8]) -> bool {
    object::File::parse(extension).is_ok_and(|file| file.section_by_name("license").is_some())
}

/// Returns a copy in which the pointer parameters of `module` point to `void`. Other declarations may share these
/// pointer types; none of them depends on the target of a pointer in BTF (CO-RE starts at the struct itself).
fn with_plain_parameters(extension: &[u8]) -> Vec<u8> {
    let mut copy = extension.to_vec();
    for at in parameter_targets(extension).unwrap_or_default() {
        if let Some(target) = copy.get_mut(at..at + 4) {
            target.fill(0);
        }
    }
    copy
}

/// Returns the file offsets of the parameter types of `module`.
fn parameter_targets(extension: &[u8]) -> Option<Vec<usize>> {
    /// Name, info, and then the target type (`struct btf_type`, include/uapi/linux/btf.h).
    const TARGET: usize = 8;

    let file = object::File::parse(extension).ok()?;
    let (section, len) = file.section_by_name(".BTF")?.file_range()?;
    let section = usize::try_from(section).ok()?;
    let btf = Btf::parse(extension.get(section..section.checked_add(usize::try_from(len).ok()?)?)?).ok()?;
    let function = btf.find(Kind::Function, "module")?;
    let prototype = btf.get(function.target())?;
    Some(
        prototype
            .parameters()
            .filter_map(|parameter| btf.peel(parameter.type_id))
            .filter(|each| each.kind() == Kind::Pointer)
            .filter_map(|pointer| Some(section + btf.offset_of(pointer.id())? + TARGET))
            .collect(),
    )
}
