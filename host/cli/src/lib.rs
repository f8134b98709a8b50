//! The program `ipft`: it shows the journey of packets through the Linux kernel, which functions each went through, when,
//! on which CPU, for how long.
//!
//! [`args`] turns the command line into plain requests, `command` does what they ask for, and `program` is the two
//! together. The path of an event is in the crate `ipft-core`, and what runs plugins in `ipft-plugin-host`.

#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod args;
#[cfg(feature = "run")]
pub mod command;
#[cfg(feature = "run")]
pub mod program;
