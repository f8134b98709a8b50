use std::io::Write as _;

use super::*;

/// Runs a script that is in a file, and returns what it failed with.
fn run_text(text: &str, arguments: &[&str]) -> Result<(), String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
    let script = Script {
        path: file.path(),
        arguments: &arguments,
        verbose: false,
    };
    let name = file.path().display().to_string();
    run(&script).map_err(|error| error.to_string().replace(&name, "FILE"))
}

#[test]
fn arguments_and_a_line_for_the_shell_are_taken() {
    let text = "#!/usr/bin/env bcc-lua\nassert(arg[1] == 'eth0' and arg[2] == '-v' and #arg == 2)\n\
                assert(select('#', ...) == 2 and arg[0]:find('/'))";
    assert_eq!(run_text(text, &["eth0", "-v"]), Ok(()));
}

#[test]
fn errors_name_the_line_of_the_script() {
    for (text, expected) in [
        (
            "#!/bin/x\nlocal a = nil\na.b = 1",
            "FILE:3: attempt to index a nil value (local 'a')",
        ),
        ("x = = 1", "FILE:1: unexpected symbol near '='"),
        ("\nerror('no device')", "FILE:2: no device"),
        ("\nrequire('bpf').map({})", "FILE:2: "),
        ("local b = require('ffi').new('char [4]')\nb.x = 5", "FILE:2: "),
        (
            "local bpf = require('bpf')\nbpf.map('hahs')",
            "FILE:2: 'hahs' is no type of map here; there are array, hash, percpu_array, percpu_hash, lru_hash, \
             lru_percpu_hash",
        ),
        (
            "local bpf = require('bpf')\n\nbpf.kprobe('a', print)",
            "FILE:3: bpf.kprobe is not there yet; the module has map, socket, dump, dump_string, ntoh, hton and c",
        ),
        (
            "local bpf = require('bpf')\nassert(bpf(print))",
            "FILE:2: this function has no source; write one in Lua",
        ),
        (
            "require('syscall').sleep(-1)",
            "FILE:1: cannot sleep for -1 seconds; write 0 or more",
        ),
        (
            "require('ffi').cast('int', 5)",
            "FILE:1: ffi.cast is not there yet; the module has typeof, sizeof, new and string",
        ),
        (
            "require('ffi').typeof('struct { int a; }')",
            "FILE:1: structs and unions are not there yet; use integers, or one map for each field",
        ),
        (
            "local bpf = require('bpf')\nbpf.map('array', 4, 'uint64_t')",
            "FILE:2: the keys of an array have 32 bits; leave the key's type out, or write \"uint32_t\"",
        ),
        (
            "local bpf = require('bpf')\nbpf.map('hash', 0)",
            "FILE:2: a map cannot have 0 entries; write 1 or more",
        ),
        (
            "local bpf = require('bpf')\nlocal code = bpf(function () return 1 end)\nbpf.socket(5, code)",
            "FILE:3: bpf.socket takes the name of a device, and this is a integer",
        ),
    ] {
        let error = run_text(text, &[]).unwrap_err();
        assert!(error.starts_with(expected), "{text}\n{error}\n{expected}");
        assert!(!error.contains("traceback"), "{error}");
    }
}

#[test]
fn wrong_function_is_marked_in_the_script() {
    let text = "local bpf = require('bpf')\nlocal limit = 5\nlocal program = bpf(function (skb)\n  \
                return skb.lenn + limit\nend)";
    let error = run_text(text, &[]).unwrap_err();
    assert_eq!(
        error,
        "FILE, line 4, column 14: the packet's context has no field 'lenn'; the nearest are len\n      \
         return skb.lenn + limit\n                 ^^^^"
    );
}

#[test]
fn function_is_compiled_with_its_live_values() {
    let text = r#"
local bpf = require('bpf')
local names = { inner = { port = 53 } }
global_limit = 2.0^53
local first = 1
first = 7
local code = bpf(function (skb)
  if skb.len > first and pkt.ip.proto == c.ip.proto_udp then return names.inner.port + global_limit end
end)
local text = bpf.dump_string(code)
assert(text:find("if r7 s<= 7 goto", 1, true), text)
assert(text:find("if r7 != 17 goto", 1, true), text)
assert(text:find("9007199254741045", 1, true), text)
-- Another chunk is its own text.
local other = load("return function () return 12345 end")()
assert(bpf.dump_string(bpf(other)):find("12345", 1, true))
assert(not pcall(bpf, 5))
local ok, message = pcall(bpf, function () return print end)
assert(not ok and tostring(message):find("'print' is a function", 1, true), message)
"#;
    assert_eq!(run_text(text, &[]), Ok(()));
}

#[test]
fn modules_compute_as_those_of_luajit() {
    let text = r#"
local bit, ffi, bpf = require('bit'), require('ffi'), require('bpf')
assert(bit.band(0xffffffff, 0xf0f0f0f0) == -252645136)
assert(bit.bor(1, 2, 4) == 7 and bit.bxor(5, 1) == 4 and bit.bnot(0) == -1)
assert(bit.lshift(1, 31) == -2147483648 and bit.lshift(1, 32) == 1)
assert(bit.rshift(-1, 28) == 15 and bit.arshift(-256, 4) == -16 and bit.arshift(0x80000000, 31) == -1)
assert(bit.rol(0x12345678, 8) == 0x34567812 and bit.ror(0x12345678, 8) == 0x78123456)
assert(bit.bswap(0x01020304) == 0x04030201 and bit.tohex(255, 4) == "00ff" and bit.tobit(2^31) == -2147483648)
assert(ffi.sizeof('uint64_t') == 8 and ffi.sizeof('char [16]') == 16 and ffi.sizeof(ffi.typeof('short')) == 2)
assert(ffi.new('uint8_t', 300) == 44 and ffi.new('int8_t', 200) == -56 and ffi.new('int') == 0)
local name = ffi.new('char [8]', 'lo')
assert(ffi.string(name) == 'lo' and #ffi.string(name, 8) == 8 and name[0] == 108 and ffi.sizeof(name) == 8)
name[2] = 48
assert(ffi.string(name) == 'lo0' and tostring(name) == 'cdata<char [8]>')
local words = ffi.new('uint32_t[2]')
words[1] = -1
assert(words[1] == 0xffffffff and words[0] == 0)
assert(not pcall(function () return words[2] end))
assert(not pcall(ffi.new, 'char [2]', 'long') and not pcall(ffi.new, 'int [0]') and not pcall(ffi.typeof, 5))
assert(bpf.ntoh(0x1234) == 0x3412 and bpf.hton(1, 32) == 0x01000000 and bpf.c.ip.proto_tcp == 6)
assert(not pcall(bpf.ntoh, 1, 8))
"#;
    assert_eq!(run_text(text, &[]), Ok(()));
}

#[test]
fn refusal_of_the_verifier_names_the_line() {
    let text = "local n = 5\nuse(function (skb)\n  local a = skb.len\n  return a + pkt.ip.ttl\nend)";
    struct Nothing;
    impl lua_bpf::Environment for Nothing {
        fn find(&self, _: &[&str]) -> Option<lua_bpf::Outside> {
            None
        }
        fn names(&self) -> Vec<String> {
            Vec::new()
        }
    }
    let source = lua_bpf::Source { name: "a.lua", text };
    let program = lua_bpf::socket(source, 2..=5, &Nothing).unwrap();
    let at = (program.lines.iter().find(|line| line.line == 4)).unwrap().instruction;
    let log = format!(
        "0: R1=ctx() R10=fp0\n0: (bf) r6 = r1\n{}: (30) r0 = *(u8 *)skb[22]\nBPF program is too large. Processed \
         1000001 insn\nprocessed 1000001 insns (limit 1000000)\n",
        at + 1
    );
    let said = program::refused(&program, "a.lua", &log).unwrap().to_string();
    assert_eq!(
        said,
        "a.lua:4: the kernel's verifier refuses this: BPF program is too large. Processed 1000001 insn\n    \
         return a + pkt.ip.ttl"
    );
    assert!(program::refused(&program, "a.lua", "").is_none());
    let without_index = program::refused(&program, "a.lua", "unknown opcode")
        .unwrap()
        .to_string();
    assert!(without_index.starts_with("a.lua:3: "), "{without_index}");
}

#[test]
fn script_that_is_not_there_is_named() {
    let script = Script {
        path: Path::new("/nonexistent/a.lua"),
        arguments: &[],
        verbose: false,
    };
    let error = run(&script).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot read the script /nonexistent/a.lua: "),
        "{error}"
    );
}
