//! Tests of the compiler: its programs run by an interpreter, its messages, and random programs against Lua itself.

mod fields;
mod kernel;
mod machine;
mod messages;
mod oracle;
mod scripts;
mod sockets;
mod world;
