//! Maps of the kernel as tables of a script. Imports `ctype`.
//!
//! Reading an element copies it. What is not there is nil.

use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle, MapType};
use mlua::{AnyUserData, IntoLua, Lua, MetaMethod, MultiValue, UserData, UserDataFields, UserDataMethods, Value};

use super::ctype::{CType, Integer};
use super::failed;

/// A map.
pub(super) struct Map {
    handle: MapHandle,
    kind: Kind,
    key: CType,
    value: CType,
    entries: u32,
}

/// A type of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    name: &'static str,
    of: MapType,
    per_cpu: bool,
    array: bool,
}

const KINDS: [Kind; 6] = [
    kind("array", MapType::Array, false, true),
    kind("hash", MapType::Hash, false, false),
    kind("percpu_array", MapType::PercpuArray, true, true),
    kind("percpu_hash", MapType::PercpuHash, true, false),
    kind("lru_hash", MapType::LruHash, false, false),
    kind("lru_percpu_hash", MapType::LruPercpuHash, true, false),
];

const fn kind(name: &'static str, of: MapType, per_cpu: bool, array: bool) -> Kind {
    Kind {
        name,
        of,
        per_cpu,
        array,
    }
}

/// What a script does not say.
const ENTRIES: i64 = 4096;
const WORD: &str = "uint32_t";

impl Map {
    /// Makes a map.
    pub(super) fn create(
        lua: &Lua,
        name: &str,
        entries: Option<i64>,
        key: Option<Value>,
        value: Option<Value>,
    ) -> mlua::Result<Map> {
        let lower = name.to_ascii_lowercase();
        let Some(kind) = KINDS.iter().find(|kind| kind.name == lower).copied() else {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            let name: String = name.chars().take(60).collect();
            let message = format!("'{name}' is no type of map here; there are {}", known.join(", "));
            return Err(failed(lua, message));
        };
        let (key, value) = (type_of(lua, key)?, type_of(lua, value)?);
        if kind.array && key.size() != 4 {
            let message = "the keys of an array have 32 bits; leave the key's type out, or write \"uint32_t\"";
            return Err(failed(lua, message));
        }
        let entries = entries.unwrap_or(ENTRIES);
        let Some(entries) = u32::try_from(entries).ok().filter(|entries| *entries > 0) else {
            return Err(failed(
                lua,
                format!("a map cannot have {entries} entries; write 1 or more"),
            ));
        };
        let options = libbpf_rs::libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_rs::libbpf_sys::bpf_map_create_opts>() as _,
            ..Default::default()
        };
        let (key_size, value_size) = (key.size() as u32, value.size() as u32);
        let made = MapHandle::create(kind.of, Some("ipft_script"), key_size, value_size, entries, &options);
        match made {
            Ok(handle) => Ok(Map {
                handle,
                kind,
                key,
                value,
                entries,
            }),
            Err(error) => {
                let remedy = match error.kind() {
                    libbpf_rs::ErrorKind::PermissionDenied => "; run ipft as root, or with CAP_BPF and CAP_NET_ADMIN",
                    libbpf_rs::ErrorKind::OutOfMemory => "; use fewer entries",
                    _ => "",
                };
                let name = kind.name;
                let message = format!("cannot create a map of type {name} with {entries} entries: {error}{remedy}");
                Err(failed(lua, message))
            }
        }
    }

    /// Returns the map as the compiler sees it.
    pub(super) fn outside(&self) -> lua_bpf::Map {
        let scalar = |of: CType| {
            of.count.is_none().then_some(lua_bpf::Scalar {
                bytes: of.element.bytes,
                signed: of.element.signed,
            })
        };
        lua_bpf::Map {
            descriptor: self.handle.as_fd().as_raw_fd(),
            key: scalar(self.key),
            value: scalar(self.value),
            removes: !self.kind.array,
        }
    }

    fn get(&self, lua: &Lua, key: &[u8]) -> mlua::Result<Value> {
        let show = |bytes: &[u8]| shown(lua, self.value, bytes);
        let found = match self.kind.per_cpu {
            false => self
                .handle
                .lookup(key, MapFlags::ANY)
                .map(|found| found.map(|bytes| show(&bytes))),
            true => self.handle.lookup_percpu(key, MapFlags::ANY).map(|found| {
                found.map(|cpus| {
                    let values: Vec<Value> = cpus.iter().map(|bytes| show(bytes)).collect::<mlua::Result<_>>()?;
                    lua.create_sequence_from(values)?.into_lua(lua)
                })
            }),
        };
        match found {
            Ok(Some(value)) => value,
            Ok(None) => Ok(Value::Nil),
            Err(error) => Err(failed(lua, format!("cannot read the map: {error}"))),
        }
    }

    fn set(&self, lua: &Lua, key: Value, value: Value) -> mlua::Result<()> {
        let key = bytes_of(lua, self.key, key, "key")?;
        let unwritten = |error: libbpf_rs::Error| {
            let remedy = match error.kind() {
                // An array's index, or a hash that has no place.
                libbpf_rs::ErrorKind::Other if self.kind.array => "; use an index below the number of entries",
                libbpf_rs::ErrorKind::Other => "; the map may be full: make it larger, or use an lru_hash",
                _ => "",
            };
            failed(lua, format!("cannot write to the map: {error}{remedy}"))
        };
        if value.is_nil() {
            if self.kind.array {
                let message = "elements of an array are never removed; assign 0, or use a map of type hash";
                return Err(failed(lua, message));
            }
            return match self.handle.delete(&key) {
                Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => Err(unwritten(error)),
                _ => Ok(()),
            };
        }
        let value = bytes_of(lua, self.value, value, "value")?;
        let result = match self.kind.per_cpu {
            false => self.handle.update(&key, &value, MapFlags::ANY),
            true => {
                let cpus = libbpf_rs::num_possible_cpus();
                cpus.and_then(|cpus| self.handle.update_percpu(&key, &vec![value; cpus], MapFlags::ANY))
            }
        };
        result.map_err(unwritten)
    }
}

/// Returns the type that a script names, by a type or by text.
pub(super) fn type_of(lua: &Lua, named: Option<Value>) -> mlua::Result<CType> {
    let parsed = match named {
        None | Some(Value::Nil) => CType::parse(WORD),
        Some(Value::String(text)) => CType::parse(&text.to_string_lossy()),
        Some(Value::UserData(data)) if data.is::<CType>() => Ok(*data.borrow::<CType>()?),
        Some(other) => Err(format!(
            "a type is text such as \"uint32_t\", and this is a {}",
            other.type_name()
        )),
    };
    parsed.map_err(|message| failed(lua, message))
}

/// Returns a value's bytes.
fn bytes_of(lua: &Lua, of: CType, value: Value, what: &str) -> mlua::Result<Vec<u8>> {
    let wrong = |found: String| {
        let count = of.count.map_or(String::new(), |count| format!(" [{count}]"));
        failed(
            lua,
            format!("the map's {what} is {}{count}, and this is {found}", of.element.name),
        )
    };
    let integer = |number: i64, of: Integer| {
        of.bytes_of(number)
            .ok_or_else(|| wrong(format!("{number}, which does not fit")))
    };
    match (of.count, value) {
        (None, Value::Integer(number)) => integer(number, of.element),
        (None, Value::Number(number)) if number.fract() == 0.0 && number.abs() < 9.0e15 => {
            integer(number as i64, of.element)
        }
        (None, Value::Boolean(value)) => integer(value.into(), of.element),
        (Some(_), Value::String(text)) if of.element.bytes == 1 && text.as_bytes().len() <= of.size() => {
            let mut bytes = text.as_bytes().to_vec();
            bytes.resize(of.size(), 0);
            Ok(bytes)
        }
        (Some(_), Value::UserData(data)) if data.is::<super::ffi::Buffer>() => {
            let buffer = data.borrow::<super::ffi::Buffer>()?;
            match buffer.bytes.len() == of.size() {
                true => Ok(buffer.bytes.clone()),
                false => Err(wrong(format!("{} bytes", buffer.bytes.len()))),
            }
        }
        (_, other) => Err(wrong(format!("a {}", other.type_name()))),
    }
}

/// Returns bytes as a value of Lua.
fn shown(lua: &Lua, of: CType, bytes: &[u8]) -> mlua::Result<Value> {
    match of.count {
        None => Ok(Value::Integer(of.element.number(bytes))),
        Some(_) => {
            let buffer = super::ffi::Buffer {
                of,
                bytes: bytes.to_vec(),
            };
            lua.create_userdata(buffer)?.into_lua(lua)
        }
    }
}

/// Returns a function that gives the next key and value each time, for the generic `for`. The keys are those of now.
fn walk(lua: &Lua) -> mlua::Result<mlua::Function> {
    let mut keys: Option<std::vec::IntoIter<Vec<u8>>> = None;
    lua.create_function_mut(move |lua, (map, start): (AnyUserData, Value)| {
        let map = map.borrow::<Map>()?;
        let keys = match &mut keys {
            Some(keys) => keys,
            None => {
                // A key that is deleted meanwhile makes the kernel begin again.
                let most = 2 * map.entries as usize;
                let mut all: Vec<Vec<u8>> = map.handle.keys().take(most).collect();
                all.dedup();
                // Of BCC's `map.pairs, map, KEY`: 0 is the beginning, and another key is one to go on behind.
                if let Value::Integer(1..) = start {
                    let start = bytes_of(lua, map.key, start, "key")?;
                    if let Some(at) = all.iter().position(|key| *key == start) {
                        all.drain(..=at);
                    }
                }
                keys.insert(all.into_iter())
            }
        };
        for key in keys.by_ref() {
            let value = map.get(lua, &key)?;
            if !value.is_nil() {
                return Ok((shown(lua, map.key, &key)?, value));
            }
        }
        Ok((Value::Nil, Value::Nil))
    })
}

impl UserData for Map {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("pairs", |lua, _| walk(lua));
        fields.add_field_method_get("max_entries", |_, map| Ok(map.entries));
        fields.add_field_method_get("fd", |_, map| Ok(map.handle.as_fd().as_raw_fd()));
        fields.add_field_method_get("map_type", |_, map| Ok(map.kind.name));
        fields.add_field_method_get("key_type", |_, map| Ok(map.key));
        fields.add_field_method_get("val_type", |_, map| Ok(map.value));
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_meta_method(MetaMethod::Index, |lua, map, key: Value| {
            if let (Value::String(name), None) = (&key, map.key.count) {
                let name = name.to_string_lossy();
                let remedy = "a map has elements, pairs, max_entries, fd, map_type, key_type and val_type";
                let name: String = name.chars().take(60).collect();
                return Err(failed(lua, format!("a map has no '{name}'; {remedy}")));
            }
            let key = bytes_of(lua, map.key, key, "key")?;
            map.get(lua, &key)
        });
        methods.add_meta_method(MetaMethod::NewIndex, |lua, map, (key, value): (Value, Value)| {
            map.set(lua, key, value)
        });
        methods.add_meta_method(MetaMethod::Len, |_, map, ()| Ok(map.entries));
        methods.add_meta_function(MetaMethod::Pairs, |lua, map: AnyUserData| {
            let walk = walk(lua)?;
            Ok(MultiValue::from_iter([
                walk.into_lua(lua)?,
                map.into_lua(lua)?,
                Value::Nil,
            ]))
        });
        methods.add_meta_method(MetaMethod::ToString, |_, map, ()| {
            Ok(format!("map<{}, {} entries>", map.kind.name, map.entries))
        });
    }
}
