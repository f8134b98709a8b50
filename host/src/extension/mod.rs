//! What the user wants to see of each packet: kernel-side code that fills the event's payload, and the schema that
//! says what the bytes mean.
//!
//! Everything in here is made of bytes that anybody may have written, and is checked before anything is attached.
//! It may import `event` and `kernel`.

pub mod layout;
pub mod object;
pub mod symbols;
