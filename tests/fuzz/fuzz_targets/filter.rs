//! Fuzzes the parser of packet filters: text must end in a filter, or in a message that marks a column of the text,
//! without panic or hang.
//!
//! Run with `cargo xtask fuzz filter`; any filter is a good seed.

#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use ipft_core::filter::{self, Names};
use libfuzzer_sys::fuzz_target;

/// Knows every name.
struct AnyName;

impl Names for AnyName {
    fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, String> {
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    match filter::compile(&text, &AnyName) {
        Ok(filter) => assert!(filter.program().len() < 1 << 20),
        Err(error) => {
            assert!((1..=text.chars().count() + 1).contains(&error.column()));
            let message = error.to_string();
            assert!(message.len() < 2048, "{} bytes", message.len());
            assert!(message.lines().all(|line| !line.contains(char::is_control)), "{message:?}");
        }
    }
});
