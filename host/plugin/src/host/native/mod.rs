//! Native plugins: shared libraries that somebody else built, called as they are.
//!
//! ```text
//! file -> Library -> PluginSink (a thread of its own) -> the plugin's stream
//! ```
//!
//! The interface is `sdk/native/ipft_plugin.h`. Nothing holds a native plugin: what it does, this process does, and when
//! it crashes, this process does. It is run because the user named its file. What can be checked is: the file before it
//! is loaded, the table that it returns, and that its calls come back. This room may import `event` and `plugin`, and
//! what sinks of plugins share.

mod abi;
mod elf;
mod error;
mod host;
mod instance;
mod library;

pub use elf::is_elf;
pub use error::{NativeError, Problem};
pub use library::Library;
