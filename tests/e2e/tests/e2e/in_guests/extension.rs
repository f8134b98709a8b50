//! Fields that extensions show of each packet: the same in C, as an object and as scripts, on every kernel, by every
//! backend.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ipft_e2e::fields::{self, Fields, Picture};
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Kind, Recording};
use ipft_e2e::{calls, compiler};
use xtask::kernel::Kernel;

/// Functions on the packets' way, from output to the socket.
const FEW: &str = "^(ip_output|ip_local_deliver|tcp_v4_rcv)$";

const OUTPUTS: [&str; 3] = ["jsonl", "json", "aggregate"];

/// The kinds of one extension.
const KINDS: [&str; 4] = ["c", "o", "decode", "dump"];

/// The backends of a kernel, the usual one first.
fn backends(kernel: Kernel) -> &'static [&'static str] {
    match kernel {
        Kernel::V5_10 | Kernel::V6_1 => &["kprobe", "ftrace"],
        Kernel::V6_12 | Kernel::V6_18 => &["kprobe-multi", "kprobe-session", "kprobe", "ftrace"],
        Kernel::V7_2 => &["fentry-multi", "kprobe-multi", "kprobe-session", "kprobe", "ftrace"],
    }
}

/// Tracers that run at the same time per backend: every kind with one output, as every tracer costs seconds. The pairs
/// change from backend to backend, so that 6.12, 6.18 and 7.2 have all of them.
fn plans(kernel: Kernel) -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    let backends = backends(kernel).iter().enumerate();
    backends
        .map(|(number, backend)| {
            let pairs = KINDS.iter().enumerate();
            let pairs = pairs.map(|(at, kind)| (*kind, OUTPUTS[(number + at) % OUTPUTS.len()]));
            (*backend, pairs.collect())
        })
        .collect()
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let mut script = String::from("PLANS=(");
        for (backend, runs) in plans(kernel) {
            let runs: Vec<String> = runs.iter().map(|(kind, output)| format!("{kind}-{output}")).collect();
            script += &format!("'{backend}/{}' ", runs.join(" "));
        }
        script += &format!(")\nFEW='{FEW}'\n{}", include_str!("../../../guest/extension.sh"));
        let own = |name: &str| project("tests/e2e/guest/extension").join(name);
        let files = [
            compiler::packed()?,
            project("docs/examples"),
            own("keep.sh"),
            own("published.c"),
            own("published.h"),
            own("published.lua"),
        ];
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        guest::run(&format!("extension-{}", kernel.series()), kernel, &files, &script)
    })
}

/// Returns the trace of a run that ended normally and lost nothing.
fn picture(kernel: Kernel, run: &str, output: &str) -> Picture {
    let left = left(kernel);
    let said = left.text(&format!("{run}.err"));
    assert_eq!(left.exit(run), 0, "{run}: {said}");
    assert!(!said.contains("Lost"), "{run}: {said}");
    fields::of(output, &left.path(&format!("{run}.out"))).unwrap_or_else(|error| panic!("{run}: {error:#}"))
}

/// Returns the fields of all events in one of the functions.
fn at<'p>(picture: &'p Picture, function: &str) -> Vec<&'p Fields> {
    let events = picture.iter().flatten();
    events
        .filter(|(name, _)| name == function)
        .map(|(_, fields)| fields)
        .collect()
}

fn number(fields: &Fields, name: &str) -> u64 {
    let value = fields.get(name).unwrap_or_else(|| panic!("no {name}: {fields:?}"));
    value.parse().unwrap_or_else(|_| panic!("{name}: {fields:?}"))
}

/// Returns whether each packet has its own identity: none enters any of the functions twice. The functions that free
/// packets are not selected.
fn keeps_packets_apart(picture: &Picture) {
    for packet in picture {
        let functions: BTreeSet<&str> = packet.iter().map(|(function, _)| function.as_str()).collect();
        assert_eq!(functions.len(), packet.len(), "several packets as one: {packet:?}");
    }
}

/// Checks that the segments in the fields fit the packet's length.
fn shows_late_segmentation(picture: &Picture) {
    for function in ["ip_output", "ip_local_deliver", "tcp_v4_rcv"] {
        let events = at(picture, function);
        let large: Vec<_> = events.iter().filter(|fields| number(fields, "gso_size") > 0).collect();
        assert!(
            !large.is_empty(),
            "{function}: no packet was left to be segmented: {events:?}"
        );
        for fields in large {
            let (len, size, segments) = (
                number(fields, "len"),
                number(fields, "gso_size"),
                number(fields, "gso_segs"),
            );
            assert_eq!(fields["gso_type"], "TCPV4", "{function}: {fields:?}");
            assert!((500..1500).contains(&size), "{function}: {fields:?}");
            assert!(segments >= 2, "{function}: {fields:?}");
            // Plus headers: IP and TCP, 40 to 120 bytes.
            let most = size * segments + 120;
            assert!(len > size * (segments - 1) && len <= most, "{function}: {fields:?}");
        }
        let small: Vec<_> = events.iter().filter(|fields| number(fields, "gso_size") == 0).collect();
        assert!(!small.is_empty(), "{function}: every packet was left to be segmented");
        for fields in small {
            // TCP sets the type in advance.
            let kind = fields["gso_type"].as_str();
            assert!(["<none>", "TCPV4"].contains(&kind), "{function}: {fields:?}");
            assert!(number(fields, "gso_segs") <= 1, "{function}: {fields:?}");
        }
    }
}

fn all_kinds_show_the_same_numbers_in_all_outputs(kernel: Kernel) {
    for (backend, runs) in plans(kernel) {
        let name = |(kind, output): &(&str, &str)| format!("{backend}-{kind}-{output}");
        let first = picture(kernel, &name(&runs[0]), runs[0].1);
        shows_late_segmentation(&first);
        keeps_packets_apart(&first);
        for run in &runs[1..] {
            let same = picture(kernel, &name(run), run.1) == first;
            assert!(same, "{} shows something else than {}", name(run), name(&runs[0]));
        }
        for run in runs.iter().filter(|run| run.1 == "jsonl") {
            let recording = Recording::read(&left(kernel).path(&format!("{}.out", name(run)))).unwrap();
            assert_eq!(recording.trace.backend, backend, "{run:?}");
        }
    }
}

fn a_file_name_is_a_name(kernel: Kernel) {
    let files = left(kernel).text("files");
    assert!(files.contains("touch pwned"), "{files}");
    assert!(!files.lines().any(|name| name == "pwned"), "{files}");
}

fn the_skeleton_and_objects_of_old_load_and_show_the_same(kernel: Kernel) {
    let gso = picture(kernel, "gso", "jsonl");
    shows_late_segmentation(&gso);
    assert!(picture(kernel, "published", "jsonl") == gso);
    let mut lengths = gso;
    for (_, fields) in lengths.iter_mut().flatten() {
        fields.retain(|name, _| name == "len");
    }
    lengths.iter_mut().for_each(|events| events.sort());
    lengths.sort();
    assert!(picture(kernel, "skeleton", "jsonl") == lengths);
}

fn a_function_in_lua_shows_what_c_shows(kernel: Kernel) {
    // The type is a number there.
    let numbers = |mut picture: Picture, renamed: &[(&str, &str)]| {
        for (_, fields) in picture.iter_mut().flatten() {
            fields.retain(|name, _| ["len", "gso_size", "gso_segs", "bytes", "segments"].contains(&name.as_str()));
            for (old, new) in renamed {
                let value = fields.remove(*old).expect("it has the field");
                fields.insert((*new).to_owned(), value);
            }
        }
        picture.iter_mut().for_each(|events| events.sort());
        picture.sort();
        picture
    };
    let gso = picture(kernel, "gso", "jsonl");
    let function = picture(kernel, "function", "jsonl");
    for (_, fields) in function.iter().flatten() {
        assert!(["0", "1"].contains(&fields["gso_type"].as_str()), "{fields:?}");
    }
    assert!(numbers(function, &[]) == numbers(gso.clone(), &[]));
    let mut skeleton = picture(kernel, "lua-skeleton", "jsonl");
    for (_, fields) in skeleton.iter_mut().flatten() {
        assert!(
            ["", "va", "vb", "lo"].contains(&fields["device"].as_str()),
            "{fields:?}"
        );
        fields.insert("gso_size".to_owned(), String::new());
    }
    let mut expected = gso;
    for (_, fields) in expected.iter_mut().flatten() {
        fields.insert("gso_size".to_owned(), String::new());
    }
    let renamed = [("bytes", "len"), ("segments", "gso_segs")];
    assert!(numbers(skeleton, &renamed) == numbers(expected, &[]));
}

fn the_owner_of_a_socket_is_shown(kernel: Kernel) {
    let owners = picture(kernel, "owner", "jsonl");
    let cgroup: u64 = left(kernel).text("cgroup.id").trim().parse().unwrap();
    let sent = at(&owners, "ip_output");
    let is = |fields: &&Fields, owner: &str, uid: u64, cgroup: u64| {
        fields["owner"] == owner && number(fields, "uid") == uid && number(fields, "cgroup") == cgroup
    };
    let count = |owner, uid, cgroup| sent.iter().filter(|fields| is(fields, owner, uid, cgroup)).count();
    // The data, and its acknowledgements. How many packets that are depends on when the kernel sends them.
    assert!(
        cgroup > 1 && count("full_socket", 1234, cgroup) >= 2,
        "{cgroup}: {sent:?}"
    );
    assert!(count("full_socket", 0, 1) >= 1, "{sent:?}");
    // The answer to the first packet has no socket yet.
    assert!(count("small_socket", 0, 0) >= 1, "{sent:?}");
    // An arriving packet has no owner until its socket is found; for an established connection, that is early.
    let arrived = at(&owners, "tcp_v4_rcv");
    let count = |owner, uid, cgroup| arrived.iter().filter(|fields| is(fields, owner, uid, cgroup)).count();
    assert!(count("no_socket", 0, 0) >= 1, "{arrived:?}");
    assert!(count("full_socket", 0, 1) >= 1, "{arrived:?}");
    assert!(count("full_socket", 1234, cgroup) >= 1, "{arrived:?}");
}

fn entries_have_fields_in_a_graph_and_returns_have_none(kernel: Kernel) {
    let graph = picture(kernel, "graph", "jsonl");
    shows_late_segmentation(&graph);
    let recording = Recording::read(&left(kernel).path("graph.out")).unwrap();
    calls::check(&recording).unwrap();
    assert!(recording.events.iter().any(|event| event.kind == Kind::Return));
    assert!(graph == picture(kernel, "ring", "jsonl"));
}

fn graphs_of_followed_packets_have_fields_too(kernel: Kernel) {
    for run in ["followed", "followed-perf"] {
        shows_late_segmentation(&picture(kernel, run, "jsonl"));
        // With -v, ipft says how many packets it followed at the end.
        let said = left(kernel).text(&format!("{run}.err"));
        let words: Vec<&str> = said.split_whitespace().collect();
        let live = words.iter().position(|word| *word == "live").expect("it says so");
        let live = words[live - 1].parse().unwrap();
        let recording = Recording::read_with_live(&left(kernel).path(&format!("{run}.out")), live).unwrap();
        calls::check(&recording).unwrap();
        assert!(recording.events.iter().any(|event| event.kind == Kind::Return), "{run}");
    }
}

fn the_perf_buffer_carries_the_same(kernel: Kernel) {
    assert!(picture(kernel, "perf", "jsonl") == picture(kernel, "ring", "jsonl"));
}

fn json_lines_keep_to_their_schema(kernel: Kernel) {
    let schema = std::fs::read_to_string(project("docs/jsonl.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let runs = plans(kernel).into_iter().flat_map(|(backend, runs)| {
        let typed = runs.into_iter().filter(|(_, output)| *output == "jsonl");
        typed.map(move |(kind, output)| format!("{backend}-{kind}-{output}"))
    });
    let runs: Vec<String> = runs.chain(["owner".into(), "graph".into()]).collect();
    assert!(runs.len() > 2, "{runs:?}");
    for run in runs {
        for line in left(kernel).text(&format!("{run}.out")).lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            schema
                .validate(&line)
                .unwrap_or_else(|error| panic!("{run}: {error}: {line}"));
        }
    }
}

fn nothing_is_left_behind(kernel: Kernel) {
    assert_eq!(left(kernel).text("all.left"), "");
    let files = left(kernel).text("files");
    assert!(!files.lines().any(|name| name.starts_with("ipft-")), "{files}");
}

ipft_e2e::on_three_kernels!(
    a_file_name_is_a_name,
    a_function_in_lua_shows_what_c_shows,
    all_kinds_show_the_same_numbers_in_all_outputs,
    entries_have_fields_in_a_graph_and_returns_have_none,
    graphs_of_followed_packets_have_fields_too,
    json_lines_keep_to_their_schema,
    nothing_is_left_behind,
    the_owner_of_a_socket_is_shown,
    the_perf_buffer_carries_the_same,
    the_skeleton_and_objects_of_old_load_and_show_the_same,
);
