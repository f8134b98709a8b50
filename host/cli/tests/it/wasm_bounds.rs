//! Limits of the host's resources per plugin: plugins written to exceed them, as text, each of which once took
//! gigabytes or minutes.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use ipft_core::event::{Schema, Trace, Tracer};
use ipft_core::sink::{Sink, SinkError};
use ipft_plugin_host::host::wasm::{Compiler, Component, Engine, Failure, Limit, PluginError};
use ipft_plugin_host::package::Grants;
use ipft_plugin_host::package::inspect::{InspectError, inspect};
use support::hostile::{ENGINE, HOSTILE, Messages, grants};

/// The description of such a plugin.
const DESCRIPTION: &str =
    r#"{"contract":"0.1.0","name":"evil","version":"1.0.0","about":"A","license":"MIT","options":[]}"#;

/// The exports that inspection requires of a plugin.
const SINK: &str = r#"(instance $e) (export "ipft:plugin/sink@0.1.0" (instance $e))"#;

fn component(text: &str) -> Vec<u8> {
    let mut bytes = wat::parse_str(text).unwrap_or_else(|error| panic!("{:.1000}", error.to_string()));
    let mut section = vec![b"ipft-plugin".len() as u8];
    section.extend(b"ipft-plugin");
    section.extend(DESCRIPTION.as_bytes());
    bytes.push(0);
    let length = section.len();
    assert!(length < 1 << 14);
    bytes.extend([length as u8 | 0x80, (length >> 7) as u8]);
    bytes.extend(section);
    bytes
}

/// Returns a component around one module.
fn around(module: &str) -> Vec<u8> {
    component(&format!(
        "(component (core module $m {module}) (core instance $i (instantiate $m)) {SINK})"
    ))
}

fn load(bytes: &[u8]) -> Result<Component, PluginError> {
    Component::load(&ENGINE, "evil", bytes, None, || (), &mut |_| ())
}

/// Returns the error at the start of a trace.
fn started(bytes: &[u8], grants: &Grants) -> PluginError {
    let component = load(bytes).expect("it loads");
    let trace = Trace {
        tracer: Tracer::Function,
        backend: "kprobe".to_owned(),
        functions: Vec::new(),
        schema: Schema::default(),
        clock_offset: 0,
        command_line: Vec::new(),
        kernel_release: String::new(),
        mark: 0,
        mask: 0,
        filter: String::new(),
        follow: false,
        drop_reasons: Vec::new(),
    };
    let sink = component.sink(grants, Vec::new(), Box::new(std::io::sink()), Messages::default().log());
    let mut sink = sink.expect("it can be made");
    let failed = sink.start(&trace).and_then(|()| sink.finish(&Default::default()));
    match failed {
        Err(SinkError::Plugin(error)) => *error.downcast::<PluginError>().expect("it says what a plugin did"),
        other => panic!("no failure of the plugin: {other:?}"),
    }
}

/// Returns the peak memory of this process, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("it can be read");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("it is there");
    let kibibytes: usize = line.trim_end_matches("kB").trim().parse().expect("a number");
    kibibytes << 10
}

#[test]
fn a_name_that_demangles_to_gigabytes_costs_nothing() {
    // Each level refers to the one before several times: `A<i, i, ...>`, `A<S0_, S0_, ...>`, and so on.
    let (levels, arity) = (8, 16);
    let mut name = format!("_Z1f1AI{}E", "i".repeat(arity));
    for level in 1..=levels {
        let before = match level {
            1 => "S0_".to_owned(),
            _ => format!("S{}_", char::from_digit(level - 1, 36).expect("few levels")).to_uppercase(),
        };
        name.push_str(&format!("S_I{}E", before.repeat(arity)));
    }
    let bytes = around(&format!(
        r#"(memory (export "memory") 1) (func $s (@name "{name}") unreachable) (start $s)"#
    ));
    let (start, before) = (Instant::now(), peak());
    let error = started(&bytes, &grants());
    let text = error.to_string();
    let Failure::Trap { backtrace, .. } = &error.failure else {
        panic!("{text}");
    };
    // It is shown unchanged, and cut.
    assert!(backtrace.frames()[0].contains("!_Z1f1AIiiii"), "{text}");
    assert!(text.len() < 1000, "{} bytes", text.len());
    assert!(
        start.elapsed() < Duration::from_secs(10) && peak() - before < 200 << 20,
        "{:?}, {} MiB",
        start.elapsed(),
        (peak() - before) >> 20
    );
}

#[test]
fn long_names_of_many_frames_are_cut() {
    let name = "x".repeat(90_000);
    let bytes = around(&format!(
        r#"(func $f (@name "{name}") (param i32)
             (if (i32.eqz (local.get 0)) (then unreachable))
             (call $f (i32.sub (local.get 0) (i32.const 1))))
           (func $s (call $f (i32.const 1000))) (start $s)"#
    ));
    let text = started(&bytes, &grants()).to_string();
    assert!(text.contains("xxx...") && text.len() < 8000, "{} bytes", text.len());
    assert_eq!(text.matches("!xxx").count(), 16);
}

#[test]
fn tables_count_as_memory_from_the_start() {
    // 10 tables of 8 MB.
    let tables = "(table 1000000 funcref) ".repeat(10);
    let error = started(&around(&tables), &grants());
    let text = error.to_string();
    assert!(matches!(error.failure, Failure::Memory { .. }), "{text}");
    assert!(
        text.contains("64 MiB of memory") && text.contains("--plugin-memory"),
        "{text}"
    );
}

#[test]
fn tables_count_as_memory_when_they_grow() {
    let error = started(
        &around(
            "(table $t 0 funcref) (memory 512)
             (func $s (loop $l
               (br_if $l (i32.ne (i32.const -1) (table.grow $t (ref.null func) (i32.const 100000)))))
               unreachable)
             (start $s)",
        ),
        &grants(),
    );
    assert!(matches!(error.failure, Failure::Memory { .. }), "{error}");
}

/// Each component starts the one before twice.
fn doubled(levels: usize) -> Vec<u8> {
    let mut text = String::from("(component $c0 (core module $m) (core instance (instantiate $m)))");
    for level in 1..=levels {
        let before = level - 1;
        text.push_str(&format!(
            "(component $c{level} (alias outer $root $c{before} (component $x))
               (instance (instantiate $x)) (instance (instantiate $x)))"
        ));
    }
    component(&format!(
        "(component $root {text} (instance (instantiate $c{levels})) {SINK})"
    ))
}

/// Returns the error of inspection, before anything is compiled.
fn refused(bytes: &[u8]) -> String {
    let start = Instant::now();
    let error = inspect(bytes).expect_err("it is refused");
    assert!(matches!(error, InspectError::TooMuch(_)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(
        load(bytes)
            .expect_err("it is refused")
            .to_string()
            .matches(&error.to_string())
            .count(),
        1
    );
    error.to_string()
}

#[test]
fn doubling_instances_are_refused_before_compiling() {
    inspect(&doubled(7)).expect("255 instances are accepted");
    for levels in [10, 31, 500] {
        let text = refused(&doubled(levels));
        assert_eq!(
            text,
            "it has more than 1000 instances, which is more than ipft compiles"
        );
    }
}

#[test]
fn components_that_are_passed_on_are_refused() {
    for inner in [
        r#"(component $a (component $b)) (component $c (import "x" (component)) (instance (instantiate 0)))
           (instance (instantiate $c (with "x" (component $a))))"#,
        r#"(component $c (component $b) (export "x" (component $b)))
           (instance $i (instantiate $c)) (alias export $i "x" (component $d))"#,
        r#"(component $c (import "x" (core module)))"#,
    ] {
        let text = refused(&component(&format!("(component {inner} {SINK})")));
        assert!(text.contains("whose size it cannot tell"), "{text}");
    }
}

#[test]
fn too_many_functions_types_and_locals_are_refused() {
    for (module, expected) in [
        ("(func) ".repeat(200_001), "more than 200000 functions"),
        ("(type (func)) ".repeat(200_001), "more than 200000 types"),
        (
            format!("(func (local {}))", "i32 ".repeat(20_001)),
            "more than 20000 local variables",
        ),
        (
            format!("(func (local {}) {})", "i32 ".repeat(10_000), "nop ".repeat(200_000)),
            "local variables in a function of that size",
        ),
        (
            format!("(func {})", "nop ".repeat(3 << 20)),
            "more than 2097152 bytes of code in one function",
        ),
    ] {
        let text = refused(&around(&module));
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn what_many_instances_need_counts_as_memory() {
    // 900 instances with 3000 global variables each: 86 MB.
    let module = format!("(core module $m {})", "(global i32 (i32.const 0)) ".repeat(3000));
    let bytes = component(&format!(
        "(component {module} {} {SINK})",
        "(core instance (instantiate $m)) ".repeat(900)
    ));
    let component = load(&bytes).expect("it loads");
    let sink = component.sink(
        &grants(),
        Vec::new(),
        Box::new(std::io::sink()),
        Messages::default().log(),
    );
    let error = sink.expect_err("it is refused");
    assert!(matches!(error.failure, Failure::Memory { .. }), "{error}");
}

/// A module that takes long to compile: many blocks, each of which may change any of many local variables.
fn slow(blocks: usize, locals: usize) -> Vec<u8> {
    let mut code = String::new();
    for block in 0..blocks {
        let (a, b) = (block * 7919 % locals, (block * 104_729 + 1) % locals);
        code.push_str(&format!(
            "(if (local.get {a}) (then (local.set {} (i32.add (local.get {a}) (local.get {b}))))) ",
            (a + b) % locals
        ));
    }
    around(&format!(
        "(func (local {}) (loop $l {code} (br $l)))",
        "i32 ".repeat(locals)
    ))
}

fn compile_within(bytes: &[u8], memory: u64, seconds: u64, stop: Option<OwnedFd>) -> Result<Component, PluginError> {
    let compiler = Compiler::new(
        env!("CARGO_BIN_EXE_ipft").into(),
        memory,
        Duration::from_secs(seconds),
        stop,
    );
    let engine = Engine::new().expect("this machine runs plugins").compiling_in(compiler);
    let loaded = Component::load(&engine, "evil", bytes, None, || (), &mut |_| ());
    assert_eq!(children(), [""; 0], "a process was left behind");
    loaded
}

/// Returns the running compilers that this thread has started.
fn children() -> Vec<String> {
    let path = format!("/proc/self/task/{}/children", this_thread());
    let text = std::fs::read_to_string(path).expect("it can be read");
    text.split_whitespace().map(str::to_owned).collect()
}

fn this_thread() -> String {
    let own = std::fs::read_link("/proc/thread-self").expect("it is there");
    own.file_name().expect("it has a name").to_string_lossy().into_owned()
}

#[test]
fn a_plugin_compiled_in_another_process_loads() {
    let component = compile_within(&HOSTILE, 3 << 30, 300, None).expect("it compiles");
    assert!(component.exports().sink);
}

#[test]
fn compiling_ends_at_its_limit_of_memory() {
    let error = compile_within(&slow(4000, 5000), 100 << 20, 300, None).expect_err("it is too much");
    assert!(
        matches!(error.failure, Failure::CompileLimit(Limit::Memory(_))),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("the plugin evil cannot be compiled within 100 MiB of memory"),
        "{error}"
    );
}

#[test]
fn compiling_ends_at_its_limit_of_time() {
    let start = Instant::now();
    let error = compile_within(&slow(8000, 8000), 64 << 30, 1, None).expect_err("it is too much");
    assert!(
        matches!(error.failure, Failure::CompileLimit(Limit::Time(_))),
        "{error}"
    );
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn compiling_ends_with_a_signal() {
    let (stop, mut ask) = std::io::pipe().expect("there are pipes");
    ask.write_all(b"x").expect("it has room");
    let start = Instant::now();
    let error = compile_within(&slow(8000, 8000), 64 << 30, 300, Some(stop.into())).expect_err("it was stopped");
    assert!(matches!(error.failure, Failure::Stopped), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn the_compiler_process_reports_damaged_components() {
    let error = compile_within(&around("(func (result i32) nop)"), 1 << 30, 300, None).expect_err("it is invalid");
    assert!(matches!(error.failure, Failure::Compile(_)), "{error}");
    assert!(error.to_string().contains("type mismatch"), "{error}");
}
