//! Calls of the script, and the tables returned by its decoder.
//!
//! The decoder runs once per event, so it is called through Lua's C interface: mlua's own calls make and release a
//! reference for every string and table, with which an event of three fields takes more than three times as long. All events of a
//! batch are decoded in one protected call. What Lua raises in there (the script's errors apart, which are caught per
//! event, this is memory running out) leaves it by a jump, so nothing in [`Decoder::step`] and below may own memory
//! across a call of Lua.

use std::ffi::c_int;

use mlua::{Function, Lua, Table, Value as LuaValue, ffi};

use super::super::decode::{DATA, parts};
use super::article;
use super::names::{MAX_NAME, MAX_NAMES, Names, Unknown, bytes};
use super::watch::Watch;
use crate::event::{Batch, Event, MAX_TAGGED, Value};

/// Positions of the values on Lua's stack while a batch is decoded.
const TRACEBACK: c_int = 1;
const DECODE: c_int = 2;
pub(super) const ANCHORS: c_int = 3;

/// The state that runs the script's calls.
pub(super) fn state(lua: &Lua) -> mlua::Result<*mut ffi::lua_State> {
    let mut found = std::ptr::null_mut();
    // SAFETY: the closure touches nothing of Lua.
    unsafe { lua.exec_raw::<()>((), |state| found = state)? };
    Ok(found)
}

/// Takes away what [`Watch`] has set.
pub(super) fn remove_hook(lua: &Lua) {
    // SAFETY: the state is live, and no hook but the watch's is ever set by us.
    let result = unsafe { lua.exec_raw::<()>((), |state| ffi::lua_sethook(state, None, 0, 0)) };
    // It needs no memory, so it cannot fail.
    debug_assert!(result.is_ok());
}

/// Calls a function without arguments; an error is its message with a traceback.
pub(super) fn protected(lua: &Lua, traceback: &Function, function: &Function) -> Result<LuaValue, String> {
    // SAFETY: the closure finds the two arguments on an empty stack, takes them, and leaves the two results; it owns
    // no memory.
    let result = unsafe {
        lua.exec_raw::<(bool, LuaValue)>((traceback, function), |state| {
            let status = ffi::lua_pcall(state, 0, 1, 1);
            ffi::lua_pushboolean(state, c_int::from(status == ffi::LUA_OK));
            ffi::lua_replace(state, 1);
        })
    };
    match result {
        Ok((true, value)) => Ok(value),
        Ok((false, LuaValue::String(message))) => Err(readable(&message.as_bytes())),
        Ok((false, other)) => Err(format!("(the error is {}, no text)", article(other.type_name()))),
        Err(error) => Err(error.to_string()),
    }
}

/// A message of a script, fit for a terminal. It may hold what a packet carried.
pub(super) fn readable(message: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(message).chars() {
        match character {
            '\n' | '\t' => text.push(character),
            _ if character.is_control() || matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                text.extend(character.escape_default());
            }
            _ => text.push(character),
        }
    }
    text
}

/// The function that makes fields of an event's data.
#[derive(Debug)]
pub(super) struct Decoder {
    function: Function,
    traceback: Function,
    /// Keeps the names' strings alive, so that their addresses stay theirs.
    anchors: Table,
    /// `gso.lua:12: decode()`, for errors in what it returns.
    place: String,
    /// It may return a text, as the oldest scripts did: a field named `dump`.
    text: bool,
    names: Names,
    /// Bytes of the built-in fields, which stay in front.
    builtin: usize,
    fields: Vec<Field>,
    /// The payloads of the batch at hand.
    payload: Vec<u8>,
    failed: u64,
    failure: Option<String>,
    /// It was interrupted, and is not called again.
    interrupted: bool,
}

/// A field of the table at hand. Its text is Lua's, and lives as long as the table.
#[derive(Clone, Copy, Debug)]
struct Field {
    rank: u32,
    name: u32,
    value: Raw,
}

#[derive(Clone, Copy, Debug)]
enum Raw {
    Integer(i64),
    Float(f64),
    Text(*const u8, usize),
}

/// The problem of a result.
enum Fault {
    /// The decoder returned neither a table nor nil.
    Result(&'static str),
    /// A key is no string.
    Key { shown: String, found: &'static str },
    /// A value is neither a string nor a number.
    Field { name: String, found: &'static str },
    /// There are too many bytes.
    Size,
    /// A name is not known.
    Name(Unknown),
}

impl From<Unknown> for Fault {
    fn from(unknown: Unknown) -> Self {
        Fault::Name(unknown)
    }
}

impl Decoder {
    pub(super) fn new(lua: &Lua, traceback: &Function, name: &'static str, function: Function) -> mlua::Result<Self> {
        let info = function.info();
        let place = match (info.short_src, info.line_defined) {
            (Some(file), Some(line)) => format!("{file}:{line}: {name}()"),
            _ => format!("{name}()"),
        };
        Ok(Decoder {
            function,
            traceback: traceback.clone(),
            anchors: lua.create_table()?,
            place,
            text: name == "dump",
            names: Names::default(),
            builtin: 0,
            fields: Vec::new(),
            payload: Vec::new(),
            failed: 0,
            failure: None,
            interrupted: false,
        })
    }

    /// Events that could not be decoded.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// The first error.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Keeps so many bytes in front of what is decoded.
    pub(super) fn keep(&mut self, builtin: usize) {
        self.builtin = builtin;
    }

    /// As [`super::super::decode::Decode::decode`].
    pub(super) fn decode(&mut self, lua: &Lua, watch: &Watch, batch: &mut Batch) {
        self.payload.clear();
        let mut next = 0;
        while next < batch.events.len() {
            if self.interrupted {
                // Nothing more is known about the rest.
                for event in &mut batch.events[next..] {
                    self.failed += u64::from(self.begin(event, &batch.payload).is_some());
                }
                break;
            }
            let arguments = (self.traceback.clone(), self.function.clone(), self.anchors.clone());
            // SAFETY: `run` finds the three arguments where it expects them, leaves them there, owns no memory across
            // calls of Lua and does not panic.
            let result = unsafe {
                lua.exec_raw::<()>(arguments, |state| {
                    self.run(state, watch, batch, &mut next);
                    ffi::lua_settop(state, 0);
                })
            };
            if let Err(error) = result {
                // Memory ran out outside of the script's own call. `next` is behind the event at hand.
                if watch.end() {
                    remove_hook(lua);
                    self.interrupted = true;
                }
                self.fail(error.to_string());
            }
        }
        std::mem::swap(&mut batch.payload, &mut self.payload);
        let new = self.names.list().get(batch.names.len()..).unwrap_or_default();
        batch.names.extend_from_slice(new);
    }

    /// Decodes the events from `next` on.
    ///
    /// # Safety
    ///
    /// The state's stack must hold the traceback function, the decoder and the anchors, and nothing else.
    unsafe fn run(&mut self, state: *mut ffi::lua_State, watch: &Watch, batch: &mut Batch, next: &mut usize) {
        while let Some(event) = batch.events.get_mut(*next) {
            *next += 1;
            let Some(data) = self.begin(event, &batch.payload) else {
                continue;
            };
            // SAFETY: as this function's.
            unsafe { self.step(state, watch, data, event) };
            if self.interrupted {
                return;
            }
        }
    }

    /// Begins an event's new payload with its built-in fields, and returns what is to be decoded, if anything is.
    #[inline]
    fn begin<'a>(&mut self, event: &mut Event, payloads: &'a [u8]) -> Option<&'a [u8; DATA]> {
        let parts = parts(event, payloads, self.builtin);
        event.payload_offset = self.payload.len() as u32;
        event.payload_len = 0;
        let (front, data) = parts?;
        self.payload.extend_from_slice(front);
        event.payload_len = front.len() as u32;
        Some(data)
    }

    /// Decodes one event.
    ///
    /// # Safety
    ///
    /// As for [`Decoder::run`].
    #[inline]
    unsafe fn step(&mut self, state: *mut ffi::lua_State, watch: &Watch, data: &[u8; DATA], event: &mut Event) {
        // A traceback is made for the failure that is shown, and not for the million that may follow.
        let handler = if self.failure.is_none() { TRACEBACK } else { 0 };
        // SAFETY: there is room for the three values above what the stack holds: Lua gives every C function 20 slots,
        // and seven are in use at most. `data` is valid for its length, and Lua copies it.
        let (status, late) = unsafe {
            ffi::lua_pushvalue(state, DECODE);
            ffi::lua_pushlstring(state, data.as_ptr().cast(), data.len());
            watch.begin();
            let status = ffi::lua_pcall(state, 1, 1, handler);
            (status, watch.end())
        };
        if late {
            // SAFETY: the state is live; the hook is the watch's.
            unsafe { ffi::lua_sethook(state, None, 0, 0) };
        }
        let result = if status == ffi::LUA_OK {
            // SAFETY: the result is on top of the stack; it stays there, and with it all texts in it, until the fields
            // have been written.
            unsafe { self.collect(state) }.and_then(|()| self.write(event)).err()
        } else {
            self.interrupted = late;
            None
        };
        if status != ffi::LUA_OK || result.is_some() {
            // SAFETY: an error's object is on top of the stack.
            unsafe { self.note(state, result) };
        }
        // SAFETY: the stack is cut to what it held before.
        unsafe { ffi::lua_settop(state, ANCHORS) };
    }

    /// Gathers the fields of the result on top of the stack, sorted by name.
    ///
    /// # Safety
    ///
    /// As for [`Decoder::run`], with the result on top.
    unsafe fn collect(&mut self, state: *mut ffi::lua_State) -> Result<(), Fault> {
        loop {
            // SAFETY: as this function's; a failed attempt leaves the result where it was.
            let result = unsafe {
                let top = ffi::lua_gettop(state);
                let result = self.try_collect(state);
                ffi::lua_settop(state, top);
                result
            };
            // At most once per new name, and their number is bounded.
            if !matches!(result, Err(Fault::Name(Unknown::New))) {
                return result;
            }
        }
    }

    /// As [`Decoder::collect`]; must be called again if it found a new name.
    ///
    /// # Safety
    ///
    /// As for [`Decoder::collect`]. The stack may have more on it afterwards.
    unsafe fn try_collect(&mut self, state: *mut ffi::lua_State) -> Result<(), Fault> {
        self.fields.clear();
        let mut sorted = true;
        let mut last = 0;
        // SAFETY: every index is of a value that is there; `lua_next` gets the key that it gave, unchanged, because
        // the key's type is looked at before it is read as a string, and a string is read as it is.
        unsafe {
            match ffi::lua_type(state, -1) {
                ffi::LUA_TTABLE => {}
                ffi::LUA_TNIL => return Ok(()),
                ffi::LUA_TSTRING if self.text => {
                    ffi::lua_pushstring(state, c"dump".as_ptr());
                    let (name, rank) = self.names.find(state, -1, 0)?;
                    let value = Raw::text(state, -2);
                    self.fields.push(Field { rank, name, value });
                    return Ok(());
                }
                other => return Err(Fault::Result(type_name(other))),
            }
            ffi::lua_pushnil(state);
            while ffi::lua_next(state, -2) != 0 {
                let found = ffi::lua_type(state, -2);
                if found != ffi::LUA_TSTRING {
                    return Err(Fault::Key {
                        shown: shown(state, -2),
                        found: type_name(found),
                    });
                }
                let value = match ffi::lua_type(state, -1) {
                    ffi::LUA_TNUMBER if ffi::lua_isinteger(state, -1) != 0 => {
                        Raw::Integer(ffi::lua_tointegerx(state, -1, std::ptr::null_mut()))
                    }
                    ffi::LUA_TNUMBER => Raw::Float(ffi::lua_tonumberx(state, -1, std::ptr::null_mut())),
                    ffi::LUA_TSTRING => Raw::text(state, -1),
                    other => {
                        return Err(Fault::Field {
                            name: shown(state, -2),
                            found: type_name(other),
                        });
                    }
                };
                let (name, rank) = self.names.find(state, -2, self.fields.len())?;
                sorted &= rank >= last;
                last = rank;
                self.fields.push(Field { rank, name, value });
                ffi::lua_pop(state, 1);
            }
        }
        if !sorted {
            self.fields.sort_unstable_by_key(|field| field.rank);
        }
        Ok(())
    }
}

impl Decoder {
    /// Appends the fields to the event's payload, the last of the batch so far.
    fn write(&mut self, event: &mut Event) -> Result<(), Fault> {
        let start = self.payload.len();
        let size: usize = self.fields.iter().map(|field| field.value.room()).sum();
        if size > MAX_TAGGED || start + size > u32::MAX as usize {
            return Err(Fault::Size);
        }
        for field in &self.fields {
            let value = match field.value {
                Raw::Integer(value) => Value::Integer(value),
                Raw::Float(value) => Value::Float(value),
                // SAFETY: Lua keeps a string where it is, and the result that it belongs to is still on the stack.
                Raw::Text(start, length) => Value::Text(unsafe { std::slice::from_raw_parts(start, length) }),
            };
            value.push(&mut self.payload, field.name);
        }
        event.payload_len += (self.payload.len() - start) as u32;
        Ok(())
    }

    /// Counts a failure, and keeps the first.
    ///
    /// # Safety
    ///
    /// Without a fault, the error's object must be on top of the state's stack.
    #[cold]
    unsafe fn note(&mut self, state: *mut ffi::lua_State, fault: Option<Fault>) {
        if self.failure.is_some() {
            self.failed += 1;
            return;
        }
        let message = match fault {
            Some(fault) => format!("{} {fault}", self.place),
            // SAFETY: the value is there, and is read as it is.
            None => unsafe {
                match ffi::lua_type(state, -1) {
                    ffi::LUA_TSTRING => shown(state, -1),
                    other => format!("(the error is {}, no text)", article(type_name(other))),
                }
            },
        };
        self.fail(message);
    }

    fn fail(&mut self, message: String) {
        self.failed += 1;
        self.failure.get_or_insert(message);
    }
}

impl Raw {
    /// The string at `index`.
    ///
    /// # Safety
    ///
    /// There must be one.
    unsafe fn text(state: *mut ffi::lua_State, index: c_int) -> Self {
        // SAFETY: as this function's.
        let (start, length) = unsafe { bytes(state, index) };
        Raw::Text(start, length)
    }

    /// Bytes that the value takes at most.
    fn room(self) -> usize {
        match self {
            Raw::Integer(_) | Raw::Float(_) => 16,
            Raw::Text(_, length) => length.saturating_add(16),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Result(found) => write!(
                f,
                "returned {}; it must return a table of fields, or nil",
                article(found)
            ),
            Fault::Key { shown, found } => write!(
                f,
                "returned a table with the key {shown}, {}; keys must be strings",
                article(found)
            ),
            Fault::Field { name, found } => write!(
                f,
                "returned a table whose field `{name}` is {}; fields must be strings or numbers",
                article(found)
            ),
            Fault::Name(Unknown::TooMany) => {
                write!(f, "has used {MAX_NAMES} different field names, and may use no more")
            }
            Fault::Name(Unknown::TooLong) => write!(f, "has a field whose name has more than {MAX_NAME} bytes"),
            Fault::Size => write!(f, "returned more than {} KiB of fields", MAX_TAGGED / 1024),
            Fault::Name(Unknown::New) => Ok(()),
        }
    }
}

/// The value at `index` in words: a string or number itself, of others nothing.
///
/// # Safety
///
/// There must be a value.
unsafe fn shown(state: *mut ffi::lua_State, index: c_int) -> String {
    // SAFETY: the value is there, and is read as what it is.
    unsafe {
        match ffi::lua_type(state, index) {
            ffi::LUA_TSTRING => {
                let (start, length) = bytes(state, index);
                readable(std::slice::from_raw_parts(start, length))
            }
            ffi::LUA_TNUMBER if ffi::lua_isinteger(state, index) != 0 => {
                ffi::lua_tointegerx(state, index, std::ptr::null_mut()).to_string()
            }
            ffi::LUA_TNUMBER => format!("{:?}", ffi::lua_tonumberx(state, index, std::ptr::null_mut())),
            ffi::LUA_TBOOLEAN => (ffi::lua_toboolean(state, index) != 0).to_string(),
            _ => "?".to_owned(),
        }
    }
}

/// Lua's own word for a type.
fn type_name(kind: c_int) -> &'static str {
    match kind {
        ffi::LUA_TNIL => "nil",
        ffi::LUA_TBOOLEAN => "boolean",
        ffi::LUA_TNUMBER => "number",
        ffi::LUA_TSTRING => "string",
        ffi::LUA_TTABLE => "table",
        ffi::LUA_TFUNCTION => "function",
        ffi::LUA_TTHREAD => "thread",
        _ => "userdata",
    }
}
