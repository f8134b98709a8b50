//! Tests of the reader with valid and invalid BTF.

use super::*;

/// A generator that needs no seed from outside, so that failures repeat (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ word >> 31) % bound.max(1) as u64) as usize
    }
}

/// One type of every kind, so that an index that missizes one of them loses all after it.
fn one_of_each() -> Builder {
    let mut b = Builder::new();
    let int = b.int("int", 4);
    let pointer = b.pointer(int);
    b.add(Kind::Array, "", false, 0, 0, &[int, int, 7]);
    let inner = b.composite(Kind::Struct, "inner", 8, &[("a", int, 0), ("b", int, 32)]);
    b.composite(Kind::Union, "either", 8, &[("whole", inner, 0), ("first", int, 0)]);
    let red = b.string("RED");
    let blue = b.string("BLUE");
    b.add(Kind::Enum, "colour", true, 2, 4, &[red, 0, blue, -2i32 as u32]);
    b.add(Kind::Forward, "unseen", false, 0, 0, &[]);
    let typedef = b.refer(Kind::Typedef, "number", int);
    let volatile = b.refer(Kind::Volatile, "", typedef);
    let constant = b.refer(Kind::Const, "", volatile);
    b.refer(Kind::Restrict, "", constant);
    let function = b.function("work", int, &[pointer, constant]);
    let variable = b.add(Kind::Variable, "counter", false, 0, int, &[1]);
    b.add(Kind::Section, ".data", false, 1, 4, &[variable, 0, 4]);
    b.add(Kind::Float, "double", false, 0, 8, &[]);
    b.add(Kind::DeclTag, "on the second", false, 0, function, &[1]);
    b.add(Kind::DeclTag, "on itself", false, 0, function, &[u32::MAX]);
    b.refer(Kind::TypeTag, "user", int);
    let huge = b.string("HUGE");
    b.add(Kind::Enum64, "wide", false, 1, 8, &[huge, 5, 1]);
    b
}

#[test]
fn every_kind_is_read_as_it_was_written() {
    let data = one_of_each().build();
    let btf = Btf::parse(&data).unwrap();
    let by_name = |kind, name| btf.find(kind, name).unwrap_or_else(|| panic!("{kind:?} {name}"));

    let int = by_name(Kind::Int, "int");
    assert_eq!((int.id(), int.size()), (1, Some(4)));
    assert_eq!(
        int.int(),
        Some(IntInfo {
            encoding: IntEncoding::Unsigned,
            bit_offset: 0,
            bits: 32
        })
    );
    assert_eq!(btf.get(3).unwrap().array().unwrap().count, 7);
    assert_eq!(btf.size_of(3), Some(28));

    let members: Vec<_> = by_name(Kind::Struct, "inner").members().collect();
    assert_eq!(members.len(), 2);
    assert_eq!(
        (members[1].name, members[1].bit_offset, members[1].bits),
        ("b", 32, None)
    );
    assert_eq!(by_name(Kind::Union, "either").members().next().unwrap().type_id, 4);

    let colours: Vec<_> = by_name(Kind::Enum, "colour").enumerators().collect();
    assert_eq!((colours[1].name, colours[1].value as i64), ("BLUE", -2));
    let wide: Vec<_> = by_name(Kind::Enum64, "wide").enumerators().collect();
    assert_eq!((wide[0].name, wide[0].value), ("HUGE", 1 << 32 | 5));

    let restrict = btf.types().find(|each| each.kind() == Kind::Restrict).unwrap();
    assert_eq!(btf.peel(restrict.id()).unwrap().id(), int.id());
    assert_eq!(btf.size_of(restrict.id()), Some(4));

    let function = by_name(Kind::Function, "work");
    assert_eq!(
        btf.functions().map(|each| each.id()).collect::<Vec<_>>(),
        [function.id()]
    );
    assert_eq!(function.linkage(), Some(Linkage::Static));
    assert_eq!(btf.get(function.target()).unwrap().parameters().len(), 2);

    let section = by_name(Kind::Section, ".data").section_variables().next().unwrap();
    let variable = btf.get(section.type_id).unwrap();
    assert_eq!(
        (variable.name(), variable.linkage(), section.size),
        ("counter", Some(Linkage::Global), 4)
    );
    assert_eq!(by_name(Kind::DeclTag, "on the second").tag_component(), Some(1));
    assert_eq!(by_name(Kind::DeclTag, "on itself").tag_component(), None);
    assert_eq!(by_name(Kind::Float, "double").size(), Some(8));
    assert!(!by_name(Kind::Forward, "unseen").is_forward_union());
}

#[test]
fn bit_fields_have_their_width_in_structs_that_say_so() {
    let mut b = Builder::new();
    let int = b.int("int", 4);
    let name = b.string("flag");
    let plain = b.string("plain");
    b.add(Kind::Struct, "s", true, 2, 8, &[name, int, 3 << 24 | 5, plain, int, 32]);
    let data = b.build();
    let btf = Btf::parse(&data).unwrap();
    let members: Vec<_> = btf.find(Kind::Struct, "s").unwrap().members().collect();
    assert_eq!((members[0].bit_offset, members[0].bits), (5, Some(3)));
    assert_eq!((members[1].bit_offset, members[1].bits), (32, None));
}

#[test]
fn an_accessor_of_another_kind_has_nothing_to_say() {
    let data = one_of_each().build();
    let btf = Btf::parse(&data).unwrap();
    for each in btf.types() {
        let kind = each.kind();
        assert_eq!(each.int().is_some(), kind == Kind::Int);
        assert_eq!(each.array().is_some(), kind == Kind::Array);
        assert_eq!(each.members().count() > 0, matches!(kind, Kind::Struct | Kind::Union));
        assert_eq!(
            each.enumerators().count() > 0,
            matches!(kind, Kind::Enum | Kind::Enum64)
        );
        assert_eq!(each.parameters().count() > 0, kind == Kind::Prototype);
        assert_eq!(each.section_variables().count() > 0, kind == Kind::Section);
    }
}

#[test]
fn split_btf_continues_ids_and_strings_of_its_base() {
    let mut base = Builder::new();
    let int = base.int("int", 4);
    let mut split = Builder::split(&base);
    let function = split.function("in_module", 0, &[int]);
    let (base, split) = (base.build(), split.build());
    let base = Btf::parse(&base).unwrap();
    let split = Btf::parse_split(&split, &base).unwrap();
    assert_eq!(split.first_id(), base.end_id());
    assert_eq!(split.get(function).unwrap().name(), "in_module");
    assert_eq!(split.get(int).unwrap().name(), "int");
    assert_eq!(split.find(Kind::Int, "int").unwrap().id(), int);
    assert_eq!(split.types().count(), 2);
}

#[test]
fn a_chain_that_never_ends_is_no_type() {
    let mut b = Builder::new();
    b.refer(Kind::Const, "", 2);
    b.refer(Kind::Volatile, "", 1);
    b.add(Kind::Array, "", false, 0, 0, &[3, 3, 2]);
    let data = b.build();
    let btf = Btf::parse(&data).unwrap();
    assert!(btf.peel(1).is_none());
    assert_eq!(btf.size_of(1), None);
    assert_eq!(btf.size_of(3), None);
}

#[test]
fn what_is_no_btf_is_refused_with_its_reason() {
    let good = one_of_each().build();
    let changed = |at: usize, value: u8| {
        let mut bad = good.clone();
        bad[at] = value;
        Btf::parse(&bad).unwrap_err()
    };
    assert!(matches!(
        Btf::parse(b"").unwrap_err(),
        BtfError::Short { what: "the header", .. }
    ));
    assert!(matches!(Btf::parse(b"\x7fELF").unwrap_err(), BtfError::Magic(_)));
    assert_eq!(changed(2, 9), BtfError::Version(9));
    let mut foreign = good.clone();
    foreign.swap(0, 1);
    assert!(matches!(Btf::parse(&foreign).unwrap_err(), BtfError::Endian(_)));
    assert!(matches!(
        Btf::parse(&good[..good.len() - 1]).unwrap_err(),
        BtfError::Short { .. }
    ));
    // The kind of the first type: 20 does not exist.
    assert_eq!(changed(24 + 7, 20), BtfError::UnknownKind { id: 1, kind: 20 });
    // Its name.
    assert!(matches!(changed(24 + 3, 0x7f), BtfError::Name { id: 1, .. }));
    assert_eq!(changed(good.len() - 2, 0xff), BtfError::Strings);
}

#[test]
fn a_longer_header_of_a_later_format_is_skipped() {
    let good = one_of_each().build();
    let mut longer = good[..24].to_vec();
    longer[4..8].copy_from_slice(&32u32.to_ne_bytes());
    longer.extend_from_slice(&[0xaa; 8]);
    longer.extend_from_slice(&good[24..]);
    let (a, b) = (Btf::parse(&good).unwrap(), Btf::parse(&longer).unwrap());
    assert_eq!(a.end_id(), b.end_id());
    assert_eq!(b.get(1).unwrap().name(), "int");
}

/// Calls every accessor.
fn walk(btf: &Btf) -> usize {
    let mut seen = 0;
    for each in btf.types() {
        seen += each.name().len() + usize::from(each.int().is_some()) + usize::from(each.array().is_some());
        seen += each.members().map(|member| member.name.len()).sum::<usize>();
        seen += each.enumerators().map(|member| member.name.len()).sum::<usize>();
        seen += each.parameters().map(|parameter| parameter.name().len()).sum::<usize>();
        seen += each.section_variables().count();
        seen += usize::from(btf.peel(each.id()).is_some()) + usize::from(btf.size_of(each.id()).is_some());
        seen += usize::from(each.linkage().is_some()) + usize::from(each.tag_component().is_some());
    }
    seen
}

#[test]
fn truncations_and_flipped_bits_cause_no_panic() {
    let good = one_of_each().build();
    for len in 0..good.len() {
        assert!(Btf::parse(&good[..len]).is_err(), "cut at {len}");
    }
    let mut survived = 0;
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        if let Ok(btf) = Btf::parse(&bad) {
            walk(&btf);
            survived += 1;
        }
    }
    assert!(
        survived > 100,
        "most flips in names and ids leave BTF that can be read: {survived}"
    );
}

#[test]
fn arbitrary_changes_do_not_make_the_reader_panic() {
    let good = one_of_each().build();
    let mut random = Random(1);
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..=random.below(6) {
            let at = random.below(bad.len());
            bad[at] = [0, 1, 0x7f, 0x80, 0xff, random.below(256) as u8][random.below(6)];
        }
        if let Ok(btf) = Btf::parse(&bad) {
            walk(&btf);
            // The same bytes as split BTF, upon themselves.
            if let Ok(split) = Btf::parse_split(&bad, &btf) {
                walk(&split);
            }
        }
    }
}
