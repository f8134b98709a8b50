//! 64-bit ARM: it compiles, but no function can be traced yet.

use super::super::btf::{Btf, Type};
use super::super::function::SkipReason;

/// clang's definition for BPF programs that read registers (`bpf_tracing.h`).
pub const BPF_TARGET: &str = "-D__TARGET_ARCH_arm64";

/// Whether the code of functions can be examined.
pub(in super::super) const CODE_IS_KNOWN: bool = false;

/// Bytes at a function's beginning that say whether ftrace can patch it.
pub(in super::super) const ENTRY: usize = 0;

/// Returns whether ftrace can patch a function. Unknown.
pub(in super::super) fn is_patchable(_address: u64, _code: [u8; ENTRY], _is_tracer: impl Fn(u64) -> bool) -> bool {
    false
}

/// Returns where a function goes on behind ftrace's NOP. Unknown.
pub(in super::super) fn behind_nop(_code: &[u8]) -> Option<usize> {
    None
}

/// Returns whether some instruction may jump to this offset. Unknown.
pub(in super::super) fn may_jump_to(_code: &[u8], _offset: usize) -> bool {
    true
}

/// The register of the parameter `index`, which is a pointer. Not known: the calling convention is not written down here.
pub(in super::super) fn register(_btf: &Btf, _prototype: &Type, _index: usize) -> Result<u8, SkipReason> {
    Err(SkipReason::UnknownRegisters)
}
