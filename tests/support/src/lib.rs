//! What the tests of several crates share: traces made by hand and golden files, the check of what modules import, and,
//! with the feature `plugins`, the hostile plugin.

#![allow(missing_docs, reason = "helpers whose names say what they are")]

pub mod canned;
#[cfg(feature = "plugins")]
pub mod hostile;
pub mod imports;
