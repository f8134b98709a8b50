//! All end-to-end tests, in one program, so that they share the guests that run at a time ([`ipft_e2e::guest`]).
//!
//! `cargo xtask test` tells tests that need guests from others by their names: they are those below `in_guests`.

mod gallery;
mod in_guests;
