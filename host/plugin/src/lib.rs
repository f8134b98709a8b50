//! Plugins of ipft: what a package says of itself ([`package`]), and what runs its code (`host`).
//!
//! With the feature `run` off, plugins are read and checked, and nothing of them can be run: neither wasmtime nor
//! libloading are compiled then.

#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

#[cfg(feature = "run")]
pub mod decoder;
#[cfg(feature = "run")]
pub mod host;
pub mod package;
