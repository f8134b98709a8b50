//! The loop of a trace: what takes events from the kernel's buffer to the sinks, and functions of modules that are
//! loaded meanwhile to the probes. May import every other module of the crate; none imports it.

pub mod clock;
mod deciders;
mod drop_totals;
mod droppers;
mod late;
mod outcomes;
mod reader;
mod stacks;

pub use late::{Late, Setup};
pub use reader::{ReadError, Reader};
