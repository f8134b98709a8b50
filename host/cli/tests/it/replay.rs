//! Tests of the program `ipft replay`: recordings are drawn like live traces, as a whole or in part.

#[allow(dead_code, reason = "the golden files are for the tests of the sinks")]
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, UNIX_EPOCH};

use crate::recorded::*;
use ipft_core::event::{Event, EventKind};
use ipft_core::sink::{Aggregate, Json, Jsonl, Sink, Text, TextOptions};
use ipft_plugin_host::host::wasm::{Component, Engine};
use ipft_plugin_host::package::Grants;
use support::canned::{Canned, draw};

/// Returns canned traces and a long one, with the expected output of the built-in sinks.
fn live(canned: &Canned) -> [(&'static str, String); 3] {
    [
        ("aggregate", draw(canned, Aggregate::new)),
        ("json", draw(canned, Json::new)),
        ("jsonl", draw(canned, Jsonl::new)),
    ]
}

#[test]
fn every_output_is_the_same_as_live() {
    let folder = tempfile::tempdir().unwrap();
    for canned in support::canned::all().into_iter().chain([long(20_000)]) {
        let path = folder.path().join(canned.name);
        record(&canned, &path);
        for (output, expected) in live(&canned) {
            let drawn = drawn(&path, &["-o", output]);
            assert!(drawn == expected, "{} as {output}:\n{drawn}\n{expected}", canned.name);
        }
    }
}

#[test]
fn text_of_a_replay_is_that_of_one_batch() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    for mut canned in support::canned::all() {
        record(&canned, &path);
        let mut batches = canned.batches.drain(..);
        let mut all = batches.next().unwrap();
        for batch in batches {
            let offset = all.payload.len() as u32;
            all.events.extend(batch.events.iter().map(|event| Event {
                payload_offset: event.payload_offset + offset,
                ..*event
            }));
            all.payload.extend_from_slice(&batch.payload);
            all.names = batch.names;
        }
        canned.batches = vec![all];
        let expected = draw(&canned, |output| Text::new(output, TextOptions::default()));
        assert_eq!(drawn(&path, &["-o", "text"]), expected, "{}", canned.name);
        // A pipe is no terminal, unless colours are wanted.
        let colored = drawn(&path, &["-o", "text", "--color", "always"]);
        assert_eq!(colored.contains("\x1b[1m#1"), !expected.is_empty(), "{colored}");
    }
}

#[test]
fn a_plugin_draws_the_same_as_live() {
    let plugin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/complete-0.1.0.wasm");
    let engine = Engine::new().unwrap();
    let bytes = fs::read(&plugin).unwrap();
    let component = Component::load(&engine, "complete", &bytes, None, || {}, &mut |_| {}).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let picture = folder.path().join("picture");
    let some = ["graph", "lossy", "tagged"];
    let canned = support::canned::all()
        .into_iter()
        .filter(|canned| some.contains(&canned.name));
    for canned in canned.chain([long(5000)]) {
        record(&canned, &path);
        let live = folder.path().join("live");
        let values = component.description().values(&[]).unwrap();
        let to = Box::new(File::create(&live).unwrap());
        let log = std::sync::Arc::new(|_, _: &str| {});
        let mut sink = component.sink(&Grants::default(), values, to, log).unwrap();
        sink.start(&canned.trace).unwrap();
        for batch in &canned.batches {
            sink.events(batch).unwrap();
        }
        sink.finish(&canned.summary).unwrap();
        let ran = ipft([path.as_os_str(), OsStr::new("-o"), OsStr::new("json")])
            .arg("--plugin")
            .arg(&plugin)
            .arg("--plugin-out")
            .arg(&picture)
            .env("XDG_CACHE_HOME", folder.path())
            .output()
            .unwrap();
        let ran = Ran::from(ran);
        // The plugin has a decoder as well, but these traces have no bytes for it.
        assert_eq!(ran.code, Some(0), "{}: {}", canned.name, ran.said);
        assert!(ran.out == draw(&canned, Json::new), "{}", canned.name);
        let drawn = fs::read_to_string(&picture).unwrap();
        assert!(!drawn.is_empty());
        assert!(drawn == fs::read_to_string(&live).unwrap(), "{}: {drawn}", canned.name);
    }
}

/// Options, and their selections.
type Filter = (Vec<String>, Box<dyn FnMut(&Event) -> bool>);

#[test]
fn filters_select_events_and_the_summary_counts_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let canned = long(30_000);
    record(&canned, &path);
    const SECOND: u64 = 1_000_000_000;
    let first = canned.batches[0].events[0];
    let start = first.timestamp;
    let offset = u64::try_from(canned.trace.clock_offset).unwrap();
    let wall = |timestamp: u64| {
        let time = UNIX_EPOCH + Duration::from_nanos(offset + timestamp);
        humantime::format_rfc3339_nanos(time).to_string()
    };
    let some = first.packet + 0x4200;
    // From blocks other than the first.
    let one = canned.batches[21].events[3].timestamp;
    let other = canned.batches[28].events[3].timestamp;
    let mut left = 0;
    let mut limit = move |most| {
        left += 1;
        left <= most
    };
    let mut few = limit;
    let options = |options: &[&str]| options.iter().map(|option| option.to_string()).collect::<Vec<_>>();
    let filters: Vec<Filter> = vec![
        (
            options(&["--packet", &format!("{some:#x}")]),
            Box::new(move |event| event.packet == some),
        ),
        (
            options(&["--packet", &some.to_string()]),
            Box::new(move |event| event.packet == some),
        ),
        (
            options(&[
                "--packet",
                &format!("{:#x}", first.packet),
                "--packet",
                &some.to_string(),
                "--packet",
                "1",
            ]),
            Box::new(move |event| event.packet == some || event.packet == first.packet),
        ),
        (options(&["--packet", "1"]), Box::new(|_| false)),
        (options(&["-r", "^ip_.*d$"]), Box::new(|event| event.function == 1)),
        (
            options(&["--module-regex", "^(nf_nat|veth)$"]),
            Box::new(|event| [2, 4].contains(&event.function)),
        ),
        (
            options(&["-r", "ip", "--module-regex", "nf"]),
            Box::new(|event| event.function == 2),
        ),
        (options(&["-r", "nothing_is_called_that"]), Box::new(|_| false)),
        (
            options(&["--from", "+2s"]),
            Box::new(move |event| event.timestamp >= start + 2 * SECOND),
        ),
        (
            options(&["--to", "+500ms"]),
            Box::new(move |event| event.timestamp <= start + SECOND / 2),
        ),
        (
            options(&["--from", "+1.25s", "--to", "+1.5"]),
            Box::new(move |event| (start + SECOND * 5 / 4..=start + SECOND * 3 / 2).contains(&event.timestamp)),
        ),
        (
            options(&["--from", &one.to_string(), "--to", &other.to_string()]),
            Box::new(move |event| (one..=other).contains(&event.timestamp)),
        ),
        (
            options(&["--from", &wall(start + SECOND), "--to", &wall(start + 2 * SECOND)]),
            Box::new(move |event| (start + SECOND..=start + 2 * SECOND).contains(&event.timestamp)),
        ),
        (options(&["--from", "+1h"]), Box::new(|_| false)),
        (options(&["--to", "1970-01-01T00:00:00Z"]), Box::new(|_| false)),
        (options(&["--limit", "15"]), Box::new(move |_| limit(15))),
        (options(&["--limit", "1000000"]), Box::new(|_| true)),
        (
            options(&["--limit", "7", "--from", "+3s", "-r", "^veth_xmit$"]),
            Box::new(move |event| event.timestamp >= start + 3 * SECOND && event.function == 4 && few(7)),
        ),
        (
            options(&["--packet", &some.to_string(), "-r", "output", "--to", "+1h"]),
            Box::new(move |event| event.packet == some && event.function == 3),
        ),
    ];
    for (options, wanted) in filters {
        let expected = only(&canned, wanted);
        let with = |output| {
            let mut all: Vec<&str> = options.iter().map(String::as_str).collect();
            all.extend(["-o", output]);
            drawn(&path, &all)
        };
        assert!(with("json") == draw(&expected, Json::new), "{options:?}");
        assert!(with("aggregate") == draw(&expected, Aggregate::new), "{options:?}");
        let jsonl = with("jsonl");
        let summary = &expected.summary;
        assert_eq!(counts(&jsonl), (summary.events, summary.packets), "{options:?}");
        assert!(jsonl == draw(&expected, Jsonl::new), "{options:?}");
    }
}

#[test]
fn an_impossible_selection_is_wrong_usage() {
    for wrong in [
        ["--packet", "0"],
        ["--packet", "some"],
        ["--limit", "0"],
        ["--from", "yesterday"],
        ["-r", "("],
    ] {
        let ran = replay(["none.ipft"].into_iter().chain(wrong));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{wrong:?}: {}", ran.said);
        assert!(ran.said.contains(wrong[0].trim_start_matches('-')), "{}", ran.said);
    }
}

#[test]
fn recordings_of_replays_draw_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let again = folder.path().join("again.ipft");
    for canned in support::canned::all().into_iter().chain([long(20_000)]) {
        record(&canned, &path);
        let nothing = drawn(&path, &["--record", again.to_str().unwrap()]);
        assert_eq!(nothing, "", "a recording takes the place of other output");
        for (output, expected) in live(&canned) {
            assert!(
                drawn(&again, &["-o", output]) == expected,
                "{} as {output}",
                canned.name
            );
        }
    }
    let returns = ["--record", again.to_str().unwrap(), "--limit", "100", "-r", "veth"];
    drawn(&path, &returns);
    let mut left = 0;
    let part = only(&long(20_000), |event| {
        event.function == 4 && {
            left += 1;
            left <= 100
        }
    });
    assert!(drawn(&again, &["-o", "jsonl"]) == draw(&part, Jsonl::new));
    assert!(
        part.batches[0]
            .events
            .iter()
            .any(|event| event.kind == EventKind::RETURN)
    );
}

#[test]
fn stdin_and_stdout_are_files_as_others_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let canned = long(20_000);
    record(&canned, &path);
    let expected = draw(&canned, Jsonl::new);
    let from_file = ipft(["-", "-o", "jsonl"])
        .stdin(File::open(&path).unwrap())
        .output()
        .unwrap();
    let ran = Ran::from(from_file);
    assert!(ran.code == Some(0) && ran.out == expected, "{}", ran.said);
    // One program's stdout is the other's stdin.
    let mut one = ipft([path.to_str().unwrap(), "--record", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pipe = one.stdout.take().unwrap();
    let ran = Ran::from(ipft(["-", "-o", "jsonl"]).stdin(pipe).output().unwrap());
    assert!(ran.code == Some(0) && ran.out == expected, "{}", ran.said);
    assert_eq!(one.wait().unwrap().code(), Some(0));
    // A pipe that ends early is a cut file.
    let bytes = fs::read(&path).unwrap();
    let mut cut = ipft(["-", "-o", "jsonl"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = cut.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes[..bytes.len() / 2]));
    let ran = Ran::from(cut.wait_with_output().unwrap());
    writer.join().unwrap().unwrap();
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(ran.said.contains("- was cut"), "{}", ran.said);
    let (events, _) = counts(&ran.out);
    assert!((5000..20_000).contains(&events), "{events}");
}

#[test]
fn sharing_stdout_or_mixing_stdin_is_wrong_usage() {
    for (arguments, word) in [
        (&["a.ipft", "--record", "-", "-o", "json"][..], "stdout"),
        (&["a.ipft", "--record", "-", "--record-max-size", "1M"], "ring"),
        (&["-", "a.ipft"], "stdin"),
        (&["a.ipft", "--record-files", "3"], "--record-max-size"),
        (&[], "FILE"),
    ] {
        let ran = replay(arguments);
        assert_eq!(
            (ran.code, ran.out.as_str()),
            (Some(2), ""),
            "{arguments:?}: {}",
            ran.said
        );
        assert!(ran.said.contains(word), "{}", ran.said);
    }
}

#[test]
fn a_closed_reader_ends_the_replay_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    record(&long(50_000), &path);
    for output in ["text", "aggregate", "json", "jsonl"] {
        let mut child = ipft([path.to_str().unwrap(), "-o", output])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let mut some = [0; 100];
        std::io::Read::read_exact(&mut stdout, &mut some).unwrap();
        drop(stdout);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.said.as_str()), (Some(0), ""), "{output}");
    }
}

/// All orders would be too many.
fn shuffled(files: &[std::path::PathBuf], random: &mut Random) -> Vec<OsString> {
    let mut files: Vec<OsString> = files.iter().map(|file| file.clone().into()).collect();
    for index in (1..files.len()).rev() {
        files.swap(index, random.below(index as u64 + 1) as usize);
    }
    files
}

#[test]
fn a_ring_has_the_end_of_the_trace_in_any_order() {
    let canned = long(40_000);
    for (files, expected) in [(1000, 0..), (3, 1..)] {
        let folder = tempfile::tempdir().unwrap();
        let most = 16 << 10;
        let parts = record_ring(&canned, &folder.path().join("trace.ipft"), most, files);
        assert!(parts.len() <= files as usize && parts.len() >= 3, "{parts:?}");
        let block = 2048 * 16;
        for part in &parts {
            let length = fs::metadata(part).unwrap().len();
            assert!(length < most + block, "{} has {length} bytes", part.display());
        }
        let events: usize = parts.iter().map(|part| events_in(part)).sum();
        let mut skip = 40_000 - events;
        assert!(expected.contains(&skip), "{skip} events are missing");
        let tail = only(&canned, |_| {
            let wanted = skip == 0;
            skip = skip.saturating_sub(1);
            wanted
        });
        let mut random = Random(11);
        for _ in 0..4 {
            let mut arguments = shuffled(&parts, &mut random);
            arguments.extend(["-o", "jsonl"].map(OsString::from));
            let ran = replay(arguments);
            assert_eq!((ran.code, ran.said.as_str()), (Some(0), ""));
            assert_eq!(counts(&ran.out), (tail.summary.events, tail.summary.packets));
            assert!(ran.out == draw(&tail, Jsonl::new));
        }
    }
}

#[test]
fn missing_and_foreign_files_of_a_ring_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let canned = long(30_000);
    let parts = record_ring(&canned, &folder.path().join("trace.ipft"), 16 << 10, 100);
    assert!(parts.len() >= 5, "{parts:?}");
    let name = |part: usize| parts[part].display().to_string();
    let without = |missing: &[usize]| {
        let kept = parts
            .iter()
            .enumerate()
            .filter(|(number, _)| !missing.contains(number))
            .map(|(_, part)| part.as_os_str());
        replay(kept.chain(["-o", "jsonl"].map(OsStr::new)))
    };
    let ran = without(&[2]);
    let reported = format!("ipft: 1 part is missing between {} and {}\n", name(1), name(3));
    assert_eq!((ran.code, &ran.said), (Some(0), &reported));
    let there: usize = [&parts[..2], &parts[3..]]
        .concat()
        .iter()
        .map(|part| events_in(part))
        .sum();
    let (events, packets) = counts(&ran.out);
    assert_eq!(events as usize, there);
    assert!(
        packets < canned.summary.packets,
        "packets of the missing part are counted"
    );
    let reported = format!("ipft: 2 parts are missing between {} and {}\n", name(0), name(3));
    assert_eq!(without(&[1, 2]).said, reported);
    let reported = format!(
        "ipft: {} is not the last part of its trace; what follows is in part 2\n",
        name(1)
    );
    let ran = replay([&parts[1]]);
    assert_eq!((ran.code, ran.said), (Some(0), reported));
    let ran = replay([&parts[1], &parts[0], &parts[1]]);
    let reported = format!("ipft: {0} and {0} are the same part of a trace\n", name(1));
    assert_eq!((ran.code, ran.out.as_str(), ran.said), (Some(1), "", reported));
    let other = folder.path().join("other.ipft");
    record(&canned, &other);
    let ran = replay([&parts[0], &other]);
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""));
    let reported = format!("{} and {} are of different traces", name(0), other.display());
    assert!(ran.said.contains(&reported), "{}", ran.said);
}

#[test]
fn a_ring_takes_the_place_of_an_older_one_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let canned = long(30_000);
    let first = record_ring(&canned, &path, 16 << 10, 100);
    assert!(first.len() >= 5, "{first:?}");
    let beside = folder.path().join("trace.000000.txt");
    std::fs::write(&beside, "of another program").unwrap();
    let short = long(3_000);
    let parts = record_ring(&short, &path, 64 << 10, 100);
    assert_eq!(parts, [first[0].clone(), beside]);
    assert_eq!(drawn(&parts[0], &["-o", "jsonl"]), draw(&short, Jsonl::new));
}

#[test]
fn a_ring_with_too_small_files_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("trace.ipft");
    let mut canned = long(10_000);
    let mut random = Random(3);
    canned
        .trace
        .functions
        .extend((0..6000).map(|_| ipft_core::event::Function {
            name: format!("{:x}_{:x}", random.below(u64::MAX), random.below(u64::MAX)),
            module: "vmlinux".to_owned(),
            address: 0,
        }));
    record(&canned, &input);
    let ring = folder.path().join("ring");
    std::fs::create_dir(&ring).unwrap();
    record(&long(10), &ring.join("out.000000.ipft"));
    let older = std::fs::read(ring.join("out.000000.ipft")).unwrap();
    let out = ring.join("out.ipft");
    let arguments = [
        input.to_str().unwrap(),
        "--record",
        out.to_str().unwrap(),
        "--record-max-size",
    ];
    let ran = replay([&arguments[..], &["64K"]].concat());
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.said.contains("each file of a ring begins with what was traced") && ran.said.contains("--record-max-size"),
        "{}",
        ran.said
    );
    assert!(std::fs::read(ring.join("out.000000.ipft")).unwrap() == older);
    let ran = replay([&arguments[..], &["1M", "--record-files", "100"]].concat());
    assert_eq!((ran.code, ran.said.as_str()), (Some(0), ""));
    assert_eq!(
        files_in(&ring).iter().map(|part| events_in(part)).sum::<usize>(),
        10_000
    );
}
