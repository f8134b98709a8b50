//! The modules `bpf`, `bit` and `syscall` of scripts: `bpf(function)` compiles, `bpf.socket` attaches. Imports its
//! siblings.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;

use lua_bpf::{Program, Source};
use mlua::{AnyUserData, Function, Lua, Table, UserData, Value};

use super::around::Around;
use super::ffi::loaded;
use super::map::Map;
use super::program::{self, LoadError};
use super::{Shared, failed, socket};

/// A compiled function.
struct Code {
    program: Program,
    /// The script that it is of.
    file: String,
    /// What it names, which must not be closed before it is loaded.
    #[expect(dead_code, reason = "They are only held.")]
    maps: Vec<AnyUserData>,
}

impl UserData for Code {}

/// Numbers of protocols, as BCC's compiler knows them.
const ETHERNET: [(&str, i64); 5] = [
    ("ip", 0x0800),
    ("arp", 0x0806),
    ("revarp", 0x8035),
    ("vlan", 0x8100),
    ("ip6", 0x86dd),
];
const IP: [(&str, i64); 17] = [
    ("proto_icmp", 1),
    ("proto_igmp", 2),
    ("proto_ipip", 4),
    ("proto_tcp", 6),
    ("proto_egp", 8),
    ("proto_udp", 17),
    ("proto_dccp", 33),
    ("proto_ipv6", 41),
    ("proto_rsvp", 46),
    ("proto_gre", 47),
    ("proto_esp", 50),
    ("proto_ah", 51),
    ("proto_icmpv6", 58),
    ("proto_ospf", 89),
    ("proto_pim", 103),
    ("proto_sctp", 132),
    ("proto_udplite", 136),
];

fn constants(lua: &Lua) -> mlua::Result<Table> {
    let all = lua.create_table()?;
    all.set("eth", lua.create_table_from(ETHERNET)?)?;
    all.set("ip", lua.create_table_from(IP)?)?;
    Ok(all)
}

/// Compiles a function of the script.
fn compile(lua: &Lua, shared: &Shared, function: &Function, constants: &Table) -> mlua::Result<Code> {
    let info = function.info();
    let (Some(name), Some(first), Some(last)) = (info.source, info.line_defined, info.last_line_defined) else {
        return Err(failed(lua, "this function has no source; write one in Lua"));
    };
    if info.what != "Lua" {
        let message = "only functions that are written in the script are compiled; write function () ... end";
        return Err(failed(lua, message));
    }
    let text = text_of(lua, shared, &name)?;
    let file = match name.strip_prefix('@') {
        Some(file) => file.to_owned(),
        None => "the loaded text".to_owned(),
    };
    let around = Around::new(lua, function, &shared.get_upvalue, constants.clone())?;
    let source = Source {
        name: &file,
        text: &text,
    };
    // The message begins with a place in the script already.
    let program =
        lua_bpf::socket(source, first..=last, &around).map_err(|error| mlua::Error::RuntimeError(error.to_string()))?;
    Ok(Code {
        program,
        file,
        maps: around.into_maps(),
    })
}

/// Returns the text that Lua has read a function from.
fn text_of(lua: &Lua, shared: &Shared, name: &str) -> mlua::Result<Rc<str>> {
    if let Some(known) = shared.texts.borrow().get(name) {
        return Ok(Rc::clone(known));
    }
    let text: Rc<str> = match (name.strip_prefix('@'), name.strip_prefix('=')) {
        (Some(path), _) => match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into(),
            Err(error) => return Err(failed(lua, format!("cannot read the function's file {path}: {error}"))),
        },
        (_, Some(_)) => return Err(failed(lua, "this function has no text; load it from a file")),
        // What `load` is given is its own name.
        _ => name.into(),
    };
    shared.texts.borrow_mut().insert(name.to_owned(), Rc::clone(&text));
    Ok(text)
}

/// Attaches a program to a device.
fn attach(lua: &Lua, shared: &Shared, device: &str, code: &Code) -> mlua::Result<()> {
    let program = program::load(&code.program, &code.file).map_err(|error| match &error {
        LoadError::Refused { log, .. } if shared.verbose => {
            mlua::Error::RuntimeError(format!("{error}\nlog of the verifier:\n{}", log.trim_end()))
        }
        LoadError::Refused { .. } => {
            mlua::Error::RuntimeError(format!("{error}\n    ipft lua -v shows the verifier's log"))
        }
        error => failed(lua, error),
    })?;
    let attached = socket::attach(device, program.as_fd()).map_err(|error| failed(lua, error))?;
    shared.sockets.borrow_mut().push(attached);
    Ok(())
}

/// Changes the order of a number's bytes, which are 16, 32 or 64 bits.
fn swap(lua: &Lua, (number, bits): (i64, Option<i64>)) -> mlua::Result<i64> {
    // Without a width, as in compiled functions.
    let bits = bits.unwrap_or(match number {
        0..=0xffff => 16,
        0x1_0000..=0xffff_ffff => 32,
        _ => 64,
    });
    match bits {
        16 => Ok((number as u16).to_be().into()),
        32 => Ok((number as u32).to_be().into()),
        64 => Ok(number.to_be()),
        other => Err(failed(
            lua,
            format!("numbers have 16, 32 or 64 bits here, and not {other}"),
        )),
    }
}

/// Makes the modules.
pub(super) fn add(lua: &Lua, shared: &Rc<Shared>) -> mlua::Result<()> {
    let module = lua.create_table()?;
    let constants = constants(lua)?;
    module.set("c", &constants)?;
    let map = |lua: &Lua, (name, entries, key, value): (String, Option<i64>, Option<Value>, Option<Value>)| {
        Map::create(lua, &name, entries, key, value)
    };
    module.set("map", lua.create_function(map)?)?;
    let numbers = lua.create_function(swap)?;
    module.set("ntoh", &numbers)?;
    module.set("hton", &numbers)?;

    let (own, known) = (Rc::clone(shared), constants.clone());
    let compiler = lua.create_function(move |lua, (_, function): (Value, Value)| match function {
        Value::Function(function) => compile(lua, &own, &function, &known),
        other => Err(failed(
            lua,
            format!("bpf() compiles a function, and this is a {}", other.type_name()),
        )),
    })?;
    let (own, known) = (Rc::clone(shared), constants);
    let sockets = lua.create_function(move |lua, (device, code): (Value, Value)| {
        let device = match device {
            Value::String(name) => name.to_string_lossy(),
            other => {
                let message = format!(
                    "bpf.socket takes the name of a device, and this is a {}",
                    other.type_name()
                );
                return Err(failed(lua, message));
            }
        };
        let code = match code {
            Value::Function(function) => lua.create_userdata(compile(lua, &own, &function, &known)?)?,
            Value::UserData(data) if data.is::<Code>() => data,
            other => {
                let found = other.type_name();
                let message = format!("bpf.socket takes a function, or what bpf() made of one, and this is a {found}");
                return Err(failed(lua, message));
            }
        };
        attach(lua, &own, &device, &*code.borrow::<Code>()?)?;
        Ok(code)
    })?;
    module.set("socket", sockets)?;
    let text = lua.create_function(|lua, code: AnyUserData| match code.borrow::<Code>() {
        Ok(code) => Ok(bpf_assembly::text(&code.program.code)),
        Err(_) => Err(failed(lua, "bpf.dump takes what bpf() made of a function")),
    })?;
    module.set("dump_string", &text)?;
    // By Lua's own `print`, so that lines stay in order.
    let dump = "local text, print = ... return function(code) print((text(code):gsub('\\n$', ''))) end";
    let print: Function = lua.globals().get("print")?;
    module.set(
        "dump",
        lua.load(dump).set_name("=dump").call::<Function>((text, print))?,
    )?;

    let meta = lua.create_table()?;
    meta.set("__call", compiler)?;
    module.set_metatable(Some(meta))?;
    loaded(lua, "bpf", &module, "map, socket, dump, dump_string, ntoh, hton and c")?;

    let bit: Table = lua.load(include_str!("bit.lua")).set_name("=bit").eval()?;
    loaded(lua, "bit", &bit, "the functions of LuaJIT")?;
    let syscall = lua.create_table()?;
    let sleep = |lua: &Lua, seconds: f64| match Duration::try_from_secs_f64(seconds) {
        Ok(time) => {
            std::thread::sleep(time);
            Ok(true)
        }
        Err(_) => Err(failed(
            lua,
            format!("cannot sleep for {seconds} seconds; write 0 or more"),
        )),
    };
    syscall.set("sleep", lua.create_function(sleep)?)?;
    loaded(lua, "syscall", &syscall, "sleep")
}
