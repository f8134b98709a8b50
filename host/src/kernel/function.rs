//! A kernel function that takes a packet, and how it takes it.

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
    /// Address to attach to: the symbol's, 0 where the kernel does not tell.
    pub address: u64,
    /// Position of the packet among the arguments, from 0.
    pub position: u8,
    /// How the packet is passed.
    pub argument: PacketArgument,
    /// The function exists only under a compiler suffix: the argument may not be where the prototype says, so its
    /// value must look like a kernel pointer before it is trusted.
    pub suffixed: bool,
    /// Id of its FUNC in the BTF of `module`, in the numbering of that BTF (split BTF continues vmlinux's).
    pub btf_id: u32,
    /// Number of arguments in the prototype.
    pub arguments: u8,
    /// Several symbols bear this name: it can be attached by address only.
    pub ambiguous: bool,
}
