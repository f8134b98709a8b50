//! The records as they lie in the ring or perf buffer, and a CPU's counters: the twin of `wire.h`, which says what the
//! fields mean. Values come from there; structs are written again here, and compared with it field by field when this
//! is compiled. Imports nothing of ours.

/// The build script's constants for `wire.h`: size of each struct, offset and size of each field, and all values.
#[allow(non_upper_case_globals, dead_code, missing_docs, unreachable_pub)]
mod layout {
    include!(concat!(env!("OUT_DIR"), "/wire_layout.rs"));
}

/// Fails to compile unless a struct has exactly the fields of the one in `wire.h`, at the same offsets.
macro_rules! same_layout {
    ($rust:ident, $c:ident, $($field:ident),* $(,)?) => {
        const _: () = {
            const fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
                size_of::<F>()
            }
            $(
                assert!(offset_of!($rust, $field) == layout::$c::$field.0, concat!(stringify!($field), " has another place in wire.h"));
                assert!(size_of_field(|of: &$rust| &of.$field) == layout::$c::$field.1, concat!(stringify!($field), " has another size in wire.h"));
            )*
            assert!([$(stringify!($field)),*].len() == layout::$c::COUNT, "wire.h has more fields");
            assert!(size_of::<$rust>() == layout::$c::SIZE, "it has another size in wire.h");
            // No field is left out.
            const fn _all(whole: &$rust) {
                let $rust { $($field: _),* } = whole;
            }
        };
    };
}

mod config;
mod counters;
mod fields;
mod record;

pub use config::*;
pub use counters::*;
pub use fields::*;
pub use record::*;

const fn half_of(value: u64) -> u32 {
    assert!(value <= u32::MAX as u64, "a value of wire.h has more than 32 bits");
    value as u32
}

/// What the count of followed packets begins with if every function selects packets; the count is in the bits below.
pub const ANYWHERE: u64 = layout::IPFT_ANYWHERE;

/// The mask's place in the programs, which [`crate::Code::for_mark`] fills.
#[cfg(test)]
pub(crate) const MASK_PLACE: u32 = half_of(layout::IPFT_MASK_PLACE);

/// The mark's place in the programs, which [`crate::Code::for_mark`] fills.
#[cfg(test)]
pub(crate) const MARK_PLACE: u32 = half_of(layout::IPFT_MARK_PLACE);

/// The place of the function's index in the templates of the ftrace backend: the operand of a 64-bit load.
pub const FUNCTION_PLACE: u32 = half_of(layout::IPFT_FUNCTION_PLACE);

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

#[inline]
fn half(bytes: &[u8], at: usize) -> u32 {
    let mut half = [0; 4];
    half.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(half)
}
