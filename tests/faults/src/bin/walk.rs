//! Walks through the places where something can fail, and prints the counts. `cargo xtask faults` runs it.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use faults::live::{self, Packets};
use faults::scenario;
use faults::supervisor::Meanwhile;
use faults::walk::{Fault, Options, Walk, faults};

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("walk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut options = Options {
        most: 1000,
        step: 1,
        time: Duration::from_secs(100_000),
        only: None,
    };
    let mut plugin = None;
    let mut faulty = std::env::current_exe()
        .context("find this program")?
        .with_file_name("faulty");
    let mut live = false;
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} needs a value"));
        match word.as_str() {
            "--most" => options.most = value()?.parse().context("--most")?,
            "--step" => options.step = value()?.parse().context("--step")?,
            "--seconds" => options.time = Duration::from_secs(value()?.parse().context("--seconds")?),
            "--only" => options.only = Some(value()?),
            "--plugin" => plugin = Some(PathBuf::from(value()?)),
            "--faulty" => faulty = value()?.into(),
            "--live" => live = true,
            _ => bail!("there is no option {word}"),
        }
    }
    let folder = tempfile::tempdir().context("make a folder")?;
    let mut kinds = faults();
    let scenarios = if live {
        kinds.extend(live::KINDS.map(Fault::Call));
        scenario::traces()
    } else {
        scenario::replays(&plugin.context("a replay needs a --plugin")?)
    };
    let before = live::attached();
    if live {
        println!("before: {before}");
        Packets::new()?;
    }
    let meanwhile = || -> Box<dyn Meanwhile> {
        match live.then(Packets::new) {
            Some(Ok(packets)) => Box::new(packets),
            _ => Box::new(()),
        }
    };
    let check = || if live { live::check(&before) } else { Ok(()) };
    let walk = Walk {
        faulty: &faulty,
        folder: folder.path(),
        meanwhile: &meanwhile,
        check: &check,
        threads: match live {
            true => 1,
            false => std::thread::available_parallelism().map_or(1, usize::from),
        },
    };
    let report = walk.walk(&scenarios, &kinds, &options)?;
    print!("{}", report.tables(&kinds));
    if report.left_out > 0 {
        println!("{} runs were left out, as the time was over", report.left_out);
    }
    for wrong in &report.wrong {
        println!("WRONG: {wrong}");
    }
    if !report.wrong.is_empty() {
        // For people to look at.
        println!("what these left is in {}", folder.keep().display());
        return Ok(false);
    }
    Ok(true)
}
