//! Fuzzes the compiler of Lua: text must end in instructions, or in a message that marks a place of the text, without
//! panic or hang.
//!
//! The text is tried as an expression, as a script and as the body of a socket's program, with a few types of a kernel. Run with `cargo xtask fuzz lua`;
//! any expression is a good seed.

#![no_main]

use std::sync::LazyLock;

use bpf_btf::{Btf, Builder, Kind};
use libfuzzer_sys::fuzz_target;
use lua_bpf::{CompileError, Environment, Map, Outside, Scalar, Source};

/// A packet with an integer, bit-fields, text, an array, and pointers to itself.
static TYPES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut types = Builder::new();
    let word = types.int("unsigned int", 4);
    let byte = types.int("unsigned char", 1);
    let character = types.add(Kind::Int, "char", false, 0, 1, &[1 << 24 | 8]);
    let network = types.refer(Kind::Typedef, "__be16", word);
    let text = types.add(Kind::Array, "", false, 0, 0, &[character, word, 16]);
    let array = types.add(Kind::Array, "", false, 0, 0, &[word, word, 4]);
    let bytes = types.pointer(byte);
    // The next type but one.
    let packet = types.pointer(text + 4);
    let members = [
        ("len", word, 0),
        ("bits", word, 3 << 24 | 33),
        ("name", text, 64),
        ("words", array, 192),
        ("head", bytes, 320),
        ("next", packet, 384),
        ("protocol", network, 448),
    ];
    let mut rest = Vec::new();
    for (name, kind, place) in members {
        rest.extend([types.string(name), kind, place]);
    }
    types.add(Kind::Struct, "sk_buff", true, members.len() as u32, 64, &rest);
    types.build()
});

/// A map and a table of constants.
struct Around;

impl Environment for Around {
    fn find(&self, path: &[&str]) -> Option<Outside> {
        let scalar = Some(Scalar { bytes: 4, signed: true });
        Some(match path {
            ["map"] => Outside::Map(Map {
                descriptor: 5,
                key: scalar,
                value: scalar,
                removes: true,
            }),
            ["c"] => Outside::Table,
            ["c", _] => Outside::Integer(17),
            ["name"] => Outside::Text(b"lo".to_vec()),
            _ => return None,
        })
    }

    fn names(&self) -> Vec<String> {
        vec!["map".to_owned()]
    }
}

fn check(text: &str, result: Result<usize, CompileError>) {
    match result {
        Ok(instructions) => assert!(instructions < 1 << 15),
        Err(error) => {
            let (line, column) = error.place();
            assert!(line <= text.matches('\n').count() + 1 && column <= text.chars().count() + 1);
            let message = error.to_string();
            assert!(message.len() < 4096, "{} bytes", message.len());
            assert!(message.lines().all(|line| !line.contains(char::is_control)), "{message:?}");
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let text = &*String::from_utf8_lossy(data);
    let types = Btf::parse(&TYPES).expect("the types can be read");
    let source = Source { name: "fuzz", text };
    check(text, lua_bpf::condition(source, &types).map(|program| program.code.len()));
    let fields = lua_bpf::fields(&[("x", source)], &types, 64);
    check(text, fields.map(|fields| fields.program.code.len()));
    let module = lua_bpf::module(source, &types, 64);
    check(text, module.map(|fields| fields.program.object("module", "fuzz").len() / 8));
    let body = format!("function (skb)\n{text}\nend");
    let source = Source {
        name: "fuzz",
        text: &body,
    };
    let lines = 1..=body.matches('\n').count() + 1;
    check(&body, lua_bpf::socket(source, lines, &Around).map(|program| program.code.len()));
});
