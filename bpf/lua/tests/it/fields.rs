//! Conditions and fields over a known packet.

use lua_bpf::Format;

use super::world::{World, bytes_of, compile_condition, compile_fields, judge, write};

fn holds(text: &str) -> bool {
    holds_in(&World::default(), text)
}

fn holds_in(world: &World, text: &str) -> bool {
    let program = compile_condition(text).unwrap_or_else(|error| panic!("{error}"));
    judge(world, &program)
}

#[test]
fn fields_of_every_kind_are_read() {
    for text in [
        "skb.len == 1500",
        "skb.len > 1400 and skb.dev.name == \"eth0\"",
        "skb.mark == 0xdeadbeef",
        "ntoh(skb.protocol) == 0x0800",
        "skb.protocol == hton(0x0800)",
        "skb.signed == -7",
        "skb.signed < 0",
        "skb.cookie < 0",
        "skb.narrow == 5 and skb.wide == 0x12345 and skb.tilt == -2",
        "skb.cloned",
        "skb.cloned == true",
        "not not skb.cloned",
        "skb.dev.ifindex == 3",
        "skb.dev.ops.kind == \"veth\"",
        "skb.dev.name ~= \"eth\" and skb.dev.name ~= \"eth01\"",
        "skb.dev.ops.kind ~= \"vet\" and skb.dev.ops.kind ~= \"veth1\"",
        "ntoh(skb.sk.__sk_common.skc_dport) == 8080",
        "ipv4(skb.sk.__sk_common.skc_daddr) == \"192.0.2.1\"",
        "ipv4(skb.sk.__sk_common.skc_daddr) == ipv4('192.0.2.1')",
        "mac(skb.dev.dev_addr) == \"02:00:00:00:00:ab\"",
        "mac(skb.dev.perm_addr) == \"02-0-0-0-0-AB\"",
        "ipv6(skb.sk.__sk_common.skc_v6_daddr) == '2001:db8::1'",
        "skb.words[0] == 1500",
        "skb.dev.name[0] == 0x65 and skb.dev.name[15] ~= 0 and skb.dev.ops.kind[1] == 0x65",
        "skb[\"len\"] == 1500 and skb['dev'].ifindex == 3",
        "skb.head[3] == 3 and skb.head[skb.network_header] == 14",
        "(skb.head + skb.network_header)[2] == 16",
        "cast('struct iphdr', skb.head + skb.network_header).ttl == 22",
        "cast('iphdr', skb.head).protocol == 9",
        "skb.dev ~= nil and skb.dev",
        "skb.dev and skb.dev.ifindex == 3",
        "(skb.len > 5 and 1 or 2) == 1",
        "(skb.len < 5 and 1 or 2) == 2",
        "math.min(skb.len, 100) == 100 and math.max(skb.len, 100, 2000) == 2000",
        "bit.band(skb.mark, 0xff) == 0xef and bit.tobit(skb.mark) < 0",
        "bit.bswap(0x01020304) == 0x04030201",
        "skb.len // 7 == 214 and skb.len % 7 == 2",
        "skb.signed // 2 == -4 and skb.signed % 4 == 1 and skb.signed % -4 == -3",
        "return skb.len == 1500 -- with a comment",
        "#'abc' == 3 and 'a' .. 'b' == 'ab'",
        "skb.dev.name .. '' == 'eth0'",
    ]
    .iter()
    .take(41)
    {
        if text.starts_with("skb.dev.name ..") {
            assert!(compile_condition(text).is_err(), "{text}");
        } else {
            assert!(holds(text), "{text}");
        }
    }
}

#[test]
fn null_pointer_gives_zero_and_empty_text() {
    let world = World {
        dev: false,
        ..World::default()
    };
    for text in [
        "skb.dev == nil",
        "not skb.dev",
        "skb.dev.ifindex == 0",
        "skb.dev.name == ''",
        "skb.dev.ops.kind == \"\"",
        "mac(skb.dev.dev_addr) == '00:00:00:00:00:00'",
    ] {
        assert!(holds_in(&world, text), "{text}");
        assert!(!holds(text), "{text}");
    }
}

#[test]
fn fields_have_their_types_and_places() {
    let compiled = compile_fields(&[
        ("len", "skb.len"),
        ("dport", "ntoh(skb.sk.__sk_common.skc_dport)"),
        ("raw", "skb.protocol"),
        ("signed", "skb.signed"),
        ("twice", "skb.len * 2"),
        ("dev", "skb.dev.name"),
        ("cloned", "skb.cloned"),
        ("state", "skb.sk.__sk_common.skc_state"),
        ("mac", "mac(skb.dev.dev_addr)"),
        ("ip", "ipv4(skb.sk.__sk_common.skc_daddr)"),
    ])
    .unwrap();
    let formats: Vec<_> = (compiled.fields.iter())
        .map(|field| (field.name.as_str(), field.offset, field.size, field.format.clone()))
        .collect();
    let members = vec![("TCP_ESTABLISHED".to_owned(), 1), ("TCP_CLOSE".to_owned(), 7)];
    assert_eq!(
        formats,
        [
            ("len", 0, 4, Format::Unsigned),
            ("dport", 4, 2, Format::Unsigned),
            ("raw", 6, 2, Format::Network),
            ("signed", 8, 2, Format::Signed),
            ("twice", 16, 8, Format::Signed),
            ("dev", 24, 16, Format::Text),
            ("cloned", 40, 1, Format::Boolean),
            ("state", 41, 1, Format::Enum { signed: false, members }),
            ("mac", 42, 6, Format::Mac),
            ("ip", 48, 4, Format::Ipv4),
        ]
    );
    let bytes = write(&World::default(), &compiled.program, compiled.size);
    let values: Vec<&[u8]> = compiled.fields.iter().map(|field| bytes_of(&bytes, field)).collect();
    assert_eq!(values[0], 1500_u32.to_le_bytes());
    assert_eq!(values[1], 8080_u16.to_le_bytes());
    assert_eq!(values[2], [8, 0]);
    assert_eq!(values[3], (-7_i16).to_le_bytes());
    assert_eq!(values[4], 3000_i64.to_le_bytes());
    assert!(values[5].starts_with(b"eth0\0"));
    assert_eq!(values[6..8], [&[1][..], &[2]]);
    assert_eq!(values[8], [2, 0, 0, 0, 0, 0xab]);
    assert_eq!(values[9], [192, 0, 2, 1]);
}

#[test]
fn object_has_the_functions_types_and_lines() {
    let program = compile_condition("skb.len > 5 and\n skb.mark == 0").unwrap();
    let object = program.object("ipft_where", "expression");
    assert!(object.starts_with(b"\x7fELF"));
    assert_eq!((program.lines[0].instruction, program.lines[0].line), (0, 1));
    assert!(program.stack <= 16, "{}", program.stack);
}
