//! Tests of the text output beyond its golden files: its options, its bounds, and events that no kernel delivers.

use ipft_core::event::*;
use ipft_core::sink::*;
use support::canned::{self, Canned, Fields, Script, Shared, draw};

fn text(canned: &Canned, options: TextOptions) -> String {
    draw(canned, |output| Text::new(output, options))
}

fn followed() -> Canned {
    let mut canned = canned::all().into_iter().filter(|canned| canned.name == "followed");
    canned.next().expect("there is such a trace")
}

/// Removes the escapes that colour text.
fn plain(colored: &str) -> String {
    let mut parts = colored.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escape, rest) = part.split_once('m').expect("an escape ends");
        assert!(["[0", "[1", "[2", "[1;31"].contains(&escape), "{escape:?}");
        plain.push_str(rest);
    }
    plain
}

#[test]
fn colors_add_nothing_but_escapes() {
    for canned in canned::all() {
        let color = TextOptions {
            color: true,
            ..TextOptions::default()
        };
        assert_eq!(
            plain(&text(&canned, color)),
            text(&canned, TextOptions::default()),
            "{}",
            canned.name
        );
    }
    let shown = text(
        &followed(),
        TextOptions {
            color: true,
            ..TextOptions::default()
        },
    );
    assert!(shown.contains("\x1b[1m#1  10.0.0.1 > "), "{shown}");
    assert!(shown.contains("\x1b[1;31mDROPPED "), "{shown}");
}

#[test]
fn unfolded_repetitions_have_lines_of_their_own() {
    let lines = |unfold, word: &str| {
        let shown = text(
            &followed(),
            TextOptions {
                unfold,
                ..TextOptions::default()
            },
        );
        shown.lines().filter(|line| line.contains(word)).count()
    };
    assert_eq!(
        (lines(false, "nf_hook_slow (3 times)"), lines(false, "nf_hook_slow")),
        (1, 1)
    );
    assert_eq!((lines(true, " times)"), lines(true, "nf_hook_slow")), (0, 3));
    // What frees a packet after its end is only shown with everything.
    assert_eq!(
        (lines(false, "skb_release_data"), lines(true, "skb_release_data")),
        (0, 2)
    );
}

#[test]
fn a_stack_is_shown_below_its_drop() {
    let functions = [
        ("ip_rcv", "vmlinux"),
        ("nft_do_chain", "nf_tables"),
        ("nft_do_chain+0x3b [nf_tables] < nf_hook_slow+0x43", "vmlinux"),
    ];
    let mut script = Script::new(Tracer::Function, &functions);
    script.trace.follow = true;
    script.at(1000).enter(1, 0);
    script.stack(1, 2);
    script.end(1, 1, Outcome::Dropped { reason: 0 }.to_word());
    let canned = script.can("stack");
    let lines = |stack| {
        let options = TextOptions {
            stack,
            ..TextOptions::default()
        };
        let shown = text(&canned, options);
        let lines = shown.lines().skip(2).map(|line| line.trim_start().to_owned());
        lines.collect::<Vec<_>>()
    };
    let with = lines(true);
    assert!(with[0].ends_with("DROPPED in nft_do_chain"), "{with:?}");
    assert_eq!(with[1], functions[2].0);
    assert_eq!(lines(false), [&with[..1], &with[2..]].concat());
}

#[test]
fn repeated_short_calls_have_one_duration() {
    let mut script = Script::new(Tracer::FunctionGraph, &[("ip_rcv", "vmlinux"), ("skb_push", "vmlinux")]);
    script.trace.schema = Fields::schema();
    script.at(1000).payload(Fields::ipv4(17, 100).bytes()).enter(1, 0);
    for time in [2000, 3000] {
        script.at(time).enter(1, 1);
        script.at(time + 400).payload(Vec::new()).leave(1, 1);
        script.payload(Fields::ipv4(17, 100).bytes());
    }
    // What changes is no repetition.
    script.at(4000).payload(Fields::ipv4(17, 108).bytes()).enter(1, 1);
    script.at(4500).payload(Vec::new()).leave(1, 1);
    script.at(5000).leave(1, 0);
    let canned = script.can("calls");
    let lines = |unfold| {
        let shown = text(
            &canned,
            TextOptions {
                unfold,
                ..TextOptions::default()
            },
        );
        let calls = shown.lines().filter(|line| line.starts_with(' ')).map(|line| {
            let words = line.split_whitespace();
            words
                .skip_while(|word| !word.starts_with(|c: char| c == '}' || c.is_alphabetic() && *word != "us"))
                .filter(|word| !word.starts_with("cpu"))
                .collect::<Vec<_>>()
                .join(" ")
        });
        calls.collect::<Vec<_>>()
    };
    let end = ["skb_push 0.5 us len 100 > 108", "} ip_rcv 4.0 us"];
    let folded = ["ip_rcv {", "skb_push (2 times) 0.8 us"];
    assert_eq!(lines(false), [folded, end].concat());
    let unfolded = ["ip_rcv {", "skb_push 0.4 us", "skb_push 0.4 us"];
    assert_eq!(lines(true), [&unfolded[..], &end].concat());
}

#[test]
fn times_count_from_where_the_user_wants() {
    let first = |time| {
        let shown = text(
            &followed(),
            TextOptions {
                time,
                ..TextOptions::default()
            },
        );
        let lines = shown.lines().filter(|line| !line.starts_with('#')).take(4);
        lines
            .map(|line| line.split_whitespace().next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(first(TextTime::Relative), ["0.0", "12.1", "31.0", "38.2"]);
    // A folded line counts from its first event.
    assert_eq!(first(TextTime::Delta), ["0.0", "12.1", "18.9", "7.2"]);
    let absolute = first(TextTime::Absolute);
    let ends: Vec<&str> = absolute
        .iter()
        .map(|time| time.trim_end_matches('Z').split_once('.').unwrap().1)
        .collect();
    assert_eq!(ends, ["123456", "123468", "123487", "123494"]);
}

#[test]
fn a_narrow_terminal_cuts_nothing() {
    let words = |width| {
        let shown = text(
            &followed(),
            TextOptions {
                width,
                ..TextOptions::default()
            },
        );
        shown.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    for width in [0, 1, 80, 500, usize::MAX] {
        assert_eq!(words(Some(width)), words(None));
    }
}

#[test]
fn a_single_kind_of_loss_is_named_after_the_sum() {
    let mut canned = followed();
    let loss = |count| Loss {
        kind: LossKind::BufferFull,
        cpu: None,
        count,
    };
    canned.summary.losses = vec![loss(1)];
    let last = |canned: &Canned| text(canned, TextOptions::default()).lines().last().unwrap().to_owned();
    assert_eq!(last(&canned), "1 event was lost (buffer full)");
    canned.summary.losses = vec![loss(1), loss(2)];
    assert_eq!(last(&canned), "3 events were lost (buffer full)");
}

#[test]
fn a_batch_of_nothing_prints_nothing() {
    let canned = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]).can("nothing");
    assert_eq!(text(&canned, TextOptions::default()), "");
}

#[test]
fn a_part_of_the_fields_is_enough() {
    // Every field of the schema is left out once, and everything but it.
    let whole = followed();
    for index in 0..whole.trace.schema.fields.len() {
        for only in [false, true] {
            let mut canned = followed();
            let mut place = 0;
            canned.trace.schema.fields.retain(|_| {
                place += 1;
                (place - 1 == index) == only
            });
            let shown = text(&canned, TextOptions::default());
            assert!(shown.starts_with("#1  "), "{shown}");
            assert!(shown.ends_with("not ended. Nothing was lost.\n"), "{shown}");
        }
    }
}

/// Numbers that look random.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn any_events_in_any_order_are_printed() {
    let mut random = Random(7);
    let sources: Vec<Canned> = canned::all().into_iter().chain([followed()]).collect();
    for round in 0..600 {
        let source = &sources[random.below(sources.len() as u64) as usize];
        let options = TextOptions {
            time: [TextTime::Relative, TextTime::Delta, TextTime::Absolute][random.below(3) as usize],
            color: false,
            width: Some(random.below(200) as usize),
            unfold: random.below(2) == 1,
            stack: random.below(2) == 1,
        };
        let output = Shared::default();
        let mut sink = Text::new(output.clone(), options);
        let mut trace = source.trace.clone();
        trace.clock_offset = [0, i64::MIN, i64::MAX][random.below(3) as usize];
        sink.start(&trace).expect("the sink starts");
        let mut calls = 0;
        for _ in 0..4 {
            let mut batch = Batch {
                payload: (0..300).map(|_| random.below(4) as u8).collect(),
                ..Batch::default()
            };
            for _ in 0..random.below(40) {
                let kind = [0, 0, 0, 1, 1, 2, 3, 4, 5, u32::MAX][random.below(10) as usize];
                let size = u64::from(trace.schema.size);
                batch.events.push(Event {
                    packet: random.below(6),
                    skb: 0,
                    timestamp: [random.below(50), u64::MAX][usize::from(random.below(20) == 0)],
                    entry_timestamp: random.below(50),
                    function: [random.below(8) as u32, u32::MAX][usize::from(random.below(9) == 0)],
                    cpu: [random.below(3) as u32, u32::MAX][usize::from(random.below(20) == 0)],
                    kind: EventKind(kind),
                    thread: random.below(3) as u32,
                    payload_offset: random.below(400) as u32,
                    payload_len: [size, size + random.below(60), random.below(90), 0][random.below(4) as usize] as u32,
                    spare: [random.below(8), u64::MAX, 1 << 32 | 5][random.below(3) as usize],
                });
                calls += u64::from(kind < 2);
            }
            sink.events(&batch).expect("whatever is in an event, it can be printed");
        }
        sink.finish(&Summary::default()).expect("the sink finishes");
        let shown = output.text();
        assert!(
            !shown.chars().any(|c| c.is_control() && c != '\n'),
            "round {round}: {shown}"
        );
        assert!(
            calls == 0 || shown.ends_with("Nothing was lost.\n"),
            "round {round}: {shown}"
        );
        // Each number has one heading.
        let headings = shown
            .lines()
            .filter(|line| line.starts_with('#') && !line.ends_with(" +"));
        let numbers: Vec<&str> = headings
            .map(|line| line.split(' ').next().unwrap_or_default())
            .collect();
        let distinct: std::collections::BTreeSet<&&str> = numbers.iter().collect();
        assert_eq!(numbers.len(), distinct.len(), "round {round}: {shown}");
    }
}

#[test]
fn packets_beyond_the_limit_get_numbers_of_their_own() {
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]);
    script.trace.schema = Fields::schema();
    script.payload(Fields::ipv4(17, 100).bytes());
    let most = 1 << 16;
    for packet in 1..=most + 1 {
        script.at(1000 + packet).enter(packet, 0);
    }
    script.end_batch();
    script.at(200_000).enter(2, 0);
    script.at(300_000).enter(1, 0);
    let shown = text(&script.can("many"), TextOptions::default());
    let lines: Vec<&str> = shown.lines().collect();
    let end = &lines[lines.len() - 5..];
    // The first was forgotten, and the second was not.
    assert_eq!(end[0], "#2 +", "{end:#?}");
    assert!(end[2].starts_with("#65538  10.0.0.1 > 10.0.0.2 udp, 100 B"), "{end:#?}");
    assert!(end[4].starts_with("65538 packets"), "{end:#?}");
}

#[test]
fn a_connection_is_shown_where_it_changes() {
    let show: ipft_core::field::ShowList = "ct".parse().unwrap();
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux"), ("nf_hook_slow", "vmlinux")]);
    script.trace.schema = show.applied_to(Default::default()).schema(&Schema::default());
    let schema = script.trace.schema.clone();
    let with = |values: &[(&str, &[u8])]| {
        let mut bytes = vec![0; schema.size as usize];
        for (name, value) in values {
            let field = schema.fields.iter().find(|field| field.name == *name).unwrap();
            let start = field.offset as usize;
            bytes[start..start + value.len()].copy_from_slice(value);
        }
        bytes
    };
    let (from, to, inside) = (
        canned::mapped(10, 0, 0, 1),
        canned::mapped(10, 0, 0, 2),
        canned::mapped(172, 17, 0, 2),
    );
    let ports: [(&str, &[u8]); 5] = [
        ("ct_saddr", &from),
        ("ct_daddr", &to),
        ("ct_sport", &[0x0f, 0xa0]),
        ("ct_dport", &[0, 80]),
        ("ct_proto", &[6]),
    ];
    let nat: [(&str, &[u8]); 4] = [
        ("ct_nat_saddr", &from),
        ("ct_nat_daddr", &inside),
        ("ct_nat_sport", &[0x0f, 0xa0]),
        ("ct_nat_dport", &[0x1f, 0x90]),
    ];
    let of = |state: u8, status: u32, rest: &[(&str, &[u8])]| {
        let (state, status) = ([state], status.to_ne_bytes());
        with(
            &[
                &[("ct_state", state.as_slice()), ("ct_status", &status)],
                &ports[..],
                rest,
            ]
            .concat(),
        )
    };
    let mark = 7_u32.to_ne_bytes();
    let zone = 5_u16.to_ne_bytes();
    let marked: [(&str, &[u8]); 2] = [("ct_mark", &mark), ("ct_zone", &zone)];
    for (step, payload) in [
        with(&[]),
        of(3, 0, &[]),
        of(3, 0x120, &nat),
        of(3, 0x1a8, &[&nat[..], &marked[..]].concat()),
        with(&[]),
        of(3, 0x1a8, &[&nat[..], &marked[..]].concat()),
        of(5, 0xe, &[]),
        with(&[("ct_state", &[8])]),
    ]
    .into_iter()
    .enumerate()
    {
        script
            .at(1000 * (step as u64 + 1))
            .payload(payload)
            .enter(1, step as u32 % 2);
    }
    let shown = text(&script.can("connections"), TextOptions::default());
    let changes = shown.lines().skip(1).filter_map(|line| {
        line.split_once(if line.contains("ip_rcv") {
            "ip_rcv"
        } else {
            "nf_hook_slow"
        })
    });
    let changes: Vec<&str> = changes.map(|(_, changes)| changes.trim()).collect();
    assert_eq!(
        changes,
        [
            "",
            "ct new",
            "DNAT 10.0.0.2:80 > 172.17.0.2:8080",
            "ct new confirmed, ct zone 5, ct mark 0x7",
            "",
            "ct new confirmed, ct zone 5, ct mark 0x7, DNAT 10.0.0.2:80 > 172.17.0.2:8080",
            "ct related_reply confirmed assured to 10.0.0.1:4000 > 10.0.0.2:80 tcp, ct zone 0, ct mark 0",
            "ct untracked",
        ],
        "{shown}"
    );
}

#[test]
fn a_route_is_shown_where_it_changes() {
    let show: ipft_core::field::ShowList = "route".parse().unwrap();
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux"), ("nf_hook_slow", "vmlinux")]);
    script.trace.schema = show.applied_to(Default::default()).schema(&Schema::default());
    let schema = script.trace.schema.clone();
    let gateway = canned::mapped(10, 0, 0, 9);
    let mut gateway6 = [0; 16];
    (gateway6[0], gateway6[15]) = (0xfd, 1);
    let of = |kind: u32, gateway: [u8; 16], device: &[u8], table: u32| {
        let mut bytes = vec![0; schema.size as usize];
        for (name, value) in [
            ("route_type", &kind.to_ne_bytes()[..]),
            ("route_gateway", &gateway),
            ("route_dev", device),
            ("route_table", &table.to_ne_bytes()),
        ] {
            let field = schema.fields.iter().find(|field| field.name == name).unwrap();
            let start = field.offset as usize;
            bytes[start..start + value.len()].copy_from_slice(value);
        }
        bytes
    };
    let none = [0; 16];
    let steps = [
        (of(0, none, b"", 0), ""),
        (of(1, gateway, b"eth1", 0), "route: via 10.0.0.9 on eth1"),
        (of(1, gateway, b"eth1", 0), ""),
        // It has lost its route, and the next one is the same.
        (of(0, none, b"", 0), ""),
        (of(1, gateway, b"eth1", 0), "route: via 10.0.0.9 on eth1"),
        (of(1, none, b"eth2", 254), "route: on eth2"),
        (of(1, gateway6, b"eth2", 100), "route: via fd00::1 on eth2 by table 100"),
        (of(2, none, b"lo", 255), "route: local"),
        (of(3, none, b"eth1", 0), "route: broadcast on eth1"),
        (of(6, none, b"", 0), "route: blackhole"),
        (of(16, none, b"", 0), "route: no_route"),
    ];
    for (step, (payload, _)) in steps.iter().enumerate() {
        script
            .at(1000 * (step as u64 + 1))
            .payload(payload.clone())
            .enter(1, step as u32 % 2);
    }
    let shown = text(&script.can("routes"), TextOptions::default());
    let changes = shown.lines().skip(1).filter_map(|line| {
        line.split_once(if line.contains("ip_rcv") {
            "ip_rcv"
        } else {
            "nf_hook_slow"
        })
    });
    let changes: Vec<&str> = changes.map(|(_, changes)| changes.trim()).collect();
    assert_eq!(changes, steps.map(|(_, expected)| expected), "{shown}");
}

#[test]
fn waits_in_queues_are_shown_where_they_end() {
    let functions = [
        ("fq_codel_enqueue", "sch_fq_codel"),
        ("sch_direct_xmit", "vmlinux"),
        ("__udp_enqueue_schedule_skb", "vmlinux"),
        ("skb_consume_udp", "vmlinux"),
    ];
    let mut script = Script::new(Tracer::Function, &functions);
    script.trace.schema = Fields::schema();
    let mut fields = Fields {
        iface: "eth1",
        ..Fields::ipv4(17, 100)
    };
    script.at(1_000_000).payload(fields.bytes()).enter(1, 0);
    script.at(42_000_000).enter(1, 1);
    fields.len = 114;
    script.at(42_500_000).payload(fields.bytes()).enter(1, 0);
    fields.len = 120;
    script.at(42_512_300).payload(fields.bytes()).enter(1, 1);
    script.at(50_000_000).payload(Vec::new()).enter(1, 2);
    // Waits go on in the next batch.
    script.end_batch();
    script.at(61_250_000).enter(1, 3);
    let shown = text(&script.can("waits"), TextOptions::default());
    let lines: Vec<&str> = (shown.lines())
        .filter_map(|line| line.split_once("waited ").map(|(_, words)| words))
        .collect();
    assert_eq!(
        lines,
        [
            "41.0 ms in fq_codel on eth1",
            "12.3 us in fq_codel on eth1",
            "11.2 ms in the socket's queue"
        ],
        "{shown}"
    );
    assert!(shown.contains("  len 114 > 120, waited 12.3 us"), "{shown}");
}
