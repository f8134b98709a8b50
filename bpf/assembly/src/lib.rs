//! Instructions of BPF, their text, and relocatable objects of them that libbpf's linker joins with other objects.
//!
//! The crate knows no packet and no program: compilers put instructions together, [`Object`] describes the function
//! that they are, and [`text()`] is for people. Imports `bpf_btf`.

pub mod code;
pub mod helper;
mod instruction;
mod object;
mod text;

pub use instruction::{FP, Instruction, SIZE, size_of};
pub use object::{Line, Object, Parameter};
pub use text::text;
