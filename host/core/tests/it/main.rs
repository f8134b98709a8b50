//! The tests of `ipft-core` from outside, in one program. They need no kernel and no plugin.

mod difference;
mod drops;
mod early;
mod extension;
mod imports;
mod layout;
mod object;
mod pcapng;
mod recording;
mod sinks;
mod text;
mod top;
