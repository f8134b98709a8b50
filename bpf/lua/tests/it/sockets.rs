//! Functions of scripts as programs of sockets: each is run by Lua itself and compiled, over the same packets and maps,
//! and results and maps must agree. And their messages.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use lua_bpf::{CompileError, Environment, Map, Outside, Program, Scalar, Source, socket};
use mlua::{Function, Lua, Table};

use super::kernel::Kernel;
use super::machine::Machine;

/// What is around the functions of these tests: a hash `map`, an array `array`, and constants.
struct Around {
    value: Scalar,
}

const U64: Scalar = Scalar {
    bytes: 8,
    signed: false,
};
const U32: Scalar = Scalar {
    bytes: 4,
    signed: false,
};

impl Environment for Around {
    fn find(&self, path: &[&str]) -> Option<Outside> {
        let map = Map {
            descriptor: 5,
            key: Some(U32),
            value: Some(self.value),
            removes: true,
        };
        Some(match path {
            ["map"] => Outside::Map(map),
            ["array"] => Outside::Map(Map { removes: false, ..map }),
            ["bytes"] => Outside::Map(Map {
                value: Some(Scalar {
                    bytes: 1,
                    signed: false,
                }),
                ..map
            }),
            ["structs"] => Outside::Map(Map { value: None, ..map }),
            ["limit"] => Outside::Integer(60),
            ["ratio"] => Outside::Float,
            ["on"] => Outside::Boolean(true),
            ["name"] => Outside::Text(b"lo".to_vec()),
            ["c"] | ["c", "ip"] => Outside::Table,
            ["c", "ip", "proto_udp"] => Outside::Integer(17),
            ["print"] => Outside::Other("a function".to_owned()),
            _ => return None,
        })
    }

    fn names(&self) -> Vec<String> {
        ["map", "limit", "ratio", "c"].map(str::to_owned).to_vec()
    }
}

/// Compiles a function whose first line is the second of a script with what no compiled function may have.
fn compile(function: &str, value: Scalar) -> Result<Program, CompileError> {
    let text =
        format!("#!/usr/bin/env ipft lua\nlocal half = 0.5 -- function end\nuse({function})\nlocal t = '\\u{{48}}' ");
    let last = 3 + function.matches('\n').count();
    let source = Source {
        name: "count.lua",
        text: &text,
    };
    socket(source, 3..=last, &Around { value })
}

/// Returns an Ethernet frame with an IPv4 header of so many words, and what follows.
fn frame(words: u8, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let length = 4 * usize::from(words) + payload.len();
    frame.extend([
        0x40 | words,
        0x10,
        (length >> 8) as u8,
        length as u8,
        0xab,
        0xcd,
        0x40,
        0x07,
    ]);
    frame.extend([63, protocol, 0x12, 0x34, 10, 0, 0, 1, 192, 168, 255, 254]);
    frame.resize(14 + 4 * usize::from(words), 0);
    frame.extend(payload);
    frame
}

fn packets() -> Vec<Vec<u8>> {
    let udp = [&[0x30, 0x39, 0, 53, 0, 12, 0xff, 0xff][..], b"\x12\x34\x01\x00"].concat();
    let tcp = [
        &[
            0x1f, 0x90, 0xc0, 0, 0x80, 1, 2, 3, 0xff, 0, 0, 1, 0x60, 0x12, 0xfa, 0xf0, 1, 2, 0, 0,
        ][..],
        &[1, 1, 1, 0],
        b"GET /",
    ]
    .concat();
    vec![
        frame(5, 1, &[8, 0, 0xf7, 0xff, 0, 1]),
        frame(5, 17, &udp),
        frame(7, 17, &udp),
        frame(5, 6, &tcp),
        frame(15, 6, &tcp),
        // Too short for an IPv4 header, and for all.
        frame(5, 1, &[])[..22].to_vec(),
        Vec::new(),
    ]
}

/// The packet and maps as Lua sees them. What a packet has not ends the function, as an error here.
const MODEL: &str = r#"
local bytes, elements = ...
local function at(offset, size)
  if offset + size > #bytes then error({}) end
  return (string.unpack(">I" .. size, bytes, offset + 1))
end
local function lazy(fields)
  return setmetatable({}, { __index = function(_, name) return fields[name]() end })
end
local function data(offset)
  return setmetatable({ offset = offset }, {
    __index = function(_, index) return at(offset + index, 1) end,
    __add = function(_, distance) return data(offset + distance) end,
  })
end
local function transport(offset)
  return {
    udp = function() return lazy {
      src_port = function() return at(offset, 2) end, dst_port = function() return at(offset + 2, 2) end,
      data = function() return data(offset + 8) end,
    } end,
    tcp = function() return lazy {
      src_port = function() return at(offset, 2) end, seq_num = function() return at(offset + 4, 4) end,
      flag_syn = function() return at(offset + 13, 1) >> 1 & 1 end,
      flag_fin = function() return at(offset + 13, 1) & 1 end,
      offset = function() return at(offset + 12, 1) >> 4 end,
      data = function() return data(offset + (at(offset + 12, 1) >> 4) * 4) end,
    } end,
  }
end
local function ip(base)
  local fields = transport(0)
  fields = {
    proto = function() return at(base + 9, 1) end, hlen = function() return at(base, 1) & 15 end,
    ver = function() return at(base, 1) >> 4 end, tlen = function() return at(base + 2, 2) end,
    src = function() return at(base + 12, 4) end, df = function() return at(base + 6, 1) >> 6 & 1 end,
    foffset = function() return at(base + 6, 2) & 0x1fff end,
    udp = function() return transport(base + (at(base, 1) & 15) * 4).udp() end,
    tcp = function() return transport(base + (at(base, 1) & 15) * 4).tcp() end,
  }
  return lazy(fields)
end
pkt = lazy {
  ip = function() return ip(14) end, type = function() return at(12, 2) end,
  dst = function() return data(0) end,
  net_off = function() return lazy { ip = function() return ip(14) end } end,
  ip6 = function() return lazy { src_hi = function() return at(22, 8) end } end,
}
eth = pkt
map = setmetatable({}, {
  __index = function(_, key) return elements[key & 0xffffffff] end,
  __newindex = function(_, key, value) elements[key & 0xffffffff] = value end,
})
function add(key, amount)
  if map[key] then map[key] = map[key] + amount end
end
limit, on, name, c = 60, true, "lo", { ip = { proto_udp = 17 } }
"#;

/// Runs a body by Lua: the result, and the map.
fn by_lua(body: &str, packet: &[u8]) -> (u64, BTreeMap<u64, u64>) {
    let lua = Lua::new();
    let elements = lua.create_table().unwrap();
    elements.set(1, 7).unwrap();
    elements.set(60, 100).unwrap();
    let bytes = lua.create_string(packet).unwrap();
    lua.load(MODEL).call::<()>((bytes, elements.clone())).unwrap();
    let function: Function = lua.load(format!("return function (skb) {body} end")).eval().unwrap();
    let skb: Table = lua.create_table().unwrap();
    skb.set("len", packet.len()).unwrap();
    skb.set("mark", 0xdead_beef_u32).unwrap();
    let result = match function.call::<mlua::Value>(skb) {
        Ok(mlua::Value::Integer(number)) => number as u64,
        Ok(mlua::Value::Boolean(value)) => value.into(),
        Ok(mlua::Value::Nil) | Err(_) => 0,
        Ok(other) => panic!("{other:?}"),
    };
    let pairs = elements.pairs::<i64, i64>().map(|pair| pair.unwrap());
    (result, pairs.map(|(key, value)| (key as u64, value as u64)).collect())
}

fn compiled(body: &str, packet: &[u8]) -> (u64, BTreeMap<u64, u64>) {
    let program = compile(&format!("function (skb)\n{body}\nend"), U64).unwrap_or_else(|error| panic!("{error}"));
    let mut kernel = Kernel::new(packet, 4, 8);
    for (key, value) in [(1_u32, 7_u64), (60, 100)] {
        let elements = &mut kernel.maps.get_mut(&5).unwrap().elements;
        elements.insert(key.to_le_bytes().to_vec(), value.to_le_bytes().to_vec());
    }
    let result = Machine::run_socket(&mut kernel, &program.code).unwrap_or_else(|error| panic!("{body}: {error}"));
    (result, kernel.numbers())
}

/// Bodies of functions. `ADD(KEY, NUMBER)` adds to an element, by each side's means.
const BODIES: &[&str] = &[
    "",
    "return 5",
    "return true",
    "return nil",
    "return skb.len * 2 + skb.mark",
    "local proto = pkt.ip.proto ADD(proto, 1)",
    "local proto = pkt.ip.proto ADD(proto, skb.len)",
    "local n = eth.type return n",
    "return pkt.dst[0] * 256 + pkt.dst[5]",
    "return pkt.ip.ver * 1000 + pkt.ip.hlen",
    "return pkt.ip.src",
    "return pkt.ip.df + pkt.ip.foffset * 2",
    "return pkt.net_off.ip.tlen",
    "return pkt.ip6.src_hi",
    "if pkt.ip.proto == c.ip.proto_udp then return pkt.ip.udp.dst_port end return 1",
    "if pkt.ip.proto == 6 then local tcp = pkt.ip.tcp return tcp.seq_num + tcp.flag_syn * 10 + tcp.flag_fin end",
    "if pkt.ip.proto == 6 then local d = pkt.ip.tcp.data return d[0] * 65536 + d[4] end",
    "local d = pkt.ip.udp.data d = d + 2 return d[0] * 256 + d[1]",
    "local s = 0 for i = 0, 3 do s = s * 3 + pkt.ip.udp.data[i] end return s",
    "map[pkt.ip.proto] = skb.len",
    "map[pkt.ip.tlen] = pkt.ip.proto map[60] = nil",
    "map[1] = (map[1] or 0) + skb.len map[2] = (map[2] or 0) + 1",
    "if map[1] then map[1] = nil else map[1] = 5 end if map[2] then return 1 end",
    "if map[2] == nil and map[1] ~= nil then return map[1] + map[60] end",
    "local v = map[pkt.ip.proto] if v then return v + 1 end return 99",
    "local v = map[skb.len] map[skb.len] = 3 if v == nil then return 1 end return v",
    "local v = map[7] or map[60] return v",
    "local v = map[7] or map[8] if not v then return 4 end",
    "local a = map[1] > 5 and 1 or 2 return a",
    "if skb.len > limit and on then return limit end return 2",
    "if name == 'lo' then ADD(60, limit * 2) end",
    "ADD(map[1], 3) map[map[1]] = map[60] or 0",
    "for i = 1, 4 do map[i] = i * i end ADD(3, -20)",
    "local n = 0 while n < 10 do n = n + 3 map[n] = pkt.ip.proto end return n",
    "map[(skb.len + 1) * ((skb.mark & 3) + pkt.ip.ver * (pkt.ip.hlen + pkt.ip.proto * (skb.len + pkt.ip.tlen)))] = 1",
];

#[test]
fn programs_of_sockets_agree_with_lua() {
    for body in BODIES {
        let mut own = (*body).to_owned();
        let mut plain = own.clone();
        while let Some(start) = own.find("ADD(") {
            // The key ends at the first comma that is in no brackets.
            let inner = &own[start + 4..];
            let comma = inner.find(", ").unwrap();
            let key = inner[..comma].to_owned();
            own.replace_range(start..start + 4 + comma, &format!("xadd(map[{key}]"));
        }
        plain = plain.replace("ADD(", "add(");
        for packet in packets() {
            assert_eq!(compiled(&own, &packet), by_lua(&plain, &packet), "{body}: {packet:x?}");
        }
    }
}

#[test]
fn missing_element_counts_as_zero() {
    let packet = &packets()[0];
    assert_eq!(compiled("return map[2] + 1", packet).0, 1);
    assert_eq!(compiled("local v = map[2] return v * 3 + 2", packet).0, 2);
    assert_eq!(compiled("if map[2] < 1 then return 3 end", packet).0, 3);
    assert_eq!(compiled("xadd(map[2], 5)", packet).1.get(&2), None);
}

#[test]
fn values_of_32_bits_wrap_and_have_signs() {
    let signed = Scalar { bytes: 4, signed: true };
    for (value, expected) in [(U32, 0xffff_ffff_u64), (signed, u64::MAX)] {
        let program = compile("function () map[1] = 0 xadd(map[1], -1) return map[1] end", value).unwrap();
        let mut kernel = Kernel::new(&[], 4, 4);
        assert_eq!(Machine::run_socket(&mut kernel, &program.code), Ok(expected));
        assert_eq!(kernel.numbers(), BTreeMap::from([(1, 0xffff_ffff)]));
    }
}

#[test]
fn lines_of_a_program_are_those_of_the_script() {
    let program = compile("function (skb)\n  local a = skb.len\n  xadd(map[a], 1)\nend", U64).unwrap();
    let lines: Vec<_> = program
        .lines
        .iter()
        .map(|line| (line.line, line.text.as_str()))
        .collect();
    assert_eq!(lines[0], (4, "  local a = skb.len"), "{lines:?}");
    assert!(lines.contains(&(5, "  xadd(map[a], 1)")), "{lines:?}");
}

#[test]
fn function_that_is_not_there_is_an_error() {
    let text = "local f = function() end local g = function() end\nlocal h = function()\nend";
    let find = |lines| {
        let source = Source { name: "two.lua", text };
        socket(source, lines, &Around { value: U64 }).map_err(|error| error.to_string())
    };
    assert!(find(2..=3).is_ok());
    for (lines, expected) in [
        (1..=1, "several functions"),
        (2..=2, "not in the text"),
        (9..=12, "not in the text"),
    ] {
        let message = find(lines).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

/// Wrong functions.
const WRONG: &[&str] = &[
    "function (skb, more) end",
    "function (...) end",
    "function (skb) local a = pkt.ip.protocol end",
    "function (skb) local a = pkt.ip.dns end",
    "function (skb) local a = pkt.ip + 1.5 end",
    "function (skb) return skb.lenn end",
    "function (skb) return skb.data end",
    "function (skb) return skb end",
    "function (skb) return pkt end",
    "function (skb) return pkt.ip.udp.data end",
    "function (skb) return pkt.ip.tcp == pkt.ip.udp end",
    "function (skb) skb.mark = 1 end",
    "function (skb) return maps[1] end",
    "function (skb) return counter end",
    "function (skb) return map end",
    "function (skb) return map.fd end",
    "function (skb) map = 5 end",
    "function (skb) limit = 5 end",
    "function (skb) map[1], map[2] = 1, 2 end",
    "function (skb) map[1] = map[2] end",
    "function (skb) map[1] = 'x' end",
    "function (skb) map['x'] = 1 end",
    "function (skb) map[1 == 2] = 1 end",
    "function (skb) map[-1] = 1 end",
    "function (skb) map[0x100000000] = 1 end",
    "function (skb) array[1] = nil end",
    "function (skb) return structs[1] end",
    "function (skb) xadd(bytes[1], 1) end",
    "function (skb) xadd(map, 1) end",
    "function (skb) xadd(map[1]) end",
    "function (skb) local n = xadd(map[1], 1) end",
    "function (skb) print(skb.len) end",
    "function (skb) return print end",
    "function (skb) return ratio end",
    "function (skb) return c end",
    "function (skb) return c.ip.proto_xyz end",
    "function (skb) local v = map[1] v = 5 end",
    "function (skb) local h = pkt.ip h = pkt.ip.udp end",
    "function (skb)\n  local a = 1\n  return a .. nil\nend",
    "function (skb) return ipv4(pkt.ip.src) == '10.0.0.1' end",
    "function (skb) if pkt.ip.proto then return 1 end end",
    "function (skb) if pkt.ip.tcp then return 1 end end",
    "function (skb) return pkt.ip6 and pkt.ip6.next_header == 58 end",
    "function (skb) return not pkt.arp end",
    "function (skb) return 1, 2 end",
    "function (skb) for i = 1, skb.len do end end",
    "function (skb) local t = {} end",
];

#[test]
fn wrong_functions_have_their_messages() {
    let mut found = String::new();
    for text in WRONG {
        match compile(text, U64) {
            Ok(_) => panic!("{text} is no error"),
            Err(error) => {
                let message = error.to_string().replace('\n', "\n  ");
                let _ = write!(found, "{text}\n  {message}\n\n");
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/lua/sockets.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file can be read");
    assert_eq!(found, expected, "set UPDATE_GOLDEN=1 to rewrite it");
}

#[test]
fn hostile_functions_end_in_time() {
    let deep = format!(
        "function () return pkt{} end",
        ".ip6".to_owned() + &".ip6_opt".repeat(120)
    );
    let doubled = format!(
        "function () local a = pkt.ip.tcp.data{} end",
        " + pkt.ip.tcp.seq_num".repeat(140)
    );
    let open = "function () ".repeat(20_000);
    for text in [deep, doubled, open, "function () return '\\".to_owned()] {
        match compile(&text, U64) {
            Ok(program) => assert!(program.code.len() < 4096, "{}", program.code.len()),
            Err(error) => assert!(error.to_string().len() < 4096, "{error}"),
        }
    }
}
