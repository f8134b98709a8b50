//! ipft shows the journey of packets through the Linux kernel: which functions each went through, when, on which CPU,
//! for how long.
//!
//! ```text
//! kernel function --> probe (BPF) --> stream --> Batch --> sinks
//! ```
//!
//! Data goes one way, and no layer imports one to its right: [`kernel`] reads what the kernel offers, [`probe`]
//! attaches, [`stream`] turns kernel records into batches of [`event`]s, [`sink`]s draw them. `session` ties one trace
//! together and the binary only wires.

#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod cli;
pub mod doctor;
pub mod drawing;
pub mod empty;
pub mod event;
pub mod extension;
pub mod info;
pub mod kernel;
pub mod limit;
pub mod message;
pub mod output;
pub mod plugin;
pub mod plugin_command;
pub mod plugins;
pub mod privileges;
pub mod probe;
pub mod probe_server;
pub mod program;
pub mod recording;
pub mod replay;
mod seeded;
pub mod selection;
pub mod session;
pub mod signals;
pub mod sink;
pub mod stream;
pub mod text;
pub mod waiting;
