//! The built-in fields that are in no default say what the tools of the guest say, and whose a packet is selects it,
//! on every kernel.

use ipft_e2e::fields::{self, Fields};
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::on_three_kernels;
use xtask::kernel::Kernel;

const FEW: &str = "^(__ip_local_out|ip_output|__dev_queue_xmit|dev_hard_start_xmit|ip_rcv|icmp_rcv|tcp_v4_rcv)$";

/// What routes packets, and what sees their route.
const ROUTED: &str = "^(__ip_local_out|ip_output|ip_mc_output|ip_rcv|ip_rcv_core|ip_error|ip_forward|\
                      ip_local_deliver|ip6_output|ip6_forward|ip6_input|ip6_pkt_discard)$";

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let script = format!(
            "FEW='{FEW}'\nROUTED='{ROUTED}'\n{}",
            include_str!("../../../guest/more_fields.sh")
        );
        guest::run(&format!("more-fields-{}", kernel.series()), kernel, &[], &script)
    })
}

/// Returns the fields of all packets in a function.
fn at(kernel: Kernel, run: &str, function: &str) -> Vec<Fields> {
    let left = left(kernel);
    assert_eq!(left.exit(run), 0, "{run}: {}", left.text(&format!("{run}.err")));
    let picture =
        fields::of("jsonl", &left.path(&format!("{run}.out"))).unwrap_or_else(|error| panic!("{run}: {error:#}"));
    let found: Vec<Fields> = (picture.into_iter().flatten())
        .filter(|(name, _)| name == function)
        .map(|(_, fields)| fields)
        .collect();
    assert!(!found.is_empty(), "{run}: no {function}");
    found
}

/// Returns the requests of a ping in a function.
fn requests(kernel: Kernel, run: &str, function: &str) -> Vec<Fields> {
    let mut found = at(kernel, run, function);
    found.retain(|fields| fields["icmp_type"] == "8");
    assert!(!found.is_empty(), "{run}: no request in {function}");
    found
}

fn say(fields: &Fields, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(fields[*name], *value, "{name}: {fields:#?}");
    }
}

fn a_sent_packet_has_the_process_that_sends_it(kernel: Kernel) {
    let pid = left(kernel).text("perf.pid");
    for function in ["__ip_local_out", "ip_output"] {
        let fields = &requests(kernel, "perf", function)[0];
        say(fields, &[("comm", "ping"), ("pid", pid.trim())]);
        say(&requests(kernel, "ping", function)[0], &[("comm", "ping")]);
    }
    // It is received in a softirq, on top of whatever runs.
    say(&requests(kernel, "ping", "icmp_rcv")[0], &[("comm", ""), ("pid", "0")]);
}

fn a_sent_packet_has_its_socket_and_group(kernel: Kernel) {
    let group = left(kernel).text("group");
    for run in ["ping", "perf"] {
        let sent = &requests(kernel, run, "__ip_local_out")[0];
        say(sent, &[("sock_family", "inet"), ("sock_cgroup", group.trim())]);
        let received = &requests(kernel, run, "icmp_rcv")[0];
        let none = [
            ("sock_family", "none"),
            ("sock_cgroup", "0"),
            ("sock_cookie", "0"),
            ("sock_state", "none"),
        ];
        say(received, &none);
    }
}

fn a_connection_has_the_cookie_that_ss_shows(kernel: Kernel) {
    let ss = left(kernel).text("tcp.ss");
    let cookie = ss.split_whitespace().find_map(|word| word.strip_prefix("sk:"));
    let cookie = u64::from_str_radix(cookie.unwrap_or_else(|| panic!("{ss}")), 16).unwrap();
    let sent = at(kernel, "tcp", "__ip_local_out");
    let data: Vec<&Fields> = sent.iter().filter(|fields| fields["gso_segs"] != "0").collect();
    assert!(
        data.iter()
            .any(|fields| fields["sock_cookie"] == cookie.to_string() && fields["sock_state"] == "established"),
        "{cookie}: {sent:#?}"
    );
}

fn data_of_tcp_are_segmented_and_summed_by_the_device(kernel: Kernel) {
    let sent = at(kernel, "tcp", "ip_output");
    assert!(
        sent.iter().any(|fields| fields["gso_size"] == "1448"
            && fields["gso_type"] == "tcpv4"
            && fields["gso_segs"].parse::<u32>().is_ok_and(|segments| segments > 1)),
        "{sent:#?}"
    );
    for fields in &sent {
        // The sum of TCP is at its byte 16, and the header of TCP behind that of IP.
        say(
            fields,
            &[("ip_summed", "partial"), ("csum_start", "20"), ("csum_offset", "16")],
        );
    }
    for fields in at(kernel, "tcp", "__dev_queue_xmit") {
        say(&fields, &[("csum_start", "34")]);
    }
    let ping = &requests(kernel, "ping", "ip_output")[0];
    let none = [
        ("gso_size", "0"),
        ("gso_segs", "0"),
        ("gso_type", "<none>"),
        ("csum_start", "0"),
        ("csum_offset", "0"),
    ];
    say(ping, &none);
}

fn a_packet_has_its_tag_at_the_tagging_device(kernel: Kernel) {
    let sent = requests(kernel, "tagged", "dev_hard_start_xmit");
    let at_device = |name: &str| {
        sent.iter()
            .find(|fields| fields["iface"] == name)
            .unwrap_or_else(|| panic!("{sent:#?}"))
    };
    let none = [("vlan", "0"), ("vlan_proto", "0x0"), ("vlan_priority", "0")];
    say(at_device("va.100"), &none);
    let tag = [("vlan", "100"), ("vlan_proto", "0x8100"), ("vlan_priority", "5")];
    say(at_device("va"), &tag);
    say(&requests(kernel, "tagged", "ip_rcv")[0], &none);
}

/// Returns the fields of the datagram to an address in a function.
fn routed(kernel: Kernel, function: &str, address: &str) -> Fields {
    let found = at(kernel, "route", function);
    let datagram = found.iter().find(|fields| fields["daddr"] == address);
    datagram
        .unwrap_or_else(|| panic!("{address} is not in {function}: {found:#?}"))
        .clone()
}

fn a_sent_packet_has_the_route_that_ip_shows(kernel: Kernel) {
    let shown = left(kernel).text("route.get");
    for (function, address) in [
        ("ip_output", "10.0.0.2"),
        ("ip_output", "10.8.0.5"),
        ("ip6_output", "fd00::b"),
        ("ip6_output", "fd00:8::5"),
        ("ip6_output", "fd00:7::5"),
    ] {
        let line = shown.lines().find(|line| line.starts_with(&format!("{address}: ")));
        let line = line.unwrap_or_else(|| panic!("{shown}"));
        let after = |word: &str| {
            let mut words = line.split_whitespace().skip_while(|each| *each != word);
            words.nth(1)
        };
        let (gateway, device) = (after("via").unwrap_or("::"), after("dev").expect("a device"));
        // b sends some of them on.
        let found = at(kernel, "route", function);
        let mut sent = found.iter().filter(|fields| fields["daddr"] == address);
        let sent = sent.find(|fields| fields["route_dev"] == device);
        let fields = sent.unwrap_or_else(|| panic!("{address} by {device} is not in {function}: {found:#?}"));
        say(fields, &[("route_type", "unicast"), ("route_gateway", gateway)]);
    }
    // ip does not show the tables of IPv6 that are the main one.
    for (address, table) in [("fd00:7::5", "77"), ("fd00:8::5", "254")] {
        say(&routed(kernel, "ip6_output", address), &[("route_table", table)]);
    }
    let broadcast = [
        ("route_type", "broadcast"),
        ("route_gateway", "::"),
        ("route_dev", "va"),
    ];
    say(&routed(kernel, "ip_mc_output", "10.0.0.255"), &broadcast);
}

fn a_received_packet_has_the_route_that_was_found(kernel: Kernel) {
    let none = [("route_type", "none"), ("route_gateway", "::"), ("route_dev", "")];
    say(&routed(kernel, "ip_rcv", "10.8.0.5"), &none);
    for (function, address, kind, device) in [
        ("ip_local_deliver", "10.0.0.2", "local", "lo"),
        ("ip6_input", "fd00::b", "local", "lo"),
        ("ip_forward", "10.8.0.5", "unicast", "d0"),
        ("ip6_forward", "fd00:8::5", "unicast", "d0"),
        ("ip_error", "10.7.0.5", "blackhole", ""),
        ("ip_error", "10.6.0.5", "prohibit", ""),
        ("ip_error", "10.5.0.5", "unreachable", ""),
        ("ip_error", "10.4.0.5", "no_route", ""),
        ("ip6_pkt_discard", "fd00:6::5", "unreachable", ""),
        ("ip6_pkt_discard", "fd00:7::5", "no_route", ""),
    ] {
        let fields = routed(kernel, function, address);
        say(
            &fields,
            &[("route_type", kind), ("route_gateway", "::"), ("route_dev", device)],
        );
    }
}

fn routes_are_shown_in_words(kernel: Kernel) {
    let text = left(kernel).text("route.text");
    for words in [
        "route: on va",
        "route: local",
        "route: via 10.0.0.2 on va",
        "route: via fd00::b on va by table 77",
        "route: on d0",
        "route: blackhole",
        "route: no_route",
    ] {
        assert!(text.lines().any(|line| line.ends_with(words)), "{words}: {text}");
    }
}

/// Returns the message on what was not decided.
fn undecided(kernel: Kernel, run: &str) -> String {
    let said = left(kernel).text(&format!("{run}.err"));
    let line = said.lines().find(|line| line.contains("could not decide"));
    line.unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn a_process_selects_what_it_sends(kernel: Kernel) {
    for run in ["by-pid", "by-comm"] {
        let sent = at(kernel, run, "__ip_local_out");
        assert_eq!(sent.len(), 1, "{run}: {sent:#?}");
        say(&sent[0], &[("proto", "icmp"), ("icmp_type", "8")]);
        // It is followed where it arrives, and the reply is sent in a softirq.
        assert_eq!(at(kernel, run, "icmp_rcv").len(), 1);
        assert!(undecided(kernel, run).contains("softirq"));
    }
    assert_eq!(left(kernel).exit("wrong-pid"), 1);
    let said = left(kernel).text("wrong-pid.err");
    assert!(said.contains("there is no process 4194304"), "{said}");
}

fn a_group_selects_packets_of_its_sockets(kernel: Kernel) {
    let below = left(kernel).text("below");
    let sent = at(kernel, "by-cgroup", "__ip_local_out");
    assert_eq!(sent.len(), 1, "{sent:#?}");
    say(&sent[0], &[("icmp_type", "8"), ("sock_cgroup", below.trim())]);
    // ARP has no socket.
    assert!(undecided(kernel, "by-cgroup").contains("no socket"));
    assert_eq!(left(kernel).exit("wrong-cgroup"), 1);
    let said = left(kernel).text("wrong-cgroup.err");
    assert!(said.contains("not a control group"), "{said}");
}

fn no_field_leaves_anything_behind(kernel: Kernel) {
    assert_eq!(left(kernel).text("all.left"), "");
}

on_three_kernels!(
    a_sent_packet_has_the_process_that_sends_it,
    a_sent_packet_has_its_socket_and_group,
    a_connection_has_the_cookie_that_ss_shows,
    data_of_tcp_are_segmented_and_summed_by_the_device,
    a_packet_has_its_tag_at_the_tagging_device,
    a_process_selects_what_it_sends,
    a_group_selects_packets_of_its_sockets,
    a_sent_packet_has_the_route_that_ip_shows,
    a_received_packet_has_the_route_that_was_found,
    routes_are_shown_in_words,
    no_field_leaves_anything_behind,
);
