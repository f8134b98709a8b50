//! Fuzzes the compiler of packet filters: the instructions must do what the filter means, on every frame, without
//! anything that the kernel's verifier refuses.
//!
//! The input is a filter, a newline, and a frame. Run with `cargo xtask fuzz filter_program`.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use ipft_core::filter::{self, Names};
use libfuzzer_sys::fuzz_target;

#[path = "../../filter/src/machine.rs"]
mod machine;

/// Knows every name.
struct AnyName;

impl Names for AnyName {
    fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, String> {
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (text, frame) = data.split_at(end);
    let Ok(filter) = filter::compile(&String::from_utf8_lossy(text), &AnyName) else {
        return;
    };
    let frame = frame.get(1..).unwrap_or_default();
    // The whole frame, and its beginning.
    let length = u32::try_from(frame.len()).expect("inputs are short");
    for part in [frame, &frame[..frame.len() / 2]] {
        assert_eq!(machine::run(&filter, part, length), Ok(filter.judge(part, length)));
    }
});
