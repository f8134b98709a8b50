//! End-to-end tests: `ipft` on real kernels, with real packets.
//!
//! A test boots a guest, runs a script of `guest/` in it, and looks at what the script left in `/out`. A boot is dear,
//! so a script does all that is to be done on its kernel, and the tests of one file share it ([`guest::Shared`]). What
//! comes back is read by code that shares nothing with `ipft`: the formats are the contract, so they are parsed from
//! their description. It uses `xtask` to get at guests, and never the `ipft` crate.

pub mod calls;
pub mod compiler;
pub mod fields;
pub mod guest;
pub mod jsonl;
pub mod shape;
