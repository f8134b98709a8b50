//! Shared by the tests of several crates: hand-made traces and golden files, the check of module imports, and, with the
//! feature `plugins`, the hostile plugin.

#![allow(missing_docs, reason = "helpers whose names say what they are")]

pub mod canned;
pub mod days;
#[cfg(feature = "plugins")]
pub mod hostile;
pub mod imports;
