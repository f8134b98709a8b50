//! Tests of the objects accepted for libbpf, with clang's output and damaged copies of it.

use crate::extension::{clang, clang_with, fixture};
use ipft_core::extension::layout;
use ipft_core::extension::object::{MAX_OBJECT, ObjectError, check};
use ipft_core::kernel::btf::BtfError;

/// Returns the error for a source without the usual `module`.
fn error(source: &str) -> ObjectError {
    let source = format!("#define WITHOUT_MODULE\n#include \"header.h\"\n{source}");
    check(&clang(&source)).expect_err(&source)
}

const ARGUMENTS: &str = "(void *ctx, struct sk_buff *skb, __u8 data[64])";

/// Returns the offset and size of a section.
fn section(object: &[u8], name: &str) -> (usize, usize) {
    let header = section_header(object, name);
    let number = |at: usize| u64::from_ne_bytes(object[header + at..header + at + 8].try_into().unwrap()) as usize;
    (number(24), number(32))
}

/// Returns the offset of a section's header.
fn section_header(object: &[u8], name: &str) -> usize {
    let number = |at: usize, len: usize| {
        (0..len)
            .rev()
            .fold(0, |value, byte| value << 8 | usize::from(object[at + byte]))
    };
    let (table, count, names) = (number(0x28, 8), number(0x3c, 2), number(0x3e, 2));
    let names = number(table + 64 * names + 24, 8);
    (0..count)
        .map(|index| table + 64 * index)
        .find(|header| object[names + number(*header, 4)..].starts_with(format!("{name}\0").as_bytes()))
        .unwrap_or_else(|| panic!("no section {name}"))
}

#[test]
fn what_clang_makes_of_an_extension_is_let_through() {
    for name in ["gso", "numbers", "nested", "bits", "tags", "tagged_arrays"] {
        let object = fixture(name);
        let checked = check(&object).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(checked.bytes(), object);
        let (start, len) = section(&object, ".BTF");
        assert_eq!(checked.btf_bytes(), &object[start..start + len]);
    }
}

#[test]
fn both_contexts_and_a_visible_module_are_accepted() {
    for source in [
        format!("__hidden int module{ARGUMENTS} {{ return 0; }}"),
        format!("int module{ARGUMENTS} {{ return 1; }}"),
        "struct pt_regs; int module(struct pt_regs *ctx, struct sk_buff *skb, __u8 *data) { return 0; }".to_owned(),
        "typedef int verdict; typedef void *any; verdict module(any a, const any b, volatile any c) { return 0; }"
            .to_owned(),
        "unsigned int module(void *a, void *b, void *c) { return 0; }".to_owned(),
    ] {
        let object = clang(&format!("#define WITHOUT_MODULE\n#include \"header.h\"\n{source}"));
        check(&object).unwrap_or_else(|error| panic!("{source}: {error}"));
    }
}

#[test]
fn an_object_need_not_be_aligned_in_memory() {
    let object = fixture("gso");
    for shift in 1..8 {
        let moved = [&vec![0; shift][..], &object].concat();
        check(&moved[shift..]).unwrap();
    }
}

#[test]
fn each_way_to_not_define_module_has_its_own_error() {
    assert_eq!(error("int other(void *ctx) { return 0; }"), ObjectError::NoModule);
    assert_eq!(
        error(&format!(
            "int module{ARGUMENTS}; int f(void *ctx) {{ return module(ctx, ctx, ctx); }}"
        )),
        ObjectError::Undefined
    );
    assert_eq!(
        error(&format!(
            "__attribute__((noinline)) static int module{ARGUMENTS} {{ return *(volatile int *)ctx; }} \
             int f(void *ctx) {{ return module(ctx, ctx, ctx); }}"
        )),
        ObjectError::Local
    );
    assert_eq!(error("int module = 1;"), ObjectError::NotFunction);
    assert_eq!(
        error(&format!(
            "__attribute__((section(\"kprobe/x\"))) int module{ARGUMENTS} {{ return 0; }}"
        )),
        ObjectError::Section
    );
}

#[test]
fn a_module_of_another_prototype_is_refused() {
    for (declaration, what) in [
        ("int module(void *ctx, struct sk_buff *skb)", "three parameters"),
        ("int module(void *a, void *b, void *c, void *d)", "three parameters"),
        ("int module(void)", "three parameters"),
        ("int module(void *a, __u64 b, __u8 *c)", "no pointer"),
        ("void module(void *a, void *b, void *c)", "return an int"),
        ("long module(void *a, void *b, void *c)", "return an int"),
        ("void *module(void *a, void *b, void *c)", "return an int"),
    ] {
        let body = if declaration.starts_with("void module") {
            "{ }"
        } else {
            "{ return 0; }"
        };
        let error = error(&format!("{declaration} {body}"));
        assert!(matches!(error, ObjectError::Prototype(_)), "{declaration}: {error}");
        assert!(error.to_string().contains(what), "{declaration}: {error}");
    }
}

#[test]
fn missing_type_information_is_refused_with_a_remedy() {
    let source = std::fs::read_to_string(crate::extension::folder().join("gso.c")).unwrap();
    let object = clang_with(&source, &["-target", "bpf", "-O2", "-c"]);
    let error = check(&object).unwrap_err();
    assert_eq!(error, ObjectError::NoBtf);
    assert!(error.to_string().contains("compile with -g"), "{error}");
}

#[test]
fn files_of_another_kind_are_named_for_what_they_are() {
    let source = std::fs::read_to_string(crate::extension::folder().join("gso.c")).unwrap();
    let other = |options: &[&str]| check(&clang_with(&source, options)).unwrap_err();
    assert_eq!(
        other(&["-target", "bpf", "-O2", "-g", "-c", "-emit-llvm"]),
        ObjectError::Bitcode
    );
    assert_eq!(other(&["-target", "bpf", "-O2", "-S"]), ObjectError::NotElf);
    assert_eq!(check(source.as_bytes()).unwrap_err(), ObjectError::NotElf);
    assert_eq!(check(b"").unwrap_err(), ObjectError::NotElf);
    assert!(matches!(check(b"\x7fELF").unwrap_err(), ObjectError::Damaged(_)));

    let swapped = if cfg!(target_endian = "little") {
        "bpfeb"
    } else {
        "bpfel"
    };
    assert_eq!(other(&["-target", swapped, "-O2", "-g", "-c"]), ObjectError::Endian);
    let mut object = fixture("gso");
    object[4] = 1;
    assert_eq!(check(&object).unwrap_err(), ObjectError::NotElf64);
    let mut object = fixture("gso");
    object[18] = 62;
    assert_eq!(check(&object).unwrap_err(), ObjectError::Machine(62));
    let mut object = fixture("gso");
    object[16] = 2;
    assert_eq!(check(&object).unwrap_err(), ObjectError::NotRelocatable(2));
}

#[test]
fn an_oversized_object_is_not_examined() {
    let mut object = fixture("gso");
    object.resize(MAX_OBJECT, 0);
    check(&object).unwrap();
    object.push(0);
    assert_eq!(check(&object).unwrap_err(), ObjectError::TooLarge(MAX_OBJECT + 1));
}

#[test]
fn damaged_type_information_differs_from_missing() {
    let mut object = fixture("gso");
    let (start, len) = section(&object, ".BTF");
    object[start] ^= 1;
    assert!(matches!(
        check(&object).unwrap_err(),
        ObjectError::Btf(BtfError::Magic(_))
    ));
    object[start] ^= 1;
    object[start + 12] ^= 0x80;
    let error = check(&object).unwrap_err();
    assert!(matches!(error, ObjectError::Btf(_)), "{error}");

    // The types of another object.
    let mut object = fixture("gso");
    let text = object[start..start + len]
        .windows(8)
        .position(|text| text == b"\0module\0")
        .unwrap();
    object[start + text + 1] = b'x';
    assert_eq!(check(&object).unwrap_err(), ObjectError::NoPrototype);

    let mut object = fixture("gso");
    let header = section_header(&object, ".BTF");
    object[header + 24 + 5] = 1;
    let error = check(&object).unwrap_err();
    assert!(matches!(error, ObjectError::Damaged(_)), "{error}");
}

#[test]
fn a_module_without_code_is_refused() {
    let mut object = fixture("gso");
    let (table, len) = section(&object, ".symtab");
    let (strings, _) = section(&object, ".strtab");
    let symbol = (0..len / 24).map(|index| table + 24 * index).find(|symbol| {
        let name = u32::from_ne_bytes(object[*symbol..symbol + 4].try_into().unwrap()) as usize;
        object[strings + name..].starts_with(b"module\0")
    });
    let symbol = symbol.expect("module is there");
    // It begins far beyond the section's end.
    object[symbol + 12] = 1;
    assert_eq!(check(&object).unwrap_err(), ObjectError::NotCode);
    // It is absolute.
    let mut object = fixture("gso");
    object[symbol + 6..symbol + 8].copy_from_slice(&0xfff1_u16.to_ne_bytes());
    assert_eq!(check(&object).unwrap_err(), ObjectError::NotCode);
    // Its section contains no code.
    let mut object = fixture("gso");
    let header = section_header(&object, ".text");
    object[header + 8] &= !4;
    assert_eq!(check(&object).unwrap_err(), ObjectError::NotCode);
}

#[test]
fn no_damage_makes_the_checks_or_the_layout_panic() {
    let read = |object: &[u8]| {
        if let Ok(checked) = check(object) {
            let _ = layout::read(checked.btf());
        }
    };
    for name in ["nested", "tags"] {
        let object = fixture(name);
        for len in 0..object.len() {
            read(&object[..len]);
        }
        for at in 0..object.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut damaged = object.clone();
                damaged[at] = byte;
                read(&damaged);
            }
        }
    }
}
