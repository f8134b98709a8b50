//! Tests of outputs when stdout, stderr or a file cannot be written, or when other users can write to the folder.

#[allow(dead_code, reason = "the golden files are for the tests of the sinks")]
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::recorded::*;
use ipft_core::sink::{Record, Ring, Sink};

/// Creates a folder with a cut recording, so that there is a message about it.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.ipft");
    record(&long(5_000), &path);
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
    (folder, path)
}

/// Runs `ipft replay` in a shell that changes its streams or limits.
fn shell(before: &str, redirect: &str, arguments: &[&OsStr]) -> Ran {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{before} exec \"$0\" replay \"$@\" {redirect}"));
    let ran = command.arg(env!("CARGO_BIN_EXE_ipft")).args(arguments).output();
    ran.expect("sh runs").into()
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_closed_stdout_is_an_error_at_the_start() {
    let (folder, path) = folder();
    let out = folder.path().join("out.ipft");
    let ran = shell("", ">&-", &[path.as_ref(), "--record".as_ref(), out.as_ref()]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.said.starts_with("ipft: stdout is closed; "), "{}", ran.said);
    assert!(!out.exists());
}

#[test]
fn a_failing_stderr_only_loses_messages() {
    let (folder, path) = folder();
    let expected = folder.path().join("expected.ipft");
    let ran = shell("", "", &[path.as_ref(), "--record".as_ref(), expected.as_ref()]);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    for redirect in ["2>&-", "2>/dev/full"] {
        let out = folder.path().join("out.ipft");
        let arguments = [
            path.as_os_str(),
            "-o".as_ref(),
            "jsonl".as_ref(),
            "--record".as_ref(),
            out.as_ref(),
        ];
        let ran = shell("", redirect, &arguments);
        assert_eq!((ran.code, ran.said.as_str()), (Some(1), ""), "{redirect}");
        assert_eq!(ran.out.lines().count(), events_in(&expected) + 2, "{redirect}");
        assert_eq!(events_in(&out), events_in(&expected), "{redirect}");
    }
    // A pipe with a closed reader.
    let mut child = ipft([path.as_os_str(), "--info".as_ref()]);
    let mut child = child.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert!(child.wait().unwrap().code().is_some());
}

#[test]
fn a_failing_stdout_only_loses_its_output() {
    let (folder, path) = folder();
    let out = folder.path().join("out.ipft");
    let arguments = [
        path.as_os_str(),
        "-o".as_ref(),
        "jsonl".as_ref(),
        "--record".as_ref(),
        out.as_ref(),
    ];
    let ran = shell("", ">/dev/full", &arguments);
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.said
            .contains("ipft: stdout: cannot write the output: No space left"),
        "{}",
        ran.said
    );
    assert!(events_in(&out) > 1000);
}

#[test]
fn a_blocked_reader_stops_neither_files_nor_signals() {
    let (folder, _) = folder();
    let (path, out) = (folder.path().join("long.ipft"), folder.path().join("out.ipft"));
    record(&long(20_000), &path);
    let mut command = ipft([
        path.as_os_str(),
        "-o".as_ref(),
        "jsonl".as_ref(),
        "--record".as_ref(),
        out.as_ref(),
    ]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The pipe is soon full.
    std::thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = child.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(30));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), status.signal()), (Some(1), None), "{said}");
    assert!(
        said.contains("stdout: cannot write the output: its reader took nothing for 2 s"),
        "{said}"
    );
    // The part recorded so far has an end.
    assert_eq!(replay([out.as_os_str(), "--info".as_ref()]).code, Some(0));
}

#[test]
fn a_link_where_others_can_write_is_not_followed() {
    let (folder, path) = folder();
    let (shared, victim) = (folder.path().join("shared"), folder.path().join("victim"));
    fs::create_dir(&shared).unwrap();
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("passwd"), "root").unwrap();
    for (link, target) in [("file", "../victim/passwd"), ("folder", "../victim")] {
        symlink(target, shared.join(link)).unwrap();
    }
    mode(&shared, 0o777);
    for option in ["--record", "--pcapng"] {
        for name in ["file", "folder/new", "folder/passwd"] {
            let out = shared.join(name);
            let ran = replay([path.as_os_str(), option.as_ref(), out.as_ref()]);
            assert_eq!(ran.code, Some(1), "{option} {name}");
            assert!(
                ran.said
                    .contains("is a symbolic link in a folder that other users can write to"),
                "{}",
                ran.said
            );
        }
    }
    assert_eq!(fs::read(victim.join("passwd")).unwrap(), b"root");
    assert_eq!(files_in(&victim).len(), 1);
}

#[test]
fn files_with_packets_are_private() {
    let (folder, path) = folder();
    let out = folder.path().join("out");
    fs::write(&out, "old").unwrap();
    mode(&out, 0o666);
    replay([path.as_os_str(), "--record".as_ref(), out.as_ref()]);
    assert_eq!(fs::metadata(&out).unwrap().mode() & 0o777, 0o600);
    for part in record_ring(&long(5_000), &folder.path().join("ring.ipft"), 64 << 10, 2) {
        let ours = part.file_name().unwrap().as_bytes().starts_with(b"ring");
        assert!(!ours || fs::metadata(&part).unwrap().mode() & 0o777 == 0o600);
    }
}

#[test]
fn a_file_with_another_name_keeps_what_it_has() {
    let (folder, path) = folder();
    let (out, other) = (folder.path().join("out"), folder.path().join("other"));
    fs::write(&other, "precious").unwrap();
    fs::hard_link(&other, &out).unwrap();
    replay([path.as_os_str(), "--record".as_ref(), out.as_ref()]);
    assert_eq!(fs::read(&other).unwrap(), b"precious");
    assert!(events_in(&out) > 1000);
}

#[test]
fn a_ring_passes_over_names_that_others_have_taken() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let canned = long(40_000);
    fs::write(path("passwd"), "root").unwrap();
    let ring = Ring {
        max_size: 64 << 10,
        files: 2,
    };
    let mut sink = Record::create(&path("t.ipft"), Some(ring)).unwrap();
    sink.start(&canned.trace).unwrap();
    // Created while the trace runs.
    symlink("passwd", path("t.000001.ipft")).unwrap();
    fs::write(path("t.000002.ipft"), "notes").unwrap();
    for batch in &canned.batches {
        sink.events(batch).unwrap();
    }
    sink.finish(&canned.summary).unwrap();
    assert_eq!(fs::read(path("passwd")).unwrap(), b"root");
    assert!(fs::symlink_metadata(path("t.000001.ipft")).unwrap().is_symlink());
    assert_eq!(fs::read(path("t.000002.ipft")).unwrap(), b"notes");
    assert_eq!(files_in(folder.path()).len(), 3 + 2);
}

#[test]
fn a_ring_deletes_nothing_that_is_no_part_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let ring = |name: &str| record_ring(&long(5_000), &path(name), 64 << 10, 5);
    ring("t.ipft");
    fs::write(path("t.000777.ipft"), "notes").unwrap();
    // A recording that only has the number in its name.
    record(&long(10), &path("t.000778.ipft"));
    record(&long(10), &path("t.000779.ipft"));
    let before = events_in(&path("t.000778.ipft"));
    ring("t.ipft");
    assert_eq!(fs::read(path("t.000777.ipft")).unwrap(), b"notes");
    assert_eq!(events_in(&path("t.000778.ipft")), before);
    // And it does not start in the place of another file.
    fs::write(path("u.000000.ipft"), "notes").unwrap();
    let ring = Ring {
        max_size: 64 << 10,
        files: 2,
    };
    let said = Record::create(&path("u.ipft"), Some(ring)).unwrap_err().to_string();
    assert!(
        said.ends_with("is there and is not part of a ring of recordings; move it away, or give another name"),
        "{said}"
    );
}

#[test]
fn a_second_recording_to_the_same_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.ipft");
    let canned = long(100);
    let mut first = Record::create(&path, None).unwrap();
    let mut late = Record::create(&path, None).unwrap();
    first.start(&canned.trace).unwrap();
    let said = Record::create(&path, None).unwrap_err().to_string();
    assert!(said.starts_with("t.ipft is being written by another program"), "{said}");
    assert!(
        late.start(&canned.trace)
            .unwrap_err()
            .to_string()
            .contains("is being written by another program")
    );
    for batch in &canned.batches {
        first.events(batch).unwrap();
    }
    first.finish(&canned.summary).unwrap();
    drop(first);
    assert_eq!(events_in(&path), 100);
    Record::create(&path, None).unwrap();
}

#[test]
fn the_file_size_limit_is_reported() {
    let (folder, _) = folder();
    let (path, out) = (folder.path().join("long.ipft"), folder.path().join("out.ipft"));
    record(&long(20_000), &path);
    let ran = shell("ulimit -f 64;", "", &[path.as_ref(), "--record".as_ref(), out.as_ref()]);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(
        ran.said.contains("cannot write the output: File too large"),
        "{}",
        ran.said
    );
    assert!(events_in(&out) > 0);
}

#[test]
fn a_missing_folder_for_temporary_files_is_named() {
    let (_folder, path) = folder();
    let mut command = ipft([path.as_os_str(), "--pcapng".as_ref(), "/dev/null".as_ref()]);
    let ran: Ran = command.env("TMPDIR", "/nonexistent/folder").output().unwrap().into();
    assert_eq!(ran.code, Some(1));
    assert!(
        ran.said
            .contains("cannot make a temporary file in /nonexistent/folder: No such file"),
        "{}",
        ran.said
    );
    assert!(ran.said.contains("set TMPDIR"), "{}", ran.said);
}

#[test]
fn too_little_address_space_is_no_panic() {
    let (folder, path) = folder();
    let out = folder.path().join("out.ipft");
    for kib in [20_000, 40_000, 80_000, 160_000, 320_000] {
        let arguments = [
            path.as_os_str(),
            "-o".as_ref(),
            "json".as_ref(),
            "--record".as_ref(),
            out.as_ref(),
        ];
        let ran = shell(&format!("ulimit -v {kib};"), "", &arguments);
        assert!(!ran.said.contains("panicked"), "{kib} KiB: {}", ran.said);
    }
}

#[test]
fn names_that_are_not_utf8_are_accepted() {
    let (folder, path) = folder();
    let out = folder.path().join(OsStr::from_bytes(b"t\xff.ipft"));
    let ran = replay([path.as_os_str(), "--record".as_ref(), out.as_ref()]);
    assert_eq!(ran.code, Some(1), "{}", ran.said);
    assert!(events_in(&out) > 1000);
    for _ in 0..2 {
        let parts = record_ring(&long(40_000), &out, 64 << 10, 2);
        let ring = parts
            .iter()
            .filter(|part| part.file_name().unwrap().as_bytes().starts_with(b"t\xff.0"));
        assert_eq!(ring.count(), 2);
    }
}
