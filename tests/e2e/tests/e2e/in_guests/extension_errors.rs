//! A faulty extension is reported, changes nothing, and leaves nothing.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ipft_e2e::compiler;
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::Recording;
use xtask::kernel::Kernel;
use xtask::workspace;

/// The start of the objects' sources. They include nothing, as this machine may have no headers for BPF.
const PRELUDE: &str = r#"
typedef unsigned char __u8;
typedef unsigned int __u32;
typedef unsigned long __u64;
#define SKIP __attribute__((section("__ipft_skip")))
#define TAG(text) __attribute__((btf_decl_tag("ipft:fmt:" text)))
#define ARGUMENTS (void *ctx, struct sk_buff *skb, __u8 data[64])
#define MODULE __attribute__((visibility("hidden"))) int module ARGUMENTS
static long (*bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)113;
struct sk_buff { __u32 len; } __attribute__((preserve_access_index));
"#;

const EVENT: &str = "struct event { __u32 len; } __ipft_event_struct SKIP;\n";
const GOOD: &str = "{ return bpf_probe_read_kernel(data, 4, &skb->len); }\n";

const BPF: &[&str] = &["-target", "bpf", "-O2", "-g"];

fn objects() -> Result<PathBuf> {
    let folder = workspace::target().join("e2e/objects");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let make = |name: &str, source: String, flags: &[&str]| {
        compiler::compile(&folder, &format!("{name}.o"), &format!("{PRELUDE}{source}"), flags)
    };
    let good = || format!("{EVENT}MODULE {GOOD}");
    make("good", good(), BPF)?;
    make(
        "elf32",
        "int module(void) { return 0; }".into(),
        &["-target", "i386-linux-gnu"],
    )?;
    make(
        "x86",
        "int module(void) { return 0; }".into(),
        &["-target", "x86_64-linux-gnu"],
    )?;
    make("no-btf", good(), &["-target", "bpf", "-O2"])?;
    let member = |members: &str| format!("struct event {{ {members} }} __ipft_event_struct SKIP;\nMODULE {GOOD}");
    for (name, source) in [
        ("no-module", format!("{EVENT}int modul ARGUMENTS {GOOD}")),
        (
            "static",
            format!("{EVENT}static __attribute__((used)) int module ARGUMENTS {GOOD}"),
        ),
        (
            "undefined",
            format!("{EVENT}int module ARGUMENTS;\nint other ARGUMENTS {{ return module(ctx, skb, data); }}"),
        ),
        ("too-large", member("__u64 all[8]; struct { __u32 more; } last;")),
        (
            "no-enum",
            format!("int kinds SKIP;\n{}", member("__u32 kind TAG(\"enum:kinds\");")),
        ),
        ("no-reference", member("__u32 kind TAG(\"enum_flags:nowhere\");")),
        ("unknown-tag", member("__u32 len TAG(\"hexx\");")),
        ("no-event", format!("MODULE {GOOD}")),
        (
            "rejected",
            format!("{EVENT}MODULE {{ *(volatile int *)(data + 70) = 1; return 0; }}"),
        ),
        (
            "drops",
            format!("{EVENT}MODULE {{ bpf_probe_read_kernel(data, 4, &skb->len); return -1; }}"),
        ),
    ] {
        make(name, source, BPF)?;
    }
    Ok(folder)
}

fn left() -> &'static Left {
    static RUN: Shared = Shared::new();
    RUN.left(|| {
        let (objects, clang) = (objects()?, compiler::packed()?);
        let files: [&Path; 2] = [&objects, &clang];
        let script = include_str!("../../../guest/extension_errors.sh");
        guest::run("extension-errors", Kernel::V6_12, &files, script)
    })
}

/// Returns the message of a failed run, which has all the words: nothing on stdout, this exit code, nothing attached
/// and no file left.
fn refused_with(run: &str, code: i32, words: &[&str]) -> String {
    let message = left().text(&format!("{run}.err"));
    assert_eq!(left().exit(run), code, "{run}: {message}");
    assert_eq!(left().text(&format!("{run}.out")), "", "{run}");
    let says = message
        .lines()
        .any(|line| line.starts_with("ipft: ") || line.starts_with("error: "));
    assert!(says, "{run}: {message}");
    assert!(!message.contains("Trace ready!"), "{run}: {message}");
    has(run, &message, words);
    nothing_is_left_of(run);
    message
}

fn refused(run: &str, words: &[&str]) {
    refused_with(run, 1, words);
}

fn has(run: &str, text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "{run} does not say '{word}': {text}");
    }
}

fn nothing_is_left_of(run: &str) {
    assert_eq!(left().text(&format!("{run}.left")), "", "{run}");
    assert_eq!(left().text(&format!("{run}.files")), "", "{run}");
}

/// Returns stderr of a run that traced and ended normally.
fn said(run: &str) -> String {
    let said = left().text(&format!("{run}.err"));
    assert_eq!(left().exit(run), 0, "{run}: {said}");
    said
}

/// Returns the lines of events in an aggregate.
fn events(run: &str) -> Vec<String> {
    let text = left().text(&format!("{run}.out"));
    let lines = text.lines().filter(|line| line.contains("ip_send_skb"));
    lines.map(str::to_owned).collect()
}

#[test]
fn a_missing_compiler_is_reported_with_alternatives() {
    refused("no-clang", &["wrong.c", "clang", "$CC", ".o"]);
    refused("no-compiler", &["wrong.c", "no-such-compiler", "$CC"]);
}

#[test]
fn the_compilers_own_messages_reach_the_user() {
    refused("compile-error", &["wrong.c:1:", "undeclared", "cannot compile wrong.c"]);
    refused("compiler-fails", &["cannot compile wrong.c", "3"]);
}

#[test]
fn a_file_name_is_no_command() {
    refused("compiles-to-no-extension", &["it's \"a\"; touch pwned.c"]);
    assert_eq!(left().text("pwned"), "");
}

#[test]
fn invalid_quoting_in_variables_is_reported() {
    refused("open-quote", &["CFLAGS", "-DA='b"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    refused("no-folder", &["/nowhere", "$TMPDIR"]);
}

#[test]
fn a_signal_while_it_compiles_leaves_no_folder() {
    // There was one.
    assert!(left().text("interrupted-compiler.during").starts_with("ipft-"));
    refused("interrupted-compiler", &["interrupted"]);
}

#[test]
fn missing_files_are_named() {
    refused("no-source", &["nowhere.c"]);
    refused("no-object", &["nowhere.o"]);
    refused("lua-nowhere", &["nowhere.lua"]);
}

#[test]
fn files_that_are_not_bpf_objects_are_distinguished() {
    refused("text", &["text.o", "no ELF"]);
    refused("empty", &["empty.o", "no ELF"]);
    refused("elf32", &["elf32.o", "32-bit", "-target bpf"]);
    refused("x86", &["x86.o", "machine 62", "-target bpf"]);
    refused("truncated", &["truncated.o", "damaged"]);
}

#[test]
fn a_module_that_cannot_be_called_is_explained() {
    refused("no-module", &["no-module.o", "no function `module`"]);
    refused("static", &["static.o", "static"]);
    refused("undefined", &["undefined.o", "not define"]);
}

#[test]
fn an_object_without_types_is_refused_with_a_remedy() {
    refused("no-btf", &["no-btf.o", "compile with -g"]);
}

#[test]
fn an_impossible_layout_is_refused_by_member_name() {
    refused("too-large", &["`last.more`", "72 bytes", "64"]);
    refused("no-enum", &["`kind`", "`kinds`", "no enum"]);
    refused("no-reference", &["`kind`", "`nowhere`"]);
    refused("unknown-tag", &["`len`", "hexx"]);
    refused("no-event", &["__ipft_event_struct"]);
}

#[test]
fn a_rejection_shows_the_verifiers_log() {
    let short = refused_with("rejected", 1, &["verifier", "invalid", "-v shows them"]);
    let long = refused_with("rejected-verbose", 1, &["verifier", "invalid"]);
    assert!(!long.contains("-v shows them"), "{long}");
    assert!(short.lines().count() < 20, "{short}");
    assert!(long.lines().count() > short.lines().count(), "{long}");
    for backend in ["kprobe", "ftrace", "kprobe-multi", "kprobe-session"] {
        refused(&format!("rejected-{backend}"), &["verifier", "invalid"]);
    }
    refused("lua-rejected", &["verifier", "invalid"]);
}

#[test]
fn wrong_usage_has_its_exit_code() {
    refused_with("unknown-kind", 2, &["wrong.txt", "FILE.c", "FILE.o", "FILE.lua"]);
    refused_with("a-folder", 2, &["FILE.o"]);
    refused_with("two", 2, &["--extension", "--script"]);
    refused_with(
        "unknown-gen",
        2,
        &["nonsense", "bpf-module-skeleton", "bpf-module-header", "lua-skeleton"],
    );
}

#[test]
fn a_module_that_returns_nonzero_drops_the_event() {
    said("good");
    assert_eq!(events("good").len(), 3);
    // IP, UDP and 64 bytes.
    assert!(events("good").iter().all(|line| line.ends_with("( len: 92 )")));
    assert!(!said("drops").contains("Lost"));
    assert!(events("drops").is_empty());
    said("drops-jsonl");
    // The packets were traced, so they are counted.
    let text = left().text("drops-jsonl.out");
    let summary: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert_eq!(
        [&summary["events"], &summary["packets"], &summary["lost"]],
        [0, 3, 0],
        "{text}"
    );
}

#[test]
fn a_script_without_a_known_version_is_refused() {
    refused("lua-no-version", &["no-version.lua", "api_version = 1"]);
    refused(
        "lua-version-3",
        &["version-3.lua", "api_version = 3", "api_version = 1", "api_version = 2"],
    );
    // Known, but then the function must be there.
    refused("lua-version-2", &["version-2.lua", "has no function 'module'"]);
}

#[test]
fn an_error_in_a_script_names_file_and_line() {
    refused("lua-syntax", &["syntax.lua:3:", "unexpected symbol"]);
    refused("lua-fails", &["fails.lua:3:", "in the main part", "traceback"]);
    refused("lua-init", &["init()", "init.lua:3:", "nothing", "traceback"]);
    refused("lua-emit-fails", &["emit()", "emit-fails.lua:3:", "traceback"]);
}

#[test]
fn globals_of_a_wrong_type_are_named() {
    refused("lua-no-function", &["no-function.lua", "`decode`", "a function"]);
    refused("lua-no-program", &["no-program.lua", "`program`", "string"]);
    refused("lua-bad-program", &["bad-program.lua"]);
}

#[test]
fn a_script_that_hangs_at_load_is_interrupted() {
    refused("lua-hangs", &["hangs.lua", "interrupted"]);
}

/// Counts the lines that contain the text.
fn times(text: &str, what: &str) -> usize {
    text.lines().filter(|line| line.contains(what)).count()
}

#[test]
fn an_error_at_an_event_is_shown_once_and_counted() {
    for (run, words) in [
        ("lua-event", &["event.lua:3:", "at an event", "traceback"][..]),
        ("lua-event-jsonl", &["event.lua:3:", "traceback"]),
        ("lua-nested", &["nested.lua:2:", "`deep`", "a table"]),
    ] {
        let said = said(run);
        has(run, &said, words);
        assert_eq!(times(&said, "failed at an event"), 1, "{said}");
        assert_eq!(times(&said, "3 events are shown without fields"), 1, "{said}");
    }
    for run in ["lua-event", "lua-nested"] {
        assert_eq!(events(run).len(), 3, "{run}");
        assert!(events(run).iter().all(|line| line.ends_with("ip_send_skb")), "{run}");
        nothing_is_left_of(run);
    }
    let recording = Recording::read(&left().path("lua-event-jsonl.out")).unwrap();
    assert_eq!(recording.summary.events, 3);
}

#[test]
fn only_the_event_with_the_error_lacks_its_fields() {
    has(
        "lua-odd",
        &said("lua-odd"),
        &["odd.lua:5:", "the second", "1 events are shown"],
    );
    let ends: Vec<String> = events("lua-odd")
        .iter()
        .map(|line| line.rsplit_once("ip_send_skb").unwrap().1.trim().to_owned())
        .collect();
    assert_eq!(ends, ["( n: 1 )", "", "( n: 3 )"]);
}

#[test]
fn an_error_in_fini_is_reported_and_output_is_kept() {
    let said = left().text("lua-fini.err");
    has("lua-fini", &said, &["fini()", "fini.lua:3:", "in the end"]);
    assert_eq!(events("lua-fini").len(), 3);
    nothing_is_left_of("lua-fini");
}

#[test]
fn script_prints_go_in_order_and_never_into_json() {
    said("lua-print-aggregate");
    let text = left().text("lua-print-aggregate.out");
    let lines: Vec<&str> = text.lines().collect();
    let at = |what: &str| {
        let found = lines.iter().position(|line| line.starts_with(what));
        found.unwrap_or_else(|| panic!("no '{what}': {text}"))
    };
    assert_eq!(lines[..2], ["loading", "init\t1"]);
    assert!(at("event") < at("Timestamp") && at("Timestamp") < at("==="), "{text}");
    assert_eq!(lines.last(), Some(&"fini"));
    assert!(text.contains("( len: 92 )"), "{text}");
    for output in ["json", "jsonl"] {
        let run = format!("lua-print-{output}");
        let said = said(&run);
        for what in ["loading", "init\t1", "event", "fini"] {
            assert!(said.lines().any(|line| line == what), "{run}: {said}");
        }
        let text = left().text(&format!("{run}.out"));
        assert!(text.lines().count() >= 3);
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{run}: {error}: {line}"));
        }
    }
}

#[test]
fn a_decoder_that_hangs_is_interrupted_by_a_signal() {
    let said = left().text("lua-endless.err");
    assert_eq!(left().exit("lua-endless-wait"), 0, "{said}");
    has(
        "lua-endless",
        &said,
        &["endless.lua", "interrupted", "3 events are shown without fields"],
    );
    assert_eq!(events("lua-endless").len(), 3);
    nothing_is_left_of("lua-endless");
}
