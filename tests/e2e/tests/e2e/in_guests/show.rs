//! `--show`: built-in fields, alone and in front of those of an extension in C and of a script, in every output.

use std::path::{Path, PathBuf};

use anyhow::Result;
use ipft_e2e::compiler;
use ipft_e2e::fields::{self, Fields, Picture};
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Kind, Recording};
use xtask::kernel::Kernel;
use xtask::workspace;

const FEW: &str = "^(ip_output|ip_rcv|icmp_rcv)$";
const KINDS: [&str; 3] = ["only", "c", "lua"];
const OUTPUTS: [&str; 3] = ["jsonl", "json", "aggregate"];

/// The start of the objects' sources. They include nothing, as this machine may have no headers for BPF.
const PRELUDE: &str = r#"
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
#define SKIP __attribute__((section("__ipft_skip")))
static long (*bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)113;
struct sk_buff { __u32 len, data_len; __u16 protocol; } __attribute__((preserve_access_index));
"#;

/// Fields that no built-in one has the name of.
const SHOWN: &str = r#"
struct event {
    __u32 data_len;
    __u16 protocol __attribute__((btf_decl_tag("ipft:fmt:be16")));
} __ipft_event_struct SKIP;
__attribute__((visibility("hidden"))) int module(void *ctx, struct sk_buff *skb, __u8 data[64]) {
    struct event *event = (struct event *)data;
    bpf_probe_read_kernel(&event->data_len, 4, &skb->data_len);
    return bpf_probe_read_kernel(&event->protocol, 2, &skb->protocol);
}
"#;

const CLASH: &str = r#"
struct event { __u32 len; } __ipft_event_struct SKIP;
__attribute__((visibility("hidden"))) int module(void *ctx, struct sk_buff *skb, __u8 data[64]) {
    return bpf_probe_read_kernel(data, 4, &skb->len);
}
"#;

fn objects() -> Result<PathBuf> {
    let folder = workspace::target().join("e2e/show-objects");
    for (name, source) in [("shown.o", SHOWN), ("clash.o", CLASH)] {
        let source = format!("{PRELUDE}{source}");
        compiler::compile(&folder, name, &source, &["-target", "bpf", "-O2", "-g"])?;
    }
    Ok(folder)
}

fn left() -> &'static Left {
    static RUN: Shared = Shared::new();
    RUN.left(|| {
        let objects = objects()?;
        let lua = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/show.lua");
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/show.sh"));
        guest::run("show", Kernel::V6_12, &[&objects, &lua], &script)
    })
}

/// Returns the picture of a run that ended normally and lost nothing.
fn picture(run: &str, output: &str) -> Picture {
    let said = left().text(&format!("{run}.err"));
    assert_eq!(left().exit(run), 0, "{run}: {said}");
    assert!(!said.contains("Lost"), "{run}: {said}");
    fields::of(output, &left().path(&format!("{run}.out"))).unwrap_or_else(|error| panic!("{run}: {error:#}"))
}

fn names(fields: &Fields) -> Vec<&str> {
    fields.keys().map(String::as_str).collect()
}

#[test]
fn every_entry_has_the_length_and_the_mark() {
    for (kind, expected) in [
        ("only", &["len", "mark"][..]),
        ("c", &["data_len", "len", "mark", "protocol"]),
        ("lua", &["data_len", "len", "mark", "protocol"]),
    ] {
        let picture = picture(&format!("{kind}-jsonl"), "jsonl");
        let mut seen = 0;
        for (function, fields) in picture.iter().flatten() {
            assert_eq!(names(fields), expected, "{kind}: {function}");
            assert_eq!(fields["mark"], "0xdeadbeef", "{kind}: {function}");
            // 100 bytes behind a header of ICMP and, before it is taken off, one of IP.
            let length = if function == "icmp_rcv" { "108" } else { "128" };
            assert_eq!(fields["len"], length, "{kind}: {function}");
            if kind != "only" {
                assert_eq!(
                    (&*fields["data_len"], &*fields["protocol"]),
                    ("0", "2048"),
                    "{kind}: {function}"
                );
            }
            seen += 1;
        }
        assert!(seen >= 8, "{kind}: {seen} entries");
    }
}

#[test]
fn all_outputs_show_the_same() {
    for kind in KINDS {
        let first = picture(&format!("{kind}-jsonl"), "jsonl");
        for output in OUTPUTS {
            let live = picture(&format!("{kind}-{output}"), output);
            assert!(live == first, "{kind}-{output}: {live:?}\n{first:?}");
        }
    }
    assert!(picture("c-jsonl", "jsonl") == picture("lua-jsonl", "jsonl"));
}

#[test]
fn a_recording_shows_the_same() {
    for kind in KINDS {
        let first = picture(&format!("{kind}-jsonl"), "jsonl");
        for output in OUTPUTS {
            let again = picture(&format!("again-{kind}-{output}"), output);
            assert!(again == first, "{kind}-{output}: {again:?}\n{first:?}");
        }
        let text = |run: String| left().text(&format!("{run}.out"));
        assert_eq!(text(format!("again-{kind}-jsonl")), text(format!("{kind}-jsonl")));
    }
    let info = left().text("info.out");
    assert!(info.contains("len, mark, and those of a script or plugin"), "{info}");
}

#[test]
fn a_script_decodes_recorded_bytes_behind_them() {
    assert!(picture("again-decoded", "jsonl") == picture("c-jsonl", "jsonl"));
}

#[test]
fn one_field_alone_the_graph_and_the_perf_buffer() {
    let mark = picture("mark", "jsonl");
    for (function, fields) in mark.iter().flatten() {
        assert_eq!(names(fields), ["data_len", "mark", "protocol"], "{function}");
        assert_eq!(
            (&*fields["mark"], &*fields["protocol"]),
            ("0xdeadbeef", "2048"),
            "{function}"
        );
    }
    let perf = picture("perf", "jsonl");
    assert!(perf == picture("graph", "jsonl"));
    assert!(perf.iter().flatten().all(|(_, fields)| fields.len() == 4));
    let graph = Recording::read(&left().path("graph.out")).unwrap();
    assert!(graph.events.iter().any(|event| event.kind == Kind::Return));
}

#[test]
fn an_extension_with_the_same_name_is_refused() {
    let said = left().text("clash.err");
    assert_eq!(left().exit("clash"), 1, "{said}");
    assert!(
        said.contains("the extension has a field `len`, as --show has"),
        "{said}"
    );
    assert_eq!(left().text("clash.out"), "");
}

#[test]
fn nothing_is_left_behind() {
    assert_eq!(left().text("all.left"), "");
}
