//! Lua scripts of API version 1: a kernel side and a decoder in one file of text.
//!
//! Two generations of them are in the world. The published manual has `emit()` and `dump(data)`; later releases have
//! `program` and `decode(data)`. Both work, and of two that mean the same the newer one counts.
//!
//! A script is trusted like a program: it has the whole standard library. So nothing here guards against what it does,
//! only against what it does by mistake: errors name the file and the line, and a call that does not end can be ended.
//! [`call`] runs the decoder, [`watch`] interrupts it, with the help of [`coroutine`].

mod call;
mod coroutine;
mod names;
mod watch;

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mlua::{Function, Lua, LuaOptions, StdLib, Value};

use super::decode::{self, Decode, Report, Tell};
use crate::event::{Batch, Trace};
use call::Decoder;
use watch::Watch;

/// The only version of the interface between scripts and us.
pub const API_VERSION: i64 = 1;

/// Destination of a script's `print` and `io.write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Print {
    /// To stdout, in order with output that is text for people.
    Stdout,
    /// To stderr, because stdout is for programs.
    Stderr,
}

/// The reason why a script cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// Lua itself could not be set up.
    #[error("cannot set up Lua: {0}")]
    Setup(String),
    /// The file cannot be read, or is no Lua. The message names the file, and the line if there is one.
    #[error("cannot load the script: {0}")]
    Load(String),
    /// It is of an interface that is not supported, or does not say of which.
    #[error(
        "the script {path} has {found}; supported are api_version = {API_VERSION} (set it as a global of the script) and, \
         for a function in the kernel, the line 'api_version = 2'",
        path = .path.display()
    )]
    Version {
        /// The script.
        path: PathBuf,
        /// Its value instead.
        found: String,
    },
    /// A global has a type that it must not have.
    #[error("in the script {path}, `{name}` is {found}; it must be {wanted}", path = .path.display())]
    Type {
        /// The script.
        path: PathBuf,
        /// The global, or the call.
        name: &'static str,
        /// Its type.
        found: String,
        /// The required type.
        wanted: &'static str,
    },
    /// An error in Lua. The message begins with file and line and ends with a traceback.
    #[error("the script {path} failed in {place}: {message}", path = .path.display())]
    Failed {
        /// The script.
        path: PathBuf,
        /// Which part of it ran.
        place: &'static str,
        /// Lua's message.
        message: String,
    },
}

/// A script that was loaded and initialized.
pub struct Script {
    path: PathBuf,
    // The watch holds the address of Lua's state, so it goes first.
    watch: Watch,
    decoder: Option<Decoder>,
    program: Option<Vec<u8>>,
    fini: Option<Function>,
    /// Writes what Lua's stdout holds back.
    flush: Function,
    traceback: Function,
    tell: Tell,
    failed: u64,
    /// Bytes of the built-in fields.
    builtin: usize,
    lua: Lua,
}

/// Sends what the script prints to stderr, also what it writes to `io.stdout` itself.
const PRINT_TO_STDERR: &str = r#"
local stderr, tostring, pack, concat = io.stderr, tostring, table.pack, table.concat
io.stdout = stderr
io.output(stderr)
function print(...)
  local words = pack(...)
  for index = 1, words.n do
    words[index] = tostring(words[index])
  end
  stderr:write(concat(words, "\t"), "\n")
end
"#;

/// The C library holds back what Lua prints if stdout is no terminal. A script may have closed its stdout.
const FLUSH: &str = "local stdout, flush, pcall = io.stdout, io.stdout.flush, pcall
return function() pcall(flush, stdout) end";

impl Script {
    /// Runs the script, checks its version, calls `init()` and asks for its program.
    ///
    /// A call into the script that continues after `stop` has become readable (POLLIN) is interrupted. The first
    /// failure at an event is reported through `tell`.
    pub fn load(path: &Path, print: Print, stop: Option<OwnedFd>, tell: Tell) -> Result<Self, ScriptError> {
        let setup = |error: mlua::Error| ScriptError::Setup(error.to_string());
        // SAFETY: the unsafe parts of the library (`debug`, modules in C) are the script's to use, which is trusted
        // like a program that the user starts.
        let lua = unsafe { Lua::unsafe_new_with(StdLib::ALL, LuaOptions::new().catch_rust_panics(false)) };
        let globals = lua.globals();
        // Take ipft's own functions before the script can replace them.
        let traceback = globals
            .get::<mlua::Table>("debug")
            .and_then(|debug| debug.get("traceback"));
        let traceback: Function = traceback.map_err(setup)?;
        let flush = lua.load(FLUSH).set_name("=flush").eval().map_err(setup)?;
        let load_file: Function = globals.get("loadfile").map_err(setup)?;
        if print == Print::Stderr {
            lua.load(PRINT_TO_STDERR).set_name("=print").exec().map_err(setup)?;
        }
        let watch = Watch::new(call::state(&lua).map_err(setup)?, stop)
            .map_err(|error| ScriptError::Setup(format!("cannot watch for signals: {error}")))?;
        coroutine::follow(&lua, watch.calls()).map_err(setup)?;

        let name = lua.create_string(path.as_os_str().as_bytes()).map_err(setup)?;
        // As Lua's own interpreter loads it: a first line with `#!` is skipped, and a compiled script is taken.
        let chunk = match load_file.call(name).map_err(setup)? {
            (Some(chunk), _) => chunk,
            (None, message) => {
                let message: Option<mlua::LuaString> = message;
                let message = message.map(|message| call::readable(&message.as_bytes()));
                return Err(ScriptError::Load(message.unwrap_or_default()));
            }
        };
        let mut script = Script {
            path: path.to_owned(),
            watch,
            decoder: None,
            program: None,
            fini: None,
            flush,
            traceback,
            tell,
            failed: 0,
            builtin: 0,
            lua,
        };
        script.call(&chunk, "its main part")?;
        script.check_version()?;
        if let Some(init) = script.function("init")? {
            script.call(&init, "init()")?;
        }
        // Globals may be defined in `init`.
        script.program = script.find_program()?;
        script.fini = script.function("fini")?;
        let decode = match script.function("decode")? {
            Some(decode) => Some(("decode", decode)),
            None => script.function("dump")?.map(|dump| ("dump", dump)),
        };
        if let Some((name, function)) = decode {
            let decoder = Decoder::new(&script.lua, &script.traceback, name, function).map_err(setup)?;
            script.decoder = Some(decoder);
        }
        script.flush();
        Ok(script)
    }

    /// The script's kernel side: an ELF image, unchecked. `None` if it has none.
    pub fn program(&self) -> Option<&[u8]> {
        self.program.as_deref()
    }

    /// Returns whether the script has a decoder. Without one, events have no fields.
    pub fn has_decoder(&self) -> bool {
        self.decoder.is_some()
    }

    fn check_version(&self) -> Result<(), ScriptError> {
        let version = self.global("api_version")?;
        let found = match &version {
            // As scripts always could, also `1.0` and `"1"`.
            version if self.lua.coerce_integer(version.clone()).ok().flatten() == Some(API_VERSION) => return Ok(()),
            Value::Nil => "no api_version".to_owned(),
            Value::Integer(_) | Value::Number(_) => format!("api_version = {}", self.shown(&version)),
            Value::String(_) => format!("api_version = \"{}\"", self.shown(&version)),
            other => format!("{} as its api_version", article(other.type_name())),
        };
        Err(ScriptError::Version {
            path: self.path.clone(),
            found,
        })
    }

    fn shown(&self, value: &Value) -> String {
        let text = self.lua.coerce_string(value.clone()).ok().flatten();
        text.map(|text| call::readable(&text.as_bytes())).unwrap_or_default()
    }

    fn find_program(&self) -> Result<Option<Vec<u8>>, ScriptError> {
        let (name, value) = match self.global("program")? {
            Value::Nil => match self.function("emit")? {
                Some(emit) => ("emit()", self.call(&emit, "emit()")?),
                None => return Ok(None),
            },
            program => ("program", program),
        };
        match value {
            Value::String(image) => Ok(Some(image.as_bytes().to_vec())),
            other => Err(self.wrong_type(name, &other, "an ELF image in a string")),
        }
    }

    /// The global function of that name, if there is one.
    fn function(&self, name: &'static str) -> Result<Option<Function>, ScriptError> {
        match self.global(name)? {
            Value::Nil => Ok(None),
            Value::Function(function) => Ok(Some(function)),
            other => Err(self.wrong_type(name, &other, "a function")),
        }
    }

    fn global(&self, name: &'static str) -> Result<Value, ScriptError> {
        self.lua.globals().raw_get(name).map_err(|error| ScriptError::Failed {
            path: self.path.clone(),
            place: name,
            message: error.to_string(),
        })
    }

    fn wrong_type(&self, name: &'static str, found: &Value, wanted: &'static str) -> ScriptError {
        ScriptError::Type {
            path: self.path.clone(),
            name,
            found: article(found.type_name()),
            wanted,
        }
    }

    /// Calls a function without arguments, and interrupts it if it must.
    fn call(&self, function: &Function, place: &'static str) -> Result<Value, ScriptError> {
        self.watch.begin();
        let result = call::protected(&self.lua, &self.traceback, function);
        if self.watch.end() {
            call::remove_hook(&self.lua);
        }
        result.map_err(|message| {
            self.flush();
            ScriptError::Failed {
                path: self.path.clone(),
                place,
                message,
            }
        })
    }

    fn flush(&self) {
        // It fails if memory is short, and then there is nothing better to do.
        let _ = self.flush.call::<()>(());
    }
}

impl Decode for Script {
    fn start(&mut self, trace: &Trace) -> Result<(), String> {
        self.builtin = trace.schema.size as usize;
        if let Some(decoder) = &mut self.decoder {
            decoder.keep(self.builtin);
        }
        Ok(())
    }

    fn decode(&mut self, batch: &mut Batch) {
        let Some(decoder) = &mut self.decoder else {
            decode::drop_data(batch, self.builtin);
            return;
        };
        let before = decoder.failed();
        decoder.decode(&self.lua, &self.watch, batch);
        self.failed = decoder.failed();
        if before == 0
            && let Some(failure) = decoder.failure()
        {
            (self.tell)(&format!(
                "the script {} failed at an event, which is shown without fields, as others will be where it fails: {failure}",
                self.path.display()
            ));
        }
        self.flush();
    }

    fn finish(&mut self) -> Report {
        let mut report = Report::new(self.failed, &format_args!("script {}", self.path.display()));
        if let Some(fini) = self.fini.take() {
            // The signal that ended the trace is not meant for what follows; the next one ends us.
            let watched = !self.watch.stop_requested();
            let result = if watched {
                self.call(&fini, "fini()").map(drop)
            } else {
                call::protected(&self.lua, &self.traceback, &fini)
                    .map(drop)
                    .map_err(|message| ScriptError::Failed {
                        path: self.path.clone(),
                        place: "fini()",
                        message,
                    })
            };
            report.messages.extend(result.err().map(|error| error.to_string()));
        }
        self.flush();
        report
    }
}

impl std::fmt::Debug for Script {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Script")
            .field("path", &self.path)
            .field("program", &self.program.as_ref().map(Vec::len))
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// `a table`, `an integer`, `nil`.
fn article(type_name: &str) -> String {
    match type_name {
        "nil" => type_name.to_owned(),
        _ if type_name.starts_with(['a', 'e', 'i', 'o']) => format!("an {type_name}"),
        _ => format!("a {type_name}"),
    }
}

#[cfg(test)]
mod tests;
