//! Tests of the filter's compiler that need neither a kernel nor libpcap.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use super::{Filter, FilterError, Instruction, Names, Problem, Verdict, compile};

/// Resolves one name.
struct OneName;

impl Names for OneName {
    fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, String> {
        match host {
            "two" => Ok(vec![Ipv4Addr::new(10, 0, 0, 2).into(), Ipv6Addr::LOCALHOST.into()]),
            _ => Err("no such host".to_owned()),
        }
    }
}

fn accepted(expression: &str) -> Filter {
    compile(expression, &OneName).unwrap_or_else(|error| panic!("[{expression}] {error}"))
}

fn refused(expression: &str) -> FilterError {
    match compile(expression, &OneName) {
        Ok(_) => panic!("[{expression}] is accepted"),
        Err(error) => error,
    }
}

/// An Ethernet frame with TCP over IPv4: 10.0.0.1 port 1024 to 10.0.0.2 port 80, SYN.
fn tcp() -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([4, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

#[test]
fn filters_of_a_tcp_packet_match() {
    for expression in [
        "",
        "tcp",
        "host two",
        "src 10.0.0.1 and dst two",
        "tcp dst port http",
        "tcp port 80 or 443",
        "tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn",
        "net 10.0.0.0/8 and not port 22",
        "ether src 02:00:00:00:00:02",
        "len = 54",
    ] {
        assert!(accepted(expression).matches(&tcp()), "[{expression}]");
    }
}

#[test]
fn filters_of_other_packets_do_not_match() {
    for expression in [
        "udp",
        "ip6",
        "arp",
        "dst host 10.0.0.1",
        "port 443 or 22",
        "vlan",
        "not tcp",
        "greater 55",
    ] {
        assert!(!accepted(expression).matches(&tcp()), "[{expression}]");
    }
}

#[test]
fn cut_packet_is_out_of_reach_only_where_needed() {
    let frame = tcp();
    let length = 54;
    let port = accepted("tcp port 80");
    assert_eq!(port.judge(&frame[..34], length), Verdict::OutOfReach);
    assert_eq!(port.judge(&frame[..38], length), Verdict::Match);
    assert_eq!(accepted("udp port 80").judge(&frame[..24], length), Verdict::NoMatch);
}

#[test]
fn contradictions_are_refused() {
    for expression in [
        "tcp and udp",
        "ip and ip6",
        "port 80 and arp",
        "arp and tcp[0] = 1",
        "src host 10.0.0.1 and src host 10.0.0.2",
        "src net 10.0.0.0/8 and src host 192.168.1.1",
        "net 10.0.0.0/8 and net 192.168.0.0/16 and net 172.16.0.0/12",
        "tcp port 80 and udp",
        "less 10 and greater 20",
        "ip[8] > 5 and ip[8] < 5",
        "ip proto 300",
        "not ip and tcp port 80 and not ip6",
        "1 = 2",
        "vlan 1 and ether[14:2] & 0xfff = 2",
    ] {
        assert_eq!(*refused(expression).problem(), Problem::Never, "[{expression}]");
    }
}

#[test]
fn satisfiable_filters_are_not_called_impossible() {
    for expression in [
        "host 10.0.0.1 and host 10.0.0.2",
        "port 80 and port 443",
        "net 10.0.0.0/8 and net 192.168.0.0/16",
        "tcp and (udp or port 80)",
        "not (tcp and udp)",
        "less 20 and greater 20",
        "ip[8] > 5 and ip[8] < 7",
        "vlan and ip or arp",
    ] {
        accepted(expression);
    }
}

#[test]
fn errors_have_column_mark_and_remedy() {
    let cases = [
        ("tcp prot 80", 5, "did you mean 'port' or 'proto'?"),
        ("host 10.0.0.1 abd tcp", 15, "did you mean 'and'?"),
        ("tcp port htpp", 10, "did you mean 'http'"),
        ("ip6 protochain 6", 5, "use 'proto'"),
        ("gateway two", 1, "ether host ADDRESS"),
        ("inbound", 1, "ip_rcv"),
        ("tcp host 10.0.0.1", 10, "tcp and host"),
        ("ip broadcast", 1, "ether broadcast"),
        ("src net 10.0.0.1/8", 9, "10.0.0.0/8"),
        ("host 10.0.0.0/8", 6, "write 'net'"),
        ("tcp or 80", 8, "'port'"),
        ("10.0.0.1", 1, "'host'"),
        ("tcp 80", 5, "'port'"),
        ("ip proto tcp", 10, "\\tcp"),
        ("vlan 5000", 6, "4095"),
        ("port 70000", 6, "65535"),
        ("host nowhere", 6, "write its address"),
        ("udp port http", 10, "write its number"),
        ("tcp and", 8, "the end"),
        ("(tcp or udp", 12, "')'"),
        ("tcp)", 4, "'and', 'or' or the end"),
        ("ip[8] / 0 = 1", 1, "division by zero"),
        ("ip[0:3] = 1", 6, "1, 2 or 4"),
        ("mpls and arp", 10, "'ip' or 'ip6'"),
        ("tcp ; udp", 5, "';'"),
        ("port 08", 6, "octal"),
    ];
    for (expression, column, part) in cases {
        let error = refused(expression);
        let text = error.to_string();
        assert_eq!(error.column(), column, "[{expression}] {text}");
        assert!(text.contains(part), "[{expression}] {text}");
        let mark = text.lines().last().and_then(|line| line.find('^'));
        assert_eq!(mark, Some(4 + column - 1), "[{expression}] {text}");
    }
}

#[test]
fn marks_of_long_or_strange_expressions_stay_in_place() {
    let long = format!("{} and prot", vec!["tcp"; 100].join(" and "));
    let text = refused(&long).to_string();
    assert!(text.lines().all(|line| line.len() <= 120), "{text}");
    let text = refused("tcp and \u{1b}[31mü").to_string();
    assert!(!text.contains('\u{1b}'), "{text:?}");
    refused("ü");
    refused("host ü");
    refused("\\");
}

#[test]
fn deep_and_long_expressions_end_with_an_error() {
    for (open, close) in [
        ("(", ")"),
        ("not (", ")"),
        ("ip[", "] = 1"),
        ("-", "1 = 1"),
        ("port (", "80)"),
    ] {
        let deep = open.repeat(10_000) + "tcp" + &close.repeat(10_000);
        refused(&deep);
    }
    refused(&("tcp or ".repeat(20_000) + "udp"));
    refused(&("1 + ".repeat(10_000) + "1 = 1"));
    refused(&("1 ^ ".repeat(10_000) + "1 = 1"));
    refused(&("ip[0] + (".repeat(59) + "1" + &")".repeat(59) + " = 1"));
    accepted(&("not ".repeat(10_000) + "tcp"));
}

#[test]
fn many_hosts_make_one_filter() {
    let hosts: Vec<String> = (0..200)
        .map(|host| format!("10.0.{}.{}", host / 100, host % 100))
        .collect();
    let filter = accepted(&format!("host {}", hosts.join(" or ")));
    assert!(filter.matches(&tcp()));
    assert!(filter.program().len() < 5000, "{} instructions", filter.program().len());
}

#[test]
fn only_the_bytes_that_are_used_are_in_the_prefix() {
    for (expression, prefix) in [
        ("", 0),
        ("ip", 14),
        ("len > 100", 0),
        ("host 10.0.0.1", 42),
        ("ip host 10.0.0.1 and tcp", 34),
        ("ip and tcp dst port 80", 38),
        ("ip6[100] = 1", 14),
    ] {
        assert_eq!(accepted(expression).prefix(), prefix, "[{expression}]");
    }
}

#[test]
fn uses_of_a_packet_are_those_of_the_expression() {
    let filter = accepted("tcp port 80");
    assert!(!filter.has_mac() && !filter.has_vlan() && !filter.has_length() && !filter.always_matches());
    assert!(accepted("ether host 02:00:00:00:00:01").has_mac());
    assert!(accepted("ether[6] = 2").has_mac());
    assert!(!accepted("ether[12:2] = 0x88cc").has_mac());
    assert!(accepted("not vlan").has_vlan());
    assert!(accepted("less 100").has_length());
    assert!(accepted("").always_matches());
}

#[test]
fn common_filters_have_few_instructions() {
    for (expression, most) in [("host 10.0.0.1 and tcp port 80", 90), ("tcp port 80", 70), ("icmp", 12)] {
        let count = accepted(expression).program().len();
        assert!(count <= most, "[{expression}] has {count} instructions");
    }
}

#[test]
fn object_has_a_hidden_function_with_types() {
    let filter = accepted("tcp port 80");
    has_the_function(&filter.object(), "ipft_filter", filter.program());
    has_the_function(&filter.inner_object(), "ipft_inner_filter", filter.program());
    let none = Filter::no_inner_object();
    let file = object::File::parse(&*none).expect("it is an object");
    assert!(file.symbol_by_name("ipft_inner_filter").is_some());
}

fn has_the_function(bytes: &[u8], name: &str, program: &[Instruction]) {
    let file = object::File::parse(bytes).expect("it is an object");
    assert_eq!(file.architecture(), object::Architecture::Bpf);
    let symbol = file.symbol_by_name(name).expect("it has the function");
    assert!(symbol.is_global());
    assert_eq!(symbol.size(), 8 * program.len() as u64);
    let text = file
        .section_by_name(".text")
        .expect("it has code")
        .data()
        .expect("it is whole");
    let code: Vec<u8> = program.iter().flat_map(|instruction| instruction.bytes()).collect();
    assert_eq!(text, code);
    let btf = file
        .section_by_name(".BTF")
        .expect("it has types")
        .data()
        .expect("it is whole");
    let btf = crate::kernel::btf::Btf::parse(btf).expect("they can be read");
    let function = btf
        .find(crate::kernel::btf::Kind::Function, name)
        .expect("the function is in them");
    let prototype = btf.get(function.target()).expect("it has a prototype");
    assert_eq!(prototype.parameters().count(), 4);
    assert!(file.section_by_name(".BTF.ext").is_some());
}

#[test]
fn messages_are_short_and_without_control_characters() {
    for expression in [
        format!("host {}", "x".repeat(10_000)),
        "y".repeat(10_000),
        format!("port {}", "z".repeat(10_000)),
        "9".repeat(10_000),
        "host \\\u{1b}[31m\u{202e}\u{7f}".to_owned(),
        "ip proto \\\u{1b}".to_owned(),
        "port \\\u{1b}".to_owned(),
    ] {
        let text = refused(&expression).to_string();
        assert!(text.len() < 500, "{text}");
        let is_wrong = |each: char| each.is_control() || each == '\u{202e}';
        assert!(text.lines().all(|line| !line.contains(is_wrong)), "{text:?}");
    }
}
