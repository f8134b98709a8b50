//! The modules of this crate import what they may: the table is in `tests/support/src/imports.rs`.

#[test]
fn modules_import_only_what_they_may() {
    support::imports::check("cli");
}
