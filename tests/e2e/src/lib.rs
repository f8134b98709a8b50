//! End-to-end tests: `ipft` on real kernels, with real packets.
//!
//! A test boots a guest, runs a script of `guest/` in it, and looks at what the script left in `/out`. A boot is dear,
//! so a script does all that is to be done on its kernel, and the tests of one file share it ([`guest::Shared`]). What
//! comes back is read by code that shares nothing with `ipft`: the formats are the contract, so they are parsed from
//! their description. It uses `xtask` to get at guests, and never the `ipft` crate.

pub mod book;
pub mod calls;
pub mod compiler;
pub mod fields;
pub mod guest;
pub mod jsonl;
pub mod pcapng;
pub mod shape;

/// A test of the same name for every kernel. Those of one property stand together, so that tests which run at the same
/// time ask for different guests.
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
