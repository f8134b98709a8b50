//! `cargo xtask test`: set-up, then all tests, or selected end-to-end tests.
//!
//! It prints at its end how long each part took, and the slowest guests.

use std::fs;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::kernel::Kernel;
use crate::progress::{output_of, step};
use crate::{build, deny, packages, plugins, root, tools, workspace};

/// The environment variable that selects one backend for end-to-end tests.
pub const BACKEND: &str = "IPFT_TEST_BACKEND";

/// Prefix of the names of all tests that run in guests.
const IN_GUESTS: &str = "in_guests::";

/// Threads for tests that wait for guests: any number, since they do not compute and the guests take turns.
const THREADS: &str = "100";

/// Installs, fetches and builds everything that the commands need, except ipft.
pub fn set_up() -> Result<()> {
    install()?;
    thread::scope(|scope| {
        // Fetching leaves a processor idle, and this build takes one for minutes.
        let denier = scope.spawn(deny::program);
        fetch(&Kernel::ALL)?;
        let built = denier
            .join()
            .ok()
            .context("the thread that built cargo-deny panicked")?;
        built.map(drop)
    })
}

fn install() -> Result<()> {
    packages::install(&[
        packages::BUILD,
        packages::GUEST,
        packages::TEST,
        packages::PLUGINS,
        packages::BROWSER,
    ])?;
    packages::add_wasm_target()
}

fn fetch(kernels: &[Kernel]) -> Result<()> {
    tools::archive()?;
    thread::scope(|scope| {
        let root = scope.spawn(root::image);
        Kernel::fetch(kernels)?;
        root.join()
            .ok()
            .context("the thread that built the root file system panicked")??;
        Ok(())
    })
}

/// Durations of parts. Printed when it is dropped, also after a failure.
struct Parts(Vec<(&'static str, Duration)>);

impl Parts {
    fn time<T>(&mut self, name: &'static str, part: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let done = part();
        self.0.push((name, start.elapsed()));
        done
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        eprintln!("\n seconds  part of the tests");
        for (name, time) in &self.0 {
            eprintln!("{:8.1}  {name}", time.as_secs_f64());
        }
    }
}

/// Returns the file with the guests' times: a line for each, seconds and name. End-to-end tests add to it.
pub fn times() -> PathBuf {
    workspace::target().join("e2e-times")
}

/// Prints the slowest guests since the file was removed.
fn print_slowest() {
    const MOST: usize = 12;
    let text = fs::read_to_string(times()).unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().collect();
    // The numbers are as wide as each other.
    lines.sort_unstable_by(|a, b| b.cmp(a));
    eprintln!("\n seconds  guest (the slowest of {})", lines.len());
    for line in lines.iter().take(MOST) {
        eprintln!("{line}");
    }
}

/// Options of the command line.
#[derive(Debug, Default, PartialEq)]
struct Selection {
    kernel: Option<Kernel>,
    backend: Option<String>,
    name: Option<String>,
    every_kernel: bool,
    rest: Vec<String>,
}

impl Selection {
    fn parse(arguments: &[String]) -> Result<Selection> {
        let mut selection = Selection::default();
        let mut words = arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let (option, inline) = word
                .split_once('=')
                .map_or((word, None), |(option, value)| (option, Some(value)));
            match option {
                "--kernel" | "--backend" => {
                    let value = inline.or_else(|| words.next());
                    let value = value.with_context(|| format!("{option} needs a value"))?;
                    if option == "--kernel" {
                        selection.kernel = Some(value.parse()?);
                    } else {
                        selection.backend = Some(value.to_owned());
                    }
                }
                "--every-kernel" if inline.is_none() => selection.every_kernel = true,
                "--" => selection.rest.extend(words.by_ref().map(str::to_owned)),
                _ if !word.starts_with('-') && selection.name.is_none() => selection.name = Some(word.to_owned()),
                _ => selection.rest.push(word.to_owned()),
            }
        }
        Ok(selection)
    }

    /// Returns whether a test applies to the kernel: its name ends with that one or with none.
    fn wants(&self, test: &str) -> bool {
        let is_on = |kernel: Kernel| test.ends_with(&format!("on_{}", kernel.series().replace('.', "_")));
        self.kernel.is_none_or(is_on) || !Kernel::ALL.into_iter().any(is_on)
    }
}

/// Runs all tests of the workspace, or the selected end-to-end tests.
pub fn run(arguments: &[String]) -> Result<()> {
    let selection = Selection::parse(arguments)?;
    let mut parts = Parts(Vec::new());
    if selection.name.is_some() || selection.kernel.is_some() || selection.backend.is_some() {
        chosen(&selection, &mut parts)
    } else {
        all(&selection, &mut parts)
    }
}

/// Runs only end-to-end tests. Kernels and plugins are built on demand.
fn chosen(selection: &Selection, parts: &mut Parts) -> Result<()> {
    parts.time("set-up", || {
        packages::install(&[packages::BUILD, packages::GUEST, packages::TEST])?;
        fetch(selection.kernel.as_slice())
    })?;
    parts.time("build", build::for_guests_and_tests)?;
    let mut list = end_to_end();
    list.args(["--list", "--format", "terse"]).args(&selection.name);
    let listed = output_of(&mut list)?;
    let names: Vec<&str> = listed.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let names: Vec<&str> = names.into_iter().filter(|name| selection.wants(name)).collect();
    ensure!(!names.is_empty(), "no end-to-end test is named so");
    parts.time("end-to-end tests", || {
        let mut cargo = end_to_end();
        // What is named is wanted, also where a whole run leaves it out.
        cargo
            .args(&selection.rest)
            .args(["--include-ignored", "--exact"])
            .args(names);
        if let Some(backend) = &selection.backend {
            cargo.env(BACKEND, backend);
        }
        pass(cargo)
    })
}

fn all(selection: &Selection, parts: &mut Parts) -> Result<()> {
    parts.time("set-up", install)?;
    // Here the progress of the tests' dependencies is visible. Building does not wait for the network.
    parts.time("build", || {
        thread::scope(|scope| {
            let fetched = scope.spawn(|| fetch(&Kernel::ALL));
            let mut compile = workspace::cargo();
            compile.args(["test", "--workspace", "--no-run"]);
            step("build the tests").run(compile)?;
            build::for_guests()?;
            build::bench_sinks()?;
            plugins::gallery()?;
            plugins::of_tests()?;
            fetched
                .join()
                .ok()
                .context("the thread that fetched kernels panicked")?
        })
    })?;
    let _ = fs::remove_file(times());
    let in_guests = parts.time("tests in guests", || {
        let mut cargo = end_to_end();
        cargo.arg(IN_GUESTS).args(&selection.rest);
        if selection.every_kernel {
            cargo.arg("--include-ignored");
        }
        pass(cargo)
    });
    print_slowest();
    let others = parts.time("other tests", || {
        let mut cargo = workspace::cargo();
        cargo.args(["test", "--workspace", "--no-fail-fast", "--", "--skip", IN_GUESTS]);
        cargo.args(&selection.rest);
        pass(cargo)
    });
    in_guests.and(others)
}

/// Returns `cargo test` for the end-to-end tests; further arguments are for their program.
fn end_to_end() -> Command {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--workspace", "--test", "e2e", "--", "--test-threads", THREADS]);
    cargo
}

/// Runs tests. Where the output goes to a file, the error has what the failed ones said: it is printed last, and a log that
/// is cut in its middle still says why.
fn pass(mut cargo: Command) -> Result<()> {
    let (status, failures) = if io::stdout().is_terminal() {
        (cargo.status().context("run cargo test")?, String::new())
    } else {
        let mut child = cargo.stdout(Stdio::piped()).spawn().context("run cargo test")?;
        let output = child.stdout.take().context("the output of cargo test is missing")?;
        let failures = copy(BufReader::new(output), io::stdout()).context("copy the output of cargo test")?;
        (child.wait().context("wait for cargo test")?, failures)
    };
    ensure!(status.success(), "tests failed ({status})\n{failures}");
    Ok(())
}

/// Copies the output of tests and returns what the failed ones said: what stands between the two lines `failures:` of each
/// program.
fn copy(from: impl BufRead, mut to: impl Write) -> io::Result<String> {
    const MARK: &str = "failures:";
    let mut said = String::new();
    let mut within = false;
    for line in from.split(b'\n') {
        let line = line?;
        to.write_all(&line)?;
        to.write_all(b"\n")?;
        let line = String::from_utf8_lossy(&line);
        if line == MARK {
            within = !within;
        } else if within {
            said.push_str(&line);
            said.push('\n');
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Selection> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Selection::parse(&words)
    }

    #[test]
    fn options_choose_kernel_backend_and_name() {
        let selection = parse("--kernel 6.12 journey --backend=kprobe-multi -- --nocapture").unwrap();
        assert_eq!(selection.kernel, Some(Kernel::V6_12));
        assert_eq!(selection.backend.as_deref(), Some("kprobe-multi"));
        assert_eq!(selection.name.as_deref(), Some("journey"));
        assert_eq!(selection.rest, ["--nocapture"]);
        assert!(!selection.every_kernel);
        assert!(parse("--every-kernel").unwrap().every_kernel);
        assert_eq!(parse("").unwrap(), Selection::default());
    }

    #[test]
    fn tests_of_other_kernels_are_left_out() {
        let selection = parse("--kernel 6.1").unwrap();
        assert!(selection.wants("journey::ping::on_6_1"));
        assert!(selection.wants("rights::nothing_is_missing"));
        assert!(!selection.wants("journey::ping::on_6_12"));
    }

    #[test]
    fn output_is_copied_and_failures_are_kept() {
        let output =
            "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nwhy\n\nfailures:\n    a\n\ntest result: FAILED.\n";
        let mut copied = Vec::new();
        let said = copy(output.as_bytes(), &mut copied).unwrap();
        assert_eq!(String::from_utf8(copied).unwrap(), output);
        assert_eq!(said, "\n---- a stdout ----\nwhy\n\n");
    }

    #[test]
    fn option_without_its_value_is_refused() {
        assert_eq!(parse("--kernel").unwrap_err().to_string(), "--kernel needs a value");
        assert!(parse("--kernel 6.2").is_err());
    }
}
