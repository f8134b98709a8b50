//! Tests of the book's recording, `docs/demo.ipft`: its content, and that the book's commands for it have output.
//!
//! `cargo xtask demo` makes such a recording in `demo` of the target folder. A replacement has other packets at another
//! time: the golden file, and the packet and the time in the book, must be updated.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ipft_e2e::book;
use ipft_e2e::pcapng::Capture;
use xtask::plugins;

const RECORDING: &str = "docs/demo.ipft";

/// The pages with commands that replay it.
const PAGES: [&str; 4] = [
    "README.md",
    "docs/src/plugins.md",
    "docs/src/quick-start.md",
    "docs/src/recording.md",
];

/// Maximum length of the output for a trace without events.
const HEADING: usize = 2;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// Returns the replay commands of the pages, as typed, without comments after `#`.
fn commands() -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for page in PAGES {
        // In a list, a block is indented.
        let text: String = fs::read_to_string(project(page))
            .unwrap()
            .lines()
            .flat_map(|line| [line.trim_start(), "\n"])
            .collect();
        for block in book::blocks(&text).iter().filter(|block| block.has("sh")) {
            let lines = block.text.lines().filter(|line| line.starts_with("ipft replay "));
            commands.extend(lines.map(|line| line.split(" #").next().unwrap_or(line).trim_end().to_owned()));
        }
    }
    commands
}

/// Creates a reader's folder: with the recording, and with own traces under the names in the book.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("docs")).unwrap();
    for name in [RECORDING, "trace.ipft", "trace.000000.ipft"] {
        fs::copy(project(RECORDING), folder.path().join(name)).unwrap();
    }
    fs::create_dir_all(folder.path().join("data/ipft")).unwrap();
    symlink(plugins::gallery().unwrap(), folder.path().join("data/ipft/plugins")).unwrap();
    folder
}

fn run(folder: &Path, command: &str) -> Output {
    let ipft = Path::new(env!("CARGO_BIN_EXE_ipft")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .env("PATH", format!("{}:{path}", ipft.display()))
        .env("XDG_DATA_HOME", folder.join("data"))
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Returns the output files of a command.
fn files(command: &str) -> Vec<&str> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let named = words.windows(2).filter_map(|pair| match pair {
        ["--plugin-out" | "--pcapng" | "--record" | "-w", file] if *file != "-" => Some(*file),
        _ => None,
    });
    named.collect()
}

#[test]
fn every_replay_that_the_book_shows_draws_something() {
    let commands = commands();
    assert!(commands.len() > 10, "{commands:#?}");
    let mut wrong = Vec::new();
    for command in &commands {
        let folder = folder();
        let output = run(folder.path(), command);
        let (drawn, said) = (text(&output.stdout), text(&output.stderr));
        if !output.status.success() || said.contains("ipft: ") {
            wrong.push(format!("{command}: {}: {said}", output.status));
        }
        let files = files(command);
        for file in &files {
            if !fs::metadata(folder.path().join(file)).is_ok_and(|found| found.len() > 0) {
                wrong.push(format!("{command}: there is nothing in {file}"));
            }
        }
        if files.is_empty() && drawn.lines().count() <= HEADING {
            wrong.push(format!("{command}: it draws no event, but {drawn:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Compares a command's output with a golden file. `UPDATE_GOLDEN=1` updates the file, which is only right for a new
/// recording.
fn is_drawn_as_ever(command: &str, name: &str) {
    let folder = folder();
    let output = run(folder.path(), command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let golden = project("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &output.stdout).unwrap();
    }
    let expected = fs::read_to_string(&golden).unwrap();
    let drawn = text(&output.stdout);
    for (number, (expected, drawn)) in (1..).zip(expected.lines().zip(drawn.lines())) {
        assert_eq!(expected, drawn, "line {number}");
    }
    assert!(expected == drawn, "one has more lines than the other");
}

#[test]
fn the_output_of_the_recording_is_unchanged() {
    is_drawn_as_ever(&format!("ipft replay {RECORDING}"), "demo.txt");
}

#[test]
fn the_summary_of_the_recording_is_unchanged() {
    is_drawn_as_ever(&format!("ipft replay {RECORDING} --info"), "demo-info.txt");
}

#[test]
fn the_recording_has_packet_headers_for_wireshark() {
    let folder = folder();
    let output = run(
        folder.path(),
        &format!("ipft replay {RECORDING} --pcapng demo.pcapng -o json"),
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let events = text(&output.stdout).lines();
    let packets: BTreeSet<u64> = events
        .map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            let identity = event["packet_id"].as_str().unwrap().strip_prefix("0x").unwrap();
            u64::from_str_radix(identity, 16).unwrap()
        })
        .collect();
    let capture = Capture::parse(&fs::read(folder.path().join("demo.pcapng")).unwrap()).unwrap();
    let captured: BTreeSet<u64> = capture.packets.iter().map(|packet| packet.identity).collect();
    assert_eq!(captured, packets, "every packet was seen with its headers complete");
    let mut protocols = BTreeSet::new();
    for packet in &capture.packets {
        assert!((20..=128).contains(&packet.bytes.len()), "{packet:?}");
        assert_eq!(packet.bytes[0], 0x45, "IPv4, no options: {packet:?}");
        assert!(!packet.comments.is_empty(), "{packet:?}");
        protocols.insert(packet.bytes[9]);
    }
    assert_eq!(protocols, BTreeSet::from([1, 6]), "ICMP and TCP");
}

#[test]
fn the_book_replays_with_every_plugin_and_output() {
    let page = fs::read_to_string(project("docs/src/recording.md")).unwrap();
    let plugins = ["flame", "latency", "paths", "story", "timeline", "report"].map(|name| format!("--plugin {name}"));
    let outputs = ["-o json", "-o jsonl", "--pcapng"].map(str::to_owned);
    for option in plugins.iter().chain(&outputs) {
        let shown = |line: &str| {
            let mut words = line.strip_prefix(&format!("ipft replay {RECORDING} ")).into_iter();
            words.any(|rest| format!("{rest} ").contains(&format!("{option} ")))
        };
        assert!(page.lines().any(shown), "there is no ipft replay {RECORDING} {option}");
    }
}

#[test]
fn the_recording_is_small_whole_and_anonymous() {
    let size = fs::metadata(project(RECORDING)).unwrap().len();
    assert!(size < 200_000, "{size} bytes are much for a repository");
    let folder = folder();
    let output = run(folder.path(), &format!("ipft replay {RECORDING} -o jsonl"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "nothing is cut, damaged or lost");
    let mut lines = text(&output.stdout).lines();
    let trace: serde_json::Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    let typed = "ipft -m 0xdeadbeef -t function_graph --record demo.ipft --record-bytes 128 -o aggregate \
                 --plugin flame --plugin-out flame.svg --plugin report --plugin-out report.html";
    assert_eq!(
        trace["command_line"],
        serde_json::json!(typed.split(' ').collect::<Vec<_>>())
    );
    assert_eq!(trace["tracer"], "function_graph");
    assert!(
        trace["kernel"].as_str().unwrap().starts_with("6.12."),
        "{}",
        trace["kernel"]
    );
    let summary: serde_json::Value = serde_json::from_str(lines.next_back().unwrap()).unwrap();
    assert_eq!(summary["lost"], 0);
    assert_eq!(summary["events"], lines.count() as u64);
}
