//! The known journey of a ping and of a TCP exchange through a NAT router, on every kernel, by every backend.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Kind, Recording, entries, follows};
use ipft_e2e::pcapng::Capture;
use ipft_e2e::{calls, shape};
use xtask::kernel::Kernel;

/// Functions on the way of IPv4 packets, for comparisons between outputs.
const ON_THE_WAY: &str = "^(ip_(rcv|local|forward|output|finish|send|route_input)|__ip_(local|finish)|icmp_(rcv|echo|\
                          reply|glue)|ping_(rcv|queue|lookup)|nf_(conntrack_(in|tcp|icmp|get)|nat|hook_slow|confirm|\
                          ct_get|checksum|ip_c)|__nf_(conn|ct)|tcp_(v4|rcv|ack|data|queue_rcv|add_backlog|wfree|event|\
                          validate)|raw_local|raw_rcv|ipv4_conntrack|ipt_do|iptable_|dev_hard|dev_queue|__dev_(queue|\
                          forward)|__netif|netif_(rx|receive|skb)|enqueue_to|skb_(release|scrub|free|clone|\
                          checksum_help|copy_datagram)|kfree_skb|__kfree|consume_skb|__consume|napi_(consume|skb)|veth|\
                          eth_(type|header)|neigh_(resolve|connected)|validate_xmit|sock_(wfree|rfree|queue|def|efree))";

/// The functions of the known path, for backends with one probe per function: attaching and detaching one takes an
/// emulated kernel half a second. The others get all functions.
const KNOWN: &str = "^(ip_rcv|ip_local_deliver(_finish)?|ip_forward|ip_output|ip_finish_output2?|icmp_rcv|icmp_echo|\
                     icmp_reply|ping_rcv|tcp_v4_(rcv|do_rcv)|tcp_rcv_.*|nf_conntrack_in|nf_nat_(inet_fn|manip_pkt)|\
                     nf_hook_slow|__netif_receive_skb_core.*|__dev_queue_xmit|dev_hard_start_xmit|veth_xmit|skb_clone|\
                     skb_release_.*|kfree_skb.*|consume_skb|__kfree_skb|sock_wfree)$";

const FEW: &str = "^(ip_(rcv|output|forward)|icmp_.*|tcp_v4_.*)$";

const TRACERS: [&str; 2] = ["function", "function_graph"];

/// All backends, with the functions that each traces here.
const BACKENDS: [(&str, &str); 5] = [
    ("kprobe", KNOWN),
    ("ftrace", KNOWN),
    ("kprobe-multi", ""),
    ("kprobe-session", ""),
    ("fentry-multi", ""),
];

/// The backends that a kernel lacks.
fn missing(kernel: Kernel) -> &'static [&'static str] {
    match kernel {
        Kernel::V5_10 | Kernel::V6_1 => &["kprobe-multi", "kprobe-session", "fentry-multi"],
        Kernel::V6_12 | Kernel::V6_18 => &["fentry-multi"],
        Kernel::V7_2 => &[],
    }
}

/// The backends whose trace is also ended by SIGKILL: on one kernel all, on the others the usual one.
fn killed(kernel: Kernel) -> &'static [&'static str] {
    match kernel {
        Kernel::V5_10 | Kernel::V6_1 => &["kprobe"],
        Kernel::V6_12 => &["kprobe", "ftrace", "kprobe-multi", "kprobe-session"],
        Kernel::V6_18 => &["kprobe-multi"],
        Kernel::V7_2 => &["fentry-multi"],
    }
}

/// Returns whether a backend sees functions of modules. Attaching by BTF needs the modules' BTF, which 5.10 does not
/// have.
fn sees_modules(kernel: Kernel, run: &str) -> bool {
    kernel != Kernel::V5_10 || !run.starts_with("ftrace")
}

fn working(kernel: Kernel) -> impl Iterator<Item = &'static str> {
    let names = BACKENDS.iter().map(|(name, _)| *name);
    names.filter(move |name| !missing(kernel).contains(name) && guest::tries(name))
}

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let backends = BACKENDS.iter().filter(|(name, _)| guest::tries(name));
        let backends: Vec<String> = backends.map(|(name, regex)| format!("'{name}/{regex}'")).collect();
        let backends = backends.join(" ");
        // The old kernels select a slow backend.
        let shared = if missing(kernel).contains(&"kprobe-multi") {
            KNOWN
        } else {
            ON_THE_WAY
        };
        let script = format!(
            "BACKENDS=({backends})\nKILLED=' {} '\nFEW='{FEW}'\nSHARED='{shared}'\n{}",
            killed(kernel).join(" "),
            include_str!("../../../guest/journey.sh")
        );
        guest::run(&format!("journey-{}", kernel.series()), kernel, &[], &script)
    })
}

/// Returns the failures of a kernel's runs: one line each, so that a failure shows the whole picture.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn check<T>(&mut self, run: &str, result: anyhow::Result<T>) -> Option<T> {
        result.map_err(|error| self.0.push(format!("{run}: {error:#}"))).ok()
    }

    fn expect(&mut self, run: &str, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.0.push(format!("{run}: {}", otherwise()));
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

/// Returns the traces of every backend that works here with every tracer, as far as they can be read.
fn recordings(kernel: Kernel, faults: &mut Faults) -> Vec<(String, Recording)> {
    let left = left(kernel);
    let runs = working(kernel).flat_map(|backend| TRACERS.map(|tracer| format!("{backend}-{tracer}")));
    runs.filter_map(|run| {
        let recording = Recording::read(&left.path(&format!("{run}.out")));
        faults.check(&run, recording).map(|recording| (run, recording))
    })
    .collect()
}

fn the_kernels_memory_tells_the_same_functions_as_the_kernels_lists(kernel: Kernel) {
    let left = left(kernel);
    let source = |run: &str| {
        let said = left.text(&format!("{run}.err"));
        let line = said.lines().find_map(|line| line.strip_prefix("Functions found in: "));
        line.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    let tables = if kernel == Kernel::V5_10 {
        // It does not show where its symbols are.
        "/proc/kallsyms and the kernel's code (/proc/kcore)"
    } else {
        "the kernel's symbol tables and code (/proc/kcore)"
    };
    assert_eq!(source("list"), tables);
    assert!(source("list-closed").starts_with("available_filter_functions"));
    // Without the address: it may be that of the call after an endbr64.
    let functions = |run: &str| -> BTreeSet<(String, String, String)> {
        let text = left.text(&format!("{run}.out"));
        let row = |line: &str| {
            let mut columns = line.split_whitespace().map(str::to_owned);
            Some((columns.next()?, columns.next()?, columns.nth(1)?))
        };
        text.lines().filter_map(row).collect()
    };
    let (all, listed) = (functions("list"), functions("list-closed"));
    assert!(listed.len() > 1000, "{}", listed.len());
    let differences: Vec<_> = all.symmetric_difference(&listed).collect();
    assert!(differences.is_empty(), "{differences:?}");
}

fn a_ping_takes_its_known_path(kernel: Kernel) {
    let mut faults = Faults::default();
    for (run, recording) in recordings(kernel, &mut faults) {
        let visible = |path: &[&'static str]| -> Vec<&str> {
            let all = path.iter().copied();
            all.filter(|step| sees_modules(kernel, &run) || !step.contains(':'))
                .collect()
        };
        let packets = recording.packets();
        let with = |function| {
            let mut found = packets.values().filter(move |events| entries(events, function) > 0);
            (found.next(), found.next())
        };
        // From the client's output through the router to the server's icmp_echo: one sk_buff, one identity.
        match with("icmp_echo") {
            (Some(request), None) => {
                let path = [
                    "ip_output",
                    "veth:veth_xmit",
                    "ip_rcv",
                    "nf_conntrack:nf_conntrack_in",
                    "nf_nat:nf_nat_inet_fn",
                    "ip_forward",
                    "nf_nat:nf_nat_manip_pkt",
                    "veth:veth_xmit",
                    "ip_rcv",
                    "ip_local_deliver",
                    "icmp_rcv",
                    "icmp_echo",
                    "skb_release_data",
                ];
                faults.check(&run, follows(request, &visible(&path)));
            }
            found => faults.0.push(format!("{run}: not one echo request but {found:?}")),
        }
        // And the way back, where NAT is undone before routing.
        match with("ping_rcv") {
            (Some(reply), None) => {
                let path = [
                    "ip_output",
                    "veth:veth_xmit",
                    "ip_rcv",
                    "nf_conntrack:nf_conntrack_in",
                    "nf_nat:nf_nat_manip_pkt",
                    "ip_forward",
                    "veth:veth_xmit",
                    "ip_rcv",
                    "ip_local_deliver",
                    "icmp_rcv",
                    "ping_rcv",
                ];
                faults.check(&run, follows(reply, &visible(&path)));
            }
            found => faults.0.push(format!("{run}: not one echo reply but {found:?}")),
        }
        // SYN, SYN and ACK, ACK, data, its ACK, and the ends of both directions, at least.
        let tcp = packets.values().filter(|events| entries(events, "tcp_v4_rcv") > 0);
        let through = tcp.filter(|events| entries(events, "ip_forward") == 1).count();
        faults.expect(&run, through >= 6, || {
            format!("only {through} TCP packets came through the router")
        });
    }
    faults.none();
}

fn returns_belong_to_their_entries_and_calls_nest(kernel: Kernel) {
    let mut faults = Faults::default();
    for (run, recording) in recordings(kernel, &mut faults) {
        if recording.trace.tracer == "function" {
            let returns = recording
                .events
                .iter()
                .filter(|event| event.kind == Kind::Return)
                .count();
            faults.expect(&run, returns == 0, || format!("{returns} returns"));
            continue;
        }
        let Some(calls) = faults.check(&run, calls::check(&recording)) else {
            continue;
        };
        // The receiving side runs inside the sender's transmission, so a ping's calls nest deeply.
        let deepest = calls.iter().map(|(_, depth)| *depth).max();
        faults.expect(&run, deepest >= Some(6), || {
            format!("the deepest call is at {deepest:?}")
        });
    }
    faults.none();
}

fn losses_and_skipped_functions_are_counted(kernel: Kernel) {
    let mut faults = Faults::default();
    for (run, recording) in recordings(kernel, &mut faults) {
        let (backend, tracer) = run.split_once("-function").expect("the run's name");
        faults.expect(&run, recording.trace.backend == backend, || {
            format!("the backend is {}", recording.trace.backend)
        });
        faults.expect(&run, format!("function{tracer}") == recording.trace.tracer, || {
            format!("the tracer is {}", recording.trace.tracer)
        });
        faults.expect(&run, recording.lost.is_empty(), || {
            format!("lost: {:?}", recording.lost)
        });
        // No backend can attach some functions, for example those that take the packet on the stack. They are few.
        let skipped = recording.summary.skipped.iter();
        let skipped: Vec<_> = skipped
            .filter(|skipped| skipped.module == "vmlinux" || sees_modules(kernel, &run))
            .collect();
        let table = recording.trace.functions.len();
        faults.expect(&run, skipped.len() * 20 <= table, || {
            format!("of {table} functions were skipped: {skipped:?}")
        });
        faults.expect(&run, recording.summary.attached > 0, || "nothing was attached".into());
        faults.expect(&run, left(kernel).exit(&run) == 0, || {
            format!("exit code {}", left(kernel).exit(&run))
        });
    }
    faults.none();
}

fn nothing_stays_attached(kernel: Kernel) {
    let mut faults = Faults::default();
    let left = left(kernel);
    for backend in working(kernel) {
        let ends = ["function", "function_graph", "killed"];
        for end in ends
            .into_iter()
            .filter(|end| *end != "killed" || killed(kernel).contains(&backend))
        {
            let run = format!("{backend}-{end}");
            if !left.has(&format!("{run}.during")) {
                faults.0.push(format!("{run}: it did not trace"));
                continue;
            }
            // Proof that the check of attachments sees any.
            let during = left.text(&format!("{run}.during"));
            for what in ["prog ", "map "] {
                let seen = during.lines().any(|line| line.starts_with(what));
                faults.expect(&run, seen, || format!("no {what}was seen while it traced"));
            }
            let hooks = during
                .lines()
                .filter(|line| line.starts_with("kprobe ") || line.starts_with("function "))
                .count();
            faults.expect(&run, hooks >= 5, || {
                format!("{hooks} functions were hooked while it traced")
            });
            let rest = left.text(&format!("{run}.left"));
            faults.expect(&run, rest.is_empty(), || format!("left behind:\n{rest}"));
        }
    }
    faults.none();
}

fn backends_that_the_kernel_lacks_are_refused(kernel: Kernel) {
    let mut faults = Faults::default();
    let left = left(kernel);
    for backend in missing(kernel).iter().filter(|name| guest::tries(name)) {
        for tracer in TRACERS {
            let run = format!("{backend}-{tracer}");
            faults.expect(&run, left.exit(&run) == 1, || format!("exit code {}", left.exit(&run)));
            let (out, err) = (left.text(&format!("{run}.out")), left.text(&format!("{run}.err")));
            faults.expect(&run, out.is_empty(), || format!("it wrote {out}"));
            let says = err
                .lines()
                .any(|line| line.starts_with("ipft: ") && line.contains(backend));
            faults.expect(&run, says, || format!("it does not say what is wrong: {err}"));
            faults.expect(&run, !err.contains("Trace ready!"), || "it says that it traces".into());
            let rest = left.text(&format!("{run}.left"));
            faults.expect(&run, rest.is_empty(), || format!("left behind:\n{rest}"));
        }
    }
    faults.none();
}

fn all_outputs_show_the_same_events(kernel: Kernel) {
    let left = left(kernel);
    let recording = Recording::read(&left.path("jsonl.out")).unwrap();
    let from_jsonl = shape::of_jsonl(&recording);
    assert!(
        recording.events.len() > 100 && from_jsonl.len() > 8,
        "{} events",
        recording.events.len()
    );
    assert_eq!(shape::of_json(&left.text("json.out")).unwrap(), from_jsonl);
    let from_aggregate = shape::of_aggregate(&left.text("aggregate.out")).unwrap();
    assert_eq!(from_aggregate, shape::without_names_of_returns(from_jsonl));
    for output in ["jsonl", "json", "aggregate"] {
        assert_eq!(left.exit(output), 0, "{output}");
    }
}

fn json_lines_keep_to_their_schema(kernel: Kernel) {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/jsonl.schema.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let mut faults = Faults::default();
    for backend in working(kernel) {
        for tracer in TRACERS {
            let run = format!("{backend}-{tracer}");
            for line in left(kernel).text(&format!("{run}.out")).lines() {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let wrong = schema
                    .validate(&line)
                    .map_err(|error| anyhow::anyhow!("{error}: {line}"));
                if faults.check(&run, wrong).is_none() {
                    break;
                }
            }
        }
    }
    faults.none();
}

/// Parses an IPv4 packet's first bytes: total length, protocol, and the bytes after the header.
fn ipv4(bytes: &[u8]) -> Option<(u32, u8, &[u8])> {
    let (header, rest) = bytes.split_at_checked(20)?;
    let length = u16::from_be_bytes([header[2], header[3]]);
    (header[0] == 0x45).then_some((length.into(), header[9], rest))
}

fn packets_carry_their_first_bytes_and_their_journey(kernel: Kernel) {
    let mut faults = Faults::default();
    for (run, recording) in recordings(kernel, &mut faults) {
        if recording.trace.tracer == "function" {
            continue;
        }
        let file = fs::read(left(kernel).path(&format!("{run}.pcapng"))).map_err(anyhow::Error::from);
        let Some(capture) = faults.check(&run, file.and_then(|file| Capture::parse(&file))) else {
            continue;
        };
        faults.expect(&run, capture.os.ends_with(&recording.trace.kernel), || {
            capture.os.clone()
        });
        let packets = recording.packets();
        let (mut pings, mut tcp, mut received) = (0, 0, 0);
        for packet in &capture.packets {
            let name = format!("{run}: packet {:#x}", packet.identity);
            let Some(events) = packets.get(&packet.identity) else {
                faults.0.push(format!("{name} is not in the other output"));
                continue;
            };
            // The comments show the same journey: one line per event, in the same order.
            let shown = packet.comments.iter().filter(|line| line.contains('['));
            let shown: Vec<_> = shown
                .filter_map(|line| line.split("  ").last()?.strip_suffix(" {"))
                .collect();
            let entered = events.iter().filter(|event| event.kind == Kind::Entry);
            let entered: Vec<_> = entered
                .map(|event| format!("{} [{}]", event.function, event.module))
                .collect();
            faults.expect(&name, shown == entered, || format!("{shown:?} is not {entered:?}"));
            faults.expect(&name, packet.comments.len() == events.len(), || {
                format!("{} comments on {} events", packet.comments.len(), events.len())
            });
            // Headers are complete, although sent packets are seen before that.
            let Some((length, protocol, rest)) = ipv4(&packet.bytes) else {
                faults
                    .0
                    .push(format!("{name} is no IPv4 packet: {:02x?}", packet.bytes));
                continue;
            };
            let captured = packet.bytes.len() as u32;
            let whole = packet.link_type == 101 && packet.length == length && captured <= length.min(64);
            faults.expect(&name, whole, || format!("{length}: {packet:?}"));
            received += usize::from(entries(events, "ip_rcv") > 0);
            // The fill pattern of ping, and the port of the server.
            let pattern: Vec<u8> = (0x10..).take(rest.len().saturating_sub(24)).collect();
            pings += usize::from(protocol == 1 && rest.ends_with(&pattern) && rest.len() == 44);
            tcp +=
                usize::from(protocol == 6 && (rest.starts_with(&[0x1f, 0x40]) || rest[2..].starts_with(&[0x1f, 0x40])));
        }
        faults.expect(&run, pings >= 2, || format!("{pings} packets of a ping"));
        faults.expect(&run, tcp >= 6, || format!("{tcp} packets to or from the server's port"));
        let all = packets.values().filter(|events| entries(events, "ip_rcv") > 0).count();
        faults.expect(&run, received == all && all > 0, || {
            format!("{received} of {all} packets that were received are in the file")
        });
    }
    faults.none();
}

ipft_e2e::on_every_kernel!(
    a_ping_takes_its_known_path,
    all_outputs_show_the_same_events,
    backends_that_the_kernel_lacks_are_refused,
    json_lines_keep_to_their_schema,
    losses_and_skipped_functions_are_counted,
    nothing_stays_attached,
    packets_carry_their_first_bytes_and_their_journey,
    returns_belong_to_their_entries_and_calls_nest,
    the_kernels_memory_tells_the_same_functions_as_the_kernels_lists,
);
