//! Plugins of ipft: packages and their descriptions ([`package`]), and running their code (`host`).
//!
//! With the feature `run` off, plugins can be read and checked but not run: wasmtime and libloading are then not
//! compiled.

#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

#[cfg(feature = "run")]
pub mod decoder;
#[cfg(feature = "run")]
pub mod host;
pub mod package;
