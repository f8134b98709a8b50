//! Tests from a C struct to the output of sinks, with objects compiled here.
//!
//! The expected output is in `tests/golden/layout-*.txt`; `UPDATE_GOLDEN=1 cargo test -p ipft-core --test it layout`
//! updates it.

use std::fmt::Write;

use crate::extension::{clang, fixture};
use ipft_core::event::*;
use ipft_core::extension::layout::{self, LayoutError, MemberProblem};
use ipft_core::extension::object;
use ipft_core::sink::*;
use support::canned::{Script, draw, golden};

/// Returns the object of a struct with these members, after the header of all sources.
fn event(members: &str) -> Vec<u8> {
    clang(&format!(
        "#include \"header.h\"\nstruct event {{ {members} }} __ipft_event_struct;"
    ))
}

fn read(bytes: &[u8]) -> Result<Schema, LayoutError> {
    let checked = object::check(bytes).unwrap_or_else(|error| panic!("{error}"));
    layout::read(checked.btf())
}

fn schema(bytes: &[u8]) -> Schema {
    read(bytes).unwrap_or_else(|error| panic!("{error}"))
}

fn error(bytes: &[u8]) -> LayoutError {
    read(bytes).expect_err("the layout is refused")
}

/// Returns the error about the member of this name.
fn problem(bytes: &[u8], member: &str) -> MemberProblem {
    match error(bytes) {
        LayoutError::Member { name, problem } => {
            assert_eq!(name, member);
            problem
        }
        other => panic!("{other}"),
    }
}

/// Returns the name, type and format of each field.
fn fields(schema: &Schema) -> Vec<(&str, &str, &str)> {
    let fields = schema.fields.iter();
    fields
        .map(|field| (&field.name[..], field.kind.name(), field.format.name()))
        .collect()
}

/// Returns the schema, and the text of events with bytes 1, 2, 3 ..., all 0, and all 255.
fn picture(schema: Schema) -> String {
    let mut text = format!("{} bytes\n", schema.size);
    for field in &schema.fields {
        let end = field.offset + field.size;
        write!(text, "{}..{end}", field.offset).unwrap();
        if let Some(bits) = field.bits {
            write!(text, " bits {}+{}", bits.offset, bits.width).unwrap();
        }
        write!(text, " {} {} {}", field.name, field.kind.name(), field.format.name()).unwrap();
        if let FieldFormat::Enum(members) | FieldFormat::Flags(members) = &field.format {
            for member in members {
                write!(text, " {}={}", member.name, member.value as i64).unwrap();
            }
        }
        text.push('\n');
    }
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]);
    let payloads = [
        (1..=schema.size as u8).collect(),
        vec![0; schema.size as usize],
        vec![255; schema.size as usize],
    ];
    script.trace.schema = schema;
    for (at, payload) in (1..).zip(payloads) {
        script.at(at).payload(payload).enter(1, 0);
    }
    let canned = script.can("layout");
    text + &draw(&canned, Aggregate::new) + &draw(&canned, Json::new) + &draw(&canned, Jsonl::new)
}

#[test]
fn every_kind_of_member_matches_its_golden_file() {
    for name in ["gso", "numbers", "nested", "bits", "tags", "tagged_arrays"] {
        let object = fixture(name);
        golden(
            &format!("layout-{}.txt", name.replace('_', "-")),
            &picture(schema(&object)),
        );
    }
}

#[test]
fn a_struct_of_more_than_64_bytes_is_refused() {
    assert_eq!(schema(&event("__u64 all[8];")).fields.len(), 8);
    assert_eq!(schema(&event("__u8 all[64];")).fields.len(), 1);
    let error = error(&event("__u64 all[8]; struct { char text[4]; } more;"));
    let name = Some("more.text".to_owned());
    assert_eq!(error, LayoutError::TooLarge { size: 72, name });
    assert!(error.to_string().contains("`more.text`"), "{error}");
}

#[test]
fn a_struct_too_large_by_its_padding_is_refused() {
    let object = clang(
        "#include \"header.h\"\nstruct event { __u32 all; } __attribute__((aligned(128)));\n\
         struct event __ipft_event_struct;",
    );
    assert_eq!(error(&object), LayoutError::TooLarge { size: 128, name: None });
}

#[test]
fn an_object_without_the_variable_has_its_own_error() {
    let object = clang("#include \"header.h\"\nstruct event { int a; };\nstruct event another __ipft_sec_skip;");
    assert_eq!(error(&object), LayoutError::NoEvent);
}

#[test]
fn a_variable_that_is_no_struct_is_refused() {
    for declaration in ["int", "struct event { int a; } x[2]; int", "enum event { A }", "void *"] {
        let object = clang(&format!("#include \"header.h\"\n{declaration} __ipft_event_struct;"));
        assert!(matches!(error(&object), LayoutError::NotStruct(_)), "{declaration}");
    }
    let object = clang("#include \"header.h\"\nstruct event *__ipft_event_struct;");
    assert_eq!(error(&object), LayoutError::NotStruct("declared and not defined"));
}

#[test]
fn types_that_cannot_be_shown_are_refused_by_name() {
    let is = |members: &str, member: &str, what: &str| {
        let problem = problem(&event(members), member);
        assert!(problem.to_string().contains(what), "{problem}");
    };
    is("int a; float ratio;", "ratio", "floating-point");
    is("struct { double d[2]; } s;", "s.d[0]", "floating-point");
    is("__int128 huge;", "huge", "16 bytes");
}

#[test]
fn tags_that_do_not_fit_are_refused_by_name() {
    for (members, member, tag) in [
        ("__u32 a tag(\"mac\");", "a", "mac"),
        ("__u8 a[5] tag(\"mac\");", "a[0]", "mac"),
        ("__u64 a tag(\"ipv4\");", "a", "ipv4"),
        ("__u32 a tag(\"ipv6\");", "a", "ipv6"),
        ("__u32 a tag(\"be16\");", "a", "be16"),
        ("__u16 a tag(\"be32\");", "a", "be32"),
        ("__u32 a : 16 tag(\"ktime\");", "a", "ktime"),
        ("__u32 a tag(\"ktime\");", "a", "ktime"),
        ("__u32 a tag(\"symbol\");", "a", "symbol"),
        ("struct { int x; } a tag(\"hex\");", "a", "hex"),
        ("void *a __ipft_fmt_enum(e);", "a", "enum"),
        ("struct { __u64 x; } s tag(\"mac\");", "s", "mac"),
        ("__u32 a : 31 tag(\"ipv4\");", "a", "ipv4"),
    ] {
        match problem(&event(members), member) {
            MemberProblem::TagMismatch { tag: found, .. } => assert_eq!(found, tag, "{members}"),
            other => panic!("{members}: {other}"),
        }
    }
}

#[test]
fn unknown_ipft_tags_are_refused_others_ignored() {
    for tag in [
        "ipft:fmt:hexx",
        "ipft:fmt:",
        "ipft:fmt:enum",
        "ipft:fmt:HEX",
        "ipft:fmt:hex:",
    ] {
        let object = event(&format!(
            "int a; struct {{ int b __attribute__((btf_decl_tag(\"{tag}\"))); }} s;"
        ));
        assert_eq!(problem(&object, "s.b"), MemberProblem::UnknownTag(tag.to_owned()));
    }
    let object = event("int a __attribute__((btf_decl_tag(\"user\"))) __ipft_fmt_hex __ipft_fmt_hex;");
    assert_eq!(fields(&schema(&object)), [("a", "signed", "hex")]);
}

#[test]
fn two_tags_on_one_member_are_refused() {
    let object = event("int a tag(\"hex\") tag(\"be32\");");
    assert_eq!(problem(&object, "a"), MemberProblem::TwoTags);
}

#[test]
fn an_invalid_enum_reference_is_refused_by_name() {
    let object = event("int a; int b __ipft_fmt_enum(nowhere);");
    assert_eq!(problem(&object, "b"), MemberProblem::NoReference("nowhere".to_owned()));
    let object = event("int b __ipft_fmt_enum_flags();");
    assert_eq!(problem(&object, "b"), MemberProblem::NoReference(String::new()));
    for declaration in ["int", "struct { int a; }", "void *", "enum undefined *"] {
        let object = clang(&format!(
            "#include \"header.h\"\n{declaration} __ipft_ref(number);\n\
             struct event {{ int b __ipft_fmt_enum(number); }} __ipft_event_struct;"
        ));
        assert_eq!(
            problem(&object, "b"),
            MemberProblem::NotEnum("number".to_owned()),
            "{declaration}"
        );
    }
}

#[test]
fn nesting_and_members_are_bounded() {
    let deep = (0..20).fold("int x;".to_owned(), |inner, _| format!("struct {{ {inner} }} s;"));
    assert_eq!(problem(&event(&deep), &["s"; 17].join(".")), MemberProblem::TooDeep);
    let wide: String = (0..1025).map(|index| format!("int x{index};")).collect();
    assert_eq!(
        problem(&event(&format!("union {{ {wide} }};")), "x1023"),
        MemberProblem::TooMany
    );
    let name = "n".repeat(513);
    let error = error(&event(&format!("int {name};"))).to_string();
    assert!(error.contains("nnn...") && error.len() < 200, "{error}");
    let members: String = (0..4100).map(|index| format!("E{index},")).collect();
    let object = clang(&format!(
        "#include \"header.h\"\nenum e {{ {members} }};\nstruct event {{ enum e e[4]; }} __ipft_event_struct;"
    ));
    assert_eq!(problem(&object, "e[3]"), MemberProblem::TooManyEnumMembers);
}

#[test]
fn other_variables_in_the_skipped_section_are_ignored() {
    let object = clang(
        "#include \"header.h\"\nstruct a { int wrong; } a __ipft_sec_skip;\n\
         struct b { int right; } __ipft_event_struct;\nstruct c { int wrong; } c __ipft_sec_skip;",
    );
    assert_eq!(fields(&schema(&object)), [("right", "signed", "plain")]);
}
