//! Fuzzes an extension's object: the checks and the layout must not panic, hang or allocate without bound, and sinks
//! must accept whatever they let through.
//!
//! Run with `cargo xtask fuzz object`; any BPF object is a good seed.

#![no_main]

use ipft_core::extension::{layout, object};
use libfuzzer_sys::fuzz_target;

mod show;

fuzz_target!(|data: &[u8]| {
    match object::check(data) {
        Ok(checked) => show::show(layout::read(checked.btf())),
        Err(error) => show::message(&error),
    }
});
