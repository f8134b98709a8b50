//! What the user wants to see of each packet, beyond where it was.
//!
//! An extension fills 64 bytes per event in the kernel, and says on this side what they mean: by a schema, or by a
//! decoder that makes fields of them. This room may import `event`; no sink knows that it exists.

pub mod decode;
pub mod lua;
