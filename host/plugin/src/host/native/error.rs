//! Errors for files that cannot be used as a native plugin, with remedies.
//!
//! Most of them come from the dynamic linker, in words that differ per C library and name a symbol or a library without
//! explanation. The known ones are distinguished here.

use std::path::PathBuf;

use super::abi;
use crate::host::error::Text;
use crate::package::DescriptionError;
use ipft_core::text::visible;

/// The file and the reason.
#[derive(Debug, thiserror::Error)]
#[error("the native plugin {} cannot be loaded: {problem}", visible(&path.display().to_string()))]
pub struct NativeError {
    /// The file, as named by the user.
    pub path: PathBuf,
    /// The reason.
    pub problem: Problem,
}

/// The reason why a native plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A statically linked ipft cannot load libraries.
    #[error(
        "this ipft is linked statically, and such a program can load no libraries; use an ipft that was built without \
         crt-static, or the plugin as WebAssembly"
    )]
    Static,
    /// The file cannot be read.
    #[error("{0}")]
    Read(std::io::Error),
    /// It is another kind of file.
    #[error("it is no shared library: {0}")]
    NoLibrary(&'static str),
    /// It is truncated.
    #[error("it is only a part of a shared library: it is shorter than its headers say")]
    Incomplete,
    /// It is a library for another system.
    #[error("it was built for another kind of machine than {}", std::env::consts::ARCH)]
    Machine,
    /// It has an undefined symbol.
    #[error("it uses `{}`, which neither it nor any library that it names has; link it with the library that does (cc ... -lNAME){hint}", symbol.as_str())]
    Symbol {
        /// The symbol.
        symbol: Text,
        /// The likely cause.
        hint: &'static str,
    },
    /// It was built on a newer system.
    #[error("it needs {} of {}, which is older here; build it on this system, or on one that is no newer", version.as_str(), library.as_str())]
    TooNew {
        /// The required version.
        version: Text,
        /// The library that should have it.
        library: Text,
    },
    /// It needs a missing library.
    #[error("it needs the library {}, which is not installed{hint}", library.as_str())]
    Library {
        /// The library.
        library: Text,
        /// The likely cause.
        hint: &'static str,
    },
    /// Another message of the dynamic linker.
    #[error("{}", .0.as_str())]
    Other(Text),
    /// It is a library, but not a plugin.
    #[error(
        "it does not export `{}`, so that it is no plugin for ipft (see ipft_plugin.h); if it defines it, give it the \
         visibility \"default\"",
        abi::SYMBOL
    )]
    NoEntry,
    /// It returns no table.
    #[error("its `{}` returned NULL, or what cannot be a pointer to a table", abi::SYMBOL)]
    NoTable,
    /// It needs a later ipft.
    #[error("it was built for version {} of ipft_plugin.h, and this ipft knows {}; it needs a newer ipft", numbers(*.0), numbers(abi::VERSION))]
    Newer(u32),
    /// Its table does not match the header.
    #[error("its table says version {} and {size} bytes, which no version of ipft_plugin.h has", numbers(*version))]
    Table {
        /// The table's value.
        version: u32,
        /// The table's value.
        size: u32,
    },
    /// A required function is missing.
    #[error("its table has no function `{0}`")]
    NoFunction(&'static str),
    /// Its description is invalid.
    #[error("{0}")]
    Description(#[from] DescriptionError),
}

/// Formats a version word.
fn numbers(word: u32) -> String {
    format!("{}.{}.{}", word >> 16, word >> 8 & 0xff, word & 0xff)
}

/// Returns the explanation for a plugin that was linked with the other C library.
const MUSL: &str = "; it was built with musl, and this ipft with glibc: build it with glibc, or as WebAssembly";
const GLIBC: &str = "; it was built with glibc, and this ipft with musl: build it with musl, or as WebAssembly";

impl Problem {
    /// Classifies a message of the dynamic linker.
    pub(super) fn of_linker(message: &str) -> Self {
        Problem::undefined(message)
            .or_else(|| Problem::too_new(message))
            .or_else(|| Problem::missing(message))
            .unwrap_or_else(|| Problem::Other(Text::line(message)))
    }

    /// glibc: `FILE: undefined symbol: NAME[, version VERSION]`. musl: `Error relocating FILE: NAME: symbol not found`.
    fn undefined(message: &str) -> Option<Self> {
        let symbol = match message.split_once("undefined symbol: ") {
            Some((_, rest)) => rest.split([',', ' ']).next()?,
            None => message.strip_suffix(": symbol not found")?.rsplit(": ").next()?,
        };
        // glibc's headers turn ordinary functions into these; musl has none of them.
        let of_glibc = symbol.starts_with("__") && symbol.ends_with("_chk") || symbol.starts_with("__isoc99_");
        Some(Problem::Symbol {
            symbol: Text::line(symbol),
            hint: if of_glibc && cfg!(target_env = "musl") {
                GLIBC
            } else {
                ""
            },
        })
    }

    /// glibc: ``LIBRARY: version `VERSION' not found (required by FILE)``.
    fn too_new(message: &str) -> Option<Self> {
        let (library, rest) = message.split_once(": version `")?;
        let (version, _) = rest.split_once("' not found")?;
        Some(Problem::TooNew {
            version: Text::line(version),
            library: Text::line(library),
        })
    }

    /// glibc: `NAME: cannot open shared object file: ...`. musl: `Error loading shared library NAME: ... (needed by
    /// FILE)`. The plugin's own file was read before, so it is not the missing one.
    fn missing(message: &str) -> Option<Self> {
        let library = match message.split_once(": cannot open shared object file") {
            Some((library, _)) => library,
            None => message
                .strip_prefix("Error loading shared library ")?
                .split(": ")
                .next()?,
        };
        let other = |start: &str| library.rsplit('/').next().is_some_and(|name| name.starts_with(start));
        let hint = if cfg!(target_env = "musl") {
            if other("libc.so.6") || other("ld-linux") {
                GLIBC
            } else {
                ""
            }
        } else if other("libc.musl-") || other("ld-musl-") {
            MUSL
        } else {
            ""
        };
        Some(Problem::Library {
            library: Text::line(library),
            hint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(message: &str) -> String {
        Problem::of_linker(message).to_string()
    }

    #[test]
    fn an_unresolved_symbol_is_named_for_each_c_library() {
        for message in [
            "./x.so: undefined symbol: nowhere",
            "/a b/x.so: undefined symbol: nowhere, version X_1.0",
            "/a b/x.so: undefined symbol: nowhere (fatal)",
            "Error relocating ./x.so: nowhere: symbol not found",
        ] {
            assert!(
                reported(message).starts_with("it uses `nowhere`, which neither it"),
                "{message}"
            );
        }
    }

    #[test]
    fn a_missing_or_old_library_is_named_with_a_remedy() {
        let text = reported("/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.99' not found (required by ./x.so)");
        assert!(text.starts_with("it needs GLIBC_2.99 of /lib/x86_64-linux-gnu/libc.so.6, which is older"));
        for message in [
            "libnone.so.3: cannot open shared object file: No such file or directory",
            "Error loading shared library libnone.so.3: No such file or directory (needed by ./x.so)",
        ] {
            assert_eq!(
                reported(message),
                "it needs the library libnone.so.3, which is not installed"
            );
        }
    }

    #[test]
    #[cfg(target_env = "gnu")]
    fn a_plugin_of_musl_is_recognized() {
        let text = reported("libc.musl-x86_64.so.1: cannot open shared object file: No such file or directory");
        assert!(text.contains("built with musl, and this ipft with glibc"), "{text}");
    }

    #[test]
    fn an_unknown_message_is_shown_escaped() {
        assert_eq!(reported("odd\x1b[2J\n"), "odd\\u{1b}[2J");
    }
}
