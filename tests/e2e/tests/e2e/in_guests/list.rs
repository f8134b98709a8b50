//! Tests of `ipft -l` on a kernel that has all forms of functions.

use std::collections::{BTreeMap, BTreeSet};

use ipft_e2e::guest::{self, Left, Shared};
use xtask::kernel::Kernel;

const HEADER: &str = "                                                            NAME\t             MOD\t              ADDR\tSKB_POSITION\n";

/// Number of functions that ipftrace2 lists on this kernel.
const OLD_TOOL: usize = 1735;

fn left() -> &'static Left {
    static RUN: Shared = Shared::new();
    RUN.left(|| guest::run("list", Kernel::V6_12, &[], include_str!("../../../guest/list.sh")))
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: String,
    module: String,
    address: u64,
    position: u32,
}

/// Returns the rows of a list; a row that does not have the old tool's columns fails.
fn rows(list: &str) -> Vec<Row> {
    let parse = |line: &str| {
        let [name, module, address, position] = line.split('\t').collect::<Vec<_>>()[..] else {
            return None;
        };
        let row = Row {
            name: name.trim_start().to_owned(),
            module: module.trim_start().to_owned(),
            address: u64::from_str_radix(address.strip_prefix("0x")?, 16).ok()?,
            position: position.parse().ok()?,
        };
        let written = format!(
            "{:>64}\t{:>16}\t{:#018x}\t{}",
            row.name, row.module, row.address, row.position
        );
        (written == line).then_some(row)
    };
    assert!(list.ends_with('\n') || list.is_empty());
    list.lines()
        .map(|line| parse(line).unwrap_or_else(|| panic!("not in columns: '{line}'")))
        .collect()
}

fn all() -> Vec<Row> {
    rows(&left().text("all.out"))
}

fn find<'a>(rows: &'a [Row], name: &str) -> &'a Row {
    let found = rows.iter().find(|row| row.name == name);
    found.unwrap_or_else(|| panic!("{name} is not listed"))
}

#[test]
fn more_functions_are_listed_than_by_ipftrace2() {
    let rows = all();
    assert!(rows.len() > OLD_TOOL, "{}", rows.len());
    let distinct: BTreeSet<_> = rows.iter().map(|row| (&row.name, &row.module, row.address)).collect();
    assert_eq!(distinct.len(), rows.len());
    assert_eq!(left().exit("all"), 0);
    assert_eq!(left().text("all.err"), HEADER);
}

#[test]
fn functions_with_only_a_const_pointer_are_listed() {
    let rows = all();
    // net/core/skbuff.c, net/core/flow_dissector.c
    for (name, position) in [
        ("skb_copy_bits", 0),
        ("skb_checksum", 0),
        ("skb_copy", 0),
        ("__skb_flow_dissect", 1),
    ] {
        assert_eq!(find(&rows, name).position, position, "{name}");
    }
}

#[test]
fn an_uninitialized_sk_buff_is_not_listed() {
    let rows = all();
    // net/core/skbuff.c: static void __copy_skb_header(struct sk_buff *new, const struct sk_buff *old)
    assert_eq!(find(&rows, "__copy_skb_header").position, 1);
    for name in ["__build_skb_around", "__skb_try_recv_from_queue"] {
        assert!(rows.iter().all(|row| row.name != name), "{name}");
    }
}

#[test]
fn functions_with_only_a_double_pointer_are_listed() {
    // net/core/dev.c: static int __netif_receive_skb_core(struct sk_buff **pskb, ...)
    let rows = all();
    let found = rows
        .iter()
        .find(|row| row.name.split('.').next() == Some("__netif_receive_skb_core"));
    assert_eq!(found.expect("__netif_receive_skb_core").position, 0);
}

#[test]
fn functions_with_a_compiler_suffix_are_listed() {
    let rows = all();
    let attachable = left().text("attachable");
    let attachable: BTreeSet<&str> = attachable.lines().collect();
    let suffixed: Vec<&str> = rows
        .iter()
        .map(|row| row.name.as_str())
        .filter(|name| name.contains('.'))
        .collect();
    assert!(suffixed.len() >= 20, "{suffixed:?}");
    for name in suffixed {
        assert!(attachable.contains(name), "{name} is not in available_filter_functions");
        // The plain name is listed instead where it exists.
        let plain = name.split('.').next().unwrap_or(name);
        assert!(!attachable.contains(plain), "{plain} exists beside {name}");
    }
}

#[test]
fn every_address_is_that_of_its_symbol() {
    let symbols = left().text("symbols");
    let mut known: BTreeMap<u64, Vec<(&str, &str)>> = BTreeMap::new();
    for line in symbols.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some(name)) = (words.next(), words.next()) else {
            panic!("symbols: '{line}'");
        };
        let module = words.next().map_or("vmlinux", |module| module.trim_matches(['[', ']']));
        let address = u64::from_str_radix(address, 16).unwrap();
        known.entry(address).or_default().push((name, module));
    }
    for row in all() {
        let here = known.get(&row.address).map(Vec::as_slice).unwrap_or_default();
        assert!(here.contains(&(&row.name, &row.module)), "{row:?}: {here:?}");
    }
}

#[test]
fn filters_select_matching_functions_and_modules() {
    let all = all();
    let expected = |keep: &dyn Fn(&Row) -> bool| all.iter().filter(|row| keep(row)).cloned().collect::<Vec<_>>();
    let router = |row: &Row| row.module == "nf_conntrack" || row.module == "nf_nat";
    for (run, expected) in [
        ("module", expected(&router)),
        ("regex", expected(&|row| row.name.starts_with("ip_rcv"))),
        (
            "both",
            expected(&|row| row.name.starts_with("nf_nat_") && row.module == "nf_nat"),
        ),
    ] {
        assert!(expected.len() >= 3, "{run}: {expected:?}");
        assert_eq!(rows(&left().text(&format!("{run}.out"))), expected, "{run}");
        assert_eq!(left().exit(run), 0, "{run}");
    }
}

#[test]
fn a_filter_without_a_match_is_an_error() {
    assert_eq!(left().exit("none"), 1);
    assert_eq!(left().text("none.out"), "");
    let message = left().text("none.err");
    assert!(
        message.starts_with("ipft: ") && message.contains("ipft -l"),
        "{message}"
    );
}

#[test]
fn a_closed_reader_ends_the_list_cleanly() {
    assert_eq!(left().exit("first"), 0);
    assert_eq!(rows(&left().text("first")), all()[..1]);
}

#[test]
fn verbose_explains_unlisted_functions() {
    assert_eq!(left().text("verbose.out"), left().text("all.out"));
    let said = left().text("verbose.err");
    let skipped: Vec<&str> = said.lines().filter(|line| line.starts_with("Skipped ")).collect();
    assert!(!skipped.is_empty(), "{said}");
    for line in skipped {
        let (what, reason) = line.split_once(": ").unwrap_or_default();
        assert!(what.ends_with(']') && !reason.is_empty(), "{line}");
    }
}
