//! Write plugins for `ipft`, which shows what the Linux kernel did to a packet.
//!
//! A plugin is a type that implements [`Plugin`], and one call of [`plugin!`](crate::plugin):
//!
//! ```
//! use ipft_plugin::{Batch, Error, Options, Output, Plugin, Summary, Trace, plugin, text};
//! use std::io::Write;
//!
//! #[derive(Default)]
//! struct Calls {
//!     of: Vec<u64>,
//! }
//!
//! impl Plugin for Calls {
//!     fn events(&mut self, batch: &Batch, _out: &mut Output) -> Result<(), Error> {
//!         self.of.resize(batch.trace.functions.len(), 0);
//!         for event in batch.events.iter().filter(|event| event.is_entry()) {
//!             if let Some(calls) = self.of.get_mut(event.function as usize) {
//!                 *calls += 1;
//!             }
//!         }
//!         Ok(())
//!     }
//!
//!     fn finish(&mut self, trace: &Trace, _summary: &Summary, out: &mut Output) -> Result<(), Error> {
//!         for (function, calls) in trace.functions.iter().zip(&self.of) {
//!             writeln!(out, "{calls:>10} {}", text::visible(&function.name))?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! plugin! { Calls, about: "Counts the calls of each function" }
//! ```
//!
//! The crate of a plugin is a `cdylib`; `cargo build --release --target wasm32-wasip2` builds a component that `ipft
//! --plugin FILE.wasm` runs. Only cargo is needed. The plugin's name, version and licence are those of the crate.
//!
//! Where packets are followed, [`Headings`] names them by their addresses, and each [`Journey`] has its [`Lineage`]:
//! what its packet was made of, and how it ended.
//!
//! Names of functions and contents of fields come from outside and may contain anything: show them through [`text`]. A
//! plugin runs as long as the trace, possibly for hours; keep aggregates instead of events, or use [`Journeys`] for a
//! bounded number of them and a [`Tree`] for common call paths.
//!
//! A plugin may also contain the kernel side of an extension, and a [`Decoder`] for its payloads; see
//! [`plugin!`](crate::plugin).
//!
//! `cargo build --release` without a target builds a shared library from the same source: a native plugin, which runs
//! without a sandbox. A program that links several plugins enables the feature `embedded`, as each would otherwise
//! export the same symbol.
//!
//! With the feature `testing`, ordinary tests run a plugin natively on built-in traces and on recordings. The crate
//! uses wit-bindgen on WebAssembly only, and no code of ipft itself.

mod decoder;
mod description;
mod driver;
mod error;
mod event;
mod fields;
mod heading;
mod journeys;
mod log;
mod macros;
mod options;
mod outcome;
mod output;
mod parts;
pub mod text;
mod trace;
mod tree;

#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
pub mod native;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod wasm;

pub use decoder::{Content, Decoded, Decoder, DecoderDriver, Values};
pub use description::{DefaultValue, Describe, Description, OptionSpec};
pub use driver::Driver;
pub use error::Error;
pub use event::{Batch, Event};
pub use fields::{Fields, Lookup, Shown, Value};
pub use heading::Headings;
pub use journeys::{Call, Journey, Journeys, Lineage, Parent, families};
pub use log::{Level, log, set_logger};
pub use options::Options;
pub use outcome::{End, Outcome};
pub use output::Output;
pub use trace::{Field, Format, Function, Kind, Loss, Member, Skipped, Summary, Trace};
pub use tree::Tree;

/// The version of the contract (`wit/`) that this crate implements.
pub const CONTRACT: &str = "0.1.0";

/// Draws a trace. The order of calls: [`start`](Plugin::start) once; then [`learn`](Plugin::learn),
/// [`events`](Plugin::events) and [`missed`](Plugin::missed), any number of times; [`finish`](Plugin::finish) once.
///
/// An error ends the plugin, not the trace; its text is shown to the user. So does a panic, with a less helpful
/// message.
pub trait Plugin {
    /// Called before the first event. Functions are not known yet; refuse invalid options here.
    fn start(&mut self, trace: &Trace, options: &Options) -> Result<(), Error> {
        let _ = (trace, options);
        Ok(())
    }

    /// Called when `trace.functions` and `trace.names` have grown. The first call comes right after `start`.
    fn learn(&mut self, trace: &Trace) {
        let _ = trace;
    }

    /// Called with events. Bytes written to `out` are passed on when the call returns, at the latest.
    fn events(&mut self, batch: &Batch, out: &mut Output) -> Result<(), Error>;

    /// Called with the number of events that this plugin missed because it was slower than the trace.
    fn missed(&mut self, events: u64) {
        let _ = events;
    }

    /// Called when the trace has ended; the last call.
    fn finish(&mut self, trace: &Trace, summary: &Summary, out: &mut Output) -> Result<(), Error>;
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
