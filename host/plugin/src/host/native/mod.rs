//! Native plugins: shared libraries of third parties, called directly.
//!
//! ```text
//! file -> Library -> PluginSink (a thread of its own) -> the plugin's stream
//! ```
//!
//! The interface is `sdk/native/ipft_plugin.h`. A native plugin runs without a sandbox, in this process; a crash in it
//! ends this process. It is run because the user named its file. The checks are: the file before it is loaded, the
//! table that it returns, and that its calls return. May import `event` and `package`, and the common parts of plugin
//! sinks.

mod abi;
mod elf;
mod error;
mod host;
mod instance;
mod library;

pub use elf::is_elf;
pub use error::{NativeError, Problem};
pub use library::Library;
