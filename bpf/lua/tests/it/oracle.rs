//! Random programs: Lua itself and the compiled instructions must agree.

use mlua::{Lua, Value as LuaValue};

use super::world::{Image, World, compile_condition, compile_fields, judge, write};

/// A generator that needs no seed from outside, so that failures repeat (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one<'t>(&mut self, all: &[&'t str]) -> &'t str {
        all[self.below(all.len())]
    }

    fn integer(&mut self) -> i64 {
        match self.below(8) {
            0 => i64::MIN,
            1 => i64::MAX,
            2 => -1,
            3 => self.next() as i64,
            4 => self.next() as i32 as i64,
            5 => self.below(70) as i64 - 3,
            _ => self.below(2000) as i64,
        }
    }
}

const NUMBERS: [&str; 14] = [
    "skb.len",
    "skb.mark",
    "skb.signed",
    "skb.cookie",
    "skb.narrow",
    "skb.wide",
    "skb.tilt",
    "skb.network_header",
    "skb.dev.ifindex",
    "skb.head[3]",
    "ntoh(skb.protocol, 16)",
    "ntoh(skb.sk.__sk_common.skc_dport, 16)",
    "ntoh(skb.mark, 32)",
    "ntoh(skb.cookie, 64)",
];

fn number(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.below(6) == 0 {
        return match random.below(3) {
            // As a literal, the least integer would be a float.
            0 => format!("({:#x})", random.integer()),
            _ => random.one(&NUMBERS).to_owned(),
        };
    }
    let inner = |random: &mut Random| number(random, depth - 1);
    match random.below(12) {
        0..=5 => {
            let operator = random.one(&["+", "-", "*", "//", "%", "&", "|", "~", "<<", ">>"]);
            format!("({} {operator} {})", inner(random), inner(random))
        }
        6 => format!("(- {})", inner(random)),
        7 => format!("(~ {})", inner(random)),
        8 | 9 => {
            let condition = truth(random, depth - 1);
            format!("({condition} and {} or {})", inner(random), inner(random))
        }
        10 => {
            let function = random.one(&[
                "bit.band",
                "bit.bor",
                "bit.bxor",
                "bit.lshift",
                "bit.rshift",
                "bit.arshift",
                "math.min",
                "math.max",
            ]);
            format!("{function}({}, {})", inner(random), inner(random))
        }
        _ => {
            let function = random.one(&["bit.bnot", "bit.tobit", "bit.bswap"]);
            format!("{function}({})", inner(random))
        }
    }
}

fn truth(random: &mut Random, depth: usize) -> String {
    if depth == 0 || random.below(8) == 0 {
        return random
            .one(&[
                "skb.cloned",
                "(skb.dev.name == 'eth0')",
                "(skb.dev.name ~= 'veth12')",
                "(skb.dev.ops.kind == 'veth')",
                "(skb.dev ~= nil)",
                "true",
                "false",
            ])
            .to_owned();
    }
    match random.below(6) {
        0..=2 => {
            let operator = random.one(&["==", "~=", "<", "<=", ">", ">="]);
            let (left, right) = (number(random, depth - 1), number(random, depth - 1));
            format!("({left} {operator} {right})")
        }
        3 => format!("(not {})", truth(random, depth - 1)),
        4 => format!("({} and {})", truth(random, depth - 1), truth(random, depth - 1)),
        _ => format!("({} or {})", truth(random, depth - 1), truth(random, depth - 1)),
    }
}

fn world(random: &mut Random) -> World {
    let mut head = [0; 64];
    head.fill_with(|| random.next() as u8);
    let mut name = [0; 16];
    let text = random.one(&["eth0", "eth01", "veth12", "", "a-name-of-15-ch"]);
    name[..text.len()].copy_from_slice(text.as_bytes());
    World {
        len: random.integer() as u32,
        mark: random.integer() as u32,
        protocol: [random.next() as u8, random.next() as u8],
        signed: random.integer() as i16,
        cookie: random.integer() as u64,
        narrow: random.below(8) as u8,
        wide: random.below(1 << 20) as u32,
        tilt: random.below(16) as i8 - 8,
        cloned: random.below(2) == 1,
        network_header: random.next() as u16,
        dev: true,
        name,
        ifindex: random.integer() as i32,
        port: [random.next() as u8, random.next() as u8],
        head,
        kind: random.one(&["veth", "vet", "veth1", ""]),
        ..World::default()
    }
}

/// The functions of the compiler, written in Lua.
const LIBRARY: &str = r#"
local function signed(x) x = x & 0xffffffff; if x >= 0x80000000 then x = x - 0x100000000 end; return x end
local function swap(x, bytes)
  local y = 0
  for i = 0, bytes - 1 do y = y << 8 | (x >> (8 * i)) & 255 end
  return y
end
function ntoh(x, bits) return swap(x, bits // 8) end
hton = ntoh
bit = {
  band = function(a, b) return signed(a & b) end,
  bor = function(a, b) return signed(a | b) end,
  bxor = function(a, b) return signed(a ~ b) end,
  bnot = function(a) return signed(~a) end,
  tobit = signed,
  bswap = function(a) return signed(swap(a, 4)) end,
  lshift = function(a, n) return signed(a << (n & 31)) end,
  rshift = function(a, n) return signed((a & 0xffffffff) >> (n & 31)) end,
  arshift = function(a, n) return signed(a) // (1 << (n & 31)) end,
}
"#;

fn table_of(lua: &Lua, world: &World) -> mlua::Table {
    let table = |pairs: &[(&str, i64)]| {
        let table = lua.create_table().unwrap();
        for (name, value) in pairs {
            table.set(*name, *value).unwrap();
        }
        table
    };
    let skb = table(&[
        ("len", world.len.into()),
        ("mark", world.mark.into()),
        ("protocol", u16::from_le_bytes(world.protocol).into()),
        ("signed", world.signed.into()),
        ("cookie", world.cookie as i64),
        ("narrow", world.narrow.into()),
        ("wide", world.wide.into()),
        ("tilt", world.tilt.into()),
        ("network_header", world.network_header.into()),
    ]);
    skb.set("cloned", world.cloned).unwrap();
    let head = lua.create_table().unwrap();
    for (index, byte) in world.head.iter().enumerate() {
        head.set(index, *byte).unwrap();
    }
    skb.set("head", head).unwrap();
    let dev = table(&[("ifindex", world.ifindex.into())]);
    let end = world.name.iter().position(|byte| *byte == 0).unwrap_or(16);
    dev.set("name", lua.create_string(&world.name[..end]).unwrap()).unwrap();
    let ops = lua.create_table().unwrap();
    ops.set("kind", world.kind).unwrap();
    dev.set("ops", ops).unwrap();
    skb.set("dev", dev).unwrap();
    let (sk, common) = (
        lua.create_table().unwrap(),
        table(&[("skc_dport", u16::from_le_bytes(world.port).into())]),
    );
    sk.set("__sk_common", common).unwrap();
    skb.set("sk", sk).unwrap();
    skb
}

#[test]
fn random_expressions_agree_with_lua() {
    const PROGRAMS: usize = 10_000;
    const INPUTS: usize = 10;
    let lua = Lua::new();
    lua.load(LIBRARY).exec().unwrap();
    let mut random = Random(1);
    let mut compared = 0;
    let worlds: Vec<_> = (0..200)
        .map(|_| {
            let world = world(&mut random);
            let (image, table) = (Image::of(&world), table_of(&lua, &world));
            (world, image, table)
        })
        .collect();
    for at in 0..PROGRAMS {
        let depth = 1 + at % 5;
        let is_condition = at % 2 == 0;
        let text = if is_condition {
            truth(&mut random, depth)
        } else {
            number(&mut random, depth)
        };
        let chunk = lua.load(format!("return {text}")).into_function().unwrap();
        let program = match is_condition {
            true => compile_condition(&text),
            false => compile_fields(&[("x", &format!("({text}) + 0"))]).map(|fields| fields.program),
        };
        let program = match program {
            Ok(program) => program,
            // Lua says so when it runs.
            Err(error) if error.to_string().contains("division by zero") => continue,
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("more than"), "{text}\n{error}");
                continue;
            }
        };
        for _ in 0..INPUTS {
            let (world, image, table) = &worlds[random.below(worlds.len())];
            lua.globals().set("skb", table).unwrap();
            let expected = match chunk.call::<LuaValue>(()) {
                Ok(LuaValue::Integer(value)) => value,
                Ok(LuaValue::Boolean(value)) => i64::from(value),
                Ok(other) => panic!("{text} is {other:?}"),
                // A division by zero, which the kernel defines.
                Err(_) => continue,
            };
            let found = match is_condition {
                true => i64::from(judge(image, &program)),
                false => i64::from_le_bytes(write(image, &program, 8).try_into().unwrap()),
            };
            assert_eq!(
                found,
                expected,
                "{text}\n{world:?}\n{}",
                bpf_assembly::text(&program.code)
            );
            compared += 1;
        }
    }
    assert!(compared > PROGRAMS * INPUTS / 2, "only {compared} were compared");
}
