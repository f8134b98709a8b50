//! The project's own commands, and the infrastructure for end-to-end tests on real kernels.
//!
//! `cargo xtask` is the binary next to this library. The library is separate because `tests/e2e` boots the same guests,
//! through [`vm::Guest`]. None of it is part of the product, and the product's build never calls it: guest images are
//! fetched and built by `cargo xtask` and by the tests, never by a build script.
//!
//! It has few dependencies, so that the first `cargo xtask` of a fresh checkout starts within seconds.

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
