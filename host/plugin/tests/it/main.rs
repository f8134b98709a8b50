//! The tests of `ipft-plugin-host` from outside, in one program.

mod imports;
mod wasm_decoder;
mod wasm_load;
mod wasm_sink;
