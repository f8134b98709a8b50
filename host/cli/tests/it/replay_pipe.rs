//! Replays a recording through a pipe during its trace: `ssh router ipft --record - | ipft replay -`.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::recorded::*;
use ipft_core::recording::{Content, Input, Reader};

/// Longer than any of these tests takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn begun(arguments: &[&str]) -> Child {
    let piped = || Stdio::piped();
    ipft(arguments)
        .stdin(piped())
        .stdout(piped())
        .stderr(piped())
        .spawn()
        .unwrap()
}

/// Output, as it arrives.
fn collected(mut stdout: ChildStdout) -> Arc<Mutex<Vec<u8>>> {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&bytes);
    thread::spawn(move || {
        let mut some = [0; 4096];
        while let Ok(count @ 1..) = stdout.read(&mut some) {
            into.lock().unwrap().extend_from_slice(&some[..count]);
        }
    });
    bytes
}

/// Waits for a condition, and fails if it never holds.
fn wait_until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the number of whole blocks of events.
fn blocks(bytes: Vec<u8>) -> usize {
    let Ok(mut reader) = Reader::open(Input::Stream(Box::new(std::io::Cursor::new(bytes)))) else {
        return 0;
    };
    let mut blocks = 0;
    while let Some(content) = reader.next(|_| true).unwrap() {
        blocks += usize::from(matches!(content, Content::Events));
    }
    blocks
}

#[test]
fn a_closed_block_is_written_to_stdout_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let ends = record(&long(20_000), &path);
    let bytes = fs::read(&path).unwrap();
    let mut child = begun(&["-", "--record", "-"]);
    let mut stdin = child.stdin.take().unwrap();
    let out = collected(child.stdout.take().unwrap());
    let mut before = 0;
    for (block, end) in ends.iter().enumerate().take(5) {
        stdin.write_all(&bytes[before..*end as usize]).unwrap();
        before = *end as usize;
        wait_until("a block", || blocks(out.lock().unwrap().clone()) == block);
    }
    drop(stdin);
    child.wait().unwrap();
}

#[test]
fn a_signal_ends_a_waiting_replay_with_all_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.ipft");
    let ends = record(&long(20_000), &path);
    let bytes = fs::read(&path).unwrap();
    let whole = folder.path().join("whole.ipft");
    fs::write(&whole, &bytes[..ends[4] as usize]).unwrap();
    let expected = counts(&replay([whole.to_str().unwrap(), "-o", "jsonl"]).out);
    let mut child = begun(&["-", "-o", "jsonl"]);
    let mut stdin = child.stdin.take().unwrap();
    let out = collected(child.stdout.take().unwrap());
    stdin.write_all(&bytes[..ends[4] as usize]).unwrap();
    // The events read so far are written before it waits for more.
    let lines = || out.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
    wait_until("all events", || lines() as u64 > expected.0);
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    wait_until("its end", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // Its last output may still be in the pipe.
    wait_until("a summary", || lines() as u64 > expected.0 + 1);
    let out = String::from_utf8(out.lock().unwrap().clone()).unwrap();
    assert_eq!(counts(&out), expected);
    drop(stdin);
}
