//! What runs plugins, in WebAssembly and native, and what both have in common: a queue between the trace and the
//! plugin's thread, the thread, the stream that takes the plugin's bytes. It may import `package`, and `event`, `sink` and `text` of
//! `ipft_core`.

pub mod error;
pub mod native;
mod queue;
mod stream;
pub mod wasm;
mod worker;

pub use stream::{Level, Log};
pub use worker::{PluginSink, Usage};
