//! What the command line may ask for: one module for each command, and what several of them share. It may import `args`
//! and everything of `ipft_core` and `ipft_plugin_host`; `program` is the only one that imports it.

pub mod diff;
pub mod doctor;
pub mod drawing;
pub mod empty;
mod functions;
pub mod list;
pub mod lua;
pub mod plugin;
pub mod plugins;
pub mod replay;
pub mod report;
pub mod top;
pub mod trace;
