//! Fuzzes the types of an extension: reading the layout must not panic, hang or allocate without bound, and sinks must
//! accept every layout.
//!
//! Run with `cargo xtask fuzz layout`; any `.BTF` section of an extension is a good seed.

#![no_main]

use ipft_core::extension::layout;
use ipft_core::kernel::btf::Btf;
use libfuzzer_sys::fuzz_target;

mod show;

fuzz_target!(|data: &[u8]| {
    if let Ok(btf) = Btf::parse(data) {
        show::show(layout::read(&btf));
    }
});
