//! Tests of the output of `ipft drops`.

use ipft_core::event::*;
use ipft_core::field::Show;
use ipft_core::sink::*;
use support::canned::{Canned, Fields, Script, Shared, draw, golden};

const FUNCTIONS: [(&str, &str); 4] = [
    ("nft_do_chain", "nf_tables"),
    ("icmp_rcv", "vmlinux"),
    ("__udp4_\x1b[31mlib_rcv", "vmlinux"),
    ("nft_do_chain+0x3b [nf_tables] < nf_hook_slow+0x43", "vmlinux"),
];
const STACK: u32 = 3;

/// A trace whose packets are dropped by these functions, for these reasons.
fn dropped(packets: &[(Fields, u32, u32)], reasons: &[(&str, u64)]) -> Canned {
    let mut script = Script::new(Tracer::Function, &FUNCTIONS);
    script.trace.schema = Show::of_drops().schema(&Schema::default());
    script.trace.clock_offset = 1_767_225_600_000_000_000;
    script.trace.follow = true;
    let member = |(name, value): &(&str, u64)| EnumMember {
        name: (*name).to_owned(),
        value: *value,
    };
    script.trace.drop_reasons = reasons.iter().map(member).collect();
    let room = script.trace.schema.size as usize;
    for (packet, (fields, function, reason)) in (1..).zip(packets) {
        let mut payload = fields.bytes();
        // The process that sends.
        payload.extend(b"curl\0\0\0\0\0\0\0\0\0\0\0\0\x11\x02\0\0");
        payload.resize(room, 0);
        script.at(1_000_000 * packet).payload(payload).enter(packet, *function);
        let outcome = Outcome::Dropped { reason: *reason }.to_word();
        if *function == 0 {
            script.stack(packet, STACK);
        }
        script.payload(Vec::new()).end(packet, *function, outcome);
        script.end_batch();
    }
    script.can("dropped")
}

fn syn() -> Fields {
    Fields {
        ports: (4000, 80),
        tcp: (2, 1, 0),
        iface: "eth\x1b0",
        netns: 4_026_531_840,
        ..Fields::ipv4(6, 60)
    }
}

fn reply() -> Fields {
    Fields {
        echo: (7, 1),
        iface: "va",
        ..Fields::ipv4(1, 84)
    }
}

fn totals(all: &[(Option<u32>, u32, u64)]) -> DropTotals {
    let totals = DropTotals::default();
    let total = |(function, reason, count): &(Option<u32>, u32, u64)| DropTotal {
        function: *function,
        reason: *reason,
        count: *count,
    };
    totals.set(all.iter().map(total).collect());
    totals
}

const REASONS: [(&str, u64); 2] = [("NO_SOCKET", 3), ("NETFILTER_DROP", 12)];

#[test]
fn drops_have_lines_a_table_and_sums() {
    let canned = dropped(
        &[
            (syn(), 0, 12),
            (reply(), 1, 3),
            (syn(), 0, 12),
            (Fields::default(), 2, 77),
        ],
        &REASONS,
    );
    let counted = [(Some(0), 12, 3214), (Some(1), 3, 1), (Some(2), 77, 1), (None, 2, 12)];
    for (all, name) in [(false, "drops.txt"), (true, "drops-all.txt")] {
        let options = DropsOptions {
            all,
            ..DropsOptions::default()
        };
        let text = draw(&canned, |output| Drops::new(output, options, totals(&counted)));
        assert!(!text.contains('\x1b'), "{text}");
        golden(name, &text);
    }
}

#[test]
fn a_stack_is_below_the_line_of_its_drop() {
    let canned = dropped(&[(syn(), 0, 12), (reply(), 2, 3), (syn(), 0, 12)], &REASONS);
    let text = |stack| {
        let options = DropsOptions {
            text: TextOptions {
                stack,
                ..TextOptions::default()
            },
            ..DropsOptions::default()
        };
        draw(&canned, |output| Drops::new(output, options, DropTotals::default()))
    };
    let with = text(true);
    let lines: Vec<&str> = with.lines().collect();
    let is_stack = |line: &&str| line.ends_with("  nft_do_chain+0x3b [nf_tables] < nf_hook_slow+0x43");
    let places: Vec<usize> = (0..lines.len()).filter(|at| is_stack(&lines[*at])).collect();
    assert_eq!(places.len(), 2, "{with}");
    for place in places {
        assert!(
            lines[place - 1].contains("  NETFILTER_DROP in nft_do_chain  "),
            "{with}"
        );
    }
    let without: Vec<&str> = lines.iter().copied().filter(|line| !is_stack(line)).collect();
    assert_eq!(text(false).lines().collect::<Vec<_>>(), without);
}

#[test]
fn json_lines_have_the_frames_of_a_drop() {
    let canned = dropped(&[(syn(), 0, 12), (reply(), 1, 3)], &REASONS);
    let lines = draw(&canned, Jsonl::new);
    let stacks: Vec<serde_json::Value> = (lines.lines())
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["type"] == "ended")
        .map(|line| line["stack"].clone())
        .collect();
    let frames = serde_json::json!(["nft_do_chain+0x3b [nf_tables]", "nf_hook_slow+0x43"]);
    assert_eq!(stacks, [frames, serde_json::Value::Null]);
}

#[test]
fn a_kernel_without_reasons_has_no_column_of_them() {
    let canned = dropped(&[(syn(), 0, 0)], &[]);
    let text = draw(&canned, |output| {
        Drops::new(output, DropsOptions::default(), totals(&[(Some(0), 0, 1)]))
    });
    golden("drops-old.txt", &text);
}

#[test]
fn nothing_is_written_if_nothing_was_dropped() {
    let canned = dropped(&[], &REASONS);
    let text = draw(&canned, |output| {
        Drops::new(output, DropsOptions::default(), DropTotals::default())
    });
    assert_eq!(text, "");
}

/// What a terminal of so many columns has after these bytes, with the lines that it has scrolled away.
fn on_terminal(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut at = 0;
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '\n' => {
                at += 1;
                if at == lines.len() {
                    lines.push(String::new());
                }
            }
            '\r' => {}
            '\x1b' => {
                let end = rest.find(|letter: char| letter.is_ascii_alphabetic()).unwrap();
                match &rest[1..=end] {
                    "J" => {
                        lines.truncate(at + 1);
                        lines[at].clear();
                    }
                    up => at -= up.strip_suffix('A').unwrap().parse::<usize>().unwrap(),
                }
                rest = &rest[end + 1..];
            }
            character => {
                lines[at].push(character);
                if lines[at].chars().count() > columns {
                    lines.insert(at + 1, String::new());
                    at += 1;
                }
            }
        }
    }
    lines
}

#[test]
fn the_table_stays_below_the_lines_of_a_terminal() {
    const COLUMNS: usize = 50;
    let canned = dropped(
        &[(syn(), 0, 12), (reply(), 1, 3), (syn(), 0, 12), (syn(), 2, 77)],
        &REASONS,
    );
    let counts = DropTotals::default();
    let output = Shared::default();
    let screen = || {
        Some(Screen {
            rows: 12,
            columns: COLUMNS,
        })
    };
    let mut sink = Drops::new(output.clone(), DropsOptions::default(), counts.clone()).with_table(Box::new(screen));
    let progress = Progress {
        timestamp: 0,
        losses: Vec::new(),
    };
    let shown = || on_terminal(&output.text(), COLUMNS);
    sink.start(&canned.trace).unwrap();
    sink.progress(&progress).unwrap();
    assert_eq!(shown(), [""]);

    for (count, batch) in (11..).zip(&canned.batches) {
        sink.events(batch).unwrap();
        counts.set(
            totals(&[
                (Some(0), 12, count),
                (Some(1), 3, 1),
                (Some(2), 77, 1),
                (Some(2), 78, 1),
                (Some(2), 79, 1),
            ])
            .get(),
        );
        sink.progress(&progress).unwrap();
        let shown = shown();
        let table = shown.iter().rposition(|line| line.starts_with("count ")).unwrap();
        assert_eq!(
            shown.iter().filter(|line| line.starts_with("count ")).count(),
            1,
            "{shown:#?}"
        );
        assert!(shown[table - 1].is_empty(), "{shown:#?}");
        assert!(
            shown[table..].iter().all(|line| line.chars().count() <= COLUMNS),
            "{shown:#?}"
        );
        let row = format!("{count:>5}  NETFILTER_DROP  nft_do_chain");
        assert!(shown[table..].iter().any(|line| line.starts_with(&row)), "{shown:#?}");
        assert!(shown[table..].contains(&"and 1 more".to_owned()), "{shown:#?}");
    }
    sink.finish(&canned.summary).unwrap();
    // All of the table, at the end of what an output that is no terminal has.
    let whole = draw(&canned, |output| Drops::new(output, DropsOptions::default(), counts));
    assert_eq!(shown(), on_terminal(&whole, COLUMNS));
}
