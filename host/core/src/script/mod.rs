//! Scripts in Lua that trace on their own (`ipft lua`): they make maps, attach functions of theirs to the kernel, and
//! show what these counted. The interface is that of BCC's module `bpf`. Imports nothing of the crate.
//!
//! A function that is attached is compiled by `lua_bpf`, with the values of its upvalues. All that a script makes
//! belongs to its process and goes with it: maps and programs are file descriptors, and nothing is pinned.

mod around;
mod bpf;
mod ctype;
mod ffi;
mod map;
mod program;
mod socket;

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, StdLib, Variadic};

/// A script to run.
#[derive(Clone, Debug)]
pub struct Script<'a> {
    /// Its file.
    pub path: &'a Path,
    /// What it finds in `arg` and `...`.
    pub arguments: &'a [OsString],
    /// Whether errors have the stack of Lua's calls and the verifier's log.
    pub verbose: bool,
}

/// The reason why a script ended early.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file cannot be read.
    #[error("cannot read the script {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Lua cannot be set up.
    #[error("cannot set up Lua: {0}")]
    Setup(String),
    /// The script is wrong, or failed.
    #[error("{0}")]
    Failed(String),
}

/// What the functions of the modules share.
struct Shared {
    verbose: bool,
    /// Texts of files by the names that Lua knows them by.
    texts: RefCell<HashMap<String, Rc<str>>>,
    /// Lua's own function: a script may replace its `debug`.
    get_upvalue: Function,
    /// Sockets whose programs run until the end.
    sockets: RefCell<Vec<socket::Socket>>,
}

/// Runs a script until it ends.
pub fn run(script: &Script<'_>) -> Result<(), ScriptError> {
    let bytes = fs::read(script.path).map_err(|source| ScriptError::Read {
        path: script.path.to_owned(),
        source,
    })?;
    let setup = |error: mlua::Error| ScriptError::Setup(error.to_string());
    // SAFETY: the unsafe parts of the library (`debug`, modules in C) are the script's to use, which is trusted like a
    // program that the user starts.
    let lua = unsafe { Lua::unsafe_new_with(StdLib::ALL, LuaOptions::new().catch_rust_panics(false)) };
    let globals = lua.globals();
    let debug: mlua::Table = globals.get("debug").map_err(setup)?;
    let name = format!("@{}", script.path.display());
    let text: Rc<str> = String::from_utf8_lossy(&bytes).into();
    let shared = Rc::new(Shared {
        verbose: script.verbose,
        texts: RefCell::new(HashMap::from([(name.clone(), text)])),
        get_upvalue: debug.get("getupvalue").map_err(setup)?,
        sockets: RefCell::default(),
    });
    bpf::add(&lua, &shared).map_err(setup)?;
    ffi::add(&lua).map_err(setup)?;
    let words: Vec<mlua::LuaString> = (script.arguments.iter())
        .map(|word| lua.create_string(word.as_bytes()))
        .collect::<mlua::Result<_>>()
        .map_err(setup)?;
    let arg = lua.create_sequence_from(&words).map_err(setup)?;
    let path = lua.create_string(script.path.as_os_str().as_bytes()).map_err(setup)?;
    arg.raw_set(0, path).map_err(setup)?;
    globals.set("arg", arg).map_err(setup)?;

    let failed = |error: mlua::Error| ScriptError::Failed(readable(&error, script.verbose));
    let chunk = lua
        .load(without_shebang(&bytes))
        .set_name(&*name)
        .set_mode(ChunkMode::Text);
    let chunk = chunk.into_function().map_err(failed)?;
    let result = chunk.call::<()>(Variadic::from_iter(words)).map_err(failed);
    // The C library has what `io.write` was given.
    let flush = lua.load("io.stdout:flush()").set_name("=flush").exec();
    result.and(flush.map_err(failed))
}

/// Returns a script without a first line for the shell, whose end stays, so that lines keep their numbers.
fn without_shebang(bytes: &[u8]) -> &[u8] {
    match bytes.first() {
        Some(b'#') => {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
            bytes.get(end..).unwrap_or_default()
        }
        _ => bytes,
    }
}

/// Returns what an error says, without the calls that led to it unless they are wanted.
fn readable(error: &mlua::Error, verbose: bool) -> String {
    let (mut cause, mut calls) = (error, None);
    while let mlua::Error::CallbackError {
        cause: inner,
        traceback,
    } = cause
    {
        (cause, calls) = (inner, Some(traceback));
    }
    let said = match cause {
        mlua::Error::RuntimeError(message) => message.clone(),
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    // What Lua and our functions raise begins with a place; a value of a wrong type for one of ours does not.
    let place = match cause {
        mlua::Error::RuntimeError(_) | mlua::Error::SyntaxError { .. } => None,
        _ => calls.and_then(|calls| place_in(calls)),
    };
    let said = format!("{}{said}", place.unwrap_or_default());
    let (message, own) = match said.split_once("\nstack traceback:\n") {
        Some((message, calls)) => (message.to_owned(), Some(format!("stack traceback:\n{calls}"))),
        None => (said, None),
    };
    match own.as_ref().or(calls).filter(|_| verbose) {
        Some(calls) => format!("{message}\n{calls}"),
        None => message,
    }
}

/// Returns the place in a script that is first in a stack of calls, as `FILE:LINE: `.
fn place_in(calls: &str) -> Option<String> {
    calls.lines().find_map(|line| {
        let (file, rest) = line.trim().split_once(':')?;
        let (number, _) = rest.split_once(':')?;
        let is_line = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
        is_line.then(|| format!("{file}:{number}: "))
    })
}

/// Makes an error at the line of the script that called a function of ours.
fn failed(lua: &Lua, message: impl std::fmt::Display) -> mlua::Error {
    // The running function is ours, and maybe its callers are, such as `assert`.
    let place = (1..8).find_map(|level| {
        lua.inspect_stack(level, |debug| {
            let line = debug.current_line()?;
            let source = debug.source().short_src?.into_owned();
            Some(format!("{source}:{line}: "))
        })?
    });
    mlua::Error::RuntimeError(format!("{}{message}", place.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
