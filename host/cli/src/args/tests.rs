use std::time::Duration;

use ipft_core::event::Tracer;
use ipft_plugin_host::package::Language;

use super::*;
use std::path::Path;

fn parse(line: &[&str]) -> Result<Command, UsageError> {
    super::parse(["ipft"].iter().chain(line))
}

fn options(line: &[&str]) -> Options {
    match parse(line) {
        Ok(Command::Trace(options)) => options,
        other => panic!("{line:?}: {other:?}"),
    }
}

fn printed(line: &[&str]) -> String {
    match parse(line) {
        Ok(Command::Print(text)) => String::from_utf8(text).unwrap(),
        other => panic!("{line:?}: {other:?}"),
    }
}

/// Compares with a file of the repository; `UPDATE_GOLDEN=1` rewrites the file instead.
fn assert_golden(path: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(
        actual,
        expected,
        "{} is out of date; UPDATE_GOLDEN=1 rewrites it",
        path.display()
    );
}

#[test]
fn only_the_mark_is_needed_and_the_old_defaults_hold() {
    let options = options(&["-m", "0xdeadbeef"]);
    assert_eq!((options.mark, options.mask), (0xdead_beef, 0xffff_ffff));
    assert_eq!(options.tracer, Tracer::Function);
    assert_eq!(options.drawing.output, Output::Aggregate);
    assert_eq!(options.drawing.max_memory, None);
    assert_eq!(options.backend, None);
    assert!(options.filter.matches("ip_rcv", "vmlinux"));
    assert_eq!(
        options.buffers,
        Buffers {
            ring_size: 32 << 20,
            perf_requested: false,
            perf: PerfBuffer {
                pages: 8,
                sample_period: 1,
                wakeup_events: 1
            }
        }
    );
    assert_eq!(options.max_events_per_second, 1_000_000);
    assert!(options.set_rlimit);
    assert_eq!(options.probe_server, None);
    assert_eq!((options.duration, options.stop_after), (None, None));
    assert!(!options.verbose);
}

#[test]
fn every_flag_reaches_its_option() {
    let options = options(&[
        "--mark",
        "3735928559",
        "--mask",
        "0xffff0000",
        "--tracer",
        "function_graph",
        "--output",
        "jsonl",
        "--regex",
        "^ip_",
        "--module-regex",
        "vml",
        "--backend",
        "fentry-multi",
        "--no-set-rlimit",
        "--enable-probe-server",
        "--probe-server-port",
        "8080",
        "--probe-server-address",
        "::1",
        "--max-events-per-second",
        "0",
        "--ring-size",
        "64K",
        "--duration",
        "1h30m",
        "--stop-after",
        "10packets",
        "--max-memory",
        "3G",
        "--verbose",
    ]);
    assert_eq!(
        (options.mark, options.mask),
        (0xdead_0000, 0xffff_0000),
        "the mark is compared after masking"
    );
    assert_eq!(options.tracer, Tracer::FunctionGraph);
    assert_eq!(options.drawing.output, Output::Jsonl);
    assert!(options.filter.matches("ip_rcv", "vmlinux"));
    assert!(!options.filter.matches("__ip_rcv", "vmlinux"));
    assert!(!options.filter.matches("ip_rcv", "nf_conntrack"));
    assert_eq!(options.backend, Some(BackendName::FentryMulti));
    assert!(!options.set_rlimit);
    assert_eq!(options.probe_server, Some("[::1]:8080".parse().unwrap()));
    assert_eq!(options.max_events_per_second, 0);
    assert_eq!(options.buffers.ring_size, 65536);
    assert_eq!(options.duration, Some(Duration::from_secs(5400)));
    assert_eq!(options.stop_after, Some(StopAfter::Packets(10)));
    assert_eq!(options.drawing.max_memory, Some(3 << 30));
    assert!(options.verbose);
}

#[test]
fn a_file_of_packets_wants_bytes_of_each_of_them() {
    let both = |line: &[&str]| {
        let options = options(line);
        (options.record_bytes, options.drawing.pcapng)
    };
    let file = || Some(OutputFile::Path("a.pcapng".into()));
    assert_eq!(both(&["-m", "1"]), (0, None));
    assert_eq!(both(&["-m", "1", "--pcapng", "a.pcapng"]), (256, file()));
    assert_eq!(
        both(&["-m", "1", "--pcapng", "a.pcapng", "--record-bytes", "0x40"]),
        (64, file())
    );
    assert_eq!(both(&["-m", "1", "--record-bytes", "16384"]), (16384, None));
    assert_eq!(both(&["-m", "1", "--pcapng", "-"]), (256, Some(OutputFile::Stdout)));
}

#[test]
fn short_options_may_carry_their_value_and_be_joined() {
    let options = options(&["-vm0x1", "-tfunction_graph", "-ojson", "-rtcp", "-bkprobe"]);
    assert_eq!(options.mark, 1);
    assert_eq!(options.tracer, Tracer::FunctionGraph);
    assert_eq!(options.drawing.output, Output::Json);
    assert_eq!(options.backend, Some(BackendName::Kprobe));
    assert!(options.verbose && options.filter.matches("tcp_v4_rcv", "vmlinux"));
}

#[test]
fn the_last_option_wins_and_names_may_be_abbreviated() {
    let options = options(&["-m", "1", "-m", "0x10", "--verb", "--perf-page", "16"]);
    assert_eq!(options.mark, 16);
    assert!(options.verbose);
    assert_eq!(options.buffers.perf.pages, 16);
}

#[test]
fn an_empty_pattern_matches_everything_as_it_did() {
    assert!(
        options(&["-m", "1", "-r", "", "--module-regex", ""])
            .filter
            .matches("ip_rcv", "vmlinux")
    );
}

#[test]
fn every_backend_has_its_name() {
    for backend in BackendName::ALL {
        assert_eq!(options(&["-m", "1", "-b", backend.name()]).backend, Some(backend));
    }
}

#[test]
fn any_explicit_perf_option_asks_for_the_perf_buffer() {
    for (line, perf) in [
        (
            ["--perf-page-count", "8"],
            PerfBuffer {
                pages: 8,
                sample_period: 1,
                wakeup_events: 1,
            },
        ),
        (
            ["--perf-sample-period", "3"],
            PerfBuffer {
                pages: 8,
                sample_period: 3,
                wakeup_events: 1,
            },
        ),
        (
            ["--perf-wakeup-events", "0x40"],
            PerfBuffer {
                pages: 8,
                sample_period: 1,
                wakeup_events: 64,
            },
        ),
    ] {
        let buffers = options(&["-m", "1", line[0], line[1]]).buffers;
        assert!(buffers.perf_requested, "{line:?}");
        assert_eq!(buffers.perf, perf);
    }
}

#[test]
fn the_probe_server_listens_on_loopback_by_default() {
    let server = options(&["-m", "1", "--enable-probe-server"]).probe_server;
    assert_eq!(server, Some("127.0.0.1:13720".parse().unwrap()));
    let port_alone = options(&["-m", "1", "--probe-server-port", "80"]).probe_server;
    assert_eq!(port_alone, None, "as in ipftrace2, the port alone enables nothing");
}

#[test]
fn listing_needs_no_mark_and_keeps_its_filters() {
    let Ok(Command::List(list)) = parse(&["-l", "-r", "^ip_", "-b", "ftrace", "-t", "function_graph"]) else {
        panic!()
    };
    assert!(list.filter.matches("ip_rcv", "vmlinux") && !list.filter.matches("tcp_v4_rcv", "vmlinux"));
    assert_eq!(list.backend, Some(BackendName::Ftrace));
    assert_eq!(list.tracer, Tracer::FunctionGraph);
}

#[test]
fn subcommands_need_no_mark() {
    assert!(matches!(parse(&["doctor"]), Ok(Command::Doctor)));
    for (shell, sign) in [
        ("bash", "complete -F _ipft"),
        ("zsh", "#compdef ipft"),
        ("fish", "complete -c ipft"),
    ] {
        let script = printed(&["completions", shell]);
        assert!(script.contains(sign), "{shell}: {script}");
        assert!(
            script.contains("perf-page-count") && script.contains("kprobe-session"),
            "{shell}"
        );
        assert!(script.contains("bpf-module-skeleton"), "{shell}");
    }
}

#[test]
fn words_behind_a_script_are_its_own() {
    let Ok(Command::Lua(options)) = parse(&["lua", "-v", "count.lua", "-v", "--help", "eth0"]) else {
        panic!()
    };
    let words: Vec<_> = options.arguments.iter().map(|word| word.to_str().unwrap()).collect();
    assert_eq!((options.verbose, options.script.to_str()), (true, Some("count.lua")));
    assert_eq!(words, ["-v", "--help", "eth0"]);
    assert!(matches!(parse(&["lua", "count.lua"]), Ok(Command::Lua(options)) if !options.verbose));
    assert!(parse(&["lua"]).is_err());
}

#[test]
fn the_manual_page_documents_every_flag() {
    let page = printed(&["man"]);
    assert!(page.contains(".TH ipft 1"));
    for flag in [
        "mark", "mask", "tracer", "output", "regex", "list", "backend", "verbose",
    ] {
        assert!(page.contains(&format!("\\-\\-{flag}")), "{flag}");
    }
    assert!(page.contains("Exit status"));
}

#[test]
fn help_and_version_are_printed_without_escapes() {
    for line in ["-h", "--help", "-V", "--version"] {
        let text = printed(&[line]);
        assert!(
            !text.contains('\x1b') && text.lines().all(|line| line.len() <= 80),
            "{text}"
        );
    }
    assert_eq!(printed(&["-V"]), format!("ipft {}\n", env!("CARGO_PKG_VERSION")));
}

/// Wrong command lines and what is said about each.
#[test]
fn wrong_usage_names_the_option_and_its_values() {
    let lines: &[&[&str]] = &[
        &[],
        &["-m"],
        &["-m", "0"],
        &["-m", ""],
        &["-m", "banana"],
        &["-m", "-1"],
        &["-m", "0x1ffffffff"],
        &["-m", "99999999999999999999999999"],
        &["-m", "0x"],
        &["-m", "08"],
        &["-m", "12monkeys"],
        &["-m", "-t", "function"],
        &["-m", "1", "--mask", "0"],
        &["-m", "1", "--mask", "4294967296"],
        &["-m", "1", "--mask", "2"],
        &["-m", "1", "-b", "nonsense"],
        &["-m", "1", "-b", "kprobe-mutli"],
        &["-m", "1", "-t", "graph"],
        &["-m", "1", "-o", "xml"],
        &["-m", "1", "-r", "("],
        &["-m", "1", "--module-regex", "*"],
        &["-m", "1", "--perf-page-count", "0"],
        &["-m", "1", "--perf-page-count", "3"],
        &["-m", "1", "--perf-page-count", "131072"],
        &["-m", "1", "--perf-sample-period", "0"],
        &["-m", "1", "--perf-wakeup-events", "4294967296"],
        &["-m", "1", "--ring-size", "3M"],
        &["-m", "1", "--ring-size", "1K"],
        &["-m", "1", "--ring-size", "4G"],
        &["-m", "1", "--ring-size", "big"],
        &["-m", "1", "--max-memory", "1023K"],
        &["-m", "1", "--max-memory", "-1G"],
        &["-m", "1", "--max-memory", "half"],
        &["-m", "1", "--ring-size", "1M", "--perf-page-count", "8"],
        &["-m", "1", "--max-events-per-second", "1000000001"],
        &["-m", "1", "--max-events-per-second", "none"],
        &["-m", "1", "--duration", "soon"],
        &["-m", "1", "--duration", "0"],
        &["-m", "1", "--duration", "-5"],
        &["-m", "1", "--duration", "5 apples"],
        &["-m", "1", "--stop-after", "10bytes"],
        &["-m", "1", "--stop-after", "0packets"],
        &["-m", "1", "--record-bytes", "0"],
        &["-m", "1", "--record-bytes", "16385"],
        &["-m", "1", "--record-bytes", "64", "--perf-page-count", "8"],
        &["-m", "1", "--pcapng", "a.pcapng", "--perf-sample-period", "1"],
        &["-m", "1", "--record-bytes", "1024", "--ring-size", "4096"],
        &["-m", "1", "--pcapng", "-", "-o", "json"],
        &["-m", "1", "--enable-probe-server", "--probe-server-port", "0"],
        &["-m", "1", "--enable-probe-server", "--probe-server-port", "65536"],
        &[
            "-m",
            "1",
            "--enable-probe-server",
            "--probe-server-address",
            "localhost",
        ],
        &["-m", "1", "--probe-server-address", "127.0.0.1"],
        &["-m", "1", "-e", "extension"],
        &["-m", "1", "-e", "extension.so"],
        &["-m", "1", "-e", "extension.c", "-s", "script.lua"],
        &["--gen", "nonsense"],
        &["-m", "1", "--nonsense"],
        &["-m", "1", "-z"],
        &["0xdeadbeef"],
        &["-m", "1", "doctor"],
        &["completions"],
        &["completions", "tcsh"],
    ];
    let mut text = String::new();
    for line in lines {
        let error = match parse(line) {
            Err(error) => error,
            Ok(command) => panic!("{line:?}: {command:?}"),
        };
        let words = line.iter().map(|word| {
            if word.is_empty() || word.contains(['*', '(', ' ']) {
                format!("'{word}'")
            } else {
                word.to_string()
            }
        });
        text += &format!(
            "$ {}\nipft: {error}\n\n",
            std::iter::once("ipft".into())
                .chain(words)
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
    assert_golden("tests/golden/cli-wrong-usage.txt", &text);
}

#[test]
fn the_name_decides_the_kind_of_an_extension() {
    let file = |words: &[&str]| match parse(&[&["-m", "1"], words].concat()) {
        Ok(Command::Trace(options)) => options.extension,
        other => panic!("{other:?}"),
    };
    assert_eq!(file(&[]), None);
    assert_eq!(file(&["-e", "a.c"]), Some(ExtensionFile::Source("a.c".into())));
    assert_eq!(
        file(&["-e", "b/a.bpf.o"]),
        Some(ExtensionFile::Object("b/a.bpf.o".into()))
    );
    assert_eq!(
        file(&["--extension", "a.lua"]),
        Some(ExtensionFile::Script("a.lua".into()))
    );
    assert_eq!(file(&["-s", "a.lua"]), Some(ExtensionFile::Script("a.lua".into())));
    assert_eq!(file(&["--script", "a"]), Some(ExtensionFile::Script("a".into())));
}

#[test]
fn what_an_author_starts_from_needs_no_mark() {
    for (word, wanted) in [
        ("bpf-module-skeleton", Generate::Skeleton),
        ("bpf-module-header", Generate::Header),
        ("lua-skeleton", Generate::LuaSkeleton),
    ] {
        match parse(&["--gen", word]) {
            Ok(Command::Generate(what)) => assert_eq!(what, wanted),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn words_that_are_not_utf8_are_refused() {
    use std::os::unix::ffi::OsStringExt;
    let word = OsString::from_vec(vec![b'1', 0xff]);
    let error = super::parse([OsString::from("ipft"), "-m".into(), word]).unwrap_err();
    assert!(error.to_string().contains("invalid UTF-8"), "{error}");
}

#[test]
fn the_book_shows_the_help_as_it_is() {
    const PAGE: &str = "docs/src/command-line.md";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once("<!-- ipft --help -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- end -->\n").unwrap();
    let help = printed(&["--help"]);
    assert_golden(
        PAGE,
        &format!("{before}<!-- ipft --help -->\n```text\n{help}```\n<!-- end -->\n{after}"),
    );
}

fn plugins(line: &[&str]) -> Vec<PluginFile> {
    options(&[&["-m", "1"], line].concat()).drawing.plugins
}

fn plugin_error(line: &[&str]) -> String {
    parse(&[&["-m", "1"], line].concat()).unwrap_err().to_string()
}

#[test]
fn a_plugin_option_belongs_to_the_plugin_before_it() {
    let both = plugins(&[
        "--plugin",
        "flame",
        "--plugin-out",
        "f.svg",
        "--plugin-opt",
        "by=count",
        "--plugin",
        "./my/latency.wasm",
        "--plugin-opt",
        "from=ip_rcv",
        "--plugin-opt",
        "to=a=b",
    ]);
    let names: Vec<_> = both.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["flame", "latency"]);
    assert_eq!(both[0].grants.out.as_deref(), Some(Path::new("f.svg")));
    assert_eq!(both[0].grants.options, [("by".to_owned(), "count".to_owned())]);
    assert_eq!(both[1].grants.out, None);
    assert_eq!(both[1].path, Path::new("./my/latency.wasm"));
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    assert_eq!(both[1].grants.options, [pair("from", "ip_rcv"), pair("to", "a=b")]);
}

#[test]
fn an_option_may_name_its_plugin_wherever_it_stands() {
    let both = plugins(&[
        "--plugin-out",
        "flame:f.svg",
        "--plugin",
        "flame",
        "--plugin",
        "paths",
        "--plugin-opt",
        "flame:title=a:b",
        "--plugin-memory",
        "flame:64M",
        "--plugin-timeout",
        "paths:0.5",
        "--plugin-dir",
        "flame:/a::/b:ro",
        "--plugin-env",
        "flame:HOME",
        "--plugin-out-max",
        "flame:1K",
    ]);
    let flame = &both[0].grants;
    assert_eq!(flame.out.as_deref(), Some(Path::new("f.svg")));
    assert_eq!(flame.options, [("title".to_owned(), "a:b".to_owned())]);
    assert_eq!((flame.limits.memory, flame.limits.output), (64 << 20, 1024));
    assert_eq!(flame.env, ["HOME"]);
    let dir = &flame.dirs[0];
    assert_eq!(
        (dir.host.as_path(), dir.guest.as_str(), dir.read_only),
        (Path::new("/a"), "/b", true)
    );
    assert_eq!(both[1].grants.limits.timeout, std::time::Duration::from_millis(500));
    assert_eq!(both[1].grants.dirs, []);
}

#[test]
fn an_option_without_a_plugin_is_refused() {
    assert_eq!(
        plugins(&["--plugin-out", "a", "--plugin", "flame"])[0]
            .grants
            .out
            .as_deref(),
        Some(Path::new("a"))
    );
    assert!(plugin_error(&["--plugin-out", "a"]).contains("there is no --plugin"));
    let error = plugin_error(&["--plugin-out", "a", "--plugin", "flame", "--plugin", "paths"]);
    assert!(
        error.contains("which plugin is it for") && error.contains("flame:a"),
        "{error}"
    );
    let twice = ["--plugin", "flame", "--plugin", "flame", "--plugin-out", "flame:a"];
    assert!(plugin_error(&twice).contains("several plugins 'flame'"));
}

#[test]
fn wrong_grants_are_refused_with_accepted_values() {
    for (option, value, words) in [
        ("--plugin-opt", "by", "KEY=VALUE"),
        ("--plugin-opt", "other:by=count", "no plugin of that name"),
        ("--plugin-dir", "/a:/b", "HOST::GUEST"),
        ("--plugin-dir", "/a::", "HOST::GUEST"),
        ("--plugin-env", "A=B", "environment variable"),
        ("--plugin-memory", "1", "out of range"),
        ("--plugin-memory", "5G", "out of range"),
        ("--plugin-timeout", "0", "seconds from 0.001"),
        ("--plugin-timeout", "nan", "seconds from 0.001"),
        ("--plugin-out-max", "much", "not a size"),
    ] {
        let error = plugin_error(&["--plugin", "flame", option, value]);
        assert!(
            error.contains(words) && error.contains(option),
            "{option} {value}: {error}"
        );
    }
}

#[test]
fn followed_packets_are_text_by_default() {
    let output = |line: &[&str]| {
        let drawing = options(line).drawing;
        (drawing.output, drawing.output_given)
    };
    assert_eq!(output(&["-m", "1"]), (Output::Aggregate, false));
    assert_eq!(output(&["icmp"]), (Output::Text, false));
    assert_eq!(output(&["-m", "1", "--follow"]), (Output::Text, false));
    assert_eq!(output(&["icmp", "-o", "aggregate"]), (Output::Aggregate, true));
    assert_eq!(output(&["-m", "1", "-o", "text"]), (Output::Text, true));
    let Ok(Command::Replay(replay)) = parse(&["replay", "a.ipft"]) else {
        panic!("no replay");
    };
    assert_eq!(replay.drawing.output, Output::Aggregate);
}

#[test]
fn top_shows_all_packets_unless_some_are_named() {
    let all = options(&["top"]);
    assert_eq!((all.drawing.output, all.drawing.output_given), (Output::Top, true));
    assert_eq!(
        (all.packets.as_str(), all.mask, all.follow),
        ("", 0, Some(SelectAt::Gates))
    );
    let some = options(&["top", "tcp", "port", "80", "-t", "function_graph", "-w", "a.ipft"]);
    assert_eq!(
        (some.packets.as_str(), some.tracer),
        ("tcp port 80", Tracer::FunctionGraph)
    );
    assert!(some.drawing.record.is_some());
    let marked = options(&["top", "-m", "7"]);
    assert_eq!((marked.mark, marked.mask, marked.follow), (7, u32::MAX, None));
    assert_eq!(options(&["icmp", "-o", "top"]).drawing.output, Output::Top);
    for (line, words) in [
        (&["top", "-o", "json"][..], "leave -o out"),
        (&["drops", "-o", "top"], "'ipft top' shows the drops"),
        (&["top", "-w", "-"], "both write to stdout"),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(words), "{line:?}: {error}");
    }
}

#[test]
fn drops_of_others_need_a_trace_that_follows() {
    assert!(options(&["icmp", "--drops"]).other_drops && !options(&["icmp"]).other_drops);
    for (line, words) in [
        (&["--drops"] as &[&str], "'ipft drops' shows every packet"),
        (&["-m", "1", "--drops"], "add --follow, or a filter"),
        (&["icmp", "--drops", "--no-follow"], "cannot be used with"),
        (
            &["icmp", "--drops", "--perf-page-count", "8"],
            "leave out the --perf-* options",
        ),
    ] {
        let error = parse(line).unwrap_err().to_string();
        assert!(error.contains(words), "{line:?}: {error}");
    }
}

#[test]
fn the_looks_of_text_are_options() {
    let style = |line: &[&str]| options(line).drawing.text;
    assert_eq!(style(&["icmp"]), TextStyle::default());
    assert_eq!(
        style(&["-v", "icmp", "--time", "absolute", "--color", "never"]),
        TextStyle {
            time: Time::Absolute,
            color: Color::Never,
            unfold: true,
            stack: true,
        }
    );
    assert!(style(&["icmp", "--show", "+stack"]).stack && style(&["drops", "--show", "+stack"]).stack);
    let error = |line: &[&str]| parse(line).unwrap_err().to_string();
    let said = error(&["-m", "1", "--time", "delta"]);
    assert!(said.contains("--time is for the output 'text'"), "{said}");
    let said = error(&["icmp", "--time", "noon"]);
    assert!(said.contains("relative") && said.contains("absolute"), "{said}");
}

#[test]
fn explicit_output_differs_from_the_default() {
    assert!(!options(&["-m", "1"]).drawing.output_given);
    assert!(options(&["-m", "1", "-o", "aggregate"]).drawing.output_given);
}

#[test]
fn plugin_has_commands_of_its_own() {
    let command = |line: &[&str]| match parse(&[&["plugin"], line].concat()) {
        Ok(Command::Plugin(command)) => command,
        other => panic!("{line:?}: {other:?}"),
    };
    assert!(matches!(command(&["list"]), PluginCommand::List));
    assert!(matches!(
        command(&["inspect", "flame", "--json"]),
        PluginCommand::Inspect { json: true, .. }
    ));
    let PluginCommand::Run { plugin, recording, .. } =
        command(&["run", "flame", "t.jsonl", "--plugin-opt", "by=count"])
    else {
        panic!("not run");
    };
    assert_eq!(plugin.grants.options, [("by".to_owned(), "count".to_owned())]);
    assert_eq!(recording, Path::new("t.jsonl"));
    let PluginCommand::New { name, language, .. } = command(&["new", "a/my-plugin", "--lang", "js"]) else {
        panic!("not new");
    };
    assert_eq!((name.as_str(), language), ("my-plugin", Language::JavaScript));
    let PluginCommand::Pack { path, out, .. } = command(&["pack", "a.wasm", "--description", "a.json"]) else {
        panic!("not pack");
    };
    assert_eq!(path, out);
}

#[test]
fn drops_are_selected_like_packets_of_a_trace() {
    let options = options(&[
        "drops",
        "udp",
        "--inner",
        "tcp",
        "--netns",
        "web",
        "--duration",
        "5",
        "--all",
    ]);
    assert_eq!(
        (options.packets.as_str(), options.inner.as_deref()),
        ("udp", Some("tcp"))
    );
    assert_eq!(options.place.namespace.as_deref(), Some("web"));
    assert_eq!(options.duration, Some(Duration::from_secs(5)));
    assert!(options.drops.is_some_and(|drops| drops.all && drops.table));
    let at_the_end = self::options(&["drops", "--table", "end"]);
    assert!(at_the_end.drops.is_some_and(|drops| !drops.all && !drops.table));
}

#[test]
fn show_takes_names_of_built_in_fields() {
    let show = |list: &str| options(&["-m", "1", "--show", list]).show;
    assert_eq!(options(&["-m", "1"]).show, show("none"));
    assert_eq!((show("len").bits(), show("mark,len").bits()), (1, 3));
    let error = parse(&["-m", "1", "--show", "len,length"]).unwrap_err().to_string();
    assert!(
        error.contains("there is no field `length`; there are len, mark, tuple, iface, netns, vlan, gso, csum, sock, proc, tunnel, ct, route, netfilter, tc, stack, all, or none"),
        "{error}"
    );
    for (words, expected) in [
        (&["icmp"][..], "len,mark,tuple,iface,netns"),
        (&["icmp", "--show", "-tuple"], "len,mark,iface,netns"),
        (&["icmp", "--show=+len"], "len,mark,tuple,iface,netns"),
        (&["icmp", "--show", "+proc"], "len,mark,tuple,iface,netns,proc"),
        (&["icmp", "--show", "all"], "all"),
        (&["icmp", "--show", "len"], "len"),
        (&["icmp", "--show", "none"], "none"),
        (&["-m", "1", "--show", "+len"], "len"),
    ] {
        assert_eq!(options(words).show.bits(), show(expected).bits(), "{words:?}");
    }
    let help = printed(&["--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
    for name in ipft_core::field::names() {
        assert!(help.contains(&format!("{name} (")), "--help does not name {name}");
    }
}

#[test]
fn show_takes_expressions_beside_fields() {
    let shown = |words: &[&str]| {
        let options = options(words);
        let expressions = options.expressions.into_iter().map(|each| (each.name, each.text));
        (options.show.bits(), expressions.collect::<Vec<_>>())
    };
    let expression = |name: &str, text: &str| (name.to_owned(), text.to_owned());
    let default = options(&["icmp"]).show.bits();
    for (words, expected) in [
        (&["skb.len"][..], vec![expression("skb.len", "skb.len")]),
        (&["a=skb.len"], vec![expression("a", "skb.len")]),
        (&[" a.b = skb.len "], vec![expression("a.b", "skb.len")]),
        (&["skb.len == 5"], vec![expression("skb.len == 5", "skb.len == 5")]),
        (&["skb.len>=5"], vec![expression("skb.len>=5", "skb.len>=5")]),
        (&["x=skb.len==5"], vec![expression("x", "skb.len==5")]),
        (
            &["a=skb.len", "b=-skb.len"],
            vec![expression("a", "skb.len"), expression("b", "-skb.len")],
        ),
        (&["=skb.len"], vec![expression("=skb.len", "=skb.len")]),
    ] {
        let words: Vec<&str> = words.iter().flat_map(|word| ["--show", word]).collect();
        assert_eq!(
            shown(&[&["icmp"], &words[..]].concat()),
            (default, expected),
            "{words:?}"
        );
    }
    let both = shown(&["icmp", "--show", "len", "--show", "a=skb.len", "--show", "mark"]);
    assert_eq!(both, (2, vec![expression("a", "skb.len")]));
    let error = parse(&["icmp", "--show", &"skb.".repeat(20)]).unwrap_err().to_string();
    assert!(error.contains("NAME=EXPR"), "{error}");
    assert!(parse(&["drops", "--show", "skb.len"]).is_err());
}

#[test]
fn where_alone_selects_anywhere_and_follows() {
    let traced = options(&["--where", "skb.len > 5"]);
    assert_eq!(
        (traced.condition.as_deref(), traced.mask, traced.follow),
        (Some("skb.len > 5"), 0, Some(SelectAt::All))
    );
    assert_eq!(traced.show, options(&["icmp"]).show);
    let at_gates = options(&["icmp", "--where", "-skb.len < 5", "--select-at", "gates"]);
    assert_eq!(at_gates.follow, Some(SelectAt::Gates));
    let each = options(&["--where", "skb.cloned", "--no-follow"]);
    assert_eq!(each.follow, Some(SelectAt::Each));
    assert!(options(&["-m", "1", "--where", "skb.len > 5"]).follow.is_some());
    assert!(options(&["drops", "--where", "skb.len > 5"]).condition.is_some());
    assert!(options(&["top", "--where", "skb.len > 5"]).condition.is_some());
}

#[test]
fn a_place_alone_selects_and_follows() {
    let traced = options(&["--netns", "blue", "--ifname", "eth?", "--sample", "1/10"]);
    assert_eq!(
        (traced.mask, traced.follow, traced.place.sample),
        (0, Some(SelectAt::Gates), 10)
    );
    assert_eq!(traced.place.namespace.as_deref(), Some("blue"));
    assert_eq!(traced.place.device.unwrap().0, "eth?");
    assert!(options(&["-m", "1"]).follow.is_none());
    let limited = options(&["--max-packets-per-second", "5"]);
    assert_eq!((limited.follow, limited.place.rate), (Some(SelectAt::Gates), 5));
    assert!(options(&["-m", "1", "--netns", "blue"]).follow.is_some());
    for line in [
        &["icmp", "--no-follow"][..],
        &["-m", "1", "--netns", "blue", "--no-follow"],
    ] {
        assert_eq!(options(line).follow, Some(SelectAt::Each), "{line:?}");
    }
    assert!(options(&["-m", "1", "--no-follow"]).follow.is_none());
    let inside = options(&["udp", "--inner", "tcp port 80"]);
    assert_eq!(
        (&*inside.packets, inside.inner.as_deref()),
        ("udp", Some("tcp port 80"))
    );
    assert_eq!(inside.follow, Some(SelectAt::Gates));
    let alone = options(&["--inner", ""]);
    assert_eq!(
        (alone.inner.as_deref(), alone.follow, alone.mask),
        (Some(""), Some(SelectAt::Gates), 0)
    );
    let owned = options(&["--pid", "42", "--comm", "ping", "--cgroup", "/sys/fs/cgroup/a"]);
    assert_eq!((owned.follow, owned.place.process), (Some(SelectAt::Gates), Some(42)));
    assert_eq!(owned.place.thread.unwrap().0, "ping");
    for (words, said) in [
        (&["icmp", "--no-follow", "--select-at", "gates"][..], "leave one"),
        (&["-m", "1", "--no-follow", "--follow"], "cannot be used with"),
        (&["icmp", "--sample", "10"], "such as 1/100"),
        (&["icmp", "--max-packets-per-second", "0"], "1"),
        (&["icmp", "--pid", "0"], "1"),
        (&["icmp", "--comm", "sixteen-letters-"], "15 bytes"),
        (&["icmp", "--sample", "1/0"], "1"),
        (&["icmp", "--ifname", "a*b"], "last character"),
        (&["icmp", "--ifname", "*"], "any device"),
    ] {
        let error = parse(words).unwrap_err().to_string();
        assert!(error.contains(said), "{words:?}: {error}");
    }
}
