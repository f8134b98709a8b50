//! WebAssembly plugins: components of third parties, run in a sandbox.
//!
//! ```text
//! file -> Component -> PluginSink (a thread of its own) -> the plugin's stream
//!                   -> Decoder                        -> fields for every sink
//!                   -> object                         -> a BPF object
//! ```
//!
//! The contract is in `wit/`. A plugin gets limited memory, time and output, the functions of the contract, and
//! otherwise only what the user grants. A plugin cannot disturb the trace or other sinks: each [`Failure`] names the
//! cause and the remedy. May import `event` and `package`, and the common parts of plugin sinks.

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
