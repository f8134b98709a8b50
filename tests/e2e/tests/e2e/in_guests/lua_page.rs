//! The commands of the book's page on expressions in Lua select and show what the page says. The guest of the
//! packets' fields runs them on one kernel: the fields themselves are tested on all.

use ipft_e2e::book::blocks;
use ipft_e2e::fields::{self, Picture};
use xtask::kernel::Kernel;

const PAGE: &str = include_str!("../../../../../docs/src/lua-fields.md");

pub(super) const KERNEL: Kernel = Kernel::V6_12;

/// A part of a command, the fields that it shows and the value that each of them has somewhere, if there is one.
const SHOWN: [(&str, &[(&str, &str)]); 9] = [
    ("--show skb.dev.mtu", &[("skb.dev.mtu", "1500")]),
    (
        "'skb.len > 1400 and skb.dev.name == \"eth0\"'",
        &[("iface", "eth0"), ("len", "1442")],
    ),
    (
        "--show skb.len --show",
        &[("skb.len", "84"), ("mtu", "1500"), ("port", "0")],
    ),
    ("'skb.mark & 0xff == 7'", &[("mark", "0x7")]),
    ("'tcp port 80' --where", &[("dport", "80"), ("sport", "80")]),
    ("--show 'ttl=", &[("ttl", "64")]),
    ("== 8080'", &[("dport", "8080")]),
    ("--show 'first=", &[("first", "69")]),
    (
        "-e gso-fields.lua",
        &[("len", "84"), ("gso_size", "0"), ("gso_segs", "0"), ("gso_type", "0")],
    ),
];

/// Returns the page's commands.
pub(super) fn commands() -> Vec<String> {
    let traced = blocks(PAGE).into_iter().filter(|block| block.has("traced"));
    let lines = traced.flat_map(|block| block.text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.collect()
}

/// Returns whether an event has this value of a field.
fn has(picture: &Picture, name: &str, value: &str) -> bool {
    let mut events = picture.iter().flatten();
    events.any(|(_, fields)| fields.get(name).is_some_and(|found| found == value))
}

fn each_command_shows_what_it_selects(kernel: Kernel) {
    let left = super::packet_fields::left(kernel);
    let commands = commands();
    // None is left out because its block has another mark.
    let all = PAGE.lines().filter(|line| line.starts_with("ipft ")).count();
    assert_eq!(commands.len(), all);
    for (at, command) in commands.iter().enumerate() {
        let run = format!("page-{at}");
        assert_eq!(left.exit(&run), 0, "{command}: {}", left.text(&format!("{run}.err")));
        let path = left.path(&format!("{run}.out"));
        let picture = fields::of("jsonl", &path).unwrap_or_else(|error| panic!("{command}: {error:#}"));
        let shown = SHOWN.iter().find(|(part, _)| command.contains(part));
        let shown = shown.unwrap_or_else(|| panic!("no packet is expected of {command}"));
        for (name, value) in shown.1 {
            assert!(
                has(&picture, name, value),
                "{command}: no {name} {value} in {picture:#?}"
            );
        }
    }
}

fn a_name_that_no_kernel_has_is_an_error(kernel: Kernel) {
    let left = super::packet_fields::left(kernel);
    let mut blocks = blocks(PAGE).into_iter();
    let block = blocks
        .find(|block| block.text.contains("has no field"))
        .expect("the page shows it");
    assert_eq!((left.exit("wrong"), left.text("wrong.err")), (1, block.text));
}

ipft_e2e::on_kernels!(
    [on_6_12: V6_12],
    each_command_shows_what_it_selects,
    a_name_that_no_kernel_has_is_an_error,
);
