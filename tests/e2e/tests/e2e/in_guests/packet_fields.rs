//! The built-in fields of packets say what the sender and the namespaces say, on every kernel.

use std::collections::BTreeSet;
use std::path::Path;

use ipft_e2e::fields::{self, Fields, Picture};
use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::on_three_kernels;
use xtask::kernel::Kernel;

const FEW: &str = "^(__ip_local_out|ip_output|ip6_output|__dev_queue_xmit|ip_rcv_core|ip6_rcv_core|icmp_rcv|icmpv6_rcv|arp_rcv|\
                   udp_rcv|tcp_v4_rcv)$";

/// The guest also runs the commands of the page on expressions, on one kernel.
pub(super) fn left(kernel: Kernel) -> &'static Left {
    static RUNS: [Shared; 5] = [const { Shared::new() }; 5];
    let run = Kernel::ALL.iter().position(|each| *each == kernel);
    RUNS[run.expect("a kernel of the matrix")].left(|| {
        let page = match kernel == super::lua_page::KERNEL {
            true => super::lua_page::commands().join("\n"),
            false => String::new(),
        };
        let script = format!(
            "FEW='{FEW}'\nreadarray -t PAGE < <(printf %s '{}')\n{}",
            page.replace('\'', r"'\''"),
            include_str!("../../../guest/packet_fields.sh")
        );
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples");
        let name = format!("packet-fields-{}", kernel.series());
        guest::run(&name, kernel, &[&examples], &script)
    })
}

fn picture(kernel: Kernel, run: &str) -> Picture {
    let left = left(kernel);
    assert_eq!(left.exit(run), 0, "{run}: {}", left.text(&format!("{run}.err")));
    fields::of("jsonl", &left.path(&format!("{run}.out"))).unwrap_or_else(|error| panic!("{run}: {error:#}"))
}

/// Returns the fields of the function in each packet that passes it.
fn at<'a>(picture: &'a Picture, function: &str) -> Vec<&'a Fields> {
    let events = picture.iter().flatten();
    let found: Vec<&Fields> = events
        .filter(|(name, _)| name == function)
        .map(|(_, fields)| fields)
        .collect();
    assert!(!found.is_empty(), "no {function}: {picture:#?}");
    found
}

fn say(fields: &Fields, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(fields[*name], *value, "{name}: {fields:#?}");
    }
}

/// Returns the only packet that has this.
fn one<'a>(found: &[&'a Fields], name: &str, value: &str) -> &'a Fields {
    let matching: Vec<&&Fields> = found.iter().filter(|fields| fields[name] == value).collect();
    assert_eq!(matching.len(), 1, "{name} {value}: {found:#?}");
    matching[0]
}

fn namespaces(kernel: Kernel) -> [String; 2] {
    let text = left(kernel).text("namespaces");
    let numbers: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    numbers.try_into().expect("two namespaces")
}

fn a_ping_has_its_addresses_and_devices(kernel: Kernel) {
    let picture = picture(kernel, "ping");
    let [a, b] = namespaces(kernel);
    let request: [(&str, &str); 9] = [
        ("saddr", "10.0.0.1"),
        ("daddr", "10.0.0.2"),
        ("ethertype", "0x800"),
        ("proto", "icmp"),
        ("icmp_type", "8"),
        ("icmp_code", "0"),
        ("icmp_seq", "1"),
        ("sport", "0"),
        ("tcp_flags", "<none>"),
    ];
    let sent = at(&picture, "__dev_queue_xmit");
    let received = at(&picture, "ip_rcv_core");
    for (found, device, namespace, len) in [(&sent, "va", &a, "98"), (&received, "vb", &b, "84")] {
        let fields = one(found, "icmp_type", "8");
        say(fields, &request);
        say(
            fields,
            &[("iface", device), ("netns", namespace), ("len", len), ("mark", "0x0")],
        );
    }
    let reply = one(&received, "icmp_type", "0");
    say(
        reply,
        &[
            ("saddr", "10.0.0.2"),
            ("daddr", "10.0.0.1"),
            ("iface", "va"),
            ("netns", &a),
        ],
    );
    assert_eq!(reply["icmp_id"], one(&sent, "icmp_type", "8")["icmp_id"]);
    // Its socket says the namespace, before it has a device.
    let made = one(&at(&picture, "__ip_local_out"), "icmp_type", "8");
    say(made, &[("iface", ""), ("ifindex", "0"), ("netns", &a)]);
}

fn ipv6_is_read_as_well(kernel: Kernel) {
    let picture = picture(kernel, "mixed");
    let received = at(&picture, "ip6_rcv_core");
    let request = one(&received, "icmp_type", "128");
    say(
        request,
        &[
            ("saddr", "fd00::1"),
            ("daddr", "fd00::2"),
            ("ethertype", "0x86dd"),
            ("proto", "icmp6"),
            ("icmp_seq", "1"),
            ("iface", "vb"),
        ],
    );
    assert_eq!(one(&received, "icmp_type", "129")["icmp_id"], request["icmp_id"]);
}

fn datagrams_and_segments_have_their_ports(kernel: Kernel) {
    let picture = picture(kernel, "mixed");
    let received = at(&picture, "udp_rcv");
    say(received[0], &[("dport", "5002"), ("proto", "udp"), ("seq", "0")]);
    assert_ne!(received[0]["sport"], "0");

    let received = at(&picture, "tcp_v4_rcv");
    let flags: BTreeSet<&str> = received.iter().map(|fields| &*fields["tcp_flags"]).collect();
    assert!(
        flags.contains("syn") && flags.contains("syn|ack") && flags.contains("ack"),
        "{flags:?}"
    );
    let [syn, answer] = ["syn", "syn|ack"].map(|flags| one(&received, "tcp_flags", flags));
    say(
        syn,
        &[("dport", "8000"), ("proto", "tcp"), ("ack", "0"), ("iface", "vb")],
    );
    say(answer, &[("sport", "8000"), ("dport", &syn["sport"]), ("iface", "va")]);
    let next = syn["seq"].parse::<u32>().unwrap().wrapping_add(1);
    assert_eq!(answer["ack"], next.to_string());
}

fn only_first_fragments_have_a_type(kernel: Kernel) {
    let picture = picture(kernel, "mixed");
    let mut received = at(&picture, "ip_rcv_core");
    received.retain(|fields| fields["saddr"] == "10.0.0.1");
    // 1,480 bytes each: 185 units of 8.
    for (frag, kind) in [("0x2000", "8"), ("0x20b9", "0"), ("0x172", "0")] {
        say(
            one(&received, "frag", frag),
            &[("icmp_type", kind), ("saddr", "10.0.0.1"), ("proto", "icmp")],
        );
    }
}

fn arp_has_the_addresses_that_it_asks_for(kernel: Kernel) {
    let received = picture(kernel, "mixed");
    let request = at(&received, "arp_rcv")
        .into_iter()
        .find(|fields| fields["saddr"] == "10.0.0.1");
    let request = request.unwrap_or_else(|| panic!("no request: {received:#?}"));
    say(
        request,
        &[
            ("daddr", "10.0.0.2"),
            ("ethertype", "0x806"),
            ("proto", "none"),
            ("iface", "vb"),
        ],
    );
}

fn a_trace_by_mark_can_show_them(kernel: Kernel) {
    let picture = picture(kernel, "marked");
    let sent = at(&picture, "ip_output");
    assert_eq!(sent.len(), 1);
    say(sent[0], &[("mark", "0x77"), ("saddr", "10.0.0.1"), ("icmp_type", "8")]);
}

fn expressions_show_what_built_in_fields_show(kernel: Kernel) {
    let marked = picture(kernel, "marked");
    let mut devices = BTreeSet::new();
    for (_, fields) in marked.iter().flatten() {
        for name in ["len", "iface", "ifindex", "saddr"] {
            assert_eq!(fields[&format!("lua.{name}")], fields[name], "{name}: {fields:#?}");
        }
        say(fields, &[("lua.mark", "119"), ("lua.proto", "1")]);
        let is_far = (fields["iface"] == "vb").to_string();
        assert_eq!(fields["lua.far"], is_far, "{fields:#?}");
        assert_eq!(fields["lua.mac"].len(), "00:00:00:00:00:00".len(), "{fields:#?}");
        devices.insert(fields["iface"].clone());
    }
    assert!(devices.len() > 1, "{devices:?}");
    let mixed = picture(kernel, "mixed");
    for function in ["udp_rcv", "tcp_v4_rcv"] {
        for fields in at(&mixed, function) {
            assert_eq!(fields["lua.dport"], fields["dport"], "{fields:#?}");
        }
    }
    for (_, fields) in picture(kernel, "perf").iter().flatten() {
        assert_eq!(fields["lua.len"], fields["len"], "{fields:#?}");
    }
}

fn the_perf_buffer_has_the_same_and_one_group_its_own(kernel: Kernel) {
    let without = |picture: Picture, keep: &dyn Fn(&str) -> bool| -> Picture {
        let event = |(function, mut fields): (String, Fields)| {
            fields.retain(|name, _| keep(name));
            (function, fields)
        };
        picture
            .into_iter()
            .map(|packet| packet.into_iter().map(event).collect())
            .collect()
    };
    let sorted = |mut picture: Picture| {
        picture.sort();
        picture
    };
    // Each ping has its own identifier.
    let all = |name: &str| name != "icmp_id" && !name.starts_with("lua.");
    let first = sorted(without(picture(kernel, "ping"), &all));
    assert_eq!(sorted(without(picture(kernel, "perf"), &all)), first);
    let device = |name: &str| matches!(name, "iface" | "ifindex");
    let alone = picture(kernel, "alone");
    assert_eq!(sorted(alone), sorted(without(picture(kernel, "ping"), &device)));
}

fn nothing_is_left_behind(kernel: Kernel) {
    assert_eq!(left(kernel).text("all.left"), "");
}

on_three_kernels!(
    a_ping_has_its_addresses_and_devices,
    ipv6_is_read_as_well,
    datagrams_and_segments_have_their_ports,
    only_first_fragments_have_a_type,
    arp_has_the_addresses_that_it_asks_for,
    a_trace_by_mark_can_show_them,
    expressions_show_what_built_in_fields_show,
    the_perf_buffer_has_the_same_and_one_group_its_own,
    nothing_is_left_behind,
);
