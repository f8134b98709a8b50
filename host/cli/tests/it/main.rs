//! The tests of the program `ipft`, in one program: most of them run it.

mod book;
mod demo;
mod diff;
mod headings;
mod imports;
mod manual;
mod native;
mod outputs;
mod plugin_fixture;
mod recorded;
mod replay;
mod replay_faults;
mod replay_hostile;
mod replay_parts;
mod replay_pipe;
mod replay_rights;
mod templates;
mod top;
mod wasm_bounds;
