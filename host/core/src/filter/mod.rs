//! Compiles packet filters: tcpdump's language, pcap-filter(7), to a function in BPF that is linked into the probes.
//! Imports nothing of the crate.
//!
//! ```text
//! expression -> lexer -> parser (ast) -> generate (graph) -> optimise -> ebpf -> object
//! ```
//!
//! The compiler is our own: libpcap cannot be linked into one static program on every system. Tests compare it with
//! libpcap over hundreds of expressions and generated packets (`tests/filter`); the differences are in
//! `docs/src/filters.md`.
//!
//! # The generated function
//!
//! ```c
//! __hidden int ipft_filter(const void *header, __u64 start, __u32 available, __u32 length);
//! ```
//!
//! It judges the packet as an Ethernet frame, whether or not it has that header at the moment, so that one function
//! answers for the link and the network layer. `bpf/src/filter/frame.h` builds that frame:
//!
//! - `header` points to at least [`Filter::prefix`] + 2 bytes on the caller's stack, aligned to 8: two bytes that are
//!   not 0 if the packet has MAC addresses, the addresses (or zeros), the Ethernet type, and then the packet from its
//!   network header on. Bytes behind the packet's end may have any value.
//! - `start` is the address of the frame's first byte if it were in memory: the network header less 14, or less 18 if
//!   an accelerated VLAN tag was inserted, which is done only if [`Filter::has_vlan`].
//! - `available` is the number of the frame's bytes that can be read from there, `length` that of the whole frame.
//!
//! The same function judges the packet inside a tunnel's packet, as `ipft_inner_filter`.
//!
//! It returns 1 for a match, 0 for none, and -1 if it needs bytes behind `available`: for a packet of which all bytes
//! are available, that is no match.

mod arithmetic;
mod ast;
mod comm;
mod device;
mod ebpf;
mod emit;
mod error;
mod facts;
mod generate;
mod graph;
mod interpret;
mod lexer;
mod link;
mod names;
mod network;
mod object;
mod optimise;
mod parser;
mod ports;
mod relation;
#[cfg(test)]
mod tests;
mod transport;
mod tunnel;

pub use bpf_assembly::Instruction;
pub use comm::{ThreadName, ThreadNameError};
pub use device::{DevicePattern, DevicePatternError};
pub use error::{FilterError, Nearest, Problem};
pub use interpret::Verdict;
pub use names::{Names, SystemNames};

/// A compiled filter.
#[derive(Debug)]
pub struct Filter {
    graph: graph::Graph,
    program: ebpf::Program,
    uses: Uses,
}

/// Which parts of a packet a filter looks at.
#[derive(Debug, Clone, Copy, Default)]
struct Uses {
    mac: bool,
    vlan: bool,
    length: bool,
}

/// Compiles an expression; an empty one matches every packet. Names of hosts are resolved once, here.
pub fn compile(expression: &str, names: &dyn Names) -> Result<Filter, FilterError> {
    let node = parser::parse(expression)?;
    let (graph, has_vlan) = generate::generate(expression, node.as_ref(), names)?;
    let failed = |problem| FilterError::new(expression, 0..expression.len(), problem);
    if optimise::never_matches(&graph) {
        return Err(failed(Problem::Never));
    }
    let graph = optimise::optimise(graph);
    let program = ebpf::translate(&graph, has_vlan).map_err(failed)?;
    let used = graph.used();
    let uses = Uses {
        mac: used.contains(&graph::Value::HasMac),
        vlan: has_vlan,
        length: used.contains(&graph::Value::Length),
    };
    Ok(Filter { graph, program, uses })
}

impl Filter {
    /// Returns a relocatable object for this machine's BPF: the function, hidden, with its types.
    pub fn object(&self) -> Vec<u8> {
        object::write(object::FILTER, &self.program.code)
    }

    /// Returns the object of the same function for the packet inside a tunnel's packet, `ipft_inner_filter`.
    pub fn inner_object(&self) -> Vec<u8> {
        object::write(object::INNER, &self.program.code)
    }

    /// Returns the object for programs that do not judge the packet inside, and so never call the function.
    pub fn no_inner_object() -> Vec<u8> {
        let code = [Instruction::number(0, 0).0, Instruction::exit()];
        object::write(object::INNER, &code)
    }

    /// Returns the function's instructions.
    pub fn program(&self) -> &[Instruction] {
        &self.program.code
    }

    /// Returns the number of the frame's first bytes that have to be at `header`.
    pub fn prefix(&self) -> u32 {
        self.program.prefix
    }

    /// Returns the number of bytes of the function's own stack.
    pub fn stack(&self) -> u32 {
        self.program.stack
    }

    /// Returns whether it looks at MAC addresses. Otherwise they may be zeros.
    pub fn has_mac(&self) -> bool {
        self.uses.mac
    }

    /// Returns whether it looks at VLAN tags, so that an accelerated one has to be inserted.
    pub fn has_vlan(&self) -> bool {
        self.uses.vlan
    }

    /// Returns whether it looks at the packet's length. Otherwise that may be 0.
    pub fn has_length(&self) -> bool {
        self.uses.length
    }

    /// Returns whether every packet matches.
    pub fn always_matches(&self) -> bool {
        self.graph.start == graph::Target::Match
    }

    /// Judges the first bytes of a frame of `length` bytes, as the function in the kernel does.
    pub fn judge(&self, frame: &[u8], length: u32) -> Verdict {
        interpret::judge(&self.graph, frame, length, true)
    }

    /// The same for a packet without MAC addresses: in the frame, they are zeros.
    pub fn judge_without_mac(&self, frame: &[u8], length: u32) -> Verdict {
        interpret::judge(&self.graph, frame, length, false)
    }

    /// Returns whether a whole frame matches.
    pub fn matches(&self, frame: &[u8]) -> bool {
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.judge(frame, length) == Verdict::Match
    }
}
