//! Packets in tunnels select those that carry them, and are shown, on every kernel.

use ipft_e2e::fields::{self, Fields, Picture};
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::on_three_kernels;
use xtask::kernel::Kernel;

const FEW: &str = "^(__ip_local_out|ip_rcv_core|icmp_rcv|udp_rcv)$";

fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let script = format!("FEW='{FEW}'\n{}", include_str!("../../../guest/tunnel.sh"));
        guest::run(&format!("tunnel-{}", kernel.series()), kernel, &[], &script)
    })
}

fn picture(kernel: Kernel, run: &str) -> Picture {
    let left = left(kernel);
    assert_eq!(left.exit(run), 0, "{run}: {}", left.text(&format!("{run}.err")));
    fields::of("jsonl", &left.path(&format!("{run}.out"))).unwrap_or_else(|error| panic!("{run}: {error:#}"))
}

fn say(fields: &Fields, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(fields[*name], *value, "{name}: {fields:#?}");
    }
}

/// Checks that a packet goes through a tunnel, once it is in it, and returns its fields in it and behind it. UDP
/// carries VXLAN.
fn in_and_behind(packet: &[(String, Fields)], by_udp: bool) -> (Vec<&Fields>, Vec<&Fields>) {
    let of = |functions: &[&str]| -> Vec<&Fields> {
        let events = packet
            .iter()
            .filter(|(_, fields)| (fields["proto"] == "icmp") == (functions[0] == "icmp_rcv"));
        let (mut names, fields): (Vec<&str>, Vec<&Fields>) =
            events.map(|(name, fields)| (name.as_str(), fields)).unzip();
        names.sort_unstable();
        assert_eq!(names, functions, "{packet:#?}");
        fields
    };
    let tunnel: &[&str] = match by_udp {
        true => &["__ip_local_out", "ip_rcv_core", "udp_rcv"],
        false => &["__ip_local_out", "ip_rcv_core"],
    };
    (of(tunnel), of(&["icmp_rcv", "ip_rcv_core"]))
}

const NONE: [(&str, &str); 4] = [
    ("inner_saddr", "::"),
    ("inner_ethertype", "0x0"),
    ("inner_proto", "none"),
    ("inner_icmp_type", "0"),
];

fn both_headers_select_the_packet(kernel: Kernel) {
    let picture = picture(kernel, "both");
    let [packet] = picture.as_slice() else {
        panic!("{picture:#?}");
    };
    let (tunnel, behind) = in_and_behind(packet, true);
    for fields in tunnel {
        say(
            fields,
            &[
                ("saddr", "10.0.0.1"),
                ("daddr", "10.0.0.2"),
                ("proto", "udp"),
                ("inner_saddr", "172.16.0.1"),
                ("inner_daddr", "172.16.0.2"),
                ("inner_ethertype", "0x800"),
                ("inner_proto", "icmp"),
                ("inner_icmp_type", "8"),
                ("inner_icmp_seq", "1"),
                ("inner_sport", "0"),
            ],
        );
    }
    for fields in behind {
        say(fields, &NONE);
        say(fields, &[("saddr", "172.16.0.1"), ("icmp_type", "8")]);
    }
}

fn all_that_is_inside_is_selected(kernel: Kernel) {
    let mut picture = picture(kernel, "any");
    // The socket of ping gets copies of the replies.
    picture.retain(|packet| packet.iter().any(|(function, _)| function == "__ip_local_out"));
    assert_eq!(picture.len(), 4, "{picture:#?}");
    let mut kinds = Vec::new();
    for packet in &picture {
        let (tunnel, behind) = in_and_behind(packet, false);
        for name in ["saddr", "proto", "icmp_type", "icmp_id", "icmp_seq"] {
            assert_eq!(tunnel[0][&format!("inner_{name}")], behind[0][name], "{packet:#?}");
        }
        say(behind[0], &NONE);
        kinds.push((&*tunnel[0]["proto"], &*tunnel[0]["inner_saddr"]));
    }
    kinds.sort_unstable();
    assert_eq!(
        kinds,
        [
            ("gre", "172.17.0.1"),
            ("gre", "172.17.0.2"),
            ("ipip", "172.18.0.1"),
            ("ipip", "172.18.0.2")
        ]
    );
}

fn headers_that_a_program_wrote_are_found(kernel: Kernel) {
    let picture = picture(kernel, "made");
    let [packet] = picture.as_slice() else {
        panic!("{picture:#?}");
    };
    let (tunnel, _) = in_and_behind(packet, true);
    let expected = [
        ("proto", "udp"),
        ("dport", "4789"),
        ("inner_daddr", "172.16.0.2"),
        ("inner_icmp_id", "1"),
    ];
    say(tunnel[0], &expected);
}

fn a_wrong_filter_of_the_inside_is_a_usage_error(kernel: Kernel) {
    assert_eq!(left(kernel).exit("wrong"), 2);
    let said = left(kernel).text("wrong.err");
    assert!(said.contains("column 5"), "{said}");
}

fn nothing_is_left_behind(kernel: Kernel) {
    assert_eq!(left(kernel).text("all.left"), "");
}

on_three_kernels!(
    both_headers_select_the_packet,
    all_that_is_inside_is_selected,
    headers_that_a_program_wrote_are_found,
    a_wrong_filter_of_the_inside_is_a_usage_error,
    nothing_is_left_behind,
);
