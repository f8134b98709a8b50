//! Tests of recordings after faults: cut or damaged files, full disks, killed programs, and output names that would
//! overwrite the input.

#[allow(dead_code, reason = "the golden files are for the tests of the sinks")]
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use crate::recorded::*;
use ipft_core::sink::{Json, Jsonl};
use support::canned::{Canned, draw};

fn text(path: &Path) -> &str {
    path.to_str().expect("names are UTF-8 here")
}

/// Returns the first events of a trace.
fn first(canned: &Canned, count: usize) -> Canned {
    let mut left = 0;
    only(canned, |_| {
        left += 1;
        left <= count
    })
}

#[test]
fn a_cut_recording_is_drawn_to_the_cut_with_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let canned = long(20_000);
    let ends = record(&canned, &path);
    let bytes = fs::read(&path).unwrap();
    assert!(ends.len() > 8, "{ends:?}");
    for (block, more) in [(3, 1), (5, 700), (6, 0)] {
        let whole = ends[block];
        fs::write(&path, &bytes[..(whole + more) as usize]).unwrap();
        let ran = replay([text(&path), "-o", "jsonl"]);
        let reported = format!(
            "ipft: {} was cut: it has no end, and what follows byte {whole} was not recorded or is lost\n",
            path.display()
        );
        assert_eq!((ran.code, ran.said), (Some(1), reported));
        let (events, packets) = counts(&ran.out);
        assert_eq!(events as usize, events_in(&path));
        let info = drawn(&path, &["--info"]);
        assert!(
            info.contains(&format!("\nEvents:    {events} in {block} blocks\n")),
            "{info}"
        );
        assert!(
            info.contains("\nPackets:   not counted, since the end is missing\n"),
            "{info}"
        );
        assert!(
            info.contains(&format!("was cut: it has no end, and what follows byte {whole} ")),
            "{info}"
        );
        let there = first(&canned, events as usize);
        assert_eq!(packets, there.summary.packets);
        let ran = replay([text(&path), "-o", "json"]);
        assert!(ran.code == Some(1) && ran.out == draw(&there, Json::new));
        // A replay that ends before the cut does not report it.
        let ran = replay([text(&path), "-o", "json", "--limit", "10"]);
        assert_eq!((ran.code, ran.said.as_str()), (Some(0), ""));
    }
}

#[test]
fn a_cut_behind_the_end_of_the_trace_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let canned = long(5000);
    record(&canned, &path);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let ran = replay([text(&path), "-o", "jsonl"]);
    let reported = format!(
        "ipft: {} was cut at its very end; nothing of the trace is missing\n",
        path.display()
    );
    assert_eq!((ran.code, ran.said), (Some(0), reported));
    assert!(ran.out == draw(&canned, Jsonl::new));
    let info = drawn(&path, &["--info"]);
    assert!(info.contains("was cut at its very end"), "{info}");
}

#[test]
fn damaged_blocks_are_skipped_with_exit_1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let canned = long(20_000);
    let ends = record(&canned, &path);
    let bytes = fs::read(&path).unwrap();
    for (block, place) in [(2, 100), (4, 60)] {
        let mut damaged = bytes.clone();
        damaged[ends[block] as usize + place] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let ran = replay([text(&path), "-o", "jsonl"]);
        let length = ends[block + 1] - ends[block];
        let (events, _) = counts(&ran.out);
        let reported = format!(
            "ipft: {} is damaged: {length} bytes in 1 place, the first at byte {}, cannot be read; {} events were in them\n",
            path.display(),
            ends[block],
            20_000 - events
        );
        assert_eq!((ran.code, ran.said), (Some(1), reported));
        assert_eq!(events as usize, events_in(&path));
        assert!((15_000..20_000).contains(&events), "{events}");
        // Before and after the damage, everything is present.
        let all = draw(&canned, Json::new);
        let ran = replay([text(&path), "-o", "json"]);
        let lines: Vec<&str> = ran.out.lines().collect();
        let same = all.lines().zip(&lines).take_while(|(one, other)| one == *other).count();
        assert!(all.ends_with(&ran.out[lines[..same].iter().map(|line| line.len() + 1).sum()..]));
        assert!(same > 2000 && lines.len() - same > 2000, "{same}");
    }
}

#[test]
fn an_unreadable_recording_is_named_without_output() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.ipft");
    let foreign = folder.path().join("foreign.ipft");
    let empty = folder.path().join("empty.ipft");
    fs::write(&foreign, "{\"type\":\"trace\"}\n").unwrap();
    fs::write(&empty, "").unwrap();
    for (path, why) in [
        (missing.as_path(), "No such file"),
        (&foreign, "no recording"),
        (&empty, "is empty"),
        (folder.path(), "directory"),
    ] {
        let before = files_in(folder.path());
        let out = folder.path().join("out");
        for option in ["--record", "--pcapng"] {
            let ran = replay([text(path), option, text(&out), "-o", "jsonl"]);
            assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.said);
            assert!(ran.said.contains(text(path)) && ran.said.contains(why), "{}", ran.said);
            assert_eq!(files_in(folder.path()), before);
        }
    }
}

#[test]
fn a_failing_recording_is_reported_before_drawing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    record(&long(100), &path);
    for wrong in ["/no/such/dir/x", text(folder.path())] {
        let ran = replay([text(&path), "--record", wrong, "-o", "json"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.said);
        assert!(ran.said.contains(&format!("cannot record to {wrong}")), "{}", ran.said);
    }
}

#[test]
fn a_recording_is_not_written_over_while_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let canned = long(5000);
    record(&canned, &path);
    let before = fs::read(&path).unwrap();
    let link = folder.path().join("link.ipft");
    symlink("trace.ipft", &link).unwrap();
    let hard = folder.path().join("hard.ipft");
    fs::hard_link(&path, &hard).unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    let around = folder.path().join("sub/../trace.ipft");
    let part = folder.path().join("trace.000003.ipft");
    symlink("trace.ipft", &part).unwrap();
    let there = files_in(folder.path());
    let refused = |ran: Ran, option: &str| {
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.said);
        assert!(
            ran.said.contains("would be overwritten") && ran.said.contains(&format!("give {option} another name")),
            "{}",
            ran.said
        );
        assert!(fs::read(&path).unwrap() == before);
        assert_eq!(files_in(folder.path()), there);
    };
    for one in [&path, &link, &hard, &around] {
        for other in [&path, &link, &hard, &around] {
            refused(replay([text(one), "--record", text(other), "-o", "json"]), "--record");
        }
        refused(replay([text(one), "--pcapng", text(&path), "-o", "json"]), "--pcapng");
        // A file of that ring is the recording by another name.
        let ring = ["--record", text(&path), "--record-max-size", "64K"];
        refused(replay([text(one)].into_iter().chain(ring)), "--record");
    }
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/complete-0.1.0.wasm");
    let drawing = [text(&path), "--plugin", text(&plugin), "--plugin-out", text(&link)];
    let cache = tempfile::tempdir().unwrap();
    let ran = ipft(drawing).env("XDG_CACHE_HOME", cache.path()).output().unwrap();
    refused(ran.into(), "--plugin-out");
    let stdin = ipft(["-", "--record", text(&path)])
        .stdin(fs::File::open(&path).unwrap())
        .output()
        .unwrap();
    refused(stdin.into(), "--record");
}

#[test]
fn two_outputs_are_not_written_to_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    record(&long(5000), &path);
    let (one, other) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&one, "something").unwrap();
    symlink("a", &other).unwrap();
    let new = folder.path().join("new");
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/complete-0.1.0.wasm");
    let cache = tempfile::tempdir().unwrap();
    for (arguments, options) in [
        (
            ["--record", text(&one), "--pcapng", text(&other)].to_vec(),
            "--pcapng and --record",
        ),
        (
            ["--record", text(&new), "--pcapng", text(&new)].to_vec(),
            "--pcapng and --record",
        ),
        (
            [
                "--record",
                text(&one),
                "--plugin",
                text(&plugin),
                "--plugin-out",
                text(&other),
            ]
            .to_vec(),
            "--plugin-out and --record",
        ),
    ] {
        let mut command = ipft([&[text(&path)], &arguments[..]].concat());
        let ran = Ran::from(command.env("XDG_CACHE_HOME", cache.path()).output().unwrap());
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.said);
        assert!(
            ran.said
                .contains(&format!("{options} would both write to {}", folder.path().display())),
            "{}",
            ran.said
        );
        assert_eq!(fs::read_to_string(&one).unwrap(), "something");
        assert!(!new.exists());
    }
    let ran = replay([text(&path), "--record", "/dev/null", "-o", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.said);
}

#[test]
fn packets_of_the_readable_part_are_counted_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let canned = long(20_000);
    let ends = record(&canned, &path);
    let bytes = fs::read(&path).unwrap();
    let mut damaged = bytes.clone();
    damaged[ends[2] as usize + 100] ^= 0x10;
    fs::write(&path, &damaged).unwrap();
    let ran = replay([text(&path), "-o", "jsonl"]);
    let (events, packets) = counts(&ran.out);
    let seen: BTreeSet<&str> = (ran.out.lines())
        .filter_map(|line| line.split_once("\"packet\":")?.1.split(',').next())
        .collect();
    assert!(events < 20_000 && packets < canned.summary.packets);
    assert_eq!(packets, seen.len() as u64);
    // The summary itself: the index says that it was there.
    let mut damaged = bytes.clone();
    let inside = *ends.last().unwrap() as usize + 60;
    damaged[inside] ^= 0x10;
    fs::write(&path, &damaged).unwrap();
    let ran = replay([text(&path), "-o", "jsonl"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.said.contains("is damaged") && !ran.said.contains("not the last part"),
        "{}",
        ran.said
    );
    assert_eq!(counts(&ran.out), (20_000, canned.summary.packets));
    let info = drawn(&path, &["--info"]);
    assert!(
        info.contains("is damaged") && !info.contains("not the last part"),
        "{info}"
    );
}

#[test]
fn names_of_files_reach_no_terminal_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("\x1b]0;title\x07.ipft");
    fs::write(&path, "something else").unwrap();
    let ran = replay([text(&path)]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.said.contains("\\x1b]0;title\\x07.ipft is no recording"),
        "{:?}",
        ran.said
    );
    record(&long(5000), &path);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let ran = replay([text(&path), "-o", "jsonl"]);
    assert!(
        ran.said.contains("\\x07.ipft was cut") && !ran.said.contains('\x1b'),
        "{:?}",
        ran.said
    );
    let info = drawn(&path, &["--info"]);
    assert!(
        info.contains("\\x07.ipft was cut") && !info.contains('\x1b'),
        "{info:?}"
    );
}

#[test]
fn a_full_disk_does_not_affect_other_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let canned = long(5000);
    record(&canned, &path);
    let ran = replay([text(&path), "--record", "/dev/full", "-o", "json"]);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.said.contains("/dev/full") && ran.said.contains("No space left on device"),
        "{}",
        ran.said
    );
    assert!(ran.out == draw(&canned, Json::new));
    let ran = replay([text(&path), "--record", "/dev/full"]);
    assert!(
        ran.code == Some(1) && ran.said.contains("No space left"),
        "{}",
        ran.said
    );
}

#[test]
fn a_file_at_its_size_limit_keeps_its_whole_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let out = folder.path().join("out.ipft");
    let canned = long(100_000);
    record(&canned, &path);
    let all = draw(&canned, Json::new);
    let length = fs::metadata(&path).unwrap().len();
    // The first block of events fits.
    for blocks in [4, 6, 9].map(|tenths| length * tenths / 10 / 512) {
        // The limit is in blocks of 512 bytes. Without the signal, writes beyond it fail as on a full disk.
        let limit = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
        let ran = std::process::Command::new("sh")
            .args(["-c", &limit, "sh", env!("CARGO_BIN_EXE_ipft"), "replay"])
            .args([text(&path), "--record", text(&out), "-o", "json"])
            .output()
            .unwrap();
        let ran = Ran::from(ran);
        let reported = format!("ipft: {}: cannot write the output: File too large", out.display());
        assert!(ran.code == Some(1) && ran.said.contains(&reported), "{}", ran.said);
        assert!(ran.out == all, "the other output is not what it should be");
        let kept = fs::metadata(&out).unwrap().len();
        assert!(kept > 0 && kept <= blocks * 512 && kept < length, "{kept} bytes");
        let ran = replay([text(&out), "-o", "json"]);
        let reported = format!("what follows byte {kept} was not recorded");
        assert!(ran.code == Some(1) && ran.said.contains(&reported), "{}", ran.said);
        assert!(!ran.out.is_empty() && all.starts_with(&ran.out));
    }
    // The description of the trace does not fit: the file would be useless.
    let nothing = folder.path().join("nothing.ipft");
    let ran = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh"])
        .args([env!("CARGO_BIN_EXE_ipft"), "replay", text(&path)])
        .args(["--record", text(&nothing), "-o", "json"])
        .output()
        .unwrap();
    let ran = Ran::from(ran);
    assert!(ran.code == Some(1) && ran.said.contains(text(&nothing)), "{}", ran.said);
    assert!(!nothing.exists());
    assert!(ran.out == all);
}

#[test]
fn a_ring_part_without_a_header_is_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let canned = long(30_000);
    let parts = record_ring(&canned, &folder.path().join("trace.ipft"), 16 << 10, 100);
    let last = parts.last().unwrap();
    let there: usize = parts[..parts.len() - 1].iter().map(|part| events_in(part)).sum();
    let bytes = fs::read(last).unwrap();
    // Possible remains of a new part after a crash.
    for (length, why) in [
        (0, "is empty"),
        (20, "ends within its first bytes"),
        (32, "ends before it says what was traced"),
        (100, "ends before it says what was traced"),
    ] {
        fs::write(last, &bytes[..length]).unwrap();
        let ran = replay(
            parts
                .iter()
                .map(|part| part.as_os_str())
                .chain(["-o", "jsonl"].map(OsStr::new)),
        );
        assert_eq!(ran.code, Some(1), "{}", ran.said);
        assert!(ran.said.contains(text(last)) && ran.said.contains(why), "{}", ran.said);
        assert!(ran.said.contains("it is passed over"), "{}", ran.said);
        assert_eq!(counts(&ran.out).0 as usize, there);
        let ran = replay([last, last]);
        assert!(ran.code == Some(1) && ran.said.contains(why), "{}", ran.said);
    }
    // Another file is the user's mistake.
    fs::write(last, "no recording, and longer than the first bytes of one").unwrap();
    let ran = replay(&parts);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.said);
}

#[test]
fn a_killed_recording_reads_to_its_last_whole_block() {
    let folder = tempfile::tempdir().unwrap();
    let big = folder.path().join("big.ipft");
    let out = folder.path().join("out.ipft");
    let canned = long(60_000);
    record(&canned, &big);
    let all = draw(&canned, Json::new);
    drawn(&big, &["--record", text(&out)]);
    let size = fs::metadata(&out).unwrap().len();
    let mut random = Random(2026);
    let (mut cut, mut seen) = (0, std::collections::BTreeSet::new());
    for run in 0..50 {
        fs::remove_file(&out).unwrap();
        let enough = random.below(size * 3 / 4);
        let mut child = ipft([text(&big), "--record", text(&out)])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while fs::metadata(&out).map_or(0, |known| known.len()) <= enough && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let ran = replay([text(&out), "-o", "json"]);
        assert!(
            all.starts_with(&ran.out),
            "run {run}: other events than those that happened"
        );
        if ran.code == Some(0) {
            // The replay finished first, or all but its last mark was written.
            let whole = ran.said.is_empty() || ran.said.contains("was cut at its very end");
            assert!(ran.out == all && whole, "run {run}: {}", ran.said);
            continue;
        }
        cut += 1;
        assert_eq!(ran.code, Some(1), "run {run}");
        assert!(
            ran.said.contains("was cut") || (ran.out.is_empty() && ran.said.contains("it ends")),
            "run {run}: {}",
            ran.said
        );
        seen.insert(ran.out.len());
    }
    // Otherwise the test would prove nothing.
    assert!(
        cut >= 10 && seen.len() >= 5,
        "{cut} of 50 were killed in time, at {seen:?}"
    );
}
