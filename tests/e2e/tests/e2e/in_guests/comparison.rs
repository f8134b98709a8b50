//! The page of the book that compares tools shows what ipft prints: each line of its blocks is one of a real trace, and
//! each command one of those that were run.

use ipft_e2e::book::{Block, blocks};
use xtask::kernel::Kernel;

const PAGE: &str = include_str!("../../../../../docs/src/comparison.md");
const SCRIPT: &str = include_str!("../../../guest/decisions.sh");

/// Returns the words of a line without numbers, which differ from trace to trace, but for ports and what has letters.
fn shape(line: &str) -> Vec<String> {
    let is_number = |word: &str| word.trim_end_matches(',').parse::<f64>().is_ok();
    let word = |word: &str| match word.split_once("+0x") {
        Some((name, _)) => format!("{name}+"),
        None if is_number(word) => "N".to_owned(),
        None if word.starts_with('#') => "#".to_owned(),
        None => word.to_owned(),
    };
    // Only the first line of a packet's lines has the unit and the CPU, and where another packet's lines come between
    // differs, too.
    let words = line
        .split_whitespace()
        .filter(|word| !word.starts_with("cpu") && *word != "us");
    words.map(word).collect()
}

/// Returns the blocks of ipft's output, or its commands, with the name of the run.
fn of_runs<'a>(all: &'a [Block], kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Block)> {
    let blocks = all.iter().filter(move |block| block.has(kind));
    blocks.filter_map(|block| {
        let run = block.tags.iter().find_map(|tag| tag.strip_prefix("run="))?;
        Some((run, block))
    })
}

fn the_comparison_shows_real_traces(kernel: Kernel) {
    let left = super::decisions::left(kernel);
    let all = blocks(PAGE);
    let mut seen = 0;
    for (run, block) in of_runs(&all, "text") {
        let text = left.text(run);
        let mut lines = text.lines().map(shape);
        for line in block.text.lines().filter(|line| *line != "...") {
            let expected = shape(line);
            assert!(
                lines.any(|line| line == expected),
                "{run}: {line}\nis not, in order, in\n{text}"
            );
            seen += 1;
        }
    }
    assert!(seen >= 15, "{seen} lines");
    let mut commands = 0;
    for (run, block) in of_runs(&all, "sh") {
        let words = block.text.trim().strip_prefix("ipft ").expect("it runs ipft");
        let command = format!("start_ipft {run} {words} ");
        assert!(SCRIPT.contains(&command), "the guest does not run: {command}");
        commands += 1;
    }
    assert!(commands >= 4, "{commands} commands");
}

ipft_e2e::on_kernels!([on_6_12: V6_12], the_comparison_shows_real_traces);
