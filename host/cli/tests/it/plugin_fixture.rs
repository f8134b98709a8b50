//! Compatibility of `wit/`: a component that was built against version 0.1.0 loads and runs in every later ipft.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use ipft_core::event::{Schema, Trace, Tracer};
use ipft_core::extension::object;
use ipft_plugin_host::host::wasm::{Component, Content, Engine};
use ipft_plugin_host::package::Grants;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn fixture() -> PathBuf {
    project("tests/fixtures/complete-0.1.0.wasm")
}

fn ipft(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipft"));
    let cache = tempfile::tempdir().unwrap();
    command
        .args(["plugin"])
        .args(arguments)
        .env("XDG_CACHE_HOME", cache.path());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn trace() -> Trace {
    Trace {
        tracer: Tracer::Function,
        backend: "kprobe-multi".to_owned(),
        functions: Vec::new(),
        schema: Schema {
            size: 64,
            ..Schema::default()
        },
        clock_offset: 0,
        command_line: Vec::new(),
        kernel_release: "6.12.0".to_owned(),
        mark: 1,
        mask: u32::MAX,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    }
}

#[test]
fn a_plugin_of_the_first_version_says_what_it_is() {
    let output = ipft(&["inspect", "--json", fixture().to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["contract"], serde_json::json!(["0.1.0"]));
    for role in ["runs_here", "program", "decoder", "sink"] {
        assert_eq!(said[role], true, "{role}: {said}");
    }
    assert_eq!(said["description"]["name"], "complete");
}

#[test]
fn installed_it_is_listed_and_found_by_its_name() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().join("ipft/plugins");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(fixture(), folder.join("complete.wasm")).unwrap();
    fs::write(folder.join("broken.wasm"), b"no plugin").unwrap();
    let ipft = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ipft"));
        command.arg("plugin").args(arguments).env("XDG_DATA_HOME", data.path());
        command.output().unwrap()
    };
    let list = ipft(&["list"]);
    assert!(list.status.success(), "{}", text(&list.stderr));
    let said = text(&list.stdout);
    assert!(said.contains("complete  1.0.0  Brings kernel code"), "{said}");
    assert!(
        said.contains("broken    (cannot be used: it is no WebAssembly"),
        "{said}"
    );
    let inspected = ipft(&["inspect", "complete"]);
    let said = text(&inspected.stdout);
    assert!(inspected.status.success(), "{said}{}", text(&inspected.stderr));
    for line in [
        "complete 1.0.0 (MIT OR Apache-2.0)",
        "This ipft can run it.",
        "  suffix=TEXT",
        "  sink: draws",
    ] {
        assert!(said.lines().any(|each| each == line), "no '{line}' in {said}");
    }
    let unknown = ipft(&["inspect", "nothing"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(
        text(&unknown.stderr).contains("no plugin 'nothing' is installed"),
        "{}",
        text(&unknown.stderr)
    );
}

#[test]
fn it_draws_every_trace_that_is_built_in() {
    let output = ipft(&["check", fixture().to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    let said = text(&output.stdout);
    assert!(said.contains("All is well.") && !said.contains("failed"), "{said}");
    assert!(said.matches(" ok: ").count() > 10, "{said}");
}

#[test]
fn it_draws_a_trace_that_was_kept() {
    let recording = project("tests/golden/graph.jsonl");
    let events = fs::read_to_string(&recording)
        .unwrap()
        .matches(r#""type":"event""#)
        .count();
    assert!(events > 5);
    let output = ipft(&["run", fixture().to_str().unwrap(), recording.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), format!("{events} of {events} events\n"));
    assert!(text(&output.stderr).contains(": done"));
}

#[test]
fn it_brings_an_object_and_decodes_what_that_collects() {
    let engine = Engine::new().unwrap();
    let bytes = fs::read(fixture()).unwrap();
    let component = Component::load(&engine, "fixture", &bytes, None, || {}, &mut |_| {}).unwrap();
    let values = component
        .description()
        .values(&[("suffix".into(), "?".into())])
        .unwrap();
    let grants = Grants::default();
    let brought = component.object(&grants, &values, Arc::new(|_, _| {})).unwrap();
    object::check(&brought).unwrap();
    let mut decoder = component.decoder(&grants, values, Arc::new(|_, _| {})).unwrap();
    decoder.start(&trace()).unwrap();
    let mut payloads = vec![0; 128];
    payloads[0] = 84;
    payloads[4] = 168;
    payloads[64] = 60;
    payloads[68] = 120;
    let decoded = decoder.decode(&payloads, 64).unwrap();
    assert_eq!(decoded.names, ["length", "twice", "word"]);
    let shown: Vec<String> = decoded
        .values
        .iter()
        .map(|value| {
            let content = match &value.content {
                Content::Integer(number) => number.to_string(),
                Content::Float(number) => number.to_string(),
                Content::Text(text) => text.clone(),
            };
            format!("{} {} {content}", value.payload, value.name)
        })
        .collect();
    assert_eq!(
        shown,
        ["0 0 84", "0 1 168", "0 2 is 84?", "1 0 60", "1 1 120", "1 2 is 60?"]
    );
    assert!(decoder.decode(&payloads, 64).unwrap().names.is_empty());
    decoder.finish().unwrap();
}
