//! Bytes from anybody as a plugin: looking at them must not panic, hang or allocate without bound, and what is said of
//! them must not be long or steer a terminal.
//!
//! Run with `cargo xtask fuzz component`; any component is a good seed.

#![no_main]

use ipft::plugin::inspect::inspect;
use libfuzzer_sys::fuzz_target;

mod show;

fuzz_target!(|data: &[u8]| {
    let inspection = match inspect(data) {
        Ok(inspection) => inspection,
        Err(error) => return show::message(&error),
    };
    let harmless = |text: &str| assert!(text.len() < 2048 && !text.contains(char::is_control), "{text:?}");
    for interface in inspection.imports.iter().chain(&inspection.exports) {
        harmless(&interface.name);
        interface.functions.iter().for_each(|name| harmless(name));
    }
    for (what, name, version) in &inspection.producers {
        [what, name, version].into_iter().for_each(|text| harmless(text));
    }
    inspection.contract_versions().iter().for_each(|version| harmless(version));
    inspection.needs();
    match inspection.check() {
        Ok(description) => {
            harmless(&description.about);
            assert_ne!(inspection.roles(), Default::default());
        }
        Err(refusal) => show::message(&refusal),
    }
});
