//! What the user wants to see of each packet: kernel-side code that fills the event's payload, and the schema or the
//! decoder that says what the bytes mean.

pub mod compile;
pub mod generate;
