//! Scripts: statements over a known packet, and their messages.

use std::fmt::Write as _;
use std::path::Path;

use super::world::{World, compile_script, written};

/// Returns what `module` with this body returns as `x`, of 8 bytes; none if it drops the event.
fn result(body: &str) -> Option<i64> {
    let text = format!("api_version = 2\nfunction module(skb)\n{body}\nend\n");
    let compiled = compile_script(&text).unwrap_or_else(|error| panic!("{error}"));
    let bytes = written(&World::default(), &compiled.program, compiled.size)?;
    assert_eq!(
        (compiled.size, compiled.fields[0].size),
        (8, 8),
        "{:?}",
        compiled.fields
    );
    Some(i64::from_le_bytes(bytes.try_into().unwrap()))
}

#[test]
fn statements_compute_as_in_lua() {
    for (body, expected) in [
        ("local a = skb.len a = a - 2000 return { x = a // 3 }", Some(-167)),
        ("local a, b = 1, 2 a, b = b, a return { x = a * 10 + b }", Some(21)),
        ("local s = 0 for i = 1, 10 do s = s + i end return { x = s }", Some(55)),
        (
            "local s = 0 for i = 10, 1, -3 do s = s * 100 + i end return { x = s }",
            Some(10_070_401),
        ),
        ("local s = 0 for i = 5, 1 do s = s + i end return { x = s }", Some(0)),
        (
            "local s = 0 for i = 1, math.min(skb.narrow, 8) do s = s + i end return { x = s }",
            Some(15),
        ),
        (
            "local s = 0 for i = 1, math.min(skb.len, 8) do s = s + i end return { x = s }",
            Some(36),
        ),
        (
            "local i = 0 while i * i < 50 do i = i + 1 end return { x = i }",
            Some(8),
        ),
        ("local i = 0 while true do i = i + 1 end return { x = i }", Some(256)),
        (
            "local i = 0 while true do i = i + 1 if i == 7 then break end end return { x = i }",
            Some(7),
        ),
        (
            "local i = 0 repeat local j = i i = i + 1 until j == 3 return { x = i }",
            Some(4),
        ),
        (
            "if skb.len > 2000 then return nil elseif skb.len > 1000 then return { x = 1 + 1 } end",
            Some(2),
        ),
        ("if skb.len > 1000 then return end return { x = 1 + 0 }", None),
        ("if skb.len > 2000 then return { x = 0 + 0 } end", None),
        (
            "local ok = skb.dev.name == 'eth0' if ok then return { x = 7 + 0 } end",
            Some(7),
        ),
        (
            "local dev = skb.dev if dev == nil then return nil end return { x = dev.ifindex + 0 }",
            Some(3),
        ),
        (
            "local name = skb.dev.name return { x = name == 'eth0' and 1 or 2 }",
            Some(1),
        ),
        ("local n = 5 do local n = 6 n = n + 1 end return { x = n }", Some(5)),
        (
            "local s = 0 for i = 0, 5 do s = s + skb.head[i] end return { x = s }",
            Some(15),
        ),
        (
            "local s = 0 for i = 1, 3 do for j = 1, 3 do if j == 2 then break end s = s + i end end return { x = s }",
            Some(6),
        ),
        (
            "return { x = (skb.len + 1) * ((skb.mark & 3) + (skb.signed * ((skb.narrow + 2) * (skb.tilt + 4)))) }",
            Some(1501 * (3 - 7 * 7 * 2)),
        ),
    ] {
        assert_eq!(result(body), expected, "{body}");
    }
}

#[test]
fn constants_of_a_script_are_seen() {
    let text = "api_version = 2\nlocal limit = 1000\nname = 'eth0'\nfunction module(packet)\n\
                return { big = packet.len > limit, own = packet.dev.name == name }\nend";
    let compiled = compile_script(text).unwrap();
    let bytes = written(&World::default(), &compiled.program, compiled.size);
    assert_eq!(bytes, Some(vec![1, 1]));
    assert_eq!(lua_bpf::assigned_number(text, "api_version"), Some(2));
    assert_eq!(
        lua_bpf::assigned_number("function f() api_version = 2 end", "api_version"),
        None
    );
}

/// Wrong scripts.
const WRONG: &[&str] = &[
    "",
    "api_version = 2",
    "function module() return { x = 1 } end",
    "function other(skb) end",
    "function module(skb) end",
    "function module(skb) return 5 end",
    "function module(skb) return {} end",
    "function module(skb) return { 1 } end",
    "function module(skb) return { x = skb.len, x = skb.mark } end",
    "function module(skb) return { x = skb.lenn } end",
    "function module(skb)\n  local a = skb.len\n  a = 'x'\n  return { x = a }\nend",
    "function module(skb)\n  skb.len = 5\nend",
    "function module(skb)\n  b = 5\nend",
    "function module(skb)\n  local a = nil\nend",
    "function module(skb)\n  local a\nend",
    "function module(skb)\n  local a, b = 1\nend",
    "function module(skb)\n  local a = skb.len > 5 and 1\nend",
    "function module(skb)\n  for i = 1, skb.len do end\nend",
    "function module(skb)\n  for i = 1, 1000 do end\nend",
    "function module(skb)\n  for i = 1, 5, 0 do end\nend",
    "function module(skb)\n  for i = 1, 5, skb.len do end\nend",
    "function module(skb)\n  for i = 1, 5 do i = 2 end\nend",
    "function module(skb)\n  for k, v in pairs(skb) do end\nend",
    "function module(skb)\n  break\nend",
    "function module(skb)\n  if skb.len then return { x = skb.len } end\nend",
    "function module(skb)\n  while skb.len do end\nend",
    "function module(skb)\n  ntoh(skb.protocol)\nend",
    "function module(skb)\n  goto done\nend",
    "function module(skb)\n  return { x = skb.len }, 5\nend",
    "function module(skb)\n  return { x = skb.len }\n  local a = 5\nend",
    "function module(skb)\n  if skb.cloned then return { x = skb.len } end\n  return { y = skb.len }\nend",
    "function module(skb)\n  local t = skb.dev.name\n  t = skb.dev.ops.kind\nend",
    "function module(skb)\n  if skb.cloned then\n    return { x = skb.len }\nend",
    "local x = skb.len\nfunction module(skb) return { x = x } end",
    "function module(skb) return { x = skb.dev.name, y = skb.dev.name, z = skb.dev.name, a = skb.dev.name, b = 1 } end",
];

#[test]
fn wrong_scripts_have_their_messages() {
    let mut found = String::new();
    for text in WRONG {
        match compile_script(text) {
            Ok(_) => panic!("{text} is no error"),
            Err(error) => {
                let message = error.to_string().replace('\n', "\n  ");
                let _ = write!(found, "{text}\n  {message}\n\n");
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/lua/scripts.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file can be read");
    assert_eq!(found, expected, "set UPDATE_GOLDEN=1 to rewrite it");
}
