//! A kernel function that takes a packet, how it takes it, and the reasons why some cannot be traced.

use std::fmt;

/// How a function receives the sk_buff.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PacketArgument {
    /// `struct sk_buff *`, const or not.
    Pointer,
    /// `struct sk_buff **`: dereferenced in BPF.
    DoublePointer,
}

/// A kernel function that takes a packet and that ftrace can patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Symbol name, with the compiler's suffix (`.isra.0`, `.constprop.0`) if it has one.
    pub name: String,
    /// `vmlinux`, or the module's name.
    pub module: String,
    /// Address to attach to, 0 where the kernel does not tell.
    ///
    /// It is the symbol's, or, where `available_filter_functions_addrs` was the source, ftrace's: the same, or 4 bytes
    /// further on in a function that begins with `endbr64`. Every attach mechanism takes both.
    pub address: u64,
    /// Which argument register holds the packet, from 0 (`rdi`). It is the argument's position in the source unless an
    /// earlier argument takes two registers or none.
    pub position: u8,
    /// How the packet is passed.
    pub argument: PacketArgument,
    /// The argument may not be where we think: the function exists under a compiler suffix, or shares its name with
    /// another, or its module has no BTF. The value must look like a kernel pointer before it is trusted.
    pub unsure: bool,
    /// Id of its FUNC in the BTF of `module`, in the numbering of that BTF (split BTF continues vmlinux's). 0 if the
    /// module has no BTF.
    pub btf_id: u32,
    /// Number of arguments in the prototype; 0 if it is not known (no BTF).
    pub arguments: u8,
    /// Whether BPF trampolines support functions of this prototype.
    pub trampoline: bool,
    /// Several symbols bear this name: it can be attached by address only.
    pub ambiguous: bool,
}

/// A function that takes a packet and cannot be traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Symbol name.
    pub name: String,
    /// `vmlinux`, or the module's name.
    pub module: String,
    /// The reason.
    pub reason: SkipReason,
}

/// The reason why a function that takes a packet cannot be traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SkipReason {
    /// It is in the kernel's kprobes blacklist.
    Blacklisted,
    /// The packet is passed on the stack.
    OnStack,
    /// An argument before the packet has a type whose registers are not known.
    UnknownRegisters,
    /// The sk_buff that it is entered with is not a packet yet, or not at all.
    Unfilled,
    /// Functions of this name differ in how they take a packet, and BTF does not say which is which.
    ConflictingPrototypes,
    /// Several functions bear this name, and the kernel does not say which of them can be traced.
    AmbiguousName,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SkipReason::Blacklisted => "the kernel forbids probes on it (kprobes blacklist)",
            SkipReason::OnStack => "it takes the packet on the stack, not in a register",
            SkipReason::UnknownRegisters => "an earlier argument is passed in a way that is not known",
            SkipReason::Unfilled => "the sk_buff that it takes is not filled when it is entered",
            SkipReason::ConflictingPrototypes => "several functions of this name take different arguments",
            SkipReason::AmbiguousName => "several functions bear this name and the kernel hides which can be traced",
        })
    }
}
