//! All end-to-end tests in one program, so that they share running guests ([`ipft_e2e::guest`]).
//!
//! `cargo xtask test` recognizes tests that need guests by their names: they are below `in_guests`.

mod gallery;
mod in_guests;
