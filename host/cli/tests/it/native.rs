//! Tests of native plugins: a C plugin, compiled here in many variants, and one of the project's in Rust.
//!
//! The expected output is in `tests/golden/plugins/native-*.txt`; `UPDATE_GOLDEN=1 cargo test -p ipft --test it native`
//! updates it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use ipft::command::plugin::replay;
use ipft_core::event::{Batch, Summary, Tracer};
use ipft_core::sink::{Destination, Sink, SinkError, Sinks};
use ipft_plugin_host::host::native::Library;
use ipft_plugin_host::host::wasm::Level;
use ipft_plugin_host::host::{Log, PluginSink};
use ipft_plugin_host::package::{Grants, Limits, OptionValues};
use support::canned::{Canned, Script, Shared, golden};

const C: [&str; 6] = ["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"];

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn cc(arguments: &[&str], output: &Path) {
    let mut compiler = Command::new("cc");
    compiler
        .args(arguments)
        .arg("-I")
        .arg(project("sdk/native"))
        .arg("-o")
        .arg(output);
    let ran = compiler.output().expect("the C compiler runs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

/// Compiles the C plugin with additional arguments.
fn compile(output: &Path, more: &[&str]) {
    let source = project("host/cli/tests/native/plugin.c");
    let mut arguments = C.to_vec();
    arguments.push(source.to_str().unwrap());
    arguments.extend(more);
    cc(&arguments, output);
}

/// Returns the error of loading a variant of the C plugin.
fn refused(more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.so");
    compile(&path, more);
    problem(&path)
}

/// Returns the error of loading a file, without the words that name it.
fn problem(path: &Path) -> String {
    let text = Library::load(path).unwrap_err().to_string();
    let start = format!("the native plugin {} cannot be loaded: ", path.display());
    let problem = text.strip_prefix(&start);
    problem.unwrap_or_else(|| panic!("{text}")).to_owned()
}

/// The correct C plugin.
static SHOW: LazyLock<Library> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("show.so");
    // With hidden symbols, as the header has its own way of exporting.
    compile(&path, &["-fvisibility=hidden"]);
    Library::load(&path).unwrap_or_else(|error| panic!("{error}"))
});

#[derive(Clone, Default)]
struct Messages(Arc<Mutex<Vec<(Level, String)>>>);

impl Messages {
    fn log(&self) -> Log {
        let messages = self.0.clone();
        Arc::new(move |level, message| messages.lock().unwrap().push((level, message.to_owned())))
    }

    fn list(&self) -> Vec<(Level, String)> {
        self.0.lock().unwrap().clone()
    }

    /// Asserts that the C plugin reported one destruction.
    fn assert_destroyed_once(&self) {
        let destroyed = (Level::Info, "destroyed".to_owned());
        let count = self.list().iter().filter(|message| **message == destroyed).count();
        assert_eq!(count, 1, "{:?}", self.list());
    }
}

fn grants(timeout: Duration, output: u64) -> Grants {
    Grants {
        limits: Limits {
            timeout,
            output,
            ..Limits::default()
        },
        ..Grants::default()
    }
}

fn options(at: &str, what: &str) -> OptionValues {
    let given = [("at", at), ("do", what)].map(|(name, value)| (name.to_owned(), value.to_owned()));
    SHOW.description().values(&given).unwrap()
}

/// Creates the C plugin with this behaviour in this call.
fn acting(at: &str, what: &str, messages: &Messages) -> (PluginSink, Shared) {
    let output = Shared::default();
    let sink = SHOW.sink(
        &Grants::default(),
        options(at, what),
        Box::new(output.clone()),
        messages.log(),
    );
    (sink, output)
}

/// Passes a trace on until the sink fails.
fn pass(canned: &Canned, sink: &mut PluginSink) -> Result<(), SinkError> {
    sink.start(&canned.trace)?;
    for batch in &canned.batches {
        sink.events(batch)?;
    }
    sink.finish(&canned.summary)
}

fn find(name: &str) -> Canned {
    support::canned::all()
        .into_iter()
        .find(|canned| canned.name == name)
        .unwrap()
}

#[test]
fn a_plugin_receives_all_data_of_every_trace() {
    for canned in support::canned::all() {
        let messages = Messages::default();
        let (mut sink, output) = acting("", "", &messages);
        pass(&canned, &mut sink).unwrap();
        assert_eq!(sink.usage().missed(), 0);
        messages.assert_destroyed_once();
        golden(&format!("plugins/native-{}.txt", canned.name), &output.text());
    }
}

#[test]
fn a_plugin_says_what_it_is() {
    let description = SHOW.description();
    assert_eq!((&*description.name, &*description.about), ("show", "Shows all"));
    assert_eq!(description.options.len(), 3);
}

#[test]
fn two_instances_of_one_library_do_not_mix() {
    let messages = Messages::default();
    let mut running: Vec<_> = ["function", "graph"]
        .map(|name| (find(name), acting("", "", &messages)))
        .into();
    for (canned, (sink, _)) in &mut running {
        sink.start(&canned.trace).unwrap();
    }
    for (canned, (sink, _)) in &mut running {
        canned.batches.iter().for_each(|batch| sink.events(batch).unwrap());
    }
    for (canned, (sink, output)) in &mut running {
        sink.finish(&canned.summary).unwrap();
        golden(&format!("plugins/native-{}.txt", canned.name), &output.text());
    }
}

#[test]
fn an_error_of_any_call_ends_the_plugin() {
    for at in ["start", "events", "finish"] {
        let messages = Messages::default();
        let (mut sink, output) = acting(at, "fail", &messages);
        let error = pass(&find("graph"), &mut sink).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the plugin show was ended in `{at}`: it failed: \\u{{1b}}[31mno {at}\n  for us")
        );
        messages.assert_destroyed_once();
        // Its earlier output is kept.
        assert!(output.text().starts_with("start tracer=function_graph"));
        assert_eq!(output.text().contains("seen events"), at == "finish");
    }
}

#[test]
fn messages_of_a_plugin_are_escaped_and_bounded() {
    let messages = Messages::default();
    let (mut sink, _) = acting("learn", "talk", &messages);
    pass(&find("empty"), &mut sink).unwrap();
    let list = messages.list();
    assert_eq!(list.len(), 1001);
    let levels: Vec<_> = list.iter().take(5).map(|(level, _)| *level).collect();
    // The fifth is one of a later version.
    assert_eq!(
        levels,
        [Level::Error, Level::Warning, Level::Info, Level::Debug, Level::Debug]
    );
    assert!(list[..1000].iter().all(|(_, message)| message == "it\\u{1b}[2J\\nsays"));
    assert_eq!(list[1000], (Level::Warning, "it said more than is shown".to_owned()));
}

/// A writer that fails.
struct Closed(io::ErrorKind);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

#[test]
fn a_failing_stream_ends_the_plugin_with_its_reason() {
    for at in ["", "events"] {
        let messages = Messages::default();
        let sink = |kind| {
            let output = Box::new(Closed(kind));
            SHOW.sink(&Grants::default(), options(at, "flood"), output, messages.log())
        };
        let full = pass(&find("graph"), &mut sink(io::ErrorKind::StorageFull)).unwrap_err();
        assert!(
            full.to_string().ends_with("cannot write its output: no storage space"),
            "{full}"
        );
        messages.assert_destroyed_once();
        let gone = pass(&find("graph"), &mut sink(io::ErrorKind::BrokenPipe)).unwrap_err();
        assert!(matches!(gone, SinkError::Closed), "{gone}");
    }
}

#[test]
fn endless_output_is_stopped_at_its_limit() {
    let (output, messages) = (Shared::default(), Messages::default());
    let grants = grants(Limits::default().timeout, 1_000_000);
    let mut sink = SHOW.sink(
        &grants,
        options("finish", "flood"),
        Box::new(output.clone()),
        messages.log(),
    );
    let error = pass(&find("graph"), &mut sink).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "in `finish`: it wrote more than the 1000000 bytes that it may; allow it more with --plugin-out-max"
        ),
        "{error}"
    );
    assert!((900_000..=1_000_000).contains(&output.text().len()));
    messages.assert_destroyed_once();
}

#[test]
fn a_call_that_hangs_is_named_and_left_behind() {
    for at in ["start", "events", "finish"] {
        let (output, messages) = (Shared::default(), Messages::default());
        let grants = grants(Duration::from_millis(200), 1 << 20);
        let mut sink = SHOW.sink(&grants, options(at, "hang"), Box::new(output), messages.log());
        let error = pass(&find("graph"), &mut sink).unwrap_err().to_string();
        let start =
            format!("the plugin show was ended in `{at}`: it did not return within 200ms, and is left to itself");
        assert!(error.starts_with(&start), "{error}");
        drop(sink);
    }
}

/// A writer that blocks until it is released.
struct Held(Receiver<()>, Shared);

impl Write for Held {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The other end is closed when all may pass.
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_reader_does_not_count_against_the_plugin() {
    let (release, held) = channel();
    let (output, messages) = (Shared::default(), Messages::default());
    let limit = Duration::from_millis(50);
    let writer = Box::new(Held(held, output.clone()));
    let mut sink = SHOW.sink(&grants(limit, 1 << 20), options("", ""), writer, messages.log());
    let slow = std::thread::spawn(move || {
        std::thread::sleep(10 * limit);
        drop(release);
    });
    pass(&find("graph"), &mut sink).unwrap();
    slow.join().unwrap();
    golden("plugins/native-graph.txt", &output.text());
}

/// Returns a batch of the stream's maximum size.
fn full_batch() -> (Canned, Batch) {
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]);
    for packet in 1..=4096 {
        script.enter(packet, 0);
    }
    let canned = script.can("full");
    let batch = canned.batches[0].clone();
    (canned, batch)
}

#[test]
fn a_slow_plugin_misses_events_and_gets_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let (output, messages) = (Shared::default(), Messages::default());
    let mut values = options("events", "wait");
    for (name, value) in &mut values {
        if name == "wait" {
            *value = fifo.to_str().unwrap().to_owned();
        }
    }
    let mut sink = SHOW.sink(&Grants::default(), values, Box::new(output.clone()), messages.log());
    let (canned, batch) = full_batch();
    sink.start(&canned.trace).unwrap();
    let batches = 600;
    let usage = sink.usage();
    for _ in 0..batches {
        sink.events(&batch).unwrap();
    }
    assert!(usage.missed() > 0);
    std::fs::write(&fifo, b"x").unwrap();
    let fed = batches * batch.events.len() as u64;
    let summary = Summary {
        events: fed,
        ..canned.summary.clone()
    };
    sink.finish(&summary).unwrap();
    let (seen, missed) = (fed - usage.missed(), usage.missed());
    let text = output.text();
    assert!(text.ends_with(&format!("seen events={seen} missed={missed}\n")));
    assert!(text.contains(&format!("finish events={fed} packets=4096 attached=1 missed={missed} ")));
}

#[test]
fn a_dropped_sink_destroys_its_instance() {
    let messages = Messages::default();
    let (mut sink, _) = acting("", "", &messages);
    sink.start(&find("graph").trace).unwrap();
    drop(sink);
    messages.assert_destroyed_once();
    // One that was never started has none.
    drop(acting("", "", &messages).0);
    messages.assert_destroyed_once();
}

#[test]
fn missing_optional_functions_are_not_called() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("few.so");
    // Members beyond the table's size are not used.
    compile(&path, &["-DFEW", "-Wno-unused-function"]);
    let library = Library::load(&path).unwrap();
    let output = Shared::default();
    let messages = Messages::default();
    let values = library.description().values(&[]).unwrap();
    let mut sink = library.sink(&Grants::default(), values, Box::new(output.clone()), messages.log());
    pass(&find("graph"), &mut sink).unwrap();
    assert!(output.text().contains("seen events=") && !output.text().contains("function name="));
    assert!(messages.list().is_empty());
}

#[test]
fn the_example_of_the_guide_counts_calls() {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (project("sdk/native/count.c"), folder.path().join("count.so"));
    cc(&["-O2", "-shared", "-fPIC", source.to_str().unwrap()], &path);
    let library = Library::load(&path).unwrap();
    let output = Shared::default();
    let log = Messages::default().log();
    let mut sink = library.sink(&Grants::default(), Vec::new(), Box::new(output.clone()), log);
    // Ten events, five of which are returns.
    pass(&find("graph"), &mut sink).unwrap();
    assert_eq!(output.text(), "5 calls\n");
}

#[test]
fn a_file_that_is_not_a_library_is_refused_by_kind() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        problem(&path)
    };
    assert!(problem(&folder.path().join("none.so")).contains("No such file"));
    assert!(problem(folder.path()).contains("Is a directory"));
    assert!(file("text.so", b"#!/bin/sh\n").starts_with("it is no shared library: it does not begin as one"));
    assert!(file("wasm.so", b"\0asm\x0d\0\x01\0").starts_with("it is no shared library"));
    assert!(file("empty.so", b"").starts_with("it is no shared library"));
    let object = folder.path().join("plugin.o");
    let source = project("host/cli/tests/native/plugin.c");
    cc(&["-c", source.to_str().unwrap()], &object);
    assert!(problem(&object).contains("it is an object file; link it with cc -shared"));
    let good = folder.path().join("good.so");
    compile(&good, &[]);
    let mut bytes = std::fs::read(&good).unwrap();
    bytes[18] = 8;
    assert!(file("mips.so", &bytes).contains("another kind of machine"));
    bytes[18] = std::fs::read(&good).unwrap()[18];
    for length in [100, 1000, bytes.len() / 2] {
        assert!(file("half.so", &bytes[..length]).contains("only a part of a shared library"));
    }
}

#[test]
fn system_libraries_are_never_searched_for_a_name() {
    let error = Library::load(Path::new("libc.so.6")).unwrap_err().to_string();
    assert!(error.contains("No such file"), "{error}");
}

#[test]
fn an_undefined_symbol_is_named() {
    let text = refused(&["-DUNDEFINED"]);
    assert!(
        text.starts_with("it uses `nowhere_to_be_found`, which neither it nor any library that it names has"),
        "{text}"
    );
}

/// Returns the error of loading a plugin that is linked with a library of this name, after `change`.
fn linked(name: &str, change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (library, plugin) = (folder.path().join(name), folder.path().join("plugin.so"));
    versioned(&library, "V_2.99");
    compile(&plugin, &["-DLIBRARY", library.to_str().unwrap(), "-Wl,-rpath,$ORIGIN"]);
    change(&library);
    let problem = problem(&plugin);
    // Without the change it loads.
    versioned(&library, "V_2.99");
    Library::load(&plugin).unwrap();
    problem
}

/// A library whose only function has this version.
fn versioned(path: &Path, version: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (source, script) = (folder.path().join("other.c"), folder.path().join("script"));
    std::fs::write(&source, "int other(void); int other(void) { return 1; }").unwrap();
    std::fs::write(&script, format!("{version} {{ global: other; local: *; }};")).unwrap();
    let name = format!("-Wl,-soname,{}", path.file_name().unwrap().to_str().unwrap());
    let script = format!("-Wl,--version-script={}", script.display());
    cc(&[&C[..], &[source.to_str().unwrap(), &name, &script]].concat(), path);
}

#[test]
fn a_missing_dependency_is_named_with_a_likely_cause() {
    let gone = |library: &Path| std::fs::remove_file(library).unwrap();
    let text = linked("libother.so.1", gone);
    assert_eq!(text, "it needs the library libother.so.1, which is not installed");
    let text = linked("libc.musl-x86_64.so.1", gone);
    assert!(
        text.contains("it was built with musl, and this ipft with glibc"),
        "{text}"
    );
    let text = linked("libolder.so.1", |library| versioned(library, "V_2.1"));
    assert!(
        text.starts_with("it needs V_2.99 of ")
            && text.contains("libolder.so.1, which is older here; build it on this"),
        "{text}"
    );
}

#[test]
fn each_invalid_table_has_its_error() {
    let cases = [
        (
            &["-DENTRY=another", "-Wno-missing-prototypes"][..],
            "it does not export `ipft_plugin_v0`",
        ),
        (&["-DNO_TABLE", "-Wno-unused"], "its `ipft_plugin_v0` returned NULL"),
        (
            &["-DVERSION=0x000200"],
            "it was built for version 0.2.0 of ipft_plugin.h, and this ipft knows 0.1.0; it needs a newer ipft",
        ),
        (&["-DVERSION=0x010000"], "it was built for version 1.0.0"),
        (&["-DVERSION=1"], "its table says version 0.0.1 and 72 bytes"),
        (&["-DSIZE=64"], "its table says version 0.1.0 and 64 bytes"),
        (&["-DSTART=NULL", "-Wno-unused"], "its table has no function `start`"),
        (&["-DEVENTS=NULL", "-Wno-unused"], "its table has no function `events`"),
        (&["-DFINISH=NULL", "-Wno-unused"], "its table has no function `finish`"),
        (&["-DDESCRIPTION=\"\""], "its description cannot be read"),
        (
            &[
                r#"-DDESCRIPTION="{\"contract\":\"0.1.0\",\"name\":\"\\u001b\",\"version\":\"\",\"about\":\"\",\"license\":\"\"}""#,
            ],
            "its description is wrong: '\\x1b' is no name",
        ),
    ];
    for (arguments, expected) in cases {
        let text = refused(arguments);
        assert!(text.starts_with(expected), "{arguments:?}: {text}");
    }
}

#[test]
fn a_larger_table_of_the_same_version_is_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.so");
    compile(&path, &["-DSIZE=4096"]);
    Library::load(&path).unwrap();
}

/// Builds one of the project's plugins as a shared library.
fn build(package: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(3).unwrap().join("test-plugins");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", package])
        .current_dir(project(""))
        .env("CARGO_TARGET_DIR", &folder)
        .status()
        .expect("cargo runs");
    assert!(status.success(), "{package} cannot be built");
    folder.join(format!("debug/lib{package}.so"))
}

#[test]
fn a_rust_plugin_draws_the_same_as_a_shared_library() {
    let library = Library::load(&build("paths")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(library.description().name, "paths");
    let mut compared = 0;
    for recording in ipft_plugin::testing::traces() {
        let expected = project("tests/golden/plugins").join(format!("paths-{}.txt", recording.name));
        // The number of missed events depends on the queue.
        if recording.summary.missed > 0 || !expected.exists() {
            continue;
        }
        let (output, messages) = (Shared::default(), Messages::default());
        let values = library.description().values(&[]).unwrap();
        let sink = library.sink(&Grants::default(), values, Box::new(output.clone()), messages.log());
        let mut sinks = Sinks::new(Box::new(|name, error| panic!("{name}: {error}")));
        sinks.add("paths", Destination::Elsewhere, Box::new(sink));
        replay(&recording, &mut sinks);
        golden(&format!("plugins/paths-{}.txt", recording.name), &output.text());
        compared += 1;
    }
    assert!(compared > 5);
}
