//! Exports of a plugin's parts other than the sink, and of its description.

/// Exports the description, in a section that is not loaded.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_description {
    ($plugin:ty) => {
        const _: () = {
            #[used]
            #[unsafe(link_section = "ipft-plugin")]
            static DESCRIPTION: [u8; <$plugin as $crate::Describe>::DESCRIPTION.json_len()] =
                <$plugin as $crate::Describe>::DESCRIPTION.json();
        };
    };
}

/// Exports the interface `decoder`.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_decoder {
    ($decoder:ty) => {
        const _: () = {
            struct Component;

            ::std::thread_local! {
                static DRIVER: ::std::cell::RefCell<$crate::DecoderDriver<$decoder>> = ::std::default::Default::default();
            }

            impl $crate::wasm::DecoderComponent for Component {
                type Decoder = $decoder;

                fn with<R>(run: impl ::std::ops::FnOnce(&mut $crate::DecoderDriver<$decoder>) -> R) -> R {
                    DRIVER.with_borrow_mut(run)
                }
            }

            $crate::wasm::decoder::export!(Component with_types_in $crate::wasm::decoder);
        };
    };
}

/// Exports the interface `program`.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_program {
    ($program:expr) => {
        const _: () = {
            struct Component;

            impl $crate::wasm::ProgramComponent for Component {
                fn object() -> ::std::vec::Vec<u8> {
                    ($program).to_vec()
                }
            }

    $crate::wasm::program::export!(Component with_types_in $crate::wasm::program);
        };
    };
}

/// Native plugins have only a sink. The types of other parts are checked nevertheless.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_description {
    ($plugin:ty) => {
        const _: $crate::Description = <$plugin as $crate::Describe>::DESCRIPTION;
    };
}

/// As `__export_description`.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_decoder {
    ($decoder:ty) => {
        const _: fn() -> $crate::DecoderDriver<$decoder> = ::std::default::Default::default;
    };
}

/// As `__export_description`.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_program {
    ($program:expr) => {
        const _: fn() -> ::std::vec::Vec<u8> = || ($program).to_vec();
    };
}
