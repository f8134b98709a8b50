//! End-to-end tests: `ipft` on real kernels, with real packets.
//!
//! A test boots a guest, runs a script of `guest/` in it, and checks the files that it left in `/out`. Booting is slow,
//! so one script covers a kernel, and the tests of one file share it ([`guest::Shared`]). The output is read by code
//! that shares nothing with `ipft`: the formats are the contract, so parsers follow their description. This crate uses
//! `xtask` for guests, and never the `ipft` crate.

pub mod book;
pub mod calls;
pub mod compiler;
pub mod fields;
pub mod guest;
pub mod jsonl;
pub mod pcapng;
pub mod shape;

/// Defines a test of the same name for every kernel. Those of one property are adjacent, so that parallel tests use
/// different guests.
#[macro_export]
macro_rules! on_every_kernel {
    ($($property:ident),+ $(,)?) => {
        $(mod $property {
            use xtask::kernel::Kernel;

            #[test]
            fn on_5_10() {
                super::$property(Kernel::V5_10);
            }

            #[test]
            fn on_6_1() {
                super::$property(Kernel::V6_1);
            }

            #[test]
            fn on_6_12() {
                super::$property(Kernel::V6_12);
            }

            #[test]
            fn on_6_18() {
                super::$property(Kernel::V6_18);
            }

            #[test]
            fn on_7_2() {
                super::$property(Kernel::V7_2);
            }
        })+
    };
}
