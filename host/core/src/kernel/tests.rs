//! The functions of a small hand-made kernel, through each source of traceable functions.

use super::btf::Kind;
use super::testing::{BtfBuilder, CoreBuilder, Printed, Relative, Tree, add_module_types};
use super::*;

/// Address of the small kernel's code.
const TEXT: u64 = 0xffff_ffff_8100_0000;
/// Each function's place, in units of 16 bytes behind [`TEXT`], and whether ftrace can patch it.
const SYMBOLS: [(&str, &str, u64, bool); 17] = [
    ("ip_rcv", "", 0, true),
    ("takes_const", "", 1, true),
    ("takes_double", "", 2, true),
    ("takes_typedef", "", 3, true),
    ("takes_none", "", 4, true),
    ("notrace", "", 5, false),
    ("shrunk.isra.0", "", 6, true),
    ("moved.constprop.0.isra.0", "", 7, true),
    ("piece.part.0", "", 8, true),
    ("piece.cold", "", 9, true),
    ("twin", "", 10, true),
    ("twin", "", 11, true),
    // These two begin with a jump and a call of the kernel's, as a traced function does.
    ("jumps", "", 15, false),
    ("shared", "", 16, true),
    ("forbidden", "", 12, true),
    ("nat_hook", "nat", 13, true),
    // Another module has a function of the same name, which is not the one that NAT's BTF describes.
    ("nat_hook", "other", 14, true),
];

/// Behind all functions.
const END: u64 = TEXT + SYMBOLS.len() as u64 * 16;
/// The first symbols of the kernel: one that is not an address, and the limits of its code.
const BOUNDS: [Printed; 4] = [
    (b'A', "fixed_percpu_data", 0),
    (b'T', "_stext", TEXT),
    (b'T', "_etext", END),
    // Where the call at the start of `shared` leads, behind its endbr64.
    (b'T', "ftrace_caller", TEXT + 16 * 16 + 4 + 5),
];

fn types() -> (Vec<u8>, Vec<u8>) {
    let mut b = BtfBuilder::new();
    let int = b.int("int", 4);
    add_module_types(&mut b, int);
    let packet = b.composite(Kind::Struct, "sk_buff", 8, &[("len", int, 0)]);
    let pointer = b.pointer(packet);
    let constant = b.refer(Kind::Const, "", packet);
    let to_constant = b.pointer(constant);
    let constant_to_constant = b.refer(Kind::Const, "", to_constant);
    let double = b.pointer(pointer);
    let triple = b.pointer(double);
    let typedef = b.refer(Kind::Typedef, "packet_t", pointer);
    let restricted = b.refer(Kind::Restrict, "", typedef);
    b.function("ip_rcv", int, &[pointer, int]);
    b.function("takes_const", int, &[int, constant_to_constant]);
    b.function("takes_double", int, &[int, int, double]);
    b.function("takes_typedef", int, &[restricted]);
    b.function("takes_none", int, &[int, triple, packet]);
    b.function("notrace", int, &[pointer]);
    b.function("jumps", int, &[pointer]);
    b.function("shared", int, &[pointer]);
    b.function("shrunk", int, &[pointer]);
    b.function("moved", int, &[int, pointer]);
    b.function("piece", int, &[pointer]);
    b.function("twin", int, &[pointer]);
    b.function("forbidden", int, &[pointer]);
    b.function("deep", int, &[int, int, int, int, int, int, pointer]);
    let mut nat = BtfBuilder::split(&b);
    nat.function("nat_hook", int, &[int, pointer]);
    (b.build(), nat.build())
}

fn address(place: u64) -> u64 {
    TEXT + place * 16
}

/// The code of the small kernel. Every second function begins with `endbr64`.
fn code() -> Vec<u8> {
    let mut code = vec![0x90; SYMBOLS.len() * 16];
    for (_, _, place, patchable) in SYMBOLS {
        let mut at = place as usize * 16;
        if place % 2 == 0 {
            code[at..at + 4].copy_from_slice(&[0xf3, 0x0f, 0x1e, 0xfa]);
            at += 4;
        }
        let entry: [u8; 5] = match (patchable, place) {
            (_, 15) => [0xe9, 0, 0, 0, 0],
            // Of `ftrace_caller`, for several tracers.
            (_, 16) => [0xe8, 0, 0, 0, 0],
            (false, _) => [0x55, 0x48, 0x89, 0xe5, 0x53],
            // These two are traced by another program.
            (true, 0) => [0xe8, 1, 2, 3, 4],
            (true, 1) => [0xe9, 1, 2, 3, 4],
            (true, _) => [0x0f, 0x1f, 0x44, 0, 0],
        };
        code[at..at + 5].copy_from_slice(&entry);
    }
    code
}

/// The same as `/proc/kcore`, without the addresses of symbols.
fn kcore() -> Vec<u8> {
    CoreBuilder::new().segment(TEXT, code()).build()
}

/// And one that does. Its list of modules is among its symbols.
fn kcore_with_symbols() -> Vec<u8> {
    let printed = |of: &str| -> Vec<Printed> {
        let own = SYMBOLS.iter().filter(|symbol| symbol.1 == of);
        own.map(|(name, _, place, _)| (b't', *name, address(*place))).collect()
    };
    let first = address(0);
    let more = [
        (b'T', "deep", first),
        (b'd', "takes_none", first),
        (b'D', "modules", END),
    ];
    let symbols: Vec<Printed> = BOUNDS.into_iter().chain(printed("")).chain(more).collect();
    CoreBuilder::new()
        .segment(TEXT, code())
        .symbols(Relative::PerCpu, &symbols)
        .modules(END, &[("nat", &printed("nat")), ("other", &printed("other"))])
        .build()
}

fn module_mark(module: &str, space: char) -> String {
    if module.is_empty() {
        String::new()
    } else {
        format!("{space}[{module}]")
    }
}

fn listed(with_address: bool) -> String {
    SYMBOLS
        .iter()
        .filter(|(_, _, _, patchable)| *patchable)
        .map(|(name, module, place, _)| {
            // ftrace's address is behind the endbr64.
            let address = address(*place) + if place % 2 == 0 { 4 } else { 0 };
            let digits = if with_address {
                format!("{address:016x} ")
            } else {
                String::new()
            };
            format!("{digits}{name}{}\n", module_mark(module, ' '))
        })
        .collect()
}

fn kallsyms(hidden: bool) -> String {
    let mut text = String::new();
    for (kind, name, at) in BOUNDS {
        let at = if hidden { 0 } else { at };
        text += &format!("{at:016x} {} {name}\n", char::from(kind));
    }
    for (name, module, place, _) in SYMBOLS {
        let address = if hidden { 0 } else { address(place) };
        text += &format!("{address:016x} t {name}{}\n", module_mark(module, '\t'));
    }
    // A second name of the first function, and a variable that has a function's name.
    let first = if hidden { 0 } else { address(0) };
    text + &format!("{first:016x} T deep\n{first:016x} d takes_none\n")
}

/// The small kernel without any source of traceable functions.
fn kernel() -> Tree {
    let (vmlinux, nat) = types();
    Tree::new()
        .with("/sys/kernel/btf/vmlinux", vmlinux)
        .with("/sys/kernel/btf/nat", nat)
        .with("/proc/modules", "nat 4096 0 - Live 0x0\nother 4096 0 - Live 0x0\n")
        .with("/proc/sys/kernel/osrelease", "6.12.1\n")
        .with(
            "/sys/kernel/debug/kprobes/blacklist",
            format!("0x{:016x}-0x{:016x}\tforbidden\n", address(12), address(13)),
        )
}

fn names(found: &Found) -> Vec<&str> {
    found.candidates.iter().map(|each| each.name.as_str()).collect()
}

fn find<'a>(found: &'a Found, name: &str) -> &'a Candidate {
    found.candidates.iter().find(|each| each.name == name).unwrap()
}

const EXPECTED: [&str; 10] = [
    "ip_rcv",
    "moved.constprop.0.isra.0",
    "shared",
    "shrunk.isra.0",
    "takes_const",
    "takes_double",
    "takes_typedef",
    "twin",
    "twin",
    "nat_hook",
];

#[test]
fn all_sources_with_addresses_give_the_same_functions() {
    let by_memory = kernel()
        .with("/proc/kallsyms", kallsyms(false))
        .with("/proc/kcore", kcore_with_symbols());
    let by_code = kernel()
        .with("/proc/kallsyms", kallsyms(false))
        .with("/proc/kcore", kcore());
    let by_address = kernel().with("/sys/kernel/tracing/available_filter_functions_addrs", listed(true));
    let by_name = kernel()
        .with("/proc/kallsyms", kallsyms(false))
        .with("/sys/kernel/debug/tracing/available_filter_functions", listed(false));
    let all = [
        (by_memory, "symbol tables"),
        (by_code, "kallsyms and the kernel's code"),
        (by_address, "_addrs"),
        (by_name, "kallsyms"),
    ];
    for (tree, source) in all {
        let found = find_functions(&tree.root()).unwrap();
        assert!(found.source.contains(source), "{}", found.source);
        assert_eq!(names(&found), EXPECTED, "{source}");
        // With or without the endbr64.
        assert_eq!(find(&found, "takes_double").address & !0xf, address(2));
        let skipped: Vec<_> = found
            .skipped
            .iter()
            .map(|each| (each.name.as_str(), each.reason))
            .collect();
        assert_eq!(skipped, [("forbidden", SkipReason::Blacklisted)], "{source}");
    }
}

#[test]
fn how_each_function_takes_the_packet_is_known() {
    let tree = kernel()
        .with("/proc/kallsyms", kallsyms(false))
        .with("/proc/kcore", kcore());
    let found = find_functions(&tree.root()).unwrap();
    let facts = |name: &str| {
        let each = find(&found, name);
        (
            each.position,
            each.argument,
            each.unsure,
            each.ambiguous,
            each.arguments,
        )
    };
    use PacketArgument::{DoublePointer, Pointer};
    assert_eq!(facts("ip_rcv"), (0, Pointer, false, false, 2));
    assert_eq!(facts("takes_const"), (1, Pointer, false, false, 2));
    assert_eq!(facts("takes_double"), (2, DoublePointer, false, false, 3));
    assert_eq!(facts("takes_typedef"), (0, Pointer, false, false, 1));
    assert_eq!(facts("shrunk.isra.0"), (0, Pointer, true, false, 1));
    assert_eq!(facts("moved.constprop.0.isra.0"), (1, Pointer, true, false, 2));
    assert_eq!(facts("twin"), (0, Pointer, true, true, 1));
    assert_eq!(find(&found, "nat_hook").module, "nat");
    assert_eq!(find(&found, "nat_hook").address, address(13));
    let addresses: Vec<u64> = found
        .candidates
        .iter()
        .filter(|each| each.name == "twin")
        .map(|each| each.address)
        .collect();
    assert_eq!(addresses, [address(10), address(11)]);
}

#[test]
fn without_addresses_duplicate_names_are_skipped() {
    let tree = kernel()
        .with("/proc/kallsyms", kallsyms(true))
        .with("/sys/kernel/tracing/available_filter_functions", listed(false))
        .with("/proc/kcore", kcore_with_symbols());
    let found = find_functions(&tree.root()).unwrap();
    let expected: Vec<&str> = EXPECTED.into_iter().filter(|name| *name != "twin").collect();
    // The blacklist has addresses, which do not help here.
    assert_eq!(
        names(&found)
            .into_iter()
            .filter(|name| *name != "forbidden")
            .collect::<Vec<_>>(),
        expected
    );
    assert!(found.candidates.iter().all(|each| each.address == 0));
    assert_eq!(found.skipped.len(), 1);
    assert_eq!(
        (found.skipped[0].name.as_str(), found.skipped[0].reason),
        ("twin", SkipReason::AmbiguousName)
    );
}

#[test]
fn an_ambiguous_name_is_not_guessed() {
    let listed = listed(false).replacen("twin\n", "", 1);
    let tree = kernel()
        .with("/proc/kallsyms", kallsyms(false))
        .with("/sys/kernel/tracing/available_filter_functions", listed);
    let found = find_functions(&tree.root()).unwrap();
    assert!(!names(&found).contains(&"twin"));
    assert!(
        found
            .skipped
            .iter()
            .any(|each| each.reason == SkipReason::AmbiguousName)
    );
}

#[test]
fn unknown_code_is_not_trusted() {
    let mut code = code();
    // But for the first function, which looks familiar by chance.
    code[16..].fill(0xcc);
    let tree = kernel()
        .with("/proc/kallsyms", kallsyms(false))
        .with("/proc/kcore", CoreBuilder::new().segment(TEXT, code).build())
        .with("/sys/kernel/tracing/available_filter_functions", listed(false));
    let found = find_functions(&tree.root()).unwrap();
    assert_eq!(found.source, "available_filter_functions and /proc/kallsyms");
    assert_eq!(names(&found), EXPECTED);
}

#[test]
fn a_truncated_core_file_falls_back_to_the_list() {
    let core = kcore_with_symbols();
    // Headers, the note behind them, and the code behind that.
    for len in (0..64 + 5 * 56 + 500).step_by(20) {
        let tree = kernel()
            .with("/proc/kallsyms", kallsyms(false))
            .with("/proc/kcore", &core[..len])
            .with("/sys/kernel/tracing/available_filter_functions", listed(false));
        let found = find_functions(&tree.root()).unwrap();
        assert_eq!(names(&found), EXPECTED, "{len}");
    }
}

#[test]
fn modules_without_types_are_named() {
    let tree = kernel()
        .with("/proc/kallsyms", kallsyms(false))
        .with("/proc/kcore", kcore());
    let missing = find_functions(&tree.root()).unwrap().missing;
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].name, "other");

    let tree = tree.with("/sys/kernel/btf/other", b"no BTF");
    let missing = find_functions(&tree.root()).unwrap().missing;
    assert_eq!(missing.len(), 1);
    assert!(missing[0].reason.contains("not BTF"), "{}", missing[0].reason);
}

#[test]
fn known_modules_need_no_btf_on_5_10() {
    let symbols = format!(
        "{TEXT:016x} t nf_nat_ipv4_out\t[nf_nat]\n{:016x} t nf_nat_inet_fn.isra.0\t[nf_nat]\n",
        TEXT + 16
    );
    let tree = kernel()
        .without("/sys/kernel/btf/nat")
        .with("/proc/modules", "nf_nat 4096 0 - Live 0x0\n")
        .with("/proc/sys/kernel/osrelease", "5.10.0-32-cloud-amd64\n")
        .with("/proc/kallsyms", symbols)
        .with(
            "/sys/kernel/tracing/available_filter_functions",
            "nf_nat_ipv4_out [nf_nat]\nnf_nat_inet_fn.isra.0 [nf_nat]\n",
        );
    let found = find_functions(&tree.root()).unwrap();
    assert!(found.missing.is_empty());
    // A copy under a suffix may have moved the packet, and here no BTF says that it did not.
    assert_eq!(names(&found), ["nf_nat_ipv4_out"]);
    let hook = &found.candidates[0];
    assert_eq!((hook.position, hook.unsure, hook.btf_id), (1, true, 0));
}

#[test]
fn what_is_missing_has_a_message_of_its_own() {
    let message = |tree: Tree| find_functions(&tree.root()).unwrap_err().to_string();
    assert!(message(Tree::new()).contains("CONFIG_DEBUG_INFO_BTF"));
    assert!(message(kernel()).contains("mount -t tracefs"));
    let broken = kernel().with("/sys/kernel/btf/vmlinux", b"\x9f\xeb\x01");
    assert!(message(broken).contains("cut short"));
}

#[test]
fn types_of_two_modules_are_not_confused() {
    let mut base = BtfBuilder::new();
    let int = base.int("int", 4);
    let packet = base.composite(Kind::Struct, "sk_buff", 8, &[("len", int, 0)]);
    // The two modules use the same ids for different things.
    let mut first = BtfBuilder::split(&base);
    let own = first.pointer(packet);
    first.function("takes_packet", 0, &[own]);
    let mut second = BtfBuilder::split(&base);
    let other = second.pointer(int);
    second.function("takes_number", 0, &[other]);
    assert_eq!(own, other);
    let symbols = format!(
        "{TEXT:016x} t takes_packet\t[first]\n{:016x} t takes_number\t[second]\n",
        TEXT + 16
    );
    let tree = Tree::new()
        .with("/sys/kernel/btf/vmlinux", base.build())
        .with("/sys/kernel/btf/first", first.build())
        .with("/sys/kernel/btf/second", second.build())
        .with("/proc/kallsyms", symbols)
        .with(
            "/sys/kernel/tracing/available_filter_functions",
            "takes_packet [first]\ntakes_number [second]\n",
        );
    assert_eq!(names(&find_functions(&tree.root()).unwrap()), ["takes_packet"]);
}

/// `tests/fuzz/fuzz_targets/kernel.rs` begins with this kernel, and cuts it into files at the lines `==`.
/// `UPDATE_GOLDEN=1` writes it.
#[test]
fn the_fuzzers_seed_is_the_small_kernel() {
    let (vmlinux, nat) = types();
    let files = [
        vmlinux,
        nat,
        kallsyms(false).into_bytes(),
        kcore_with_symbols(),
        b"nat 4096 0 - Live 0x0\nother 4096 0 - Live 0x0\n".into(),
        b"6.12.1\n".into(),
    ];
    let seed = files.join(&b"\n==\n"[..]);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/seeds/kernel/small");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &seed).unwrap();
    }
    assert!(std::fs::read(path).unwrap() == seed, "{path} is another kernel");
}
