//! What depends on the processor: the registers of arguments, the instructions that functions begin with, and what BPF
//! programs are compiled for. One file per processor, all with the same names. Imports `kernel::btf` and the types that
//! say why a function is skipped.

#[cfg(target_arch = "aarch64")]
mod aarch64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
use aarch64 as this;
#[cfg(target_arch = "x86_64")]
use x86_64 as this;

pub use this::BPF_TARGET;
pub(super) use this::{CODE_IS_KNOWN, ENTRY, behind_nop, is_patchable, may_jump_to, register};
