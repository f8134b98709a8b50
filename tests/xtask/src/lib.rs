//! The project's own commands, and what the end-to-end tests need to run things on real kernels.
//!
//! `cargo xtask` is the binary beside this library. The library is separate because `tests/e2e` boots the same guests:
//! [`vm::Guest`] is their way in. Nothing here is part of the product, and the product's build never calls it: guest
//! images are fetched and built by `cargo xtask` and by the tests, never by a build script.
//!
//! It depends on next to nothing, so that the first `cargo xtask` of a fresh checkout answers within seconds.

pub mod apt;
pub mod bench;
pub mod build;
pub mod cache;
pub mod cpio;
pub mod demo;
pub mod deny;
pub mod dist;
pub mod faults;
pub mod fuzz;
pub mod kernel;
pub mod msrv;
pub mod packages;
pub mod plugins;
pub mod progress;
pub mod prose;
pub mod qemu;
pub mod root;
pub mod sanitize;
pub mod snapshot;
pub mod test;
pub mod tools;
pub mod vm;
pub mod workspace;
