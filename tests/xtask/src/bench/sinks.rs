//! `cargo xtask bench sinks`: the cost of an event in user space, from the buffer to the last byte of output, and the
//! start-up time.
//!
//! Instructions are counted by callgrind and repeat exactly. Memory is the peak of a process. Seconds are those of a
//! guest that counts instructions, except for rates, which are this machine's.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::table::number;
use crate::kernel::Kernel;
use crate::progress::{output_of, step};
use crate::vm::Guest;
use crate::{build, packages, workspace};

/// Number of events: enough that one-time costs do not matter.
const EVENTS: usize = 500_000;

/// Where a profile is cut.
const TOP: usize = 10;

const SCRIPT: &str = include_str!("../../guest/start.sh");

/// Markers around the table in the book.
const BEGIN: &str = "<!-- The table of `cargo xtask bench sinks --write` begins. -->\n";
const END: &str = "<!-- It ends. -->\n";

/// Group of a row.
struct Row {
    what: &'static str,
    figure: Figure,
    /// The target: a maximum, for a rate a minimum.
    requested: Option<f64>,
    /// Value of ipftrace2.
    old: Option<f64>,
}

/// The measurement, by a scenario of `bench-sinks` or in a guest.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Figure {
    /// Instructions per event.
    Instructions(&'static str),
    /// Bytes per event at the peak of the process, over this many events.
    Bytes(&'static str, usize),
    /// MiB at the peak of the process, over this many events.
    Peak(&'static str, usize),
    /// Bytes per event in a recording of this many.
    Stored(&'static str, usize),
    /// Million events per second on this machine, over this many.
    Rate(&'static str, usize),
    /// Seconds, with this name in the guest's output.
    Seconds(&'static str),
}

use Figure::{Bytes, Instructions, Peak, Rate, Seconds, Stored};

const fn row(what: &'static str, figure: Figure, requested: Option<f64>, old: Option<f64>) -> Row {
    Row {
        what,
        figure,
        requested,
        old,
    }
}

/// The table. A new scenario of `bench-sinks` gets its row here.
const ROWS: &[Row] = &[
    row("`-o json`", Instructions("json"), Some(400.0), Some(5170.0)),
    row("the same with four fields", Instructions("json-fields"), None, None),
    row("`-o jsonl`", Instructions("jsonl"), None, None),
    row(
        "the same with four fields",
        Instructions("jsonl-fields"),
        Some(900.0),
        None,
    ),
    row("`-o text`", Instructions("text"), None, None),
    row("the same with the graph", Instructions("text-graph"), None, None),
    row(
        "the same with all built-in fields",
        Instructions("text-followed"),
        None,
        None,
    ),
    row(
        "aggregate, to collect",
        Instructions("aggregate-collect"),
        Some(120.0),
        Some(4200.0),
    ),
    row(
        "the same with the graph",
        Instructions("graph-collect"),
        Some(120.0),
        None,
    ),
    row(
        "aggregate, to print",
        Instructions("aggregate-print"),
        Some(350.0),
        Some(3270.0),
    ),
    row(
        "the same with the graph",
        Instructions("graph-print"),
        Some(350.0),
        None,
    ),
    row(
        "the same with four fields and no graph",
        Instructions("aggregate-fields-print"),
        None,
        None,
    ),
    row("`--record`", Instructions("record"), Some(150.0), None),
    row(
        "the same with the graph",
        Instructions("record-graph"),
        Some(150.0),
        None,
    ),
    row("`--record`, on disk", Stored("record", 1_000_000), Some(8.0), None),
    row(
        "the same with the graph",
        Stored("record-graph", 1_000_000),
        Some(8.0),
        None,
    ),
    row("`ipft replay`, without a sink", Instructions("replay"), None, None),
    row(
        "the same, one core of the machine that made this table",
        Rate("replay", 10_000_000),
        Some(30.0),
        None,
    ),
    row(
        "the same with the graph",
        Rate("replay-graph", 10_000_000),
        Some(30.0),
        None,
    ),
    row("pairing returns with entries", Instructions("pair"), None, None),
    row(
        "from the ring to `-o json`",
        Instructions("ring-json"),
        Some(250.0),
        None,
    ),
    row("the same from two rings", Instructions("rings-json"), Some(250.0), None),
    row(
        "from the ring to the aggregate's memory",
        Instructions("ring-aggregate"),
        Some(220.0),
        None,
    ),
    row("the same with the graph", Instructions("ring-graph"), Some(290.0), None),
    row("from a recording to `-o json`", Instructions("file-json"), None, None),
    row(
        "from a recording to the aggregate's memory",
        Instructions("file-aggregate"),
        None,
        None,
    ),
    row("the same with the graph", Instructions("file-graph"), None, None),
    row(
        "aggregate, 10 million events",
        Bytes("aggregate-collect", 10_000_000),
        Some(48.0),
        Some(180.0),
    ),
    row(
        "the same with the graph",
        Bytes("graph-collect", 10_000_000),
        Some(48.0),
        None,
    ),
    row(
        "the same with packets of one event",
        Bytes("aggregate-short-collect", 10_000_000),
        Some(48.0),
        None,
    ),
    row(
        "aggregate with `--max-memory 64M`, 50 million events",
        Peak("aggregate-bounded", 50_000_000),
        None,
        None,
    ),
    row(
        "`-o json`, one core of the machine that made this table",
        Rate("json", 10_000_000),
        None,
        None,
    ),
    row("`ipft -l` on 6.12", Seconds("list"), Some(0.5), None),
    row("ready, with one function, on 6.12", Seconds("ready"), Some(0.5), None),
];

/// Options of the command line.
#[derive(Debug, Default, PartialEq)]
struct Request {
    profile: bool,
    write: bool,
}

fn parse(arguments: &[String]) -> Result<Request> {
    let mut request = Request::default();
    for argument in arguments {
        match argument.as_str() {
            "--profile" => request.profile = true,
            "--write" => request.write = true,
            other => bail!("bench sinks takes --profile and --write, and got: {other}"),
        }
    }
    Ok(request)
}

/// Runs `cargo xtask bench sinks [--profile] [--write]`.
pub(super) fn run(arguments: &[String]) -> Result<()> {
    let request = parse(arguments)?;
    packages::install(&[packages::PROFILE])?;
    let program = build::bench_sinks()?;
    let folder = workspace::target().join("bench-sinks");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    let mut guest = None;
    let mut table = Vec::new();
    for row in ROWS {
        let measured = match row.figure {
            Instructions(scenario) => {
                let counts = count(&program, scenario, &folder)?;
                if request.profile {
                    println!("{scenario}, instructions an event:\n{}", profile(&counts)?);
                }
                let text = fs::read_to_string(&counts).with_context(|| format!("read {}", counts.display()))?;
                total(&text)? / EVENTS as f64
            }
            Bytes(scenario, events) => measure(&program, scenario, events)?.bytes / events as f64,
            Peak(scenario, events) => measure(&program, scenario, events)?.bytes / f64::from(1 << 20),
            Stored(scenario, events) => stored(&program, scenario, events)?,
            Rate(scenario, events) => 1e3 / measure(&program, scenario, events)?.nanoseconds,
            Seconds(name) => {
                if guest.is_none() {
                    guest = Some(start()?);
                }
                median(guest.as_deref().unwrap_or_default(), name)?
            }
        };
        table.push((row, measured));
    }
    let table = markdown(&table);
    print!("{table}");
    if request.write {
        let path = workspace::root().join("docs/src/performance.md");
        let page = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let page = replaced(&page, &table).with_context(|| format!("find the table's place in {}", path.display()))?;
        fs::write(&path, page).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Counts a scenario's instructions. Returns the file with the profile.
fn count(program: &Path, scenario: &str, folder: &Path) -> Result<PathBuf> {
    let file = folder.join(format!("{scenario}.callgrind"));
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--toggle-collect=*::measured"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(program)
        .args([scenario, &EVENTS.to_string()]);
    step(format!("count {scenario}")).run(valgrind)?;
    Ok(file)
}

/// Returns the sum of instructions in a callgrind file.
fn total(text: &str) -> Result<f64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:")));
    let total: f64 = line.context("callgrind wrote no sum")?.trim().parse()?;
    ensure!(total > 0.0, "callgrind saw nothing of the measured step");
    Ok(total)
}

/// Returns the places with the most instructions, one per line.
fn profile(counts: &Path) -> Result<String> {
    let listed = output_of(Command::new("callgrind_annotate").arg("--auto=no").arg(counts))?;
    Ok(top(&listed))
}

/// Like [`profile`], for the output of `callgrind_annotate`. A line names a function and its source file, so that
/// inlined code is distinguished.
fn top(listed: &str) -> String {
    let parse = |line: &str| {
        let (count, rest) = line.trim_start().split_once(" (")?;
        let count: f64 = count.replace(',', "").parse().ok()?;
        let (percent, place) = rest.split_once(")  ")?;
        let (file, function) = place.split_once(':')?;
        let function = function.split(" [").next().unwrap_or(function);
        // Shorten a path of the standard library or of a crate to the part after their common folder.
        let file = ["/library/", "/registry/src/"]
            .iter()
            .find_map(|folder| file.split_once(folder))
            .map_or(file, |(_, rest)| rest);
        Some((count, percent.trim().to_owned(), file.to_owned(), function.to_owned()))
    };
    let mut text = String::new();
    for (count, percent, file, function) in listed.lines().filter_map(parse).take(TOP) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:9.1} {percent:>6}  {function}  ({file})", count / EVENTS as f64);
    }
    text
}

/// Output of a `bench-sinks` scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Nanoseconds per event.
    pub nanoseconds: f64,
    /// Peak memory of the process in bytes, beyond that at its start.
    pub bytes: f64,
}

impl Measured {
    /// Parses its line: `json 1000 events, 12.3 ns each, peak of 45.6 bytes each, 45600 in all`.
    pub fn parse(line: &str) -> Result<Measured> {
        let before = |unit: &str| -> Result<f64> {
            let text = line.split_once(unit).map(|(before, _)| before);
            let word = text.and_then(|text| text.split_whitespace().last());
            let word = word.with_context(|| format!("no number in front of '{unit}': {line}"))?;
            Ok(word.parse()?)
        };
        Ok(Measured {
            nanoseconds: before(" ns each")?,
            bytes: before(" in all")?,
        })
    }
}

fn measure(program: &Path, scenario: &str, events: usize) -> Result<Measured> {
    let _step = step(format!("measure {scenario}"));
    let said = output_of(Command::new(program).args([scenario, &events.to_string()]))?;
    Measured::parse(said.trim_end())
}

/// Returns the bytes per event in a recording, as in the scenario's output: `2.5 bytes an event on disk`.
fn stored(program: &Path, scenario: &str, events: usize) -> Result<f64> {
    let _step = step(format!("measure the size of {scenario}"));
    let said = output_of(Command::new(program).args([scenario, &events.to_string()]))?;
    let line = said
        .lines()
        .find_map(|line| line.strip_suffix(" bytes an event on disk"));
    let line = line.with_context(|| format!("{scenario} does not say how large its recording is"))?;
    Ok(line.trim().parse()?)
}

/// Measures ipft's start-up time in a guest.
fn start() -> Result<String> {
    let ipft = build::release()?;
    let _step = step("measure the start in a guest");
    let output = Guest::new(Kernel::V6_12)
        .icount(true)
        .ipft(&ipft)
        .timeout(Duration::from_secs(600))
        .run_script(SCRIPT)?;
    ensure!(
        output.status == 0,
        "the guest's script failed (exit code {}):\n{}",
        output.status,
        output.stderr.trim_end()
    );
    Ok(output.stdout)
}

/// Returns seconds: the median of the microseconds with this name.
fn median(text: &str, name: &str) -> Result<f64> {
    let values = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let mut values: Vec<f64> = values.map(str::parse).collect::<Result<_, _>>()?;
    values.sort_by(f64::total_cmp);
    let middle = values
        .get(values.len() / 2)
        .with_context(|| format!("no line of '{name}'"))?;
    Ok(middle / 1e6)
}

fn shown(figure: Figure, value: f64) -> String {
    match figure {
        Instructions(_) => format!("{} instructions", number(value)),
        // Rounding must not hide that a limit is exceeded.
        Bytes(..) | Stored(..) => format!("{value:.1} bytes").replace(".0 ", " "),
        Peak(..) => format!("{} MiB in all", number(value.ceil())),
        Rate(..) => format!("{} million a second", number(value)),
        Seconds(_) => format!("{value:.2} s"),
    }
}

fn markdown(rows: &[(&Row, f64)]) -> String {
    let mut text = String::from("| an event costs | measured | wanted | ipftrace2 |\n|---|---|---|---|\n");
    for (row, value) in rows {
        let cell = |value: Option<f64>| value.map_or(String::new(), |value| format!("{} ", shown(row.figure, value)));
        let word = match row.requested {
            Some(requested) if !is_met(row.figure, *value, requested) => " (not met)",
            _ => "",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {}{word} | {}| {}|",
            row.what,
            shown(row.figure, *value),
            cell(row.requested),
            cell(row.old)
        );
    }
    text
}

fn is_met(figure: Figure, value: f64, requested: f64) -> bool {
    match figure {
        Rate(..) => value >= requested,
        _ => value <= requested,
    }
}

/// Returns the page with a new table.
fn replaced(page: &str, table: &str) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .with_context(|| format!("there is no line: {BEGIN}"))?;
    let (_, after) = rest
        .split_once(END)
        .with_context(|| format!("there is no line: {END}"))?;
    Ok(format!("{before}{BEGIN}\n{table}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_table_in_the_book_changes() {
        let page = fs::read_to_string(workspace::root().join("docs/src/performance.md")).unwrap();
        let once = replaced(&page, "| a |\n").unwrap();
        assert!(once.contains("| a |"));
        assert_eq!(replaced(&once, "| b |\n").unwrap(), once.replace("| a |", "| b |"));
        assert!(replaced("no place", "").is_err());
    }

    #[test]
    fn rows_have_all_columns_and_mark_missed_targets() {
        let missed = |row: &Row| match (row.figure, row.requested) {
            (Rate(..), Some(requested)) => requested / 2.0,
            (_, Some(requested)) => requested * 2.0,
            (_, None) => 1234.0,
        };
        let rows: Vec<_> = ROWS.iter().map(|row| (row, missed(row))).collect();
        let table = markdown(&rows);
        assert!(table.lines().all(|line| line.matches('|').count() == 5), "{table}");
        let requested = ROWS.iter().filter(|row| row.requested.is_some()).count();
        assert_eq!(table.matches("(not met)").count(), requested);
        let rate = row("a", Rate("replay", 1), Some(30.0), None);
        assert_eq!(markdown(&[(&rate, 29.0)]).matches("(not met)").count(), 1);
        assert_eq!(markdown(&[(&rate, 31.0)]).matches("(not met)").count(), 0);
    }

    #[test]
    fn a_line_of_figures_is_read_and_any_other_is_refused() {
        let line = "json                       1000 events,   12.3 ns each, peak of  45.6 bytes each, 45600 in all";
        let expected = Measured {
            nanoseconds: 12.3,
            bytes: 45600.0,
        };
        assert_eq!(Measured::parse(line).unwrap(), expected);
        assert!(Measured::parse("json 1000 events").is_err());
    }

    #[test]
    fn a_profile_is_the_first_lines_that_count_something() {
        let mut listed =
            String::from("Events shown:     Ir\n80,185,558 (100.0%)  PROGRAM TOTALS\n\nIr  file:function\n");
        listed += "10,000,000 (12.72%)  host/core/src/sink/rows.rs:ipft::sink::rows::Rows::push [/a/program]\n";
        for _ in 0..20 {
            listed += " 5,000,000 ( 6.28%)  /rustc/1/library/core/src/slice/index.rs:<a as ipft::Sink>::finish\n";
        }
        let text = top(&listed);
        assert_eq!(text.lines().count(), TOP);
        assert!(
            text.starts_with("     20.0 12.72%  ipft::sink::rows::Rows::push  (host/core/src/sink/rows.rs)\n"),
            "{text}"
        );
        assert!(
            text.contains("6.28%  <a as ipft::Sink>::finish  (core/src/slice/index.rs)"),
            "{text}"
        );
    }

    #[test]
    fn the_sum_and_the_medians_are_found() {
        assert_eq!(total("events: Ir\nsummary: 1234\n").unwrap(), 1234.0);
        assert!(total("summary: 0\n").is_err() && total("").is_err());
        let said = "list 400000\nlist 300000\nlist 900000\nready 1\n";
        assert_eq!(median(said, "list").unwrap(), 0.4);
        assert!(median(said, "stop").is_err());
    }

    #[test]
    fn unknown_options_are_refused() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let both = Request {
            profile: true,
            write: true,
        };
        assert_eq!(parse(&words("--write --profile")).unwrap(), both);
        assert!(parse(&words("--fast")).is_err());
    }
}
