//! Tests of sink plugins: their input, and misbehaving ones, which are named, contained, and do not affect others.

#[allow(dead_code, reason = "the plugin draws, and not as a golden file shows")]
use std::io::Write;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ipft_core::event::*;
use ipft_core::sink::*;
use ipft_plugin_host::host::wasm::{Component, Failure, Level, PluginError};
use ipft_plugin_host::package::{DirGrant, Grants};
use support::canned::Shared;
use support::hostile::*;

/// The result of a trace.
struct Outcome {
    output: Vec<u8>,
    messages: Vec<(Level, String)>,
    error: Option<SinkError>,
}

impl Outcome {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output).into_owned()
    }

    fn plugin_error(self) -> PluginError {
        match self.error {
            Some(SinkError::Plugin(error)) => *error.downcast::<PluginError>().expect("it says what a plugin did"),
            other => panic!("no failure of the plugin: {other:?}"),
        }
    }
}

/// A writer whose content can be read.
#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Passes a trace on; stops at the first failure.
fn trace(component: &Component, grants: &Grants, plan: (&str, &str), trace: &Trace, batches: &[Batch]) -> Outcome {
    let output = Bytes::default();
    let messages = Messages::default();
    let summary = Summary {
        events: batches.iter().map(|batch| batch.events.len() as u64).sum(),
        ..Summary::default()
    };
    let result = component
        .sink(
            grants,
            options(plan.0, plan.1),
            Box::new(output.clone()),
            messages.log(),
        )
        .map_err(|error| SinkError::Plugin(Box::new(error)))
        .and_then(|mut sink| {
            sink.start(trace)?;
            for batch in batches {
                sink.events(batch)?;
            }
            sink.finish(&summary)
        });
    Outcome {
        output: output.0.lock().unwrap().clone(),
        messages: messages.list(),
        error: result.err(),
    }
}

/// A trace of three batches.
fn run(grants: &Grants, at: &str, what: &str) -> Outcome {
    let (of, batches) = sample();
    trace(&COMPONENT, grants, (at, what), &of, &batches)
}

fn sample() -> (Trace, Vec<Batch>) {
    let canned = support::canned::all()
        .into_iter()
        .find(|canned| canned.name == "tagged");
    let canned = canned.expect("there is such a trace");
    (canned.trace, canned.batches)
}

fn failure(grants: &Grants, at: &str, what: &str) -> (PluginError, String) {
    let error = run(grants, at, what).plugin_error();
    let text = error.to_string();
    assert!(text.starts_with("the plugin hostile was ended in `"), "{text}");
    assert!(text.contains(&format!("`{at}`")), "{text}");
    assert!(text.len() < 10_000, "{} bytes", text.len());
    let control = text
        .chars()
        .find(|character| character.is_control() && *character != '\n');
    assert_eq!(control, None, "{text}");
    (error, text)
}

/// Returns the bytes of the contract's layout.
fn bytes(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for event in events {
        for number in [event.packet, event.skb, event.timestamp, event.entry_timestamp] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [
            event.function,
            event.cpu,
            event.kind.0,
            event.thread,
            event.payload_offset,
            event.payload_len,
        ] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(event.spare.to_le_bytes());
    }
    bytes
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

/// Returns events with arbitrary numbers, and payloads one after the other.
fn random_batch(seed: u64, count: usize) -> Batch {
    let mut state = seed;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut batch = Batch::default();
    for _ in 0..count {
        let length = (next() % 20) as usize;
        let start = batch.payload.len();
        batch.payload.extend((0..length).map(|_| next() as u8));
        batch.events.push(Event {
            packet: next(),
            skb: next(),
            timestamp: next(),
            entry_timestamp: next(),
            function: next() as u32,
            cpu: next() as u32,
            kind: EventKind([0, 1, 2, 77][(next() % 4) as usize]),
            thread: next() as u32,
            payload_offset: if length == 0 { 0 } else { start as u32 },
            payload_len: length as u32,
            spare: next(),
        });
    }
    batch
}

#[test]
fn events_arrive_as_they_are_as_records_and_as_bytes() {
    let raw = load(&RAW);
    let (of, _) = sample();
    for seed in 1..=20 {
        let batch = random_batch(seed, 1 << (seed % 12));
        let expected = [&bytes(&batch.events)[..], &batch.payload, b"\n"].concat();
        for component in [&*COMPONENT, &raw] {
            let outcome = trace(component, &grants(), ("echo", ""), &of, std::slice::from_ref(&batch));
            assert!(outcome.error.is_none(), "{:?}", outcome.error);
            assert!(contains(&outcome.output, &expected), "{seed}");
        }
    }
}

#[test]
fn a_large_batch_arrives_in_parts_that_lose_nothing() {
    let batch = random_batch(7, 10_000);
    let (of, _) = sample();
    let outcome = trace(
        &COMPONENT,
        &Grants::default(),
        ("echo", ""),
        &of,
        std::slice::from_ref(&batch),
    );
    assert!(outcome.error.is_none(), "{:?}", outcome.error);
    for part in batch.events.chunks(4096) {
        let mut events = part.to_vec();
        let first = events
            .iter()
            .find(|event| event.payload_len > 0)
            .expect("one has a payload")
            .payload_offset;
        let last = events
            .iter()
            .map(|event| event.payload_offset + event.payload_len)
            .max()
            .expect("one is last");
        for event in &mut events {
            event.payload_offset = event.payload_offset.saturating_sub(first);
        }
        let payload = &batch.payload[first as usize..last as usize];
        assert!(contains(&outcome.output, &[&bytes(&events)[..], payload].concat()));
    }
}

#[test]
fn everything_about_a_trace_arrives() {
    for canned in support::canned::all() {
        let output = Bytes::default();
        let sink = COMPONENT.sink(
            &grants(),
            options("echo", ""),
            Box::new(output.clone()),
            Messages::default().log(),
        );
        let mut sink = sink.expect("the plugin starts");
        sink.start(&canned.trace).expect("the trace starts");
        for batch in &canned.batches {
            sink.events(batch).expect("events are taken");
        }
        sink.finish(&canned.summary).expect("the trace ends");
        let text = String::from_utf8_lossy(&output.0.lock().unwrap()).into_owned();
        let has = |part: String| assert!(text.contains(&part), "{}: no {part} in {text}", canned.name);
        has(format!("tracer: {:?}", canned.trace.tracer.name()));
        has(format!("command-line: {:?}", canned.trace.command_line));
        has(format!("clock-offset: {}", canned.trace.clock_offset));
        for function in &canned.trace.functions {
            has(format!(
                "name: {:?}, module: {:?}, address: {}",
                function.name, function.module, function.address
            ));
        }
        for field in &canned.trace.schema.fields {
            has(format!(
                "name: {:?}, offset: {}, size: {}",
                field.name, field.offset, field.size
            ));
            has(format!(
                "kind: {:?}, format: {:?}",
                field.kind.name(),
                field.format.name()
            ));
        }
        for loss in &canned.summary.losses {
            has(format!(
                "kind: {:?}, cpu: {:?}, count: {}",
                loss.kind.name(),
                loss.cpu,
                loss.count
            ));
        }
        for name in canned.batches.iter().flat_map(|batch| &batch.names) {
            has(format!("{name:?}"));
        }
        has(format!(
            "events: {}, packets: {}",
            canned.summary.events, canned.summary.packets
        ));
    }
}

#[test]
fn an_endless_loop_is_ended_in_every_call() {
    for call in ["start", "learn", "events", "finish"] {
        let (error, text) = failure(&impatient(), call, "loop");
        assert!(matches!(error.failure, Failure::TimeOut { .. }), "{text}");
        assert!(text.contains("--plugin-timeout") && text.contains("hostile"), "{text}");
        assert!(text.contains("7hostile3act"), "{text}");
    }
}

#[test]
fn a_crash_in_any_call_is_reported_with_a_backtrace() {
    for call in ["start", "learn", "events", "finish"] {
        for what in ["trap", "panic"] {
            let (error, text) = failure(&grants(), call, what);
            let Failure::Trap { backtrace, .. } = &error.failure else {
                panic!("{text}");
            };
            assert!(
                !backtrace.frames().is_empty() && backtrace.frames().len() <= 16,
                "{text}"
            );
            assert!(
                backtrace.frames().iter().any(|frame| frame.contains("7hostile")),
                "{text}"
            );
        }
    }
    let outcome = run(&grants(), "events", "panic");
    let said = outcome.messages.iter().find(|(_, message)| message.contains("panic"));
    let (_, said) = said.expect("the panic's message is in the log");
    assert!(!said.contains('\x1b'), "{said:?}");
}

#[test]
fn too_much_memory_ends_the_plugin_with_the_limit() {
    for call in ["start", "events", "finish"] {
        let (error, text) = failure(&grants(), call, "allocate");
        assert!(
            matches!(error.failure, Failure::Memory { limit: 0x400_0000, .. }),
            "{text}"
        );
        assert!(text.contains("64 MiB") && text.contains("--plugin-memory"), "{text}");
    }
}

#[test]
fn output_is_written_up_to_the_limit_and_then_ends() {
    for what in ["write", "print"] {
        let outcome = run(&grants(), "events", what);
        assert!(outcome.output.len() <= 1 << 20, "{}", outcome.output.len());
        assert!(outcome.output.len() > (1 << 20) - (1 << 17), "{}", outcome.output.len());
        let text = outcome.plugin_error().to_string();
        assert!(
            text.contains("1048576 bytes") && text.contains("--plugin-out-max"),
            "{text}"
        );
    }
    let mut grants = grants();
    grants.limits.memory = 512 << 20;
    grants.limits.output = 1 << 40;
    let (error, text) = failure(&grants, "events", "write-at-once");
    assert!(matches!(error.failure, Failure::Contract(_)), "{text}");
}

#[test]
fn a_stack_overflow_is_reported_as_such() {
    let (error, text) = failure(&grants(), "events", "recurse");
    assert!(matches!(error.failure, Failure::Stack { .. }), "{text}");
    assert!(text.contains("recurse"), "{text}");
}

#[test]
fn an_error_of_a_plugin_is_shortened_and_escaped() {
    let (error, text) = failure(&grants(), "start", "error");
    assert!(matches!(error.failure, Failure::Returned(_)), "{text}");
    assert!(text.contains("\\u{1b}[2J\\u{202e}bad\n  worse\\u{7}"), "{text}");
    let (_, text) = failure(&grants(), "finish", "long-error");
    assert!(text.contains("long long"), "{text}");
}

#[test]
fn a_plugin_cannot_exit() {
    let (error, text) = failure(&grants(), "events", "exit");
    assert!(matches!(error.failure, Failure::Exit(_)), "{text}");
}

#[test]
fn waiting_ends_at_the_time_limit() {
    let (error, text) = failure(&impatient(), "events", "sleep");
    assert!(matches!(error.failure, Failure::TimeOut { .. }), "{text}");
    assert!(run(&grants(), "events", "short-sleep").error.is_none());
}

#[test]
fn nothing_of_the_machine_is_seen() {
    for what in ["files", "network"] {
        let outcome = run(&grants(), "start", what);
        assert!(outcome.error.is_none(), "{what}: {:?}", outcome.error);
        assert!(!outcome.text().contains("FOUND"), "{}", outcome.text());
        assert!(outcome.text().contains("Summary"), "{}", outcome.text());
    }
    assert!(!std::path::Path::new("/tmp/hostile").exists());
    let environment = run(&grants(), "start", "environment").text();
    assert!(environment.starts_with("[] []\n"), "{environment}");
    let time = run(&grants(), "start", "time").text();
    assert!(time.starts_with("Ok(0ns) 0ns\n"), "{time}");
    let first_line = || {
        run(&grants(), "start", "random")
            .text()
            .lines()
            .next()
            .map(str::to_owned)
    };
    assert_eq!(first_line(), first_line());
}

#[test]
fn a_plugin_sees_what_is_granted_and_no_more() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder can be made");
    std::fs::write(folder.path().join("secret"), "secret").expect("a file can be written");
    std::fs::write(data.join("in"), "given").expect("a file can be written");
    std::os::unix::fs::symlink("../secret", data.join("link")).expect("a link can be made");
    for read_only in [true, false] {
        let mut grants = grants();
        grants.dirs.push(DirGrant {
            host: data.clone(),
            guest: "/data".to_owned(),
            read_only,
        });
        let text = run(&grants, "start", "granted").text();
        let expected = format!(
            "Ok(\"given\")\n{}\nSummary",
            if read_only { "Err(\"no\")" } else { "Ok(())" }
        );
        assert!(text.starts_with(&expected), "{text}");
        assert_eq!(data.join("out").exists(), !read_only);
    }
    let mut grants = grants();
    grants.env = vec!["CARGO_MANIFEST_DIR".to_owned(), "IPFT_NOT_SET".to_owned()];
    let text = run(&grants, "start", "environment").text();
    let expected = format!("[(\"CARGO_MANIFEST_DIR\", {:?})] []\n", env!("CARGO_MANIFEST_DIR"));
    assert!(text.starts_with(&expected), "{text}");
}

/// Creates a folder with a file in it, and grants it as /data.
fn granted(mut grants: Grants) -> (tempfile::TempDir, Grants) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(folder.path().join("in"), "given").expect("it can be written");
    grants.dirs.push(DirGrant {
        host: folder.path().to_owned(),
        guest: "/data".to_owned(),
        read_only: false,
    });
    (folder, grants)
}

#[test]
fn a_pipe_in_a_granted_folder_is_not_opened() {
    let (folder, grants) = granted(grants());
    let status = std::process::Command::new("mkfifo")
        .arg(folder.path().join("pipe"))
        .status();
    assert!(status.expect("mkfifo runs").success());
    let start = std::time::Instant::now();
    let text = run(&grants, "start", "pipe").text();
    assert!(
        text.starts_with("Err(PermissionDenied) Err(PermissionDenied)\n"),
        "{text}"
    );
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_file_whose_opening_waits_ends_the_call_in_time() {
    use std::os::fd::AsRawFd;
    let (folder, grants) = granted(impatient());
    let path = folder.path().join("in");
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("it opens");
    /// fcntl(2); the crate `libc` defines it for other systems only.
    const F_SETSIG: i32 = 10;
    // Opening it now blocks until the lease is released (fcntl_locking(2)); 45 s by default. The signal that requests
    // that is ignored.
    // SAFETY: both calls take a number, and change nothing but the file of this test.
    let leased = unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) == 0
            && libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0
    };
    assert!(leased, "{}", std::io::Error::last_os_error());
    for call in ["start", "events", "finish"] {
        let start = std::time::Instant::now();
        let (error, text) = failure(&grants, call, "leased");
        assert!(matches!(error.failure, Failure::TimeOut { .. }), "{text}");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[test]
fn writes_to_a_granted_folder_are_limited() {
    for what in ["fill", "stretch", "many-files"] {
        let (folder, grants) = granted(grants());
        let (error, text) = failure(&grants, "events", what);
        assert!(matches!(error.failure, Failure::Output { limit: 1_048_576 }), "{text}");
        assert!(text.contains("--plugin-out-max"), "{text}");
        let entries: Vec<_> = std::fs::read_dir(folder.path()).expect("it is there").collect();
        let bytes: u64 = entries
            .iter()
            .map(|entry| entry.as_ref().expect("an entry").metadata().expect("it is there").len())
            .sum();
        assert!(
            entries.len() < 300 && bytes < 3 << 20,
            "{what}: {} entries, {bytes} bytes",
            entries.len()
        );
    }
}

#[test]
fn a_plugin_that_opens_too_many_files_is_ended() {
    let (_folder, grants) = granted(grants());
    let (error, text) = failure(&grants, "start", "many-open");
    assert!(matches!(error.failure, Failure::Contract(_)), "{text}");
    assert!(text.contains("more than 500 files, streams and waits open"), "{text}");
}

#[test]
fn a_missing_granted_folder_is_named() {
    let mut grants = grants();
    grants.dirs.push(DirGrant {
        host: "/nonexistent/folder".into(),
        guest: "/data".to_owned(),
        read_only: true,
    });
    let text = run(&grants, "start", "granted").plugin_error().to_string();
    assert!(
        text.contains("cannot be given the folder /nonexistent/folder: No such file"),
        "{text}"
    );
}

#[test]
fn a_log_is_bounded_and_escaped() {
    let messages = run(&grants(), "start", "log").messages;
    assert_eq!(messages.len(), 1001);
    assert_eq!(messages[0], (Level::Info, "message 0".to_owned()));
    assert_eq!(
        messages[1000],
        (Level::Warning, "it said more than is shown".to_owned())
    );
    let messages = run(&grants(), "start", "log-control").messages;
    let [(Level::Error, message)] = &messages[..] else {
        panic!("{messages:?}");
    };
    assert!(
        message.len() < 4000 && !message.contains(char::is_control),
        "{message:?}"
    );
}

#[test]
fn stdout_is_the_stream_and_stderr_the_log() {
    let outcome = run(&grants(), "start", "stdio");
    assert!(outcome.text().starts_with("to standard output\n"), "{}", outcome.text());
    assert_eq!(outcome.messages, [(Level::Info, "to standard \\u{1b}error".to_owned())]);
}

#[test]
fn other_sinks_get_everything_beside_a_bad_plugin() {
    let (of, batches) = sample();
    let summary = Summary::default();
    let alone = Shared::default();
    let mut sink = Jsonl::new(alone.clone());
    sink.start(&of).expect("it starts");
    for batch in &batches {
        sink.events(batch).expect("it takes events");
    }
    sink.finish(&summary).expect("it finishes");
    for (at, what) in [
        ("start", "loop"),
        ("learn", "trap"),
        ("events", "allocate"),
        ("events", "write"),
        ("events", "error"),
        ("finish", "recurse"),
    ] {
        let output = Shared::default();
        let mut sinks = Sinks::new(Box::new(|name, error| assert_eq!(name, "hostile", "{error}")));
        let plugin = COMPONENT
            .sink(
                &impatient(),
                options(at, what),
                Box::new(std::io::sink()),
                Messages::default().log(),
            )
            .expect("it can be made");
        sinks.add("hostile", Destination::Elsewhere, Box::new(plugin));
        sinks.add("jsonl", Destination::Stdout, Box::new(Jsonl::new(output.clone())));
        assert_eq!(sinks.start(&of), Flow::Continue);
        for batch in &batches {
            assert_eq!(sinks.events(batch), Flow::Continue);
        }
        sinks.finish(&summary);
        assert_eq!(output.text(), alone.text(), "{at} {what}");
        assert_eq!(
            sinks.failures().map(|(name, _)| name).collect::<Vec<_>>(),
            ["hostile"],
            "{at} {what}"
        );
    }
}

/// A plugin that is blocked in `start` until the other end of the channel is dropped.
fn held(release: Receiver<()>) -> (ipft_plugin_host::host::PluginSink, Bytes) {
    let output = Bytes::default();
    let release = Mutex::new(release);
    let hold = Arc::new(move |_: Level, _: &str| {
        let _ = release.lock().unwrap().recv();
    });
    let mut grants = Grants::default();
    grants.limits.timeout = Duration::from_secs(3600);
    let sink = COMPONENT.sink(&grants, options("start", "log-control"), Box::new(output.clone()), hold);
    (sink.expect("the plugin can be made"), output)
}

#[test]
fn a_slow_plugin_misses_events_without_delaying() {
    let (release, wait) = channel();
    let (mut sink, output) = held(wait);
    let (of, _) = sample();
    let usage = sink.usage();
    sink.start(&of).expect("the trace starts while the plugin does not");
    let batch = random_batch(3, 1 << 18);
    for _ in 0..6 {
        sink.events(&batch).expect("events are taken");
    }
    assert_eq!(usage.missed(), 2 << 18);
    drop(release);
    let summary = Summary {
        events: 6 << 18,
        ..Summary::default()
    };
    sink.finish(&summary).expect("the plugin finishes");
    let text = String::from_utf8(output.0.lock().unwrap().clone()).expect("it writes text");
    assert!(text.starts_with("missed 524288\n"), "{text}");
    assert!(
        text.contains("events: 1572864") && text.contains("missed: 524288"),
        "{text}"
    );
    assert!(usage.memory() > 0);
}

#[test]
fn a_dropped_sink_interrupts_its_plugin() {
    let mut grants = grants();
    grants.limits.timeout = Duration::from_secs(3600);
    let messages = Messages::default();
    let sink = COMPONENT.sink(
        &grants,
        options("start", "loop"),
        Box::new(std::io::sink()),
        messages.log(),
    );
    let mut sink = sink.expect("the plugin can be made");
    let (of, _) = sample();
    sink.start(&of).expect("nothing is wrong yet");
    drop(sink);
}

struct Failing(std::io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn stream_failures_and_closed_readers_are_reported() {
    let (of, batches) = sample();
    let draw = |at: &str, what: &str, kind| {
        let sink = COMPONENT.sink(
            &grants(),
            options(at, what),
            Box::new(Failing(kind)),
            Messages::default().log(),
        );
        let mut sink = sink.expect("the plugin can be made");
        sink.start(&of)?;
        sink.events(&batches[0])?;
        sink.finish(&Summary::default())
    };
    for (at, what) in [("events", "write"), ("echo", "")] {
        let full = draw(at, what, std::io::ErrorKind::StorageFull).expect_err("nothing can be written");
        assert!(
            full.to_string().contains("cannot write its output: no storage space"),
            "{full}"
        );
        let closed = draw(at, what, std::io::ErrorKind::BrokenPipe).expect_err("nothing can be written");
        assert!(matches!(closed, SinkError::Closed), "{closed}");
    }
}
