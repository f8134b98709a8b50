//! What the user wants to see of each packet: kernel-side code that fills the event's payload, and the schema or the
//! decoder that says what the bytes mean.
//!
//! Everything in here is made of bytes that anybody may have written, and is checked before anything is attached.
//! It may import `event` and `kernel`; no sink knows that it exists.

pub mod compile;
pub mod generate;
pub mod layout;
pub mod object;
pub mod symbols;
