//! Runs plugins, WebAssembly and native, with their common parts: the queue between the trace and the plugin's thread,
//! the thread, the stream of the plugin's output. May import `package`, and `event`, `sink` and `text` of `ipft_core`.

pub mod error;
mod facts;
pub mod native;
mod queue;
mod stream;
pub mod wasm;
mod worker;

pub use stream::{Level, Log};
pub use worker::{PluginSink, Usage};
