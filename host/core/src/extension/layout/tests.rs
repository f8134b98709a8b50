//! Layouts that this machine's clang does not produce: those of other compilers, and hostile ones.

use super::*;
use crate::kernel::testing::{BtfBuilder, Random};

const U32: u32 = 1;
const U8: u32 = 2;

/// BTF with the types above.
fn builder() -> BtfBuilder {
    let mut b = BtfBuilder::new();
    b.int("unsigned int", 4);
    b.int("unsigned char", 1);
    b
}

/// Makes a type the event's and reads the layout.
fn read_event(b: &mut BtfBuilder, event: u32) -> Result<Schema, LayoutError> {
    b.add(Kind::Variable, EVENT, false, 0, event, &[1]);
    read(&Btf::parse(&b.build()).unwrap())
}

/// The layout of a struct of these members (name, type, offset in bits).
fn layout(b: &mut BtfBuilder, bytes: u32, members: &[(&str, u32, u32)]) -> Result<Schema, LayoutError> {
    let event = b.composite(Kind::Struct, "event", bytes, members);
    read_event(b, event)
}

fn refused(name: &str, problem: MemberProblem) -> Result<Schema, LayoutError> {
    Err(LayoutError::Member {
        name: name.to_owned(),
        problem,
    })
}

/// A type of its own for an integer: name, bytes, encoding, first bit and bits.
fn int(b: &mut BtfBuilder, name: &str, bytes: u32, encoding: u32, offset: u32, bits: u32) -> u32 {
    b.add(
        Kind::Int,
        name,
        false,
        0,
        bytes,
        &[encoding << 24 | offset << 16 | bits],
    )
}

#[test]
fn enums_of_64_bits_keep_all_bits_signed_or_not() {
    for (signed, low, high, value) in [
        (false, 5, 1, 1 << 32 | 5),
        (true, u32::MAX, u32::MAX, u64::MAX),
        (false, u32::MAX, u32::MAX, u64::MAX),
    ] {
        let mut b = builder();
        let name = b.string("WIDE");
        let wide = b.add(Kind::Enum64, "wide", signed, 1, 8, &[name, low, high]);
        let schema = layout(&mut b, 8, &[("wide", wide, 0)]).unwrap();
        let field = &schema.fields[0];
        assert_eq!(field.kind == FieldType::Signed, signed);
        let member = EnumMember {
            name: "WIDE".to_owned(),
            value,
        };
        assert_eq!(field.format, FieldFormat::Enum(vec![member]));
    }
}

#[test]
fn an_old_compilers_enum_has_the_width_of_its_field() {
    for (field, value) in [("long", u64::MAX), ("unsigned long", 0xffff_ffff)] {
        let mut b = builder();
        let name = b.string("LAST");
        let old = b.add(Kind::Enum, "", false, 1, 4, &[name, u32::MAX]);
        b.add(Kind::Variable, "old", false, 0, old, &[1]);
        let number = int(&mut b, field, 8, u32::from(field == "long"), 0, 64);
        let event = b.composite(Kind::Struct, "event", 8, &[("number", number, 0)]);
        b.add(Kind::DeclTag, "ipft:fmt:enum:old", false, 0, event, &[0]);
        let schema = read_event(&mut b, event).unwrap();
        match &schema.fields[0].format {
            FieldFormat::Enum(members) => assert_eq!(members[0].value, value, "{field}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn bit_fields_of_old_compilers_are_found() {
    let mut b = builder();
    let five = int(&mut b, "unsigned int", 4, 0, 0, 5);
    let later = int(&mut b, "int", 4, 1, 6, 3);
    let schema = layout(&mut b, 4, &[("five", five, 1), ("later", later, 0)]).unwrap();
    let bits = |offset, width| Some(Bits { offset, width });
    let places: Vec<_> = schema
        .fields
        .iter()
        .map(|field| (field.offset, field.size, field.bits, field.kind))
        .collect();
    assert_eq!(
        places,
        [
            (0, 1, bits(1, 5), FieldType::Unsigned),
            (0, 2, bits(6, 3), FieldType::Signed)
        ]
    );
}

#[test]
fn characters_of_every_compiler_differ_from_bytes() {
    // Encodings: 0 unsigned, 1 signed, 2 character, 3 signed character, 4 bool, 5 does not exist.
    for (name, encoding, expected) in [
        ("char", 1, Ok(FieldType::Char)),
        ("char", 2, Ok(FieldType::Char)),
        ("char", 0, Ok(FieldType::Char)),
        ("signed char", 1, Ok(FieldType::Signed)),
        ("signed char", 2, Ok(FieldType::Signed)),
        ("signed char", 3, Ok(FieldType::Signed)),
        ("unsigned char", 0, Ok(FieldType::Unsigned)),
        ("unsigned char", 2, Ok(FieldType::Unsigned)),
        ("_Bool", 4, Ok(FieldType::Bool)),
        ("odd", 5, Err(())),
    ] {
        let mut b = builder();
        let byte = int(&mut b, name, 1, encoding, 0, 8);
        let schema = layout(&mut b, 1, &[("byte", byte, 0)]);
        let kind = schema.map(|schema| schema.fields[0].kind).map_err(|_| ());
        assert_eq!(kind, expected, "{name} {encoding}");
    }
}

#[test]
fn members_outside_their_struct_are_refused_by_name() {
    let mut b = builder();
    let result = layout(&mut b, 4, &[("in", U32, 0), ("out", U32, 8)]);
    assert_eq!(result, refused("out", MemberProblem::OutOfRange));

    let mut b = builder();
    let inner = b.composite(Kind::Struct, "inner", 4, &[("far", U32, u32::MAX)]);
    let result = layout(&mut b, 64, &[("inner", inner, 0)]);
    assert_eq!(result, refused("inner.far", MemberProblem::OutOfRange));

    // An integer that begins behind the member's own place.
    let mut b = builder();
    let shifted = int(&mut b, "int", 4, 1, 255, 32);
    let result = layout(&mut b, 4, &[("shifted", shifted, 0)]);
    assert_eq!(result, refused("shifted", MemberProblem::OutOfRange));

    // A struct that is no multiple of bytes away.
    let mut b = builder();
    let inner = b.composite(Kind::Struct, "inner", 4, &[("x", U32, 0)]);
    let result = layout(&mut b, 64, &[("inner", inner, 3)]);
    assert_eq!(result, refused("inner", MemberProblem::OutOfRange));

    // More bits than the type has.
    let mut b = builder();
    let name = b.string("bits");
    let event = b.add(Kind::Struct, "event", true, 1, 8, &[name, U8, 9 << 24]);
    assert_eq!(read_event(&mut b, event), refused("bits", MemberProblem::OutOfRange));
}

#[test]
fn a_struct_within_itself_ends() {
    let mut b = builder();
    let own = 3;
    let result = layout(&mut b, 64, &[("a", own, 0), ("b", own, 0)]);
    assert_eq!(result, refused(&["a"; 17].join("."), MemberProblem::TooDeep));

    // Each of these contains the one before twice: 2^15 members in all.
    let mut b = builder();
    let mut inner = b.composite(Kind::Struct, "s0", 0, &[]);
    for _ in 0..15 {
        inner = b.composite(Kind::Struct, "s", 0, &[("a", inner, 0), ("b", inner, 0)]);
    }
    match read_event(&mut b, inner) {
        Err(LayoutError::Member {
            problem: MemberProblem::TooMany,
            ..
        }) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn arrays_without_measure_are_refused_or_empty() {
    for dimensions in [1, 2, 3, 100] {
        let mut b = builder();
        let mut array = U32;
        for _ in 0..dimensions {
            array = b.add(Kind::Array, "", false, 0, 0, &[array, U32, u32::MAX]);
        }
        let result = layout(&mut b, 64, &[("a", array, 0)]);
        assert!(
            matches!(&result, Err(LayoutError::Member { name, .. }) if name == "a"),
            "{result:?}"
        );
    }
    let mut b = builder();
    let empty = b.composite(Kind::Struct, "empty", 0, &[]);
    let none = b.add(Kind::Array, "", false, 0, 0, &[empty, U32, u32::MAX]);
    let flexible = b.add(Kind::Array, "", false, 0, 0, &[U32, U32, 0]);
    let schema = layout(
        &mut b,
        4,
        &[("none", none, 0), ("flexible", flexible, 32), ("x", U32, 0)],
    )
    .unwrap();
    assert_eq!(schema.fields.len(), 1);
}

#[test]
fn dangling_and_circular_types_are_refused_by_name() {
    let mut b = builder();
    let circle = b.refer(Kind::Typedef, "circle", 3);
    assert_eq!(
        layout(&mut b, 4, &[("x", circle, 0)]),
        refused("x", MemberProblem::Type("of no type"))
    );
    for id in [0, 99, u32::MAX] {
        let result = layout(&mut builder(), 4, &[("x", id, 0)]);
        assert_eq!(result, refused("x", MemberProblem::Type("of no type")));
    }
    let mut b = builder();
    let function = b.function("f", U32, &[]);
    let result = layout(&mut b, 4, &[("f", function, 0)]);
    assert_eq!(result, refused("f", MemberProblem::Type("no data")));
}

#[test]
fn a_name_without_end_is_not_a_message_without_end() {
    let mut b = builder();
    let long = "x\u{1b}".repeat(100_000);
    let error = layout(&mut b, 4, &[(&long, U32, 0)]).unwrap_err().to_string();
    assert!(error.len() < 300 && !error.contains('\u{1b}'), "{error}");

    let mut b = builder();
    let event = b.composite(Kind::Struct, "event", 4, &[("x", U32, 0)]);
    b.add(Kind::DeclTag, &format!("ipft:fmt:enum:{long}"), false, 0, event, &[0]);
    let error = read_event(&mut b, event).unwrap_err().to_string();
    assert!(error.len() < 1000 && !error.contains('\u{1b}'), "{error}");
}

#[test]
fn whatever_the_types_are_the_fields_lie_in_the_event() {
    let mut random = Random(7);
    let mut read_well = 0;
    for _ in 0..20_000 {
        let mut b = builder();
        let count = 3 + random.below(12);
        for _ in 0..count {
            let mut any = || random.below(count + 3) as u32;
            let (one, two) = (any(), any());
            let bytes = [1, 2, 4, 8, 16, 64, 80][random.below(7)];
            match random.below(9) {
                0 => b.pointer(one),
                1 => b.add(Kind::Array, "", false, 0, 0, &[one, U32, random.below(5) as u32]),
                2 | 3 => {
                    let kind = [Kind::Struct, Kind::Union][random.below(2)];
                    let place = random.below(600) as u32;
                    b.composite(kind, "s", bytes, &[("a", one, 0), ("", two, place)])
                }
                4 => {
                    let (name, place) = (b.string("bits"), random.below(512) as u32);
                    b.add(
                        Kind::Struct,
                        "s",
                        true,
                        1,
                        bytes,
                        &[name, one, place | (random.below(70) as u32) << 24],
                    )
                }
                5 => {
                    let name = b.string("A");
                    b.add(Kind::Enum, "e", random.below(2) == 0, 1, bytes, &[name, 1])
                }
                6 => b.refer(Kind::Typedef, "t", one),
                7 => {
                    let (encoding, offset, bits) = (random.below(6), random.below(9), random.below(70));
                    int(&mut b, "i", bytes, encoding as u32, offset as u32, bits as u32)
                }
                _ => b.add(Kind::DeclTag, "ipft:fmt:hex", false, 0, one, &[random.below(2) as u32]),
            };
        }
        b.add(Kind::Variable, EVENT, false, 0, 3 + random.below(count) as u32, &[1]);
        let data = b.build();
        let Ok(schema) = read(&Btf::parse(&data).unwrap()) else {
            continue;
        };
        read_well += usize::from(!schema.fields.is_empty());
        assert!(schema.size <= MAX_EVENT);
        for field in &schema.fields {
            assert!(field.size > 0 && field.offset + field.size <= schema.size, "{field:?}");
            if let Some(Bits { offset, width }) = field.bits {
                let bits = u32::from(offset) + u32::from(width);
                assert!(
                    width > 0 && bits > 8 * (field.size - 1) && bits <= 8 * field.size,
                    "{field:?}"
                );
            }
        }
    }
    assert!(read_well > 150, "{read_well} of the layouts had fields");
}
