//! The text for people names packets, shows what changes, and ends with a sum, on every kernel.

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::on_three_kernels;
use xtask::kernel::Kernel;

const FEW: &str = "^(__ip_local_out|ip_output|__dev_queue_xmit|ip_rcv_core|icmp_rcv|tcp_v4_rcv|__copy_skb_header|\
                   ip_copy_metadata)$";

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/text.sh"));
        guest::run(&format!("text-{}", kernel.series()), kernel, &[], &script)
    })
}

fn text(kernel: Kernel, run: &str) -> String {
    let left = left(kernel);
    assert_eq!(left.exit(run), 0, "{run}: {}", left.text(&format!("{run}.err")));
    left.text(&format!("{run}.out"))
}

fn namespaces(kernel: Kernel) -> [String; 2] {
    let text = left(kernel).text("namespaces");
    let numbers: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    numbers.try_into().expect("two namespaces")
}

/// Returns the heading of each packet with its lines, in order of their numbers.
fn packets(text: &str) -> Vec<(String, Vec<String>)> {
    let mut packets: Vec<(String, Vec<String>)> = Vec::new();
    let mut current = 0;
    for line in text.lines() {
        let number = line.strip_prefix('#').and_then(|rest| rest.split(' ').next());
        if let Some(number) = number {
            current = number.parse().expect("a number");
            if current > packets.len() {
                packets.resize(current, Default::default());
            }
            if !line.ends_with(" +") {
                assert_eq!(packets[current - 1].0, "", "one heading: {text}");
                packets[current - 1].0 = line.to_owned();
            }
        } else if line.starts_with(' ') {
            packets[current - 1].1.push(line.to_owned());
        }
    }
    packets
}

/// Returns the first line with this function, without its time.
fn line<'a>(lines: &'a [String], function: &str) -> &'a str {
    let found = lines.iter().find(|line| line.split(' ').any(|word| word == function));
    found.unwrap_or_else(|| panic!("no {function}: {lines:#?}"))
}

fn a_ping_has_headings_and_changes(kernel: Kernel) {
    let shown = text(kernel, "ping");
    let [a, b] = namespaces(kernel);
    let packets = packets(&shown);
    let (request, lines) = &packets[0];
    assert!(
        request.starts_with("#1  10.0.0.1 > 10.0.0.2 icmp echo request id "),
        "{shown}"
    );
    assert!(request.ends_with(&format!(" seq 1, 84 B   netns {a}")), "{shown}");
    assert!(lines[0].starts_with("       0.0 us  cpu"), "{shown}");
    assert!(line(lines, "__ip_local_out").ends_with("__ip_local_out"), "{shown}");
    // The Ethernet header is there, and then another device has the packet, in another namespace.
    assert!(line(lines, "__dev_queue_xmit").contains(" len 84 > 98"), "{shown}");
    let received = line(lines, "ip_rcv_core");
    assert!(
        received.contains(&format!("  dev vb, netns {a} > {b}, len 98 > 84")),
        "{shown}"
    );
    let reply = &packets[1].0;
    assert!(
        reply.starts_with("#2  10.0.0.2 > 10.0.0.1 icmp echo reply id "),
        "{shown}"
    );
    assert!(reply.ends_with(&format!(" seq 1, 84 B   netns {b}")), "{shown}");
    let end = lines.last().unwrap();
    assert!(end.ends_with("     delivered after icmp_rcv"), "{shown}");
    let last = shown.lines().last().unwrap();
    assert!(last.starts_with(&format!("{} packets: ", packets.len())), "{shown}");
    // The kernel drops the reply itself where the socket of ping has got a copy.
    assert!(
        last.contains(" delivered") && last.ends_with(" Nothing was lost."),
        "{shown}"
    );
}

fn fragments_name_their_parents(kernel: Kernel) {
    let shown = text(kernel, "fragments");
    let packets = packets(&shown);
    assert_eq!(packets.len(), 5, "{shown}");
    let made: Vec<&str> = packets
        .iter()
        .filter_map(|(heading, _)| heading.split("made of ").nth(1))
        .collect();
    let fragments = made
        .iter()
        .filter(|made| made.ends_with(" by ip_copy_metadata"))
        .count();
    let copies = made
        .iter()
        .filter(|made| made.ends_with(" by __copy_skb_header"))
        .count();
    assert_eq!((fragments, copies), (2, 2), "{shown}");
    // Each is announced where it was made.
    for (number, (heading, _)) in (1..).zip(&packets) {
        let Some(made) = heading.split("made of #").nth(1) else {
            continue;
        };
        let parent: usize = made.split(' ').next().unwrap().parse().unwrap();
        let announced = packets[parent - 1]
            .1
            .iter()
            .any(|line| line.ends_with(&format!("> #{number}")));
        assert!(announced && parent < number, "{number}: {shown}");
    }
    assert!(shown.contains(" icmp frag 1480+, "), "{shown}");
}

fn a_connection_has_its_ports_and_flags(kernel: Kernel) {
    let shown = text(kernel, "tcp");
    let first = shown.lines().next().unwrap();
    assert!(
        first.starts_with("#1  10.0.0.1:") && first.contains(" > 10.0.0.2:8000 tcp SYN seq "),
        "{shown}"
    );
    let answer = packets(&shown)
        .into_iter()
        .find(|(heading, _)| heading.contains(" tcp SYN|ACK seq "));
    assert!(
        answer.is_some_and(|(heading, _)| heading.contains("10.0.0.2:8000 > 10.0.0.1:")),
        "{shown}"
    );
}

fn calls_are_indented_with_their_durations(kernel: Kernel) {
    let shown = text(kernel, "graph");
    let (_, lines) = &packets(&shown)[0];
    let is_call = |line: &String, call: &str| line.contains(call);
    let opened = lines.iter().position(|line| is_call(line, " ip_output {"));
    let closed = lines.iter().position(|line| is_call(line, " } ip_output  "));
    let inside = lines.iter().position(|line| is_call(line, "  __dev_queue_xmit"));
    assert!(opened < inside && inside < closed && opened.is_some(), "{shown}");
    assert!(lines[closed.unwrap()].ends_with(" us"), "{shown}");
}

fn the_time_of_day_and_colors_are_there_on_request(kernel: Kernel) {
    let shown = text(kernel, "absolute");
    assert!(
        shown.starts_with("\x1b[1m#1  10.0.0.1 > 10.0.0.2 icmp echo request"),
        "{shown}"
    );
    let line = shown.lines().nth(1).unwrap();
    let time = line
        .strip_prefix("\x1b[2m")
        .and_then(|rest| rest.split("\x1b[0m").next());
    // The guest's time zone is UTC.
    let parts: Vec<usize> = time.unwrap().split([':', '.']).map(str::len).collect();
    assert_eq!(parts, [2, 2, 2, "123456Z".len()], "{shown}");
    assert!(left(kernel).text("all.left").is_empty());
}

fn a_dropped_packet_has_its_reason_and_place(kernel: Kernel) {
    let shown = text(kernel, "dropped");
    let (_, lines) = &packets(&shown)[0];
    let reason = match kernel {
        // Reasons came with 5.17.
        Kernel::V5_10 => "     DROPPED ",
        _ => "     DROPPED NETFILTER_DROP in ",
    };
    let [.., dropped, why, _] = lines.as_slice() else {
        panic!("{shown}");
    };
    assert!(dropped.contains(reason), "{shown}");
    assert!(
        why.ends_with("  A rule of the firewall, or the policy of a chain, refused it."),
        "{shown}"
    );
    assert!(shown.ends_with("\n1 packet: 1 dropped. Nothing was lost.\n"), "{shown}");
}

on_three_kernels!(
    a_dropped_packet_has_its_reason_and_place,
    a_ping_has_headings_and_changes,
    fragments_name_their_parents,
    a_connection_has_its_ports_and_flags,
    calls_are_indented_with_their_durations,
    the_time_of_day_and_colors_are_there_on_request,
);
