//! The module `ffi` of scripts: types, and arrays of integers. Imports `ctype` and `map`.
//!
//! A number that `ffi.new` makes is an integer of Lua, cut to its type.

use mlua::{AnyUserData, IntoLua, Lua, MetaMethod, Table, UserData, UserDataMethods, Value};

use super::ctype::CType;
use super::failed;
use super::map::type_of;

/// An array.
pub(super) struct Buffer {
    pub(super) of: CType,
    pub(super) bytes: Vec<u8>,
}

impl Buffer {
    fn range(&self, lua: &Lua, index: i64) -> mlua::Result<std::ops::Range<usize>> {
        let (size, count) = (usize::from(self.of.element.bytes), self.of.count.unwrap_or(1));
        match usize::try_from(index).ok().filter(|index| *index < count) {
            Some(index) => Ok(index * size..(index + 1) * size),
            None => Err(failed(
                lua,
                format!("the array has {count} elements, from 0 on, and this is {index}"),
            )),
        }
    }
}

impl UserData for Buffer {
    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |lua, buffer, index: i64| {
            let bytes = buffer.bytes.get(buffer.range(lua, index)?).unwrap_or_default();
            Ok(buffer.of.element.number(bytes))
        });
        methods.add_meta_method_mut(MetaMethod::NewIndex, |lua, buffer, (index, value): (i64, i64)| {
            let (range, bytes) = (buffer.range(lua, index)?, buffer.of.element.cut(value));
            if let Some(to) = buffer.bytes.get_mut(range) {
                to.copy_from_slice(&bytes);
            }
            Ok(())
        });
        methods.add_meta_method(MetaMethod::ToString, |_, buffer, ()| {
            let count = buffer.of.count.unwrap_or(1);
            Ok(format!("cdata<{} [{count}]>", buffer.of.element.name))
        });
    }
}

/// Makes an array or a number.
fn new(lua: &Lua, of: CType, start: &Value) -> mlua::Result<Value> {
    if of.count.is_none() {
        let number = match start {
            Value::Nil => 0,
            Value::Integer(number) => *number,
            // As C does, toward zero.
            Value::Number(number) => *number as i64,
            Value::Boolean(value) => i64::from(*value),
            other => {
                let (name, found) = (of.element.name, other.type_name());
                return Err(failed(
                    lua,
                    format!("a value of type {name} is a number, and this is a {found}"),
                ));
            }
        };
        return Ok(Value::Integer(of.element.number(&of.element.cut(number))));
    }
    let mut bytes = vec![0; of.size()];
    match start {
        Value::Nil => {}
        Value::String(text) if of.element.bytes == 1 && text.as_bytes().len() <= bytes.len() => {
            let text = text.as_bytes();
            bytes[..text.len()].copy_from_slice(&text);
        }
        _ => {
            let message = "an array starts as zeros, or one of characters as a string that fits; assign its elements";
            return Err(failed(lua, message));
        }
    }
    lua.create_userdata(Buffer { of, bytes })?.into_lua(lua)
}

/// Makes the module.
pub(super) fn add(lua: &Lua) -> mlua::Result<()> {
    let module = lua.create_table()?;
    let typeof_ = |lua: &Lua, named: Value| type_of(lua, Some(named));
    module.set("typeof", lua.create_function(typeof_)?)?;
    let sizeof = |lua: &Lua, of: Value| {
        if let Value::UserData(data) = &of
            && let Ok(buffer) = data.borrow::<Buffer>()
        {
            return Ok(buffer.bytes.len());
        }
        type_of(lua, Some(of)).map(CType::size)
    };
    module.set("sizeof", lua.create_function(sizeof)?)?;
    let make = |lua: &Lua, (of, start): (Value, Value)| new(lua, type_of(lua, Some(of))?, &start);
    module.set("new", lua.create_function(make)?)?;
    let string = |lua: &Lua, (of, length): (Value, Option<i64>)| {
        let data: AnyUserData = match of {
            Value::String(text) => return Ok(text),
            Value::UserData(data) if data.is::<Buffer>() => data,
            other => {
                let found = other.type_name();
                return Err(failed(
                    lua,
                    format!("ffi.string takes an array of characters, and this is a {found}"),
                ));
            }
        };
        let buffer = data.borrow::<Buffer>()?;
        let bytes = &buffer.bytes;
        let end = match length {
            None => bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()),
            Some(length) => match usize::try_from(length).ok().filter(|length| *length <= bytes.len()) {
                Some(length) => length,
                None => {
                    return Err(failed(
                        lua,
                        format!("the array has {} bytes, and not {length}", bytes.len()),
                    ));
                }
            },
        };
        lua.create_string(&bytes[..end])
    };
    module.set("string", lua.create_function(string)?)?;
    loaded(lua, "ffi", &module, "typeof, sizeof, new and string")
}

/// Lets scripts require a module. Names that it has not are errors, which say what it has.
pub(super) fn loaded(lua: &Lua, name: &'static str, module: &Table, has: &'static str) -> mlua::Result<()> {
    let index = lua.create_function(move |lua, (_, key): (Value, Value)| -> mlua::Result<Value> {
        let key: String = key.to_string()?.chars().take(60).collect();
        Err(failed(
            lua,
            format!("{name}.{key} is not there yet; the module has {has}"),
        ))
    })?;
    let meta = match module.metatable() {
        Some(meta) => meta,
        None => lua.create_table()?,
    };
    meta.set("__index", index)?;
    module.set_metatable(Some(meta))?;
    let known: Table = lua.globals().get::<Table>("package")?.get("loaded")?;
    known.set(name, module)
}
