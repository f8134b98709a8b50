//! `ipft drops`: every packet that the kernel drops, with the right reason and place, and all of them counted.

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Event, Outcome, Recording};
use ipft_e2e::on_three_kernels;
use xtask::kernel::Kernel;

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let script = include_str!("../../../guest/drops.sh");
        guest::run(&format!("drops-{}", kernel.series()), kernel, &[], script)
    })
}

fn output(kernel: Kernel, name: &str) -> String {
    let left = left(kernel);
    assert_eq!(left.exit(name), 0, "{}", left.text(&format!("{name}.err")));
    left.text(&format!("{name}.out"))
}

/// Returns the words of a row of the table, up to the device. Linux 5.10 has no reasons.
fn row<'a>(text: &'a str, reason: &str, kernel: Kernel, functions: &[&str]) -> Vec<&'a str> {
    let table = text
        .split_once("\ncount ")
        .or_else(|| text.split_once("\n count "))
        .map_or(text, |(_, table)| table);
    let has_reason = kernel != Kernel::V5_10;
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let found = rows.find(|words| {
        let function = words.get(if has_reason { 2 } else { 1 });
        function.is_some_and(|function| functions.contains(function)) && (!has_reason || words[1] == reason)
    });
    found.unwrap_or_else(|| panic!("{reason} in {functions:?}:\n{text}"))
}

/// Functions that drop a packet for a rule: before 6.12 the caller of what judges it.
const FIREWALL: [&str; 2] = ["nf_hook_slow", "nft_do_chain"];

fn every_drop_of_a_flood_is_counted(kernel: Kernel) {
    let text = output(kernel, "flood");
    let refused = row(&text, "NETFILTER_DROP", kernel, &FIREWALL);
    assert_eq!(refused[0], "2000", "{text}");
    assert!(refused.contains(&"vb") && refused.contains(&"udp,"), "{text}");
    let closed = row(&text, "NO_SOCKET", kernel, &["__udp4_lib_rcv", "udp_rcv"]);
    assert_eq!(closed[0], "1", "{text}");
    assert!(text.contains("\n2001 packets were dropped, of which "), "{text}");
    let lines = text.lines().filter(|line| line.contains("Z  ")).count();
    // A flood takes less than ten seconds, on at most two CPUs.
    assert!((2..=201).contains(&lines), "{text}");
    if kernel != Kernel::V5_10 {
        let explained = text.matches("A rule of the firewall, or the policy of a chain, refused it.");
        assert_eq!(explained.count(), 1, "{text}");
    }
}

fn each_drop_is_an_entry_and_an_end(kernel: Kernel) {
    output(kernel, "events");
    let recording = Recording::read(&left(kernel).path("events.out")).unwrap();
    assert_eq!((recording.events.len(), recording.ends.len()), (20, 20));
    for (event, end) in recording.events.iter().zip(&recording.ends) {
        let Outcome::Dropped { reason, .. } = &end.outcome else {
            panic!("{end:?}");
        };
        assert_eq!(reason.as_deref(), (kernel != Kernel::V5_10).then_some("NETFILTER_DROP"));
        assert_eq!(event.packet, end.packet);
        assert!(FIREWALL.contains(&event.function.as_str()), "{event:?}");
        assert_eq!(recording.dropper(end), Some(event.function.as_str()));
        // The name has the compiler's suffix, and then the offset.
        let first = end.stack.first().map(String::as_str).unwrap_or_default();
        assert!(first.starts_with(&format!("{}+0x", event.function)), "{end:?}");
        assert!(end.stack.len() >= 3, "{end:?}");
    }
}

fn drops_of_other_packets_are_shown_beside_a_trace(kernel: Kernel) {
    output(kernel, "beside");
    let recording = Recording::read(&left(kernel).path("beside.out")).unwrap();
    let is_icmp = |event: &&Event| event.fields["proto"] == "icmp";
    // Four packets of ping were sent, and each was received: their ends are those of packets that are followed.
    let sent = recording
        .events
        .iter()
        .filter(|event| event.function == "__ip_local_out");
    assert_eq!((sent.clone().count(), sent.filter(is_icmp).count()), (4, 4));
    let others: Vec<&Event> = recording.events.iter().filter(|event| !is_icmp(event)).collect();
    // As many as a second, or two, and a CPU, or two, may have.
    assert!((10..=25).contains(&others.len()), "{others:#?}");
    for event in others {
        assert!(FIREWALL.contains(&event.function.as_str()), "{event:?}");
        assert_eq!(
            (&event.fields["dport"], &event.fields["iface"]),
            (&4001.into(), &"vb".into())
        );
        let ends: Vec<_> = recording.ends.iter().filter(|end| end.packet == event.packet).collect();
        assert!(
            matches!(ends[..], [end] if matches!(end.outcome, Outcome::Dropped { .. })),
            "{ends:?}"
        );
    }
    let said = left(kernel).text("beside.err");
    assert!(
        said.contains(" of 25 drops of packets that were not selected were shown"),
        "{said}"
    );
}

fn only_drops_that_match_are_counted(kernel: Kernel) {
    let text = output(kernel, "narrow");
    assert_eq!(row(&text, "NETFILTER_DROP", kernel, &FIREWALL)[0], "3", "{text}");
    assert!(text.ends_with("3 packets were dropped.\n"), "{text}");
    assert_eq!(output(kernel, "a"), "");
    let said = left(kernel).text("a.err");
    assert!(
        said.contains("The kernel dropped no packet that matches 'udp' and in network namespace a."),
        "{said}"
    );
}

fn a_copy_for_a_raw_socket_is_no_loss(kernel: Kernel) {
    let text = output(kernel, "every");
    // ping reads replies from a raw socket; then the kernel has no use for them.
    assert_eq!(text.matches("echo reply").count(), 3, "{text}");
    let clean = output(kernel, "clean");
    // An acknowledgement that another one overtakes, or that finds the connection closed, is dropped for real.
    let lost: Vec<&str> = clean.lines().filter(|line| line.contains("Z  ")).collect();
    let is_acknowledgement = |line: &&str| line.contains(" tcp ACK ");
    assert!(lost.len() <= 2 && lost.iter().all(is_acknowledgement), "{clean}");
}

fn packets_of_tunnels_are_selected_by_the_inner_one(kernel: Kernel) {
    let text = output(kernel, "inner");
    assert_eq!(row(&text, "NETFILTER_DROP", kernel, &FIREWALL)[0], "3", "{text}");
    assert!(text.ends_with("3 packets were dropped.\n"), "{text}");
}

fn a_terminal_keeps_the_table(kernel: Kernel) {
    let text = left(kernel).text("terminal");
    let tables: Vec<&str> = text.split("\ncount ").skip(1).collect();
    let with_count = |count: &str| {
        let row = format!("\n    {count}  NETFILTER_DROP");
        tables.iter().filter(|table| table.contains(&row)).count()
    };
    assert!(with_count("2") >= 1 && with_count("4") >= 2, "{text}");
    // Each table is taken off before the next, and the last one stays.
    let taken = tables.iter().filter(|table| table.contains("\x1b[J"));
    assert_eq!(taken.count(), tables.len() - 1, "{text}");
    assert!(text.contains("\n4 packets were dropped.\r\n"), "{text}");
}

fn nothing_of_it_stays_attached(kernel: Kernel) {
    assert_eq!(left(kernel).text("all.left"), "");
}

ipft_e2e::on_kernels!([on_6_12: V6_12], a_terminal_keeps_the_table);

on_three_kernels!(
    every_drop_of_a_flood_is_counted,
    each_drop_is_an_entry_and_an_end,
    drops_of_other_packets_are_shown_beside_a_trace,
    only_drops_that_match_are_counted,
    a_copy_for_a_raw_socket_is_no_loss,
    packets_of_tunnels_are_selected_by_the_inner_one,
    nothing_of_it_stays_attached,
);
