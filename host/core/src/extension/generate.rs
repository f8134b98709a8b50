//! Templates for authors of extensions (`ipft --gen`). The manual shows the same text.

/// The header with the macros.
pub const HEADER: &str = include_str!("module.h");

/// A complete extension in Lua.
pub const LUA_SKELETON: &str = include_str!("skeleton.lua");

/// A complete extension: the header, and a `module` that shows the packet's length.
pub fn skeleton() -> String {
    format!("{HEADER}{}", include_str!("module.bpf.c"))
}
