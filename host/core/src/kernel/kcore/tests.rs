//! The symbols of a hand-made kernel, printed and in memory.

use super::super::btf::Btf;
use super::super::testing::{BtfBuilder, CoreBuilder, Printed, Random, Relative, Tree, add_module_types};
use super::*;

const TEXT: u64 = 0xffff_ffff_8100_0000;
const HEAD: u64 = TEXT + 0x100_0000;
const NAT: u64 = 0xffff_ffff_c000_0000;

const SYMBOLS: [Printed; 6] = [
    (b'A', "fixed_percpu_data", 0),
    (b'A', "cpu_debug_store", 0x1000),
    (b'T', "skb_skb_clone", TEXT),
    (b't', "weak_skb", TEXT + 16),
    (b'W', "skb_weak", TEXT + 32),
    // Write-protected data is printed as code by some kernels.
    (b'T', "modules", HEAD),
];
const NAT_SYMBOLS: [Printed; 3] = [
    (b't', "nat_hook", NAT),
    (b'd', "nat_data", NAT + 32),
    (b't', "", NAT + 64),
];
const VETH_SYMBOLS: [Printed; 1] = [(b'T', "veth_xmit", NAT + 128)];

fn core(relative: Relative, symbols: &[Printed]) -> Vec<u8> {
    CoreBuilder::new()
        .symbols(relative, symbols)
        .modules(HEAD, &[("nat", &NAT_SYMBOLS), ("veth", &VETH_SYMBOLS)])
        .build()
}

fn printed(symbols: &[Printed]) -> String {
    let line = |(kind, name, address): &Printed| format!("{address:016x} {} {name}\n", char::from(*kind));
    symbols.iter().map(line).collect()
}

/// `/proc` of the kernel.
fn tree(core: impl AsRef<[u8]>, symbols: &[Printed]) -> Tree {
    Tree::new()
        .with("/proc/kcore", core)
        .with(
            "/proc/kallsyms",
            printed(symbols) + "ffffffffc0000000 t nat_hook\t[nat]\n",
        )
        .with("/proc/modules", "veth 4096 0 - Live 0x0\nnat 4096 0 - Live 0x0\n")
}

/// Name, module and address of each function.
fn read(tree: &Tree) -> io::Result<Vec<(String, String, u64)>> {
    let mut types = BtfBuilder::new();
    let int = types.int("int", 4);
    add_module_types(&mut types, int);
    let types = types.build();
    let layout = ModuleLayout::find(&Btf::parse(&types).unwrap());
    let mut all = Vec::new();
    for_each_function(&tree.root(), &Kcore::open(&tree.root())?, layout.as_ref(), |symbol| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        all.push((text(symbol.name), text(symbol.module), symbol.address()));
    })?;
    Ok(all)
}

fn refusal(tree: &Tree) -> String {
    read(tree).unwrap_err().to_string()
}

#[test]
fn functions_are_read_in_the_order_of_kallsyms() {
    let expected: Vec<_> = [
        ("skb_skb_clone", "", TEXT),
        ("weak_skb", "", TEXT + 16),
        ("skb_weak", "", TEXT + 32),
        ("modules", "", HEAD),
        ("nat_hook", "nat", NAT),
        ("veth_xmit", "veth", NAT + 128),
    ]
    .map(|(name, module, address)| (name.to_owned(), module.to_owned(), address))
    .into();
    // Only one of them has addresses that are no memory.
    for (relative, from) in [(Relative::PerCpu, 0), (Relative::Base, 2), (Relative::Itself, 2)] {
        let symbols = &SYMBOLS[from..];
        let found = read(&tree(core(relative, symbols), symbols)).unwrap();
        assert_eq!(found, expected, "{relative:?}");
    }
}

#[test]
fn a_name_of_more_than_127_codes_is_whole() {
    let long = "a".repeat(300);
    let symbols = [
        (b'T', "first", TEXT),
        (b't', &long, TEXT + 16),
        (b't', "last", TEXT + 32),
        SYMBOLS[5],
    ];
    let found = read(&tree(core(Relative::Base, &symbols), &symbols)).unwrap();
    assert_eq!(found[1].0, long);
    assert_eq!(found[2].0, "last");
}

#[test]
fn symbols_that_differ_from_kallsyms_are_refused() {
    let made = core(Relative::PerCpu, &SYMBOLS);
    for (place, other) in [
        (2, (b'T', "skb_skb_clone", TEXT + 1)),
        (2, (b't', "skb_skb_clone", TEXT)),
        (2, (b'T', "skb_clone", TEXT)),
        (0, (b'A', "fixed_percpu_data", 8)),
    ] {
        let mut symbols = SYMBOLS;
        symbols[place] = other;
        assert!(
            refusal(&tree(&made, &symbols)).contains("not the one that is printed"),
            "{other:?}"
        );
    }
    // Hidden addresses, as many symbols of which nothing is known, and more than there are.
    let hidden = SYMBOLS.map(|(kind, name, _)| (kind, name, 0));
    assert!(refusal(&tree(&made, &hidden)).contains("not the one that is printed"));
    assert!(refusal(&tree(&made, &SYMBOLS[..2])).contains("not the one that is printed"));
    let more = [&SYMBOLS[..], &[(b't', "more", TEXT + 64)]].concat();
    assert!(refusal(&tree(&made, &more)).contains("fewer symbols"));
}

#[test]
fn modules_that_differ_from_the_list_are_refused() {
    let made = || tree(core(Relative::PerCpu, &SYMBOLS), &SYMBOLS);
    for listed in ["nat 4096 0 - Live 0x0\n", "nat 1\nveth 1\nnew 1\n", "nat 1\nother 1\n"] {
        let refusal = refusal(&made().with("/proc/modules", listed));
        assert!(refusal.contains("other modules"), "{refusal}");
    }
    let without_list = &SYMBOLS[..5];
    let unlisted = tree(core(Relative::PerCpu, without_list), without_list);
    assert!(refusal(&unlisted).contains("no list of modules"));
}

#[test]
fn a_kernel_without_modules_needs_no_list_of_them() {
    let symbols = &SYMBOLS[..5];
    let made = tree(core(Relative::PerCpu, symbols), symbols);
    assert_eq!(read(&made.with("/proc/modules", "")).unwrap().len(), 3);
    let made = tree(core(Relative::PerCpu, symbols), symbols);
    assert_eq!(read(&made.without("/proc/modules")).unwrap().len(), 3);
}

#[test]
fn a_module_that_is_being_freed_is_refused() {
    // Its symbol of itself is elsewhere, or gone.
    let mut made = core(Relative::PerCpu, &SYMBOLS);
    let at = made.windows(14).position(|text| text == b"__this_module\0").unwrap();
    made[at] = b'x';
    assert!(refusal(&tree(made, &SYMBOLS)).contains("a symbol of itself"));
}

#[test]
fn incomplete_modules_are_skipped() {
    // The first one: a state of `MODULE_STATE_UNFORMED`, and, the second time, itself as the next one.
    let mut made = core(Relative::PerCpu, &SYMBOLS);
    let nat = made.windows(5).position(|text| text == b"nat\0\0").unwrap() - 24;
    made[nat] = 3;
    let only_veth = tree(&made, &SYMBOLS).with("/proc/modules", "veth 4096 0 - Live 0x0\n");
    assert_eq!(read(&only_veth).unwrap().len(), 5);
    let itself = 0xffff_ffff_c100_0008_u64;
    made[nat + 8..nat + 16].copy_from_slice(&itself.to_le_bytes());
    assert!(refusal(&tree(&made, &SYMBOLS)).contains("without end"));
}

#[test]
fn damaged_memory_causes_no_panic() {
    let made = core(Relative::PerCpu, &SYMBOLS);
    for len in (0..1500).step_by(7).chain([made.len() / 2]) {
        assert!(read(&tree(&made[..len], &SYMBOLS)).is_err(), "{len}");
    }
    let mut random = Random(3);
    // Most of it is zeros behind a module's structures: what is read of it stands at few places.
    let used: Vec<usize> = (0..made.len()).filter(|at| made[*at] != 0).collect();
    for _ in 0..500 {
        let mut changed = made.clone();
        for _ in 0..=random.below(3) {
            changed[used[random.below(used.len())]] = random.below(256) as u8;
        }
        let _ = read(&tree(changed, &SYMBOLS));
    }
}
