//! Progress of long steps, on stderr.
//!
//! A step that ends quickly prints nothing, so that a warm run is silent. On a terminal a live line shows the running
//! step, its duration and its last output; elsewhere a long step is one line. Output of programs is kept and shown only
//! if they fail.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, Once};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const TICK: Duration = Duration::from_millis(200);
/// Shorter steps are not shown.
const QUIET: Duration = Duration::from_secs(1);
/// Lines of a program's output that are kept for a failure.
const KEPT_LINES: usize = 400;

struct Running {
    id: u64,
    name: String,
    detail: String,
    since: Instant,
    announced: bool,
}

static RUNNING: Mutex<(u64, Vec<Running>)> = Mutex::new((0, Vec::new()));

fn running() -> MutexGuard<'static, (u64, Vec<Running>)> {
    // The list stays valid if a thread panicked: every change to it is one push or remove.
    RUNNING.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A running step; dropping it ends the step.
pub struct Step {
    id: u64,
}

/// Starts a step, named by what it does: "kernel 6.12: download".
pub fn step(name: impl Into<String>) -> Step {
    static TICKER: Once = Once::new();
    TICKER.call_once(|| {
        thread::spawn(|| {
            loop {
                thread::sleep(TICK);
                show();
            }
        });
    });
    let mut list = running();
    list.0 += 1;
    let id = list.0;
    list.1.push(Running {
        id,
        name: name.into(),
        detail: String::new(),
        since: Instant::now(),
        announced: false,
    });
    Step { id }
}

fn show() {
    let mut list = running();
    let mut errors = std::io::stderr().lock();
    // stderr may be closed; a step must not fail for it.
    if !errors.is_terminal() {
        for step in list
            .1
            .iter_mut()
            .filter(|step| !step.announced && step.since.elapsed() >= QUIET)
        {
            step.announced = true;
            let _ = writeln!(errors, "xtask: {} ...", step.name);
        }
        return;
    }
    let long: Vec<String> = list
        .1
        .iter_mut()
        .filter(|step| step.since.elapsed() >= QUIET)
        .map(|step| {
            step.announced = true;
            let seconds = step.since.elapsed().as_secs();
            let separator = if step.detail.is_empty() { "" } else { " · " };
            format!("{} {seconds} s{separator}{}", step.name, step.detail)
        })
        .collect();
    if !long.is_empty() {
        let columns = std::env::var("COLUMNS")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(80_usize);
        let line: String = long.join("   ").chars().take(columns.saturating_sub(1)).collect();
        let _ = write!(errors, "\r\x1b[K{line}");
    }
}

impl Step {
    /// Sets the live line's detail.
    pub fn detail(&self, text: &str) {
        let clean: String = text.chars().filter(|character| !character.is_control()).collect();
        if let Some(step) = running().1.iter_mut().find(|step| step.id == self.id) {
            step.detail = clean;
        }
    }

    /// Runs a program to its end with an empty stdin. Its output becomes the step's detail, and the error's text if it
    /// fails.
    pub fn run(&self, mut command: Command) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone().context("duplicate a pipe")?)
            .stderr(writer);
        let mut child = command.spawn().with_context(|| format!("run {program}"))?;
        // The command holds the pipe's writing end, which would delay the end of file.
        drop(command);
        let mut kept = VecDeque::new();
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader
            .read_until(b'\n', &mut line)
            .with_context(|| format!("read the output of {program}"))?
            > 0
        {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            self.detail(text.trim_start());
            if kept.len() == KEPT_LINES {
                kept.pop_front();
            }
            kept.push_back(text);
            line.clear();
        }
        let status = child.wait().with_context(|| format!("wait for {program}"))?;
        if !status.success() {
            let mut output = String::new();
            for line in kept {
                let _ = write!(output, "\n  {line}");
            }
            bail!("{program} failed ({status}){output}");
        }
        Ok(())
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        let mut list = running();
        let Some(at) = list.1.iter().position(|step| step.id == self.id) else {
            return;
        };
        let step = list.1.remove(at);
        let mut errors = std::io::stderr().lock();
        if step.announced && errors.is_terminal() {
            let _ = writeln!(
                errors,
                "\r\x1b[Kxtask: {} ({:.1} s)",
                step.name,
                step.since.elapsed().as_secs_f64()
            );
        }
    }
}

/// Runs a program to its end and returns its stdout; its stderr becomes the error's text if it fails.
pub fn output_of(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed ({})\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
