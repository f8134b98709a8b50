//! The path of an event through ipft, whole: from a kernel function to the sinks, and through a recording.
//!
//! ```text
//! kernel function --> probe (BPF) --> stream --> Batch --> sinks
//! ```
//!
//! Data goes one way, and no layer imports one to its right: [`kernel`] reads what the kernel offers, [`probe`]
//! attaches, [`stream`] turns kernel records into batches of [`event`]s, [`sink`]s draw them. [`run`] has the loop that
//! connects them. This crate knows neither the command line nor plugins: crates `ipft` and `ipft-plugin-host` do.

#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

pub mod advice;
pub mod event;
pub mod expression;
pub mod extension;
pub mod field;
pub mod filter;
pub mod kernel;
pub mod limit;
pub mod message;
pub mod output;
pub mod privileges;
pub mod probe;
pub mod recording;
pub mod run;
pub mod script;
mod seeded;
pub mod selection;
pub mod signals;
pub mod sink;
pub mod stream;
pub mod text;
