//! Tests of the built-in sinks' output, byte for byte and against its format.
//!
//! The expected output is in `tests/golden/`; `UPDATE_GOLDEN=1 cargo test -p ipft-core --test it sinks` updates it.

use std::io::{Error, ErrorKind, Write};
use std::path::Path;

use ipft_core::event::*;
use ipft_core::sink::*;
use serde_json::Value;
use support::canned::{Canned, Script, Shared, draw, golden};

fn text(output: Shared) -> Text {
    Text::new(output, TextOptions::default())
}

#[test]
fn all_sinks_and_traces_match_their_golden_files() {
    for canned in support::canned::all() {
        golden(&format!("{}.txt", canned.name), &draw(&canned, Aggregate::new));
        golden(&format!("{}.json", canned.name), &draw(&canned, Json::new));
        golden(&format!("{}.jsonl", canned.name), &draw(&canned, Jsonl::new));
        golden(&format!("{}.text", canned.name), &draw(&canned, text));
    }
}

#[test]
fn events_of_unknown_kinds_are_passed_over() {
    for canned in support::canned::all() {
        let more = support::canned::with_other_kinds(&canned);
        let name = canned.name;
        assert_eq!(draw(&more, Aggregate::new), draw(&canned, Aggregate::new), "{name}");
        assert_eq!(draw(&more, Json::new), draw(&canned, Json::new), "{name}");
        assert_eq!(draw(&more, Jsonl::new), draw(&canned, Jsonl::new), "{name}");
        assert_eq!(draw(&more, text), draw(&canned, text), "{name}");
    }
}

#[test]
fn no_sink_lets_a_control_character_through() {
    for canned in support::canned::all() {
        for output in [
            draw(&canned, Aggregate::new),
            draw(&canned, Json::new),
            draw(&canned, Jsonl::new),
            draw(&canned, text),
        ] {
            let control = output.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(control, None, "{}", canned.name);
        }
    }
}

#[test]
fn json_has_ipftrace2s_keys_and_string_fields() {
    for canned in support::canned::all() {
        for line in draw(&canned, Json::new).lines() {
            let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let mut from = 0;
            for key in [
                "packet_id",
                "timestamp",
                "processor_id",
                "module",
                "function",
                "is_return",
            ] {
                let found = line[from..].find(&format!("\"{key}\":"));
                from += found.unwrap_or_else(|| panic!("no {key} in its place: {line}"));
            }
            for field in &canned.trace.schema.fields {
                let value = &object[&field.name];
                assert!(value.is_string() || value.is_null(), "{line}");
            }
        }
    }
}

#[test]
fn json_names_survive_whatever_they_hold() {
    let canned = support::canned::all()
        .into_iter()
        .find(|canned| canned.name == "hostile");
    let canned = canned.expect("there is such a trace");
    let output = draw(&canned, Json::new);
    let first: Value = serde_json::from_str(output.lines().nth(1).expect("a line")).expect("JSON");
    assert_eq!(first["function"], canned.trace.functions[1].name.as_str());
    assert_eq!(first["module"], canned.trace.functions[1].module.as_str());
}

/// Returns the line of `jsonl` for a new function.
fn late_functions(trace: &Trace) -> Value {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let mut sink = Jsonl::new(file.reopen().expect("the file"));
    sink.start(trace).expect("a start");
    let new = Function {
        name: "nf_nat_packet".to_owned(),
        module: "nf_nat".to_owned(),
        address: 0,
    };
    sink.functions(&[new]).expect("functions");
    let text = std::fs::read_to_string(file.path()).expect("text");
    let line: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(line["type"], "functions");
    assert_eq!(line["first"], trace.functions.len());
    assert_eq!(line["functions"][0]["name"], "nf_nat_packet");
    line
}

/// Makes every object of the schema reject unknown keys.
fn seal(schema: &mut Value) {
    if let Value::Object(object) = schema {
        if object.contains_key("properties") {
            object.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        // A condition describes a part of an object, not the object.
        let parts = object.iter_mut().filter(|(key, _)| *key != "if");
        parts.for_each(|(_, value)| seal(value));
    } else if let Value::Array(list) = schema {
        list.iter_mut().for_each(seal);
    }
}

#[test]
fn json_lines_have_exactly_the_keys_of_their_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/jsonl.schema.json");
    let text = std::fs::read_to_string(&path).expect("the schema is there");
    let mut schema: Value = serde_json::from_str(&text).expect("the schema is JSON");
    assert!(jsonschema::meta::is_valid(&schema), "the schema is no JSON Schema");
    seal(&mut schema);
    let schema = jsonschema::draft202012::new(&schema).expect("the schema can be used");
    let mut types = std::collections::BTreeMap::<String, usize>::new();
    for canned in support::canned::all() {
        let output = draw(&canned, Jsonl::new);
        for line in output.lines() {
            let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let errors: Vec<String> = schema.iter_errors(&object).map(|error| error.to_string()).collect();
            assert!(errors.is_empty(), "{errors:?}\n{line}");
            *types
                .entry(object["type"].as_str().expect("a type").to_owned())
                .or_default() += 1;
        }
        assert!(output.starts_with("{\"type\":\"trace\""), "{output}");
        assert!(
            output
                .lines()
                .last()
                .is_some_and(|line| line.starts_with("{\"type\":\"summary\""))
        );
    }
    assert_eq!(
        types.keys().collect::<Vec<_>>(),
        [
            "born", "decided", "ended", "event", "joined", "lost", "summary", "trace"
        ]
    );
    let line = late_functions(&support::canned::all()[0].trace);
    let errors: Vec<String> = schema.iter_errors(&line).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}\n{line}");
    // A schema that accepts anything would have passed all of the above.
    for wrong in [
        r#"{"type":"event"}"#,
        r#"{"type":"nonsense"}"#,
        r#"{"type":"lost","kind":"buffer-full","cpu":0,"count":"1"}"#,
        r#"{"type":"lost","kind":"buffer-full","cpu":0,"count":1,"more":1}"#,
    ] {
        assert!(!schema.is_valid(&serde_json::from_str(wrong).expect("JSON")), "{wrong}");
    }
}

#[test]
fn the_graph_nests_two_hundred_calls_deep() {
    const DEPTH: u32 = 200;
    let names: Vec<String> = (0..DEPTH).map(|index| format!("function_{index}")).collect();
    let functions: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "vmlinux")).collect();
    let mut script = Script::new(Tracer::FunctionGraph, &functions);
    for function in 0..DEPTH {
        script.at(1_000_000_000 + u64::from(function)).enter(1, function);
    }
    for function in (0..DEPTH).rev() {
        script.at(2_000_000_000 - u64::from(function)).leave(1, function);
    }
    let output = draw(&script.can("deep"), Aggregate::new);
    let lines: Vec<&str> = output.lines().skip(2).collect();
    assert_eq!(lines.len(), 2 * DEPTH as usize);
    for (level, name) in names.iter().enumerate() {
        let indent = " ".repeat(2 * level);
        let entry = lines[level].split_once("vmlinux ").expect("a module").1;
        assert_eq!(entry.trim_end(), format!("{indent}{name}() {{"));
        let exit = lines[lines.len() - 1 - level]
            .split_once("vmlinux ")
            .expect("a module")
            .1;
        let duration = 1_000_000_000 - 2 * level;
        let text = format!("{}.{:03}", duration / 1000, duration % 1000);
        assert_eq!(exit.trim_end(), format!("{indent}}} /* {text} us */"));
    }
}

/// A writer whose reader closes it after some bytes.
struct Pipe {
    room: usize,
    end: ErrorKind,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.room == 0 {
            return Err(Error::from(self.end));
        }
        let written = bytes.len().min(self.room);
        self.room -= written;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Makes all calls of a sink, up to the first that fails.
fn run(canned: &Canned, sink: &mut dyn Sink) -> Result<(), SinkError> {
    sink.start(&canned.trace)?;
    for batch in &canned.batches {
        sink.events(batch)?;
    }
    sink.finish(&canned.summary)
}

#[test]
fn a_closed_pipe_differs_from_a_full_disk_at_any_byte() {
    let canned = &support::canned::all()[2];
    for room in 0..200 {
        let pipe = |end| Pipe { room, end };
        let sinks: [fn(Pipe) -> Box<dyn Sink>; 3] = [
            |pipe| Box::new(Aggregate::new(pipe)),
            |pipe| Box::new(Json::new(pipe)),
            |pipe| Box::new(Jsonl::new(pipe)),
        ];
        for sink in sinks {
            let closed = run(canned, sink(pipe(ErrorKind::BrokenPipe)).as_mut());
            assert!(matches!(closed, Err(SinkError::Closed)), "{closed:?}");
            let full = run(canned, sink(pipe(ErrorKind::StorageFull)).as_mut());
            assert!(matches!(full, Err(SinkError::Write(_))), "{full:?}");
        }
    }
}

#[test]
fn an_invalid_schema_is_refused_with_the_fields_name() {
    let cases = [
        (60, 8, FieldType::Unsigned, FieldFormat::Plain, "outside the payload"),
        (
            u32::MAX,
            u32::MAX,
            FieldType::Bytes,
            FieldFormat::Plain,
            "outside the payload",
        ),
        (0, 0, FieldType::Unsigned, FieldFormat::Plain, "no bytes"),
        (0, 9, FieldType::Unsigned, FieldFormat::Hex, "at most 8 bytes"),
        (0, 8, FieldType::Bytes, FieldFormat::Ipv4, "4 bytes"),
        (0, 8, FieldType::Bytes, FieldFormat::Ipv6, "16 bytes"),
        (0, 8, FieldType::Bytes, FieldFormat::Mac, "6 bytes"),
        (0, 4, FieldType::Unsigned, FieldFormat::Be16, "2 bytes"),
        (0, 2, FieldType::Unsigned, FieldFormat::Be32, "4 bytes"),
        (0, 4, FieldType::Unsigned, FieldFormat::Ktime, "8 bytes"),
    ];
    for (offset, size, kind, format, reason) in cases {
        let mut script = Script::new(Tracer::Function, &[]);
        script.trace.schema = Schema {
            size: 64,
            fields: vec![support::canned::field("bad\x1b", offset, size, kind, format)],
            ..Schema::default()
        };
        let mut sink = Jsonl::new(Vec::new());
        let message = sink.start(&script.trace).expect_err("it is refused").to_string();
        assert!(message.contains("`bad\\x1b`") && message.contains(reason), "{message}");
    }
}
