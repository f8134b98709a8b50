//! `cargo xtask bench`: the cost of ipft, compared with that of empty programs and of ipftrace2.
//!
//! It measures in guests that count instructions and prints figures. A slow row is marked but is no error; a row that
//! could not be measured is one.

mod extension;
mod figures;
mod measure;
mod rows;
mod sinks;
mod table;

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::kernel::Kernel;
use crate::progress::step;
use crate::{build, plugins, workspace};

pub use sinks::Measured;

use rows::{DEFAULT, ROWS, Row};

/// Options of the command line.
#[derive(Debug, Default)]
struct Request {
    kernel: Option<Kernel>,
    backend: Option<String>,
    tracer: Option<String>,
    markdown: Option<PathBuf>,
    without_floor: bool,
}

/// Runs `cargo xtask bench ARGUMENTS`.
pub fn run(arguments: &[String]) -> Result<()> {
    match arguments {
        [first] if first == "extension" => return extension::run(None),
        [first, option, kernel] if first == "extension" && option == "--kernel" => {
            return extension::run(Some(kernel.parse()?));
        }
        [first, rest @ ..] if first == "sinks" => return sinks::run(rest),
        [first] if first == "plugin" => return plugin(),
        [first, ..] if first == "plugin" => bail!("bench plugin takes no arguments"),
        [first, ..] if first == "extension" => bail!("bench extension takes --kernel VERSION and nothing else"),
        _ => {}
    }
    let request = parse(arguments)?;
    let rows = select(&request)?;
    let ipft = build::release()?;
    let floor = build::bench_floor()?;
    let mut results = Vec::new();
    let mut failures = Vec::new();
    for row in &rows {
        let step = step(format!("measure {row}"));
        let figures = measure::measure(row, &ipft, &floor, request.without_floor);
        drop(step);
        match figures {
            Ok(figures) => {
                println!("{}", table::text(row, &figures));
                results.push((*row, figures));
            }
            // Measure the other rows nevertheless.
            Err(error) => {
                eprintln!("xtask: cannot measure {row}: {error:#}");
                failures.push(row.to_string());
            }
        }
    }
    if let Some(path) = &request.markdown {
        let mut file = fs::File::create(path).with_context(|| format!("make {}", path.display()))?;
        file.write_all(table::markdown(&results).as_bytes())
            .with_context(|| format!("write {}", path.display()))?;
    }
    ensure!(failures.is_empty(), "not measured: {}", failures.join("; "));
    Ok(())
}

/// Measures the cost of calling a plugin; on this machine, as it needs no traced kernel.
fn plugin() -> Result<()> {
    plugins::gallery()?;
    plugins::of_tests()?;
    let mut cargo = workspace::cargo();
    cargo
        .args(["bench", "--package", "ipft-plugin-host", "--bench", "plugin", "--"])
        .arg(plugins::built());
    let status = cargo.status().context("run cargo bench")?;
    ensure!(status.success(), "the benchmark failed ({status})");
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Request> {
    let mut arguments = arguments.iter();
    match arguments.next().map(String::as_str) {
        Some("kernel") => {}
        Some(other) => bail!("there is no benchmark '{other}'; there are: kernel, extension, plugin, sinks"),
        None => bail!("bench needs to know which benchmark; there are: kernel, extension, plugin, sinks"),
    }
    let mut request = Request::default();
    while let Some(argument) = arguments.next() {
        if argument == "--without-floor" {
            request.without_floor = true;
            continue;
        }
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (argument.as_str(), None),
        };
        if !["--kernel", "--backend", "--tracer", "--markdown"].contains(&name) {
            bail!("bench has no option {name}; `cargo xtask help` lists them");
        }
        let value = inline.or_else(|| arguments.next().cloned());
        let value = value.with_context(|| format!("{name} needs a value"))?;
        match name {
            "--kernel" => request.kernel = Some(value.parse()?),
            "--backend" => request.backend = Some(value),
            "--tracer" => request.tracer = Some(value),
            _ => request.markdown = Some(value.into()),
        }
    }
    Ok(request)
}

fn select(request: &Request) -> Result<Vec<&'static Row>> {
    let rows: Vec<&Row> = ROWS
        .iter()
        .filter(|row| request.kernel.is_none_or(|kernel| row.kernel == kernel))
        .filter(|row| {
            request
                .backend
                .as_deref()
                .is_none_or(|backend| row.backend.unwrap_or(DEFAULT) == backend)
        })
        .filter(|row| {
            request
                .tracer
                .as_deref()
                .is_none_or(|tracer| row.tracer.name() == tracer)
        })
        .collect();
    ensure!(
        !rows.is_empty(),
        "no row of the benchmark is what you ask for; the rows are:\n{}",
        ROWS.iter().map(|row| format!("  {row}\n")).collect::<String>()
    );
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn rows_are_chosen_by_kernel_backend_and_tracer() {
        let one = parse(&words("kernel --kernel 7.2 --tracer=function_graph")).unwrap();
        let rows = select(&one).unwrap();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].to_string(), "7.2 fentry-multi, function_graph");
        let all = select(&parse(&words("kernel")).unwrap()).unwrap();
        assert_eq!(all.len(), ROWS.len());
    }

    #[test]
    fn an_empty_selection_is_refused_with_the_choices() {
        let none = parse(&words("kernel --kernel 5.10 --backend kprobe-multi")).unwrap();
        let error = select(&none).unwrap_err().to_string();
        assert!(error.contains("\n  5.10 kprobe, function\n"), "{error}");
    }

    #[test]
    fn unknown_names_and_missing_values_are_refused() {
        for (line, part) in [
            ("sink", "no benchmark 'sink'"),
            ("kernel --fast", "no option --fast"),
            ("kernel --backend", "--backend needs a value"),
            ("kernel --kernel 3.2", "no kernel '3.2'"),
        ] {
            let error = parse(&words(line)).unwrap_err().to_string();
            assert!(error.contains(part), "{line}: {error}");
        }
        assert!(parse(&[]).is_err());
    }
}
