//! Messages on wrong sources, compared with a golden file.

use std::fmt::Write as _;
use std::path::Path;

use super::world::{compile_condition, compile_fields};

/// Wrong conditions.
const CONDITIONS: &[&str] = &[
    "",
    "skb.len >",
    "skb.len > 5)",
    "(skb.len > 5",
    "skb.len = 5",
    "skb.len != 5",
    "skb.len > 5 && skb.mark == 1",
    "skb.len > 5 || skb.mark == 1",
    "!skb.cloned",
    "skb.len ? 1 : 2",
    "skb->len > 5",
    "skb.lenn > 5",
    "skb.lem > 5",
    "skb.zzzzzz > 5",
    "skb.dev.ifindez == 5",
    "skb.len.x > 5",
    "skp.len > 5",
    "len > 5",
    "skb.len",
    "skb.dev.name",
    "skb.sk.__sk_common == nil",
    "skb.words > 5",
    "skb.words[3] == 0",
    "skb.words[-1] == 0",
    "skb.words[skb.narrow] == 0",
    "skb.len[0] == 1",
    "skb.dev.name[16] == 1",
    "skb.len.end == 1",
    "skb.len == 'eth0'",
    "skb.dev.name == 5",
    "skb.dev.name < 'eth0'",
    "skb.dev.name == 'a name that is too long'",
    "skb.dev.name == 'eth\\0'",
    "skb.dev.name == skb.dev.ops.kind",
    "skb.dev == 5",
    "skb.protocol == 0x0800",
    "skb.protocol > 5",
    "skb.sk.__sk_common.skc_daddr == 0x0a000001",
    "ntoh() == 5",
    "ntoh(skb.len, 8) == 5",
    "ntoh(skb.dev.name) == 5",
    "ipv4(skb.protocol) == '10.0.0.1'",
    "ipv4(skb.sk.__sk_common.skc_daddr) == '10.0.0'",
    "ipv6(skb.sk.__sk_common.skc_v6_daddr) == '10.0.0.1'",
    "ipv6(skb.len) == '::1'",
    "mac(skb.dev.dev_addr) == '02:00'",
    "mac(skb.mark) == '02:00:00:00:00:01'",
    "mac == 5",
    "bit.and(skb.mark, 1) == 1",
    "bit.bnad(skb.mark, 1) == 1",
    "bit.band(skb.mark) == 1",
    "bit == 5",
    "math.floor(skb.len) == 1",
    "cast('struct nothing', skb.head).x == 1",
    "cast(5, skb.head).x == 1",
    "cast('iphdr', skb.len).ttl == 1",
    "skb.head.x == 1",
    "skb.len / 2 == 1",
    "skb.len ^ 2 == 1",
    "skb.len > 1.5",
    "skb.len > 1e3",
    "skb.len > 99999999999999999999",
    "skb.len > 12abc",
    "skb.len // 0 == 1",
    "skb.len % (1 - 1) == 1",
    "-skb.dev == 1",
    "skb.dev + skb.dev == 1",
    "skb.dev + 1 == 1",
    "#skb.dev.name == 4",
    "skb.dev.name .. 'x' == 'ethx'",
    "(skb.len > 5 and 1) == 1",
    "(skb.len > 5 and 1 or 'x') == 1",
    "skb.cloned + 1 == 2",
    "skb.cloned < true",
    "skb.len > 'x' .. 5",
    "'eth0 == skb.dev.name",
    "skb.dev.name == 'a\\q'",
    "[[x",
    "skb.len > 5 --[[ comment",
    "skb.len > 5 $",
    "skb.len > \u{e9}",
    "skb:len() > 5",
    "skb.len() > 5",
    "function() end",
    "{ len = skb.len }",
    "{ skb.len }",
    "skb.len > 5 then",
    "skb.len += 5",
    "skb.len++ > 5",
    "skb.",
    "skb.[0]",
    "skb[0] == 1",
    "nil == nil and",
    "not",
    "if skb.len > 5 then",
    "skb.len > 5\nand skb.marc == 1",
];

/// Wrong fields.
const FIELDS: &[&str] = &[
    "'eth0'",
    "nil",
    "skb.sk.__sk_common",
    "skb.cloned and skb.len",
    "skb.dev and skb.dev.name",
];

#[test]
fn wrong_sources_have_their_messages() {
    let mut found = String::new();
    let mut add = |text: &str, message: String| {
        let _ = write!(found, "{text}\n  {}\n\n", message.replace('\n', "\n  "));
    };
    for text in CONDITIONS {
        match compile_condition(text) {
            Ok(_) => panic!("{text} is no error"),
            Err(error) => add(text, error.to_string()),
        }
    }
    for text in FIELDS {
        match compile_fields(&[("field", text)]) {
            Ok(_) => panic!("{text} is no error"),
            Err(error) => add(text, error.to_string()),
        }
    }
    let many: Vec<(&str, &str)> = vec![("name", "skb.dev.name"); 5];
    add("5 names", compile_fields(&many).unwrap_err().to_string());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/lua/messages.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file can be read");
    assert_eq!(found, expected, "set UPDATE_GOLDEN=1 to rewrite it");
}

#[test]
fn hostile_sources_end_in_errors() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(20_000), close.repeat(20_000));
    let sources = [
        deep("(", ")"),
        deep("not ", ""),
        deep("- ", ""),
        deep("1 + ", ""),
        deep("1 .. ", ""),
        deep("ntoh(", ")"),
        deep("{a=", "}"),
        format!("skb{}", ".dev".repeat(16_000)),
        format!("1{}", " + 1".repeat(16_000)),
        format!("skb.len == 1{}", " or skb.len == 1".repeat(4_000)),
        "x".repeat(1 << 17),
        "\"".repeat(60_000),
        "a".repeat(60_000),
        "[".repeat(60_000),
        "0x".to_owned() + &"f".repeat(60_000),
    ];
    for text in sources {
        let started = std::time::Instant::now();
        let error = compile_condition(&text).unwrap_err().to_string();
        assert!(error.len() < 1_000, "{error}");
        assert!(started.elapsed().as_secs() < 5);
    }
}

/// Each step doubles the tree, as the left side is both tested and used.
#[test]
fn tree_that_doubles_is_refused() {
    let mut text = "skb.dev".to_owned();
    for _ in 0..40 {
        text = format!("cast('net_device', ({text} or skb.dev))");
        text = format!("cast('sk_buff', {text}).dev");
    }
    assert!(compile_condition(&text).is_err());
}

#[test]
fn a_message_quotes_no_control_characters() {
    let source = "mac(skb.dev.dev_addr) == '02\u{1b}[31m\u{202e}\0'";
    let message = compile_condition(source).unwrap_err().to_string();
    assert!(message.contains("'02 [31m"), "{message}");
    let steers = |character: char| character != '\n' && (character.is_control() || character == '\u{202e}');
    assert!(!message.contains(steers), "{message:?}");
}
