//! `plugin!`: turns a type into a plugin.

/// Turns a type that implements [`Plugin`](crate::Plugin) and [`Default`] into a plugin. Use it once per crate.
///
/// ```
/// # use ipft_plugin::{Batch, Error, Output, Plugin, Summary, Trace, plugin};
/// # #[derive(Default)]
/// # struct Flame;
/// # impl Plugin for Flame {
/// #     fn events(&mut self, _: &Batch, _: &mut Output) -> Result<(), Error> { Ok(()) }
/// #     fn finish(&mut self, _: &Trace, _: &Summary, _: &mut Output) -> Result<(), Error> { Ok(()) }
/// # }
/// plugin! {
///     Flame,
///     about: "A flame graph of the time that packets spent",
///     options: [
///         by: choice["time", "count"] = "time", "What the width of a frame means";
///         width: integer = 1200, "Width of the picture in pixels";
///         least: number = 0.1, "Frames that are narrower than this are left out";
///         title: string = "", "What is written above the picture";
///         inverted: bool = false, "Whether the root is at the top";
///     ]
/// }
/// ```
///
/// Name, version and licence are those of the crate (`Cargo.toml`); `name: "other",` before `about` sets another name.
/// The user sets options with `--plugin-opt KEY=VALUE`; the plugin reads them from [`Options`](crate::Options). A
/// description that the host would refuse, such as a default that is none of the choices, does not compile.
///
/// A plugin with more than a sink, or without one, names its parts instead: `sink`, a [`Plugin`](crate::Plugin);
/// `decoder`, a [`Decoder`](crate::Decoder); `program`, the bytes of a BPF object as for `ipft -e FILE.o`. Any of them
/// may be left out; the order is fixed.
///
/// ```
/// # use ipft_plugin::{Batch, Decoder, Error, Output, Plugin, Summary, Trace, Values, plugin};
/// #[derive(Default)]
/// struct Lengths;
///
/// impl Decoder for Lengths {
///     fn decode(&mut self, payload: &[u8], values: &mut Values) -> Result<(), Error> {
///         let bytes = payload.first_chunk().ok_or("a payload without a length")?;
///         values.push("len", u32::from_le_bytes(*bytes));
///         Ok(())
///     }
/// }
///
/// plugin! { decoder: Lengths, program: *b"\x7fELF...", about: "Shows how long packets are" }
/// ```
#[macro_export]
macro_rules! plugin {
    ($plugin:ty, $(name: $name:expr,)? about: $about:expr $(, options: $options:tt)? $(,)?) => {
        $crate::__description!($plugin, $(name: $name,)? about: $about, options: $($options)?);
        $crate::__export!($plugin);
    };
    (sink: $plugin:ty,
     $(decoder: $decoder:ty,)? $(program: $program:expr,)? $(name: $name:expr,)? about: $about:expr
     $(, options: $options:tt)? $(,)?) => {
        $crate::plugin!($plugin, $(name: $name,)? about: $about $(, options: $options)?);
        $($crate::__export_decoder!($decoder);)?
        $($crate::__export_program!($program);)?
    };
    ($(decoder: $decoder:ty,)? $(program: $program:expr,)? $(name: $name:expr,)? about: $about:expr
     $(, options: $options:tt)? $(,)?) => {
        #[doc(hidden)]
        struct IpftPlugin;
        $crate::__description!(IpftPlugin, $(name: $name,)? about: $about, options: $($options)?);
        $crate::__export_description!(IpftPlugin);
        $($crate::__export_decoder!($decoder);)?
        $($crate::__export_program!($program);)?
    };
}

/// The plugin's description, checked.
#[doc(hidden)]
#[macro_export]
macro_rules! __description {
    ($plugin:ty, about: $about:expr, options: $($options:tt)?) => {
        $crate::__description!($plugin, name: env!("CARGO_PKG_NAME"), about: $about, options: $($options)?);
    };
    ($plugin:ty, name: $name:expr, about: $about:expr, options:) => {
        $crate::__description!($plugin, name: $name, about: $about, options: []);
    };
    ($plugin:ty, name: $name:expr, about: $about:expr,
     options: [$($option:ident: $kind:ident $([$($value:literal),+ $(,)?])? = $default:literal, $help:literal);* $(;)?]) => {
        impl $crate::Describe for $plugin {
            const DESCRIPTION: $crate::Description = $crate::Description {
                name: $name,
                version: env!("CARGO_PKG_VERSION"),
                about: $about,
                license: env!("CARGO_PKG_LICENSE"),
                options: &[$($crate::OptionSpec {
                    name: stringify!($option),
                    kind: stringify!($kind),
                    values: &[$($($value),+)?],
                    default: $crate::__default!($kind $([$($value),+])? $default),
                    help: $help,
                }),*],
            };
        }

        const _: () = <$plugin as $crate::Describe>::DESCRIPTION.check();
    };
}

/// Returns the default of an option of this type; an unknown type does not compile.
#[doc(hidden)]
#[macro_export]
macro_rules! __default {
    (choice [$($value:literal),+] $default:literal) => {
        $crate::DefaultValue::Text($default)
    };
    (string $default:literal) => {
        $crate::DefaultValue::Text($default)
    };
    (integer $default:literal) => {
        $crate::DefaultValue::Integer($default)
    };
    (number $default:literal) => {
        $crate::DefaultValue::Number(stringify!($default))
    };
    (bool $default:literal) => {
        $crate::DefaultValue::Bool($default)
    };
}

/// The exports on WebAssembly: the interface `sink`, and the description.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ty) => {
        const _: () = {
            struct Component;

            ::std::thread_local! {
                static DRIVER: ::std::cell::RefCell<$crate::Driver<$plugin>> =
                    ::std::cell::RefCell::new($crate::wasm::driver());
            }

            impl $crate::wasm::Component for Component {
                type Plugin = $plugin;

                fn with<R>(run: impl ::std::ops::FnOnce(&mut $crate::Driver<$plugin>) -> R) -> R {
                    DRIVER.with_borrow_mut(run)
                }
            }

    $crate::wasm::bindings::export!(Component with_types_in $crate::wasm::bindings);
        };

        $crate::__export_description!($plugin);
    };
}

/// On other targets the file exports a table of functions, for hosts that load native code.
#[cfg(all(not(target_family = "wasm"), not(feature = "embedded")))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ty) => {
        const _: () = {
            static DESCRIPTION: [u8; <$plugin as $crate::Describe>::DESCRIPTION.json_len()] =
                <$plugin as $crate::Describe>::DESCRIPTION.json();
            static TABLE: $crate::native::Table = $crate::native::Table::new::<$plugin>(&DESCRIPTION);

            #[unsafe(no_mangle)]
            extern "C" fn ipft_plugin_v0() -> &'static $crate::native::Table {
                &TABLE
            }
        };
    };
}

/// Two plugins in one program cannot both export the table, which has the same name in each.
#[cfg(all(not(target_family = "wasm"), feature = "embedded"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($plugin:ty) => {};
}
