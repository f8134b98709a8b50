//! `ipft drops` names causes of loss that are made for real: the reason and the function. The book has the table of
//! them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ipft_core::advice;
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Outcome, Recording};
use ipft_e2e::on_three_kernels;
use xtask::kernel::Kernel;

/// The place of a kernel in the book's table.
fn column(kernel: Kernel) -> usize {
    let column = Kernel::ALL.iter().position(|each| *each == kernel);
    column.expect("a kernel of the matrix")
}

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    RUNS[column(kernel)].left(|| {
        let script = include_str!("../../../guest/causes.sh");
        let xdp = super::scenarios::xdp()?;
        guest::run(&format!("causes-{}", kernel.series()), kernel, &[&xdp], script)
    })
}

/// The reason, if the kernel tells it, and the function, without the compiler's suffix.
type Drop = (Option<String>, String);

/// What is dropped while many causes are made: what comes through after all, and what programs leave behind.
const BESIDE: [&str; 5] = [
    "NO_SOCKET",
    "QUEUE_PURGE",
    "IPV6DISABLED",
    "FRAG_REASM_TIMEOUT",
    "SKB_CONSUMED",
];
const FUNCTIONS_BESIDE: [&str; 10] = [
    "__udp4_lib_rcv",
    "udp_rcv",
    "icmp_rcv",
    "icmpv6_rcv",
    "inet_sock_destruct",
    "ip6_mc_input",
    // From a device with IPv6 disabled.
    "ip6_output",
    "netlink_sock_destruct",
    "ip_expire",
    "packet_release",
];
/// Functions that drop for no reason beside.
const UNSPECIFIC_BESIDE: [&str; 3] = ["icmpv6_rcv", "ip6_mc_input", "packet_release"];

fn is_beside((reason, function): &Drop) -> bool {
    match reason.as_deref() {
        Some("NOT_SPECIFIED") => function.ends_with("_sock_destruct") || UNSPECIFIC_BESIDE.contains(&function.as_str()),
        Some(reason) => BESIDE.contains(&reason),
        None => FUNCTIONS_BESIDE.contains(&function.as_str()),
    }
}

/// Returns the drops of each cause, the most telling first.
fn causes(kernel: Kernel) -> Vec<(String, Vec<Drop>)> {
    let left = left(kernel);
    assert_eq!(left.exit("causes"), 0, "{}", left.text("causes.err"));
    let recording = Recording::read(&left.path("causes.out")).unwrap();
    let pairs = recording.events.iter().zip(&recording.ends);
    let drops: Vec<(u64, Drop)> = pairs
        .map(|(event, end)| {
            assert_eq!(event.packet, end.packet);
            let Outcome::Dropped { reason, .. } = &end.outcome else {
                panic!("{end:?}");
            };
            let function = event.function.split('.').next().unwrap_or_default();
            (event.timestamp, (reason.clone(), function.to_owned()))
        })
        .collect();
    let times = left.text("times");
    let during = |line: &str| {
        let [cause, start, end] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let window = start.parse::<u64>().unwrap()..end.parse::<u64>().unwrap();
        let mut counts: BTreeMap<&Drop, usize> = BTreeMap::new();
        for (_, drop) in drops.iter().filter(|(time, _)| window.contains(time)) {
            *counts.entry(drop).or_default() += 1;
        }
        let mut found: Vec<(&Drop, usize)> = counts.into_iter().collect();
        found.sort_by_key(|(drop, count)| (is_beside(drop), usize::MAX - count));
        let found = found.into_iter().map(|(drop, _)| drop.clone());
        (cause.to_owned(), found.collect())
    };
    times.lines().map(during).collect()
}

fn words((reason, function): &Drop) -> String {
    match reason {
        Some(reason) => format!("{reason} in {function}"),
        None => function.clone(),
    }
}

/// The table of the book: of each cause, what each kernel says, in the order of [`Kernel::ALL`].
fn table(page: &str) -> BTreeMap<String, Vec<String>> {
    let (_, rest) = page.split_once(BEGINS).expect("the page has the table");
    let (table, _) = rest.split_once(ENDS).expect("the table ends");
    let rows = table.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        let mut cells = row
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('`', ""));
        let cause = cells.next().unwrap_or_default();
        (cause, cells.collect())
    })
    .collect()
}

const BEGINS: &str =
    "<!-- The table of causes begins; the test `causes` compares it, and UPDATE_GOLDEN writes it. -->\n";
const ENDS: &str = "<!-- The table of causes ends. -->\n";

fn page() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/drops.md")
}

/// Writes a kernel's column of the book's table.
fn write_column(column: usize, made: &[(String, Vec<Drop>)]) {
    // One kernel after the other: they share the page.
    static WRITING: Mutex<()> = Mutex::new(());
    let _one = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let text = std::fs::read_to_string(page()).unwrap();
    let mut table = table(&text);
    let heads = Kernel::ALL.map(|kernel| kernel.series().to_owned()).join(" | ");
    let mut rows = format!("| cause | {heads} |\n|---|{}\n", "---|".repeat(Kernel::ALL.len()));
    for (cause, drops) in made {
        let cause = cause.replace('-', " ");
        let mut cells = table.remove(&cause).unwrap_or_default();
        cells.resize(Kernel::ALL.len(), String::new());
        cells[column] = drops.first().map(words).unwrap_or_default();
        let code = |cell: &String| match cell.as_str() {
            "" => String::new(),
            cell => format!("`{cell}`"),
        };
        let cells: Vec<String> = cells.iter().map(code).collect();
        rows += &format!("| {cause} | {} |\n", cells.join(" | "));
    }
    let (before, rest) = text.split_once(BEGINS).expect("the page has the table");
    let (_, after) = rest.split_once(ENDS).expect("the table ends");
    std::fs::write(page(), format!("{before}{BEGINS}{rows}{ENDS}{after}")).unwrap();
}

fn every_cause_is_named_as_in_the_book(kernel: Kernel) {
    let made = causes(kernel);
    let column = column(kernel);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        write_column(column, &made);
    }
    let table = table(&std::fs::read_to_string(page()).unwrap());
    assert!(made.len() >= 40 && made.len() == table.len(), "{} causes", made.len());
    let mut wrong = Vec::new();
    for (cause, drops) in made {
        let expected = &table[&cause.replace('-', " ")][column];
        assert!(!expected.is_empty(), "{cause} on {kernel:?}");
        if !drops.iter().any(|drop| words(drop) == *expected) {
            wrong.push(format!("{cause}: {expected}, but {drops:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Each cause has an explanation; that of a kernel without reasons by the function alone.
fn every_cause_is_explained(kernel: Kernel) {
    let unexplained: BTreeSet<String> = (causes(kernel).iter())
        .filter_map(|(cause, drops)| {
            let drop @ (reason, function) = drops.first()?;
            let reason = reason.as_deref().unwrap_or("NOT_SPECIFIED");
            let found = advice::find(reason, function).map(|index| &advice::all()[index]);
            let is_explained =
                found.is_some_and(|advice| advice.reason != "NOT_SPECIFIED" || !advice.function.is_empty());
            (!is_explained).then(|| format!("{cause}: {}", words(drop)))
        })
        .collect();
    assert!(
        unexplained.is_empty(),
        "add to host/core/src/advice/drops.txt: {unexplained:#?}"
    );
}

on_three_kernels!(every_cause_is_named_as_in_the_book, every_cause_is_explained);
