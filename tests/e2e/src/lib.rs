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

/// Defines a test of the same name for each of these kernels. Those of one property are adjacent, so that parallel tests
/// use different guests.
#[macro_export]
macro_rules! on_kernels {
    (@one $property:ident [$($(#[$attribute:meta])* $test:ident: $kernel:ident),+]) => {
        mod $property {
            use xtask::kernel::Kernel;

            $(#[test]
            $(#[$attribute])*
            fn $test() {
                super::$property(Kernel::$kernel);
            })+
        }
    };
    ($kernels:tt, $($property:ident),+ $(,)?) => {
        $($crate::on_kernels!(@one $property $kernels);)+
    };
}

/// Defines a test of the same name for every kernel: see [`on_kernels`].
#[macro_export]
macro_rules! on_every_kernel {
    ($($property:ident),+ $(,)?) => {
        $crate::on_kernels!(
            [on_5_10: V5_10, on_6_1: V6_1, on_6_12: V6_12, on_6_18: V6_18, on_7_2: V7_2],
            $($property),+
        );
    };
}

/// Defines a test of the same name for every kernel, of which 6.1 and 6.18 are ignored unless they are selected: a guest
/// takes minutes, and the three others have all ways of attaching (`kprobe`, `kprobe-multi`, `fentry-multi`), the
/// strictest verifier and the newest structures. What has to hold on five kernels at each change uses [`on_every_kernel`].
#[macro_export]
macro_rules! on_three_kernels {
    ($($property:ident),+ $(,)?) => {
        $crate::on_kernels!(
            [
                on_5_10: V5_10,
                #[ignore = "cargo xtask test --every-kernel"]
                on_6_1: V6_1,
                on_6_12: V6_12,
                #[ignore = "cargo xtask test --every-kernel"]
                on_6_18: V6_18,
                on_7_2: V7_2
            ],
            $($property),+
        );
    };
}
