//! Canned traces of payloads: fields of every type and format, tagged values, built-in fields. Imports the script.

use ipft_core::event::*;

use super::{Canned, Script, field};

/// Every type and format of a field, with common and unusual values.
pub(super) fn fields() -> Canned {
    let member = |name: &str, value: u64| EnumMember {
        name: name.to_owned(),
        value,
    };
    let flags = vec![
        member("NONE", 0),
        member("TCPV4", 1),
        member("DODGY", 2),
        member("ECN", 4),
    ];
    let verdicts = vec![member("DROP", 0), member("ACCEPT", 1), member("STOLEN", -1_i64 as u64)];
    let symbols = [
        member("_text", 0xffff_ffff_8100_0000),
        member("kfree_skb", 0xffff_ffff_8100_2000),
    ];
    let list = [
        ("len", 4, FieldType::Unsigned, FieldFormat::Plain),
        ("delta", 2, FieldType::Signed, FieldFormat::Plain),
        ("wide", 8, FieldType::Signed, FieldFormat::Plain),
        ("cloned", 1, FieldType::Bool, FieldFormat::Plain),
        ("dev.name", 8, FieldType::Char, FieldFormat::Plain),
        ("sk", 8, FieldType::Pointer, FieldFormat::Plain),
        ("raw", 3, FieldType::Bytes, FieldFormat::Plain),
        ("mark", 4, FieldType::Unsigned, FieldFormat::Hex),
        ("verdict", 4, FieldType::Signed, FieldFormat::Enum(verdicts)),
        ("gso", 4, FieldType::Unsigned, FieldFormat::Flags(flags)),
        ("saddr", 4, FieldType::Bytes, FieldFormat::Ipv4),
        ("daddr6", 16, FieldType::Bytes, FieldFormat::Ipv6),
        ("source", 6, FieldType::Bytes, FieldFormat::Mac),
        ("sport", 2, FieldType::Unsigned, FieldFormat::Be16),
        ("spi", 4, FieldType::Unsigned, FieldFormat::Be32),
        ("tstamp", 8, FieldType::Signed, FieldFormat::Ktime),
        ("caller", 8, FieldType::Pointer, FieldFormat::Symbol(symbols.into())),
    ];
    let mut schema = Schema::default();
    for (name, size, kind, format) in list {
        schema.fields.push(field(name, schema.size, size, kind, format));
        schema.size += size;
    }
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]);
    script.trace.schema = schema;
    let common = [
        &2688_u32.to_ne_bytes()[..],
        &(-5_i16).to_ne_bytes(),
        &(-9_000_000_000_000_000_000_i64).to_ne_bytes(),
        &[1],
        b"veth0\0\0\0",
        &0xffff_8da1_f50b_7f00_u64.to_ne_bytes(),
        &[0xde, 0xad, 0x00],
        &0xdead_beef_u32.to_ne_bytes(),
        &1_u32.to_ne_bytes(),
        &3_u32.to_ne_bytes(),
        &[192, 0, 2, 1],
        &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e],
        &443_u16.to_be_bytes(),
        &0x1234_5678_u32.to_be_bytes(),
        &12_000_000_345_i64.to_ne_bytes(),
        &0xffff_ffff_8100_2012_u64.to_ne_bytes(),
    ];
    let odd = [
        &u32::MAX.to_ne_bytes()[..],
        &i16::MIN.to_ne_bytes(),
        &i64::MIN.to_ne_bytes(),
        &[0],
        b"12345678",
        &0_u64.to_ne_bytes(),
        &[0, 0, 0],
        &0_u32.to_ne_bytes(),
        &(-7_i32).to_ne_bytes(),
        &0x44_u32.to_ne_bytes(),
        &[255, 255, 255, 255],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1],
        &[255; 6],
        &u16::MAX.to_be_bytes(),
        &0_u32.to_be_bytes(),
        &(-1_i64).to_ne_bytes(),
        &0x10_u64.to_ne_bytes(),
    ];
    let mut zero = common.map(<[u8]>::to_vec);
    zero.iter_mut().for_each(|bytes| bytes.fill(0));
    script.at(100).payload(common.concat()).enter(1, 0);
    script.at(200).payload(odd.concat()).enter(1, 0);
    script.at(300).payload(zero.concat()).enter(1, 0);
    script.at(400).payload(Vec::new()).enter(1, 0);
    script.can("fields")
}

/// Payloads with their own field lists: different in each event, names that come late, and malformed lists.
pub(super) fn tagged() -> Canned {
    let payload = |values: &[(u32, Value<'_>)]| {
        let mut bytes = Vec::new();
        for (name, value) in values {
            value.push(&mut bytes, *name);
        }
        bytes
    };
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[("ip_rcv", "vmlinux"), ("kfree_skb_reason", "vmlinux")],
    );
    script.trace.schema.tail = true;
    script.names = ["len", "gso_type"].map(str::to_owned).to_vec();
    let common = [(1, Value::Text(b"tcpv4|dodgy")), (0, Value::Integer(2688))];
    script.at(5_000_000_000).payload(payload(&common)).enter(1, 0);
    script.at(5_000_000_100).payload(payload(&[])).enter(1, 1);
    script.at(5_000_000_200).leave(1, 1);
    script.end_batch();
    script.names.push("new\x1b\"".to_owned());
    let hostile = [
        (0, Value::Integer(-1)),
        (2, Value::Text(b"\x1b[2J\"\\\xff\n")),
        (3, Value::Integer(i64::MAX)),
    ];
    script.at(5_000_000_300).payload(payload(&hostile)).enter(2, 0);
    let floats = [
        (0, Value::Float(0.1 + 0.2)),
        (1, Value::Float(3.0)),
        (2, Value::Float(f64::NAN)),
        (2, Value::Float(f64::NEG_INFINITY)),
        (0, Value::Float(-1.5e300)),
    ];
    script.at(5_000_000_400).payload(payload(&floats)).enter(2, 1);
    // Cut in the middle of the second value, and an unknown type.
    let cut = payload(&common);
    script
        .at(5_000_000_500)
        .payload(cut[..cut.len() - 1].to_vec())
        .enter(2, 1);
    script.at(5_000_000_600).payload(vec![0, 0, 0, 0, 99, 1, 2]).leave(2, 1);
    script.at(5_000_000_700).payload(Vec::new()).leave(2, 0);
    script.can("tagged")
}

/// The built-in fields `len` and `mark`, followed by those of an extension.
pub(super) fn built_in() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[("ip_rcv", "vmlinux"), ("tcp_gso_segment", "vmlinux")],
    );
    script.trace.schema = shown(&Schema {
        size: 6,
        fields: vec![
            field("gso_size", 0, 2, FieldType::Unsigned, FieldFormat::Plain),
            field("saddr", 2, 4, FieldType::Bytes, FieldFormat::Ipv4),
        ],
        ..Schema::default()
    });
    let payload = |len: u32, gso_size: u16| {
        let own = [&gso_size.to_ne_bytes()[..], &[192, 0, 2, 7]].concat();
        [&len.to_ne_bytes()[..], &0xdead_beef_u32.to_ne_bytes(), &own].concat()
    };
    script.at(6_000_000_000).payload(payload(2688, 1448)).enter(1, 0);
    script.at(6_000_000_100).payload(payload(1500, 0)).enter(1, 1);
    script.at(6_000_000_200).payload(Vec::new()).leave(1, 1);
    script.at(6_000_000_300).leave(1, 0);
    // Truncated and oversized payloads have no fields.
    script
        .at(6_000_000_400)
        .payload(payload(1, 1)[..8].to_vec())
        .enter(2, 0);
    script
        .at(6_000_000_500)
        .payload([payload(1, 1), vec![0]].concat())
        .enter(2, 1);
    script.can("built-in")
}

/// The same built-in fields, followed by a script's values.
pub(super) fn built_in_tagged() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[("ip_rcv", "vmlinux"), ("tcp_gso_segment", "vmlinux")],
    );
    script.trace.schema = shown(&Schema {
        tail: true,
        ..Schema::default()
    });
    script.names = ["gso_type", "len"].map(str::to_owned).to_vec();
    let payload = |len: u32, values: &[(u32, Value<'_>)]| {
        let mut bytes = [len.to_ne_bytes(), 0xdead_beef_u32.to_ne_bytes()].concat();
        for (name, value) in values {
            value.push(&mut bytes, *name);
        }
        bytes
    };
    let both = [(0, Value::Text(b"tcpv4")), (1, Value::Integer(7))];
    script.at(6_000_000_000).payload(payload(2688, &both)).enter(1, 0);
    script.at(6_000_000_100).payload(payload(1500, &[])).enter(1, 1);
    script.at(6_000_000_200).payload(Vec::new()).leave(1, 1);
    script.at(6_000_000_300).leave(1, 0);
    // Values end at the cut; with an incomplete fixed part, no field is shown.
    let cut = payload(3, &both);
    script
        .at(6_000_000_400)
        .payload(cut[..cut.len() - 1].to_vec())
        .enter(2, 0);
    script.at(6_000_000_500).payload(cut[..7].to_vec()).enter(2, 1);
    script.can("built-in-tagged")
}

fn shown(extension: &Schema) -> Schema {
    let list: ipft_core::field::ShowList = "len,mark".parse().expect("there are such fields");
    let show = list.applied_to(Default::default());
    show.schema(extension)
}

/// Bit-fields of every type and format, also across byte boundaries.
pub(super) fn bits() -> Canned {
    let members = |last: u64| {
        [("FIRST", 1), ("SECOND", 2), ("LAST", last)]
            .map(|(name, value)| EnumMember {
                name: name.to_owned(),
                value,
            })
            .to_vec()
    };
    // Offset, size, bit and width.
    let list = [
        ("low", (0, 1), (0, 3), FieldType::Unsigned, FieldFormat::Plain),
        ("high", (0, 1), (7, 1), FieldType::Bool, FieldFormat::Plain),
        ("across", (0, 2), (3, 10), FieldType::Signed, FieldFormat::Plain),
        ("pointer", (0, 8), (4, 60), FieldType::Pointer, FieldFormat::Plain),
        ("nine", (0, 9), (1, 64), FieldType::Unsigned, FieldFormat::Plain),
        ("hex", (0, 9), (1, 64), FieldType::Signed, FieldFormat::Hex),
        (
            "enum",
            (1, 1),
            (2, 3),
            FieldType::Signed,
            FieldFormat::Enum(members(-1_i64 as u64)),
        ),
        (
            "flags",
            (2, 1),
            (1, 5),
            FieldType::Unsigned,
            FieldFormat::Flags(members(4)),
        ),
    ];
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]);
    script.trace.schema.size = 9;
    for (name, (offset, size), (bit, width), kind, format) in list {
        script.trace.schema.fields.push(Field {
            bits: Some(Bits { offset: bit, width }),
            ..field(name, offset, size, kind, format)
        });
    }
    script.at(100).payload(vec![0; 9]).enter(1, 0);
    script.at(200).payload(vec![0xff; 9]).enter(1, 0);
    script
        .at(300)
        .payload(vec![0x81, 0x16, 0x84, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe])
        .enter(1, 0);
    script.can("bits")
}
