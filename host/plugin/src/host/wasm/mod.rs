//! Plugins in WebAssembly: components that somebody else built, run where they can do no harm.
//!
//! ```text
//! file -> Component -> PluginSink (a thread of its own) -> the plugin's stream
//!                   -> Decoder                        -> fields for every sink
//!                   -> object                         -> a BPF object
//! ```
//!
//! The contract is in `wit/`. A plugin gets memory, time and output up to a limit each, and beyond what the contract
//! offers nothing but what the user grants. Whatever it does, the trace and the other sinks go on: each [`Failure`] says
//! what a plugin did and what can be done about it. This room may import `event` and `plugin`, and what sinks of
//! plugins share.

mod account;
mod cache;
mod compiler;
mod component;
mod decoder;
mod engine;
mod folders;
mod guest;
mod instance;
mod pace;
mod poll;
mod state;
mod stdio;
mod types;

pub use super::error::{During, Failure, Frames, Limit, PluginError, Text};
pub use super::stream::{Level, Log};
pub use super::worker::Usage;
pub use cache::Cache;
pub use compiler::{COMPILE, Compiler, compile_for_parent};
pub use component::Component;
pub use decoder::Decoder;
pub use engine::{Engine, EngineError};
pub use types::{Content, Decoded, DecodedValue};
