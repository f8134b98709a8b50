//! Languages with a plugin template.

/// What a plugin is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, with the crate `ipft-plugin`.
    Rust,
    /// C, with clang and wasi-libc.
    C,
    /// JavaScript, with QuickJS.
    JavaScript,
    /// Python, with componentize-py.
    Python,
}
