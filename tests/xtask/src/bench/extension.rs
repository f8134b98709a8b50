//! `cargo xtask bench extension`: the cost of an empty extension per event in the kernel, and the speed of decoding
//! payloads in user space.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::kernel::Kernel;
use crate::progress::step;
use crate::vm::Guest;
use crate::{build, workspace};

const SCRIPT: &str = include_str!("../../guest/bench_extension.sh");
const EMPTY: &str = include_str!("../../guest/empty.c");

/// Limit of instructions per event of an empty extension on 6.12.
const MOST_ADDED: f64 = 30.0;

/// Benches of `ipft-core` that decode payloads: by a schema, by a script.
const BENCHES: [&str; 2] = ["schema", "lua"];

/// Runs `cargo xtask bench extension [--kernel K]`.
pub(super) fn run(kernel: Option<Kernel>) -> Result<()> {
    let kernel = kernel.unwrap_or(Kernel::V6_12);
    let ipft = build::release()?;
    let folder = workspace::target().join("bench-extension");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let (source, object) = (folder.join("empty.c"), folder.join("empty.o"));
    fs::write(&source, EMPTY).with_context(|| format!("write {}", source.display()))?;
    let compiled = Command::new("clang")
        .args(["-target", "bpf", "-O2", "-g", "-c", "-o"])
        .args([&object, &source])
        .status()
        .context("run clang")?;
    ensure!(compiled.success(), "clang failed: {compiled}");

    let step = step(format!("measure an empty extension on {}", kernel.series()));
    let output = Guest::new(kernel)
        .icount(true)
        .ipft(&ipft)
        .file(object)
        .timeout(Duration::from_secs(600))
        .run_script(SCRIPT)?;
    drop(step);
    ensure!(
        output.status == 0,
        "the guest's script failed (exit code {}):\n{}",
        output.status,
        output.stderr.trim_end()
    );
    let (plain, extended) =
        figures(&output.stdout).with_context(|| format!("read the figures:\n{}", output.stdout.trim_end()))?;
    let added = extended - plain;
    println!(
        "{}, kprobe-multi: {plain:.0} instructions an event without an extension, {extended:.0} with an empty one: \
         {added:.0} more ({})",
        kernel.series(),
        if added <= MOST_ADDED { "ok" } else { "over 30" }
    );

    for name in BENCHES {
        let bench = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["bench", "--quiet", "--package", "ipft-core", "--bench", name])
            .status()
            .context("run cargo bench")?;
        ensure!(bench.success(), "the bench '{name}' failed: {bench}");
    }
    Ok(())
}

/// Returns instructions per event without and with the extension: the medians, divided by the counted calls per packet.
fn figures(text: &str) -> Result<(f64, f64)> {
    let mut lines: HashMap<&str, Vec<(f64, f64)>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(name), Some(count), Some(value)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        lines.entry(name).or_default().push((count.parse()?, value.parse()?));
    }
    let one = |name: String| -> Result<f64> {
        let mut values: Vec<f64> = lines
            .get(name.as_str())
            .with_context(|| format!("no line of '{name}'"))?
            .iter()
            .map(|(count, value)| value / count)
            .collect();
        values.sort_by(f64::total_cmp);
        Ok(values[values.len() / 2])
    };
    for name in ["plain", "extended"] {
        ensure!(one(format!("{name}-lost"))? == 0.0, "events were lost");
    }
    // Both runs use the same path, so the other costs of a packet are equal.
    let events = one("plain-events".into())?;
    ensure!(
        (one("extended-events".into())? - events).abs() < 0.05 * events,
        "the packets did not go the same way"
    );
    Ok((one("plain".into())? / events, one("extended".into())? / events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_medians_are_taken_per_event() {
        let text = "plain 10 1000\nplain 10 5000\nplain 10 900\nplain-events 10 50\nplain-lost 1 0\n\
                    extended 10 1500\nextended-events 10 50\nextended-lost 1 0\n";
        assert_eq!(figures(text).unwrap(), (20.0, 30.0));
    }

    #[test]
    fn figures_with_losses_are_none() {
        let text =
            "plain 1 1\nplain-events 1 1\nplain-lost 1 1\nextended 1 1\nextended-events 1 1\nextended-lost 1 0\n";
        assert!(figures(text).is_err());
    }
}
