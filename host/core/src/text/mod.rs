//! Appends text to a buffer: numbers, padding, and escaped names.
//!
//! Every built-in sink writes through these few functions, because they run once or more per event: they append to a
//! buffer that is reused, and use neither allocation nor the `fmt` machinery.
//! This module imports nothing of the crate.

mod clock;
mod json;
mod numbers;
mod visible;

pub(crate) use clock::Clock;
pub use json::visible_json;
pub(crate) use json::{push_json_escaped, push_json_escaped_bytes, push_json_string};
pub use numbers::{grouped, short_time};
pub(crate) use numbers::{
    hex_wide, push_hex, push_hex_byte, push_hex_wide, push_nine_digits, push_signed, push_spaces, push_three_digits,
    push_unsigned, three_digits, up_to_four_digits,
};
pub use visible::{Terminal, steers, visible, visible_lines};
pub(crate) use visible::{push_visible, push_visible_bytes};
