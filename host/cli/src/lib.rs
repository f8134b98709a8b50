//! The program `ipft`: shows the journey of packets through the Linux kernel: each function, its time, CPU and
//! duration.
//!
//! [`args`] parses the command line into plain requests, `command` executes them, and `program` combines the two. The
//! path of an event is in the crate `ipft-core`, and running plugins in `ipft-plugin-host`.

#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod args;
#[cfg(feature = "run")]
pub mod command;
#[cfg(feature = "run")]
pub mod program;
