//! Hand-made traces, small enough to read, for the tests of the sinks.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ipft_core::event::*;
use ipft_core::sink::Sink;

/// A trace and its events, in batches.
pub struct Canned {
    pub name: &'static str,
    pub trace: Trace,
    pub batches: Vec<Batch>,
    pub summary: Summary,
}

/// Returns all of them.
pub fn all() -> Vec<Canned> {
    vec![
        empty(),
        function(),
        graph(),
        two_contexts(),
        lossy(),
        hostile(),
        fields(),
        tagged(),
        bits(),
        built_in(),
        built_in_tagged(),
        followed(),
        decided(),
    ]
}

/// No event, no loss.
fn empty() -> Canned {
    Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]).can("empty")
}

/// Two packets whose events alternate, one of which goes back in time in the stream.
fn function() -> Canned {
    let mut script = Script::new(
        Tracer::Function,
        &[
            ("ip_rcv", "vmlinux"),
            ("ipv4_conntrack_in", "nf_conntrack"),
            ("skb_release_data", "vmlinux"),
            (
                "a_function_with_a_name_that_is_wider_than_its_column",
                "a_module_that_is_wider_too",
            ),
        ],
    );
    script.at(464_048_546_191_357).cpu(5).enter(1, 0);
    script.at(464_048_546_191_557).enter(1, 1);
    script.at(464_048_546_192_000).cpu(12).enter(2, 0);
    script.end_batch();
    script.at(464_048_546_193_000).cpu(5).enter(1, 3);
    script.at(464_048_546_192_500).cpu(1023).enter(1, 2);
    script.at(464_048_546_194_000).cpu(12).enter(2, 2);
    script.can("function")
}

/// A packet that nests three deep, with a name that does not fit its column, and a second packet after it.
fn graph() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[
            ("ip_output", "vmlinux"),
            ("nf_hook_slow", "vmlinux"),
            ("ipt_do_table", "ip_tables"),
            (
                "a_function_with_a_name_that_is_wider_than_the_column_of_its_call",
                "vmlinux",
            ),
        ],
    );
    script.at(75_681_519_356).thread(812).enter(1, 0);
    script.at(75_681_521_100).enter(1, 1);
    script.at(75_681_522_800).enter(1, 2);
    script.at(75_681_523_939).leave(1, 2);
    script.at(75_681_524_000).enter(1, 3);
    script.at(75_681_524_001).leave(1, 3);
    script.end_batch();
    script.at(75_681_526_138).leave(1, 1);
    script.at(75_682_753_704).leave(1, 0);
    script.at(75_682_800_000).enter(2, 2);
    script.at(75_682_800_000).leave(2, 2);
    script.can("graph")
}

/// A softirq on another CPU takes the packet while the function that queued it is still returning.
fn two_contexts() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[
            ("dev_queue_xmit", "vmlinux"),
            ("veth_xmit", "veth"),
            ("ip_rcv", "vmlinux"),
            ("icmp_rcv", "vmlinux"),
        ],
    );
    script.at(1_000_000_100).thread(812).cpu(0).enter(1, 0);
    script.at(1_000_000_200).enter(1, 1);
    script.at(1_000_000_300).thread(0).cpu(1).enter(1, 2);
    script.at(1_000_000_400).thread(812).cpu(0).leave(1, 1);
    script.at(1_000_000_500).thread(0).cpu(1).enter(1, 3);
    script.at(1_000_000_600).thread(812).cpu(0).leave(1, 0);
    script.at(1_000_000_700).thread(0).cpu(1).leave(1, 3);
    script.at(1_000_000_800).leave(1, 2);
    script.can("two-contexts")
}

/// Entries without a return, returns without an entry, and every kind of loss in the summary.
fn lossy() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[
            ("mark_tg", "xt_mark"),
            ("ip_rcv", "vmlinux"),
            ("ip_rcv_core", "vmlinux"),
            ("ip_rcv_finish", "vmlinux"),
        ],
    );
    script.at(2_000_000_100).thread(7).leave(1, 0);
    script.at(2_000_000_200).enter(1, 1);
    script.at(2_000_000_300).enter(1, 2);
    // The return of function 2 is missing.
    script.at(2_000_000_400).enter(1, 3);
    script.at(2_000_000_500).leave(1, 0);
    script.at(2_000_000_600).leave(1, 3);
    script.at(2_000_000_700).leave(1, 1);
    // So is this one's, and no call encloses it.
    script.at(2_000_000_800).enter(1, 3);
    script.at(2_000_000_900).enter(1, 1);
    script.at(2_000_001_000).leave(1, 1);
    script.summary.losses = vec![
        Loss {
            kind: LossKind::BufferFull,
            cpu: Some(0),
            count: 17,
        },
        Loss {
            kind: LossKind::Recursion,
            cpu: Some(3),
            count: 1,
        },
        Loss {
            kind: LossKind::ReturnMissed,
            cpu: None,
            count: 2,
        },
        Loss {
            kind: LossKind::MapFull,
            cpu: None,
            count: u64::MAX / 2,
        },
        Loss {
            kind: LossKind::Undecodable,
            cpu: None,
            count: 3,
        },
    ];
    script.summary.skipped = vec![SkippedFunction {
        name: "skb_panic".to_owned(),
        module: "vmlinux".to_owned(),
        reason: "the kernel says \"Device or resource busy\"".to_owned(),
    }];
    script.can("lossy")
}

/// Names that attack lines, terminals or JSON strings; function indices and payloads out of range.
fn hostile() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[
            ("quote\"back\\slash", "new\nline"),
            ("\x1b[31mred\x1b[0m\u{9b}2J\x07", "nul\0tab\tdel\x7f"),
            ("\u{202e}txet\u{2028}é😀", ""),
        ],
    );
    script.trace.kernel_release = "6.12\n\"\x1b[2J".to_owned();
    script.trace.backend = "back\\end".to_owned();
    script.trace.command_line = vec!["ipft".to_owned(), "-r".to_owned(), "\"\\\x1b".to_owned()];
    script.trace.schema = Schema {
        size: 8,
        fields: vec![
            field("\x1b]0;title\x07", 0, 4, FieldType::Unsigned, FieldFormat::Plain),
            field("te\"xt", 4, 4, FieldType::Char, FieldFormat::Plain),
        ],
        ..Schema::default()
    };
    let payload = |text: &[u8; 4]| [7_u32.to_ne_bytes(), *text].concat();
    script.at(3_000_000_100).payload(payload(b"\x1b[0m")).enter(u64::MAX, 0);
    script
        .at(3_000_000_200)
        .payload(payload(b"a\"\xff\\"))
        .enter(u64::MAX, 1);
    script.at(3_000_000_300).payload(payload(b"a\0bc")).leave(u64::MAX, 1);
    // An unknown function, and a payload that is too short.
    script
        .at(3_000_000_400)
        .payload(vec![1, 2, 3])
        .enter(u64::MAX, u32::MAX);
    script.at(u64::MAX).payload(Vec::new()).leave(u64::MAX, 0);
    script.can("hostile")
}

/// Every type and format of a field, with common and unusual values.
fn fields() -> Canned {
    let member = |name: &str, value: u64| EnumMember {
        name: name.to_owned(),
        value,
    };
    let flags = vec![
        member("NONE", 0),
        member("TCPV4", 1),
        member("DODGY", 2),
        member("ECN", 4),
    ];
    let verdicts = vec![member("DROP", 0), member("ACCEPT", 1), member("STOLEN", -1_i64 as u64)];
    let symbols = [
        member("_text", 0xffff_ffff_8100_0000),
        member("kfree_skb", 0xffff_ffff_8100_2000),
    ];
    let list = [
        ("len", 4, FieldType::Unsigned, FieldFormat::Plain),
        ("delta", 2, FieldType::Signed, FieldFormat::Plain),
        ("wide", 8, FieldType::Signed, FieldFormat::Plain),
        ("cloned", 1, FieldType::Bool, FieldFormat::Plain),
        ("dev.name", 8, FieldType::Char, FieldFormat::Plain),
        ("sk", 8, FieldType::Pointer, FieldFormat::Plain),
        ("raw", 3, FieldType::Bytes, FieldFormat::Plain),
        ("mark", 4, FieldType::Unsigned, FieldFormat::Hex),
        ("verdict", 4, FieldType::Signed, FieldFormat::Enum(verdicts)),
        ("gso", 4, FieldType::Unsigned, FieldFormat::Flags(flags)),
        ("saddr", 4, FieldType::Bytes, FieldFormat::Ipv4),
        ("daddr6", 16, FieldType::Bytes, FieldFormat::Ipv6),
        ("source", 6, FieldType::Bytes, FieldFormat::Mac),
        ("sport", 2, FieldType::Unsigned, FieldFormat::Be16),
        ("spi", 4, FieldType::Unsigned, FieldFormat::Be32),
        ("tstamp", 8, FieldType::Signed, FieldFormat::Ktime),
        ("caller", 8, FieldType::Pointer, FieldFormat::Symbol(symbols.into())),
    ];
    let mut schema = Schema::default();
    for (name, size, kind, format) in list {
        schema.fields.push(field(name, schema.size, size, kind, format));
        schema.size += size;
    }
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]);
    script.trace.schema = schema;
    let common = [
        &2688_u32.to_ne_bytes()[..],
        &(-5_i16).to_ne_bytes(),
        &(-9_000_000_000_000_000_000_i64).to_ne_bytes(),
        &[1],
        b"veth0\0\0\0",
        &0xffff_8da1_f50b_7f00_u64.to_ne_bytes(),
        &[0xde, 0xad, 0x00],
        &0xdead_beef_u32.to_ne_bytes(),
        &1_u32.to_ne_bytes(),
        &3_u32.to_ne_bytes(),
        &[192, 0, 2, 1],
        &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e],
        &443_u16.to_be_bytes(),
        &0x1234_5678_u32.to_be_bytes(),
        &12_000_000_345_i64.to_ne_bytes(),
        &0xffff_ffff_8100_2012_u64.to_ne_bytes(),
    ];
    let odd = [
        &u32::MAX.to_ne_bytes()[..],
        &i16::MIN.to_ne_bytes(),
        &i64::MIN.to_ne_bytes(),
        &[0],
        b"12345678",
        &0_u64.to_ne_bytes(),
        &[0, 0, 0],
        &0_u32.to_ne_bytes(),
        &(-7_i32).to_ne_bytes(),
        &0x44_u32.to_ne_bytes(),
        &[255, 255, 255, 255],
        &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1],
        &[255; 6],
        &u16::MAX.to_be_bytes(),
        &0_u32.to_be_bytes(),
        &(-1_i64).to_ne_bytes(),
        &0x10_u64.to_ne_bytes(),
    ];
    let mut zero = common.map(<[u8]>::to_vec);
    zero.iter_mut().for_each(|bytes| bytes.fill(0));
    script.at(100).payload(common.concat()).enter(1, 0);
    script.at(200).payload(odd.concat()).enter(1, 0);
    script.at(300).payload(zero.concat()).enter(1, 0);
    script.at(400).payload(Vec::new()).enter(1, 0);
    script.can("fields")
}

/// Payloads with their own field lists: different in each event, names that come late, and malformed lists.
fn tagged() -> Canned {
    let payload = |values: &[(u32, Value<'_>)]| {
        let mut bytes = Vec::new();
        for (name, value) in values {
            value.push(&mut bytes, *name);
        }
        bytes
    };
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[("ip_rcv", "vmlinux"), ("kfree_skb_reason", "vmlinux")],
    );
    script.trace.schema.tail = true;
    script.names = ["len", "gso_type"].map(str::to_owned).to_vec();
    let common = [(1, Value::Text(b"tcpv4|dodgy")), (0, Value::Integer(2688))];
    script.at(5_000_000_000).payload(payload(&common)).enter(1, 0);
    script.at(5_000_000_100).payload(payload(&[])).enter(1, 1);
    script.at(5_000_000_200).leave(1, 1);
    script.end_batch();
    script.names.push("new\x1b\"".to_owned());
    let hostile = [
        (0, Value::Integer(-1)),
        (2, Value::Text(b"\x1b[2J\"\\\xff\n")),
        (3, Value::Integer(i64::MAX)),
    ];
    script.at(5_000_000_300).payload(payload(&hostile)).enter(2, 0);
    let floats = [
        (0, Value::Float(0.1 + 0.2)),
        (1, Value::Float(3.0)),
        (2, Value::Float(f64::NAN)),
        (2, Value::Float(f64::NEG_INFINITY)),
        (0, Value::Float(-1.5e300)),
    ];
    script.at(5_000_000_400).payload(payload(&floats)).enter(2, 1);
    // Cut in the middle of the second value, and an unknown type.
    let cut = payload(&common);
    script
        .at(5_000_000_500)
        .payload(cut[..cut.len() - 1].to_vec())
        .enter(2, 1);
    script.at(5_000_000_600).payload(vec![0, 0, 0, 0, 99, 1, 2]).leave(2, 1);
    script.at(5_000_000_700).payload(Vec::new()).leave(2, 0);
    script.can("tagged")
}

/// The built-in fields `len` and `mark`, followed by those of an extension.
fn built_in() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[("ip_rcv", "vmlinux"), ("tcp_gso_segment", "vmlinux")],
    );
    script.trace.schema = shown(&Schema {
        size: 6,
        fields: vec![
            field("gso_size", 0, 2, FieldType::Unsigned, FieldFormat::Plain),
            field("saddr", 2, 4, FieldType::Bytes, FieldFormat::Ipv4),
        ],
        ..Schema::default()
    });
    let payload = |len: u32, gso_size: u16| {
        let own = [&gso_size.to_ne_bytes()[..], &[192, 0, 2, 7]].concat();
        [&len.to_ne_bytes()[..], &0xdead_beef_u32.to_ne_bytes(), &own].concat()
    };
    script.at(6_000_000_000).payload(payload(2688, 1448)).enter(1, 0);
    script.at(6_000_000_100).payload(payload(1500, 0)).enter(1, 1);
    script.at(6_000_000_200).payload(Vec::new()).leave(1, 1);
    script.at(6_000_000_300).leave(1, 0);
    // Truncated and oversized payloads have no fields.
    script
        .at(6_000_000_400)
        .payload(payload(1, 1)[..8].to_vec())
        .enter(2, 0);
    script
        .at(6_000_000_500)
        .payload([payload(1, 1), vec![0]].concat())
        .enter(2, 1);
    script.can("built-in")
}

/// The same built-in fields, followed by a script's values.
fn built_in_tagged() -> Canned {
    let mut script = Script::new(
        Tracer::FunctionGraph,
        &[("ip_rcv", "vmlinux"), ("tcp_gso_segment", "vmlinux")],
    );
    script.trace.schema = shown(&Schema {
        tail: true,
        ..Schema::default()
    });
    script.names = ["gso_type", "len"].map(str::to_owned).to_vec();
    let payload = |len: u32, values: &[(u32, Value<'_>)]| {
        let mut bytes = [len.to_ne_bytes(), 0xdead_beef_u32.to_ne_bytes()].concat();
        for (name, value) in values {
            value.push(&mut bytes, *name);
        }
        bytes
    };
    let both = [(0, Value::Text(b"tcpv4")), (1, Value::Integer(7))];
    script.at(6_000_000_000).payload(payload(2688, &both)).enter(1, 0);
    script.at(6_000_000_100).payload(payload(1500, &[])).enter(1, 1);
    script.at(6_000_000_200).payload(Vec::new()).leave(1, 1);
    script.at(6_000_000_300).leave(1, 0);
    // Values end at the cut; with an incomplete fixed part, no field is shown.
    let cut = payload(3, &both);
    script
        .at(6_000_000_400)
        .payload(cut[..cut.len() - 1].to_vec())
        .enter(2, 0);
    script.at(6_000_000_500).payload(cut[..7].to_vec()).enter(2, 1);
    script.can("built-in-tagged")
}

/// The built-in fields of a packet at one function, in the order in which they are stored.
#[derive(Clone, Copy, Default)]
pub struct Fields {
    pub len: u32,
    pub mark: u32,
    pub saddr: [u8; 16],
    pub daddr: [u8; 16],
    pub ports: (u16, u16),
    pub ethertype: u16,
    pub proto: u8,
    /// Flags, sequence number and acknowledgement.
    pub tcp: (u8, u32, u32),
    /// Type and code.
    pub icmp: (u8, u8),
    pub frag: u16,
    /// Identifier and sequence number.
    pub echo: (u16, u16),
    pub iface: &'static str,
    pub netns: u32,
}

impl Fields {
    /// A packet from 10.0.0.1 to 10.0.0.2.
    pub fn ipv4(proto: u8, len: u32) -> Self {
        Fields {
            len,
            saddr: mapped(10, 0, 0, 1),
            daddr: mapped(10, 0, 0, 2),
            ethertype: 0x0800,
            proto,
            ..Fields::default()
        }
    }

    /// The payload with these fields.
    pub fn bytes(&self) -> Vec<u8> {
        let schema = Fields::schema();
        let mut bytes = vec![0; schema.size as usize];
        let mut set = |name: &str, value: &[u8]| {
            let field = schema.fields.iter().find(|field| field.name == name);
            let start = field.expect("there is such a field").offset as usize;
            bytes[start..start + value.len()].copy_from_slice(value);
        };
        set("len", &self.len.to_ne_bytes());
        set("mark", &self.mark.to_ne_bytes());
        set("saddr", &self.saddr);
        set("daddr", &self.daddr);
        set("sport", &self.ports.0.to_be_bytes());
        set("dport", &self.ports.1.to_be_bytes());
        set("ethertype", &self.ethertype.to_ne_bytes());
        set("proto", &[self.proto]);
        set("tcp_flags", &[self.tcp.0]);
        set("seq", &self.tcp.1.to_ne_bytes());
        set("ack", &self.tcp.2.to_ne_bytes());
        set("icmp_type", &[self.icmp.0]);
        set("icmp_code", &[self.icmp.1]);
        set("frag", &self.frag.to_ne_bytes());
        set("icmp_id", &self.echo.0.to_ne_bytes());
        set("icmp_seq", &self.echo.1.to_ne_bytes());
        set("iface", self.iface.as_bytes());
        set("ifindex", &(self.iface.len() as u32).to_ne_bytes());
        set("netns", &self.netns.to_ne_bytes());
        bytes
    }

    /// The schema of these bytes.
    pub fn schema() -> Schema {
        ipft_core::field::Show::of_filter().schema(&Schema::default())
    }
}

/// An IPv4 address as it is stored.
pub fn mapped(a: u8, b: u8, c: u8, d: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Packets about which firewalls decide, one of which drops its packet itself, and which wait in a queue.
fn decided() -> Canned {
    const FUNCTIONS: [(&str, &str); 8] = [
        ("__ip_local_out", "vmlinux"),
        ("nf_hook_slow", "vmlinux"),
        ("fq_codel_enqueue", "sch_fq_codel"),
        ("sch_direct_xmit", "vmlinux"),
        ("nft_do_chain", "nf_tables"),
        ("nft inet filter out hook output priority 0", "nf_tables"),
        ("iptables mangle hook postrouting priority -150", "ip_tables"),
        ("skb_release_data", "vmlinux"),
    ];
    let mut script = Script::new(Tracer::Function, &FUNCTIONS);
    script.trace.schema = Fields::schema();
    script.trace.filter = "udp".to_owned();
    script.trace.follow = true;
    (script.trace.mark, script.trace.mask) = (0, 0);
    script.trace.drop_reasons = vec![EnumMember {
        name: "NETFILTER_DROP".to_owned(),
        value: 12,
    }];
    let mut fields = Fields {
        ports: (4000, 53),
        iface: "eth1",
        ..Fields::ipv4(17, 50)
    };
    let verdict = Decision::Netfilter;
    script.at(1_000_000).cpu(1).thread(812).payload(fields.bytes());
    script.enter(1, 0);
    script.at(1_010_000).enter(1, 1);
    script.at(1_020_000).decide(1, 5, verdict(Verdict::Accept));
    script.at(1_030_000).decide(1, 6, verdict(Verdict::Queue));
    fields.len = 64;
    script.at(1_040_000).payload(fields.bytes()).enter(1, 2);
    script.end_batch();
    script.at(42_040_000).enter(1, 3);
    fields.ports = (4001, 53);
    script.at(43_000_000).payload(fields.bytes()).enter(2, 0);
    script
        .at(43_010_000)
        .end(2, 4, Outcome::Dropped { reason: 12 }.to_word());
    script.at(43_011_000).enter(2, 7);
    script.at(43_012_000).decide(2, 5, verdict(Verdict::Drop));
    // Of a packet that is not known.
    script.at(43_013_000).decide(99, 5, verdict(Verdict::Stop));
    script.can("decided")
}

/// Packets that a filter selected, with the fields of one: through a veth pair and NAT, dropped, in fragments, in a
/// tunnel, of other protocols, and with fields that no function could see.
fn followed() -> Canned {
    const FUNCTIONS: [(&str, &str); 16] = [
        ("__ip_local_out", "vmlinux"),
        ("nf_hook_slow", "vmlinux"),
        ("veth_xmit", "veth"),
        ("skb_scrub_packet", "vmlinux"),
        ("__netif_receive_skb_core", "vmlinux"),
        ("nf_nat_manip_pkt", "nf_nat"),
        ("icmp_rcv", "vmlinux"),
        ("consume_skb", "vmlinux"),
        ("skb_release_data", "vmlinux"),
        ("nft_do_chain", "nf_tables"),
        ("ip_copy_metadata", "vmlinux"),
        ("ip_finish_output2", "vmlinux"),
        ("vxlan_xmit_one", "vxlan"),
        ("ip6_output", "vmlinux"),
        ("arp_rcv", "vmlinux"),
        ("__copy_skb_header", "vmlinux"),
    ];
    let number = |name: &str| {
        let found = FUNCTIONS.iter().position(|(function, _)| *function == name);
        found.expect("it is one of them") as u32
    };
    let mut script = Script::new(Tracer::Function, &FUNCTIONS);
    script.trace.schema = Fields::schema();
    script.trace.filter = "icmp or host 10.0.0.2".to_owned();
    script.trace.follow = true;
    (script.trace.mark, script.trace.mask) = (0, 0);
    let reason = |(name, value): (&str, u64)| EnumMember {
        name: name.to_owned(),
        value,
    };
    script.trace.drop_reasons = [("NO_SOCKET", 3), ("NETFILTER_DROP", 12)].map(reason).to_vec();

    // A ping from one namespace to another, to an address that is translated.
    let mut ping = Fields {
        icmp: (8, 0),
        echo: (7, 1),
        mark: 0x77,
        netns: 4_026_531_840,
        ..Fields::ipv4(1, 84)
    };
    script.at(7_000_000_000).cpu(1).thread(812).payload(ping.bytes());
    script.enter(1, number("__ip_local_out"));
    for time in [12_100, 12_900, 13_300] {
        script.at(7_000_000_000 + time).enter(1, number("nf_hook_slow"));
    }
    ping.iface = "va";
    ping.len = 98;
    script
        .at(7_000_031_000)
        .payload(ping.bytes())
        .enter(1, number("veth_xmit"));
    // Another packet begins on another CPU: a connection that the firewall refuses.
    let syn = Fields {
        ports: (4000, 80),
        tcp: (2, 1234, 0),
        netns: 4_026_531_840,
        ..Fields::ipv4(6, 60)
    };
    script.at(7_000_032_000).cpu(0).thread(900).payload(syn.bytes());
    script.enter(2, number("__ip_local_out"));
    ping.mark = 0;
    script.at(7_000_038_200).cpu(1).thread(812).payload(ping.bytes());
    script.enter(1, number("skb_scrub_packet"));
    script.end_batch();
    (ping.iface, ping.netns, ping.len) = ("vb", 4_026_532_200, 84);
    script.at(7_000_044_900).payload(ping.bytes());
    script.enter(1, number("__netif_receive_skb_core"));
    script.at(7_000_046_000).cpu(0).thread(900).payload(syn.bytes());
    script.enter(2, number("nft_do_chain"));
    let refused = Outcome::Dropped { reason: 12 }.to_word();
    script.at(7_000_047_000).end(2, number("nft_do_chain"), refused);
    script.at(7_000_047_500).enter(2, number("skb_release_data"));
    ping.daddr = mapped(10, 1, 0, 2);
    script.at(7_000_051_300).cpu(1).thread(812).payload(ping.bytes());
    script.enter(1, number("nf_nat_manip_pkt"));
    script.at(7_000_080_000).enter(1, number("icmp_rcv"));
    script
        .at(7_000_081_000)
        .payload(Vec::new())
        .enter(1, number("consume_skb"));
    let delivered = Outcome::Delivered.to_word();
    script.at(7_000_082_000).end(1, NO_FUNCTION, delivered);
    script.at(7_000_083_000).enter(1, number("skb_release_data"));
    script.end_batch();

    // A packet that is cut in two, of which the second part is copied. Nothing is known of the copy in this batch.
    let mut udp = Fields {
        ports: (5353, 53),
        iface: "va",
        ..Fields::ipv4(17, 2028)
    };
    script
        .at(7_001_000_000)
        .payload(udp.bytes())
        .enter(3, number("__ip_local_out"));
    udp.frag = 0x2000;
    script.at(7_001_001_000).payload(udp.bytes());
    script.enter(3, number("ip_finish_output2"));
    script.at(7_001_002_000).payload(Vec::new());
    script.born(4, 3, number("ip_copy_metadata"));
    let second = Fields {
        ports: (0, 0),
        len: 548,
        frag: 185,
        ..udp
    };
    script.at(7_001_003_000).payload(second.bytes());
    script.enter(4, number("ip_finish_output2"));
    script.at(7_001_004_000).payload(Vec::new());
    script.born(5, 4, number("__copy_skb_header"));
    script.at(7_001_005_000).end(3, NO_FUNCTION, 0);
    script.end_batch();
    script.at(7_001_006_000).enter(5, number("veth_xmit"));
    script
        .at(7_001_007_000)
        .payload(second.bytes())
        .enter(5, number("__netif_receive_skb_core"));
    script.at(7_001_008_000).join(5, 4);
    script.at(7_001_008_000).end(5, NO_FUNCTION, Outcome::Joined.to_word());
    // One that was made of a packet that is not known, and has no events.
    script.at(7_001_009_000).payload(Vec::new()).born(6, 99, NO_FUNCTION);
    // A packet that no traced function saw.
    script.at(7_001_009_500).end(98, NO_FUNCTION, 0);
    script.end_batch();

    // A packet that enters a tunnel and leaves it.
    let inner = Fields {
        icmp: (0, 0),
        echo: (7, 1),
        ..Fields::ipv4(1, 84)
    };
    let outer = Fields {
        saddr: mapped(192, 0, 2, 1),
        daddr: mapped(192, 0, 2, 2),
        ports: (43211, 4789),
        ..Fields::ipv4(17, 134)
    };
    for (time, fields) in [(0, inner), (1, outer), (2, inner)] {
        script.at(7_002_000_000 + 1000 * time).payload(fields.bytes());
        script.enter(7, number("vxlan_xmit_one"));
    }
    // Other protocols.
    let v6 = |last| [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let dhcp = Fields {
        saddr: v6(1),
        daddr: v6(2),
        ports: (546, 547),
        ethertype: 0x86dd,
        ..Fields::ipv4(17, 100)
    };
    let solicitation = Fields {
        ports: (0, 0),
        proto: 58,
        icmp: (135, 0),
        ..dhcp
    };
    let arp = Fields {
        saddr: [0; 16],
        daddr: [0; 16],
        ethertype: 0x0806,
        ..Fields::ipv4(0, 28)
    };
    let established = Fields {
        ports: (4000, 80),
        tcp: (0x18, 1235, 99),
        ..Fields::ipv4(6, 1460)
    };
    let others = [
        (dhcp, "ip6_output"),
        (solicitation, "ip6_output"),
        (arp, "arp_rcv"),
        (
            Fields {
                ethertype: 0x1234,
                ..arp
            },
            "arp_rcv",
        ),
        (Fields::ipv4(47, 100), "__ip_local_out"),
        (Fields::ipv4(253, 100), "__ip_local_out"),
        (established, "__ip_local_out"),
        (
            Fields {
                len: 60,
                ..Fields::default()
            },
            "veth_xmit",
        ),
    ];
    for (packet, (fields, function)) in (8..).zip(others) {
        script.at(7_003_000_000 + packet).payload(fields.bytes());
        script.enter(packet, number(function));
    }
    script.end_batch();
    // What had no header gets one; the part of a packet that is moved to a new one starts it anew.
    script
        .at(7_004_000_000)
        .payload(arp.bytes())
        .enter(15, number("arp_rcv"));
    script
        .at(7_004_000_500)
        .payload(Fields { frag: 0, ..established }.bytes());
    script.enter(14, number("skb_scrub_packet"));
    script
        .at(7_004_001_000)
        .payload(Vec::new())
        .end(15, NO_FUNCTION, 1 << 32);
    script.at(7_004_002_000).end(14, NO_FUNCTION, 1 << 32 | 5);
    // A drop that is no loss: the socket of `ping` has a copy.
    script
        .at(7_004_003_000)
        .payload(inner.bytes())
        .enter(16, number("icmp_rcv"));
    let discarded = Outcome::Dropped { reason: 3 }.to_word();
    script
        .at(7_004_004_000)
        .payload(Vec::new())
        .end(16, number("icmp_rcv"), discarded);
    script.can("followed")
}

fn shown(extension: &Schema) -> Schema {
    let list: ipft_core::field::ShowList = "len,mark".parse().expect("there are such fields");
    let show = list.applied_to(Default::default());
    show.schema(extension)
}

/// Returns the same trace with events of unknown kinds between all others: of their own packets, of unknown functions,
/// with payloads.
pub fn with_other_kinds(canned: &Canned) -> Canned {
    let batches = canned.batches.iter().map(|batch| {
        let mut more = Batch {
            events: Vec::new(),
            ..batch.clone()
        };
        let size = canned.trace.schema.size;
        let offset = more.payload.len() as u32;
        more.payload.resize(offset as usize + size as usize, 0xff);
        for event in &batch.events {
            let other = |kind, packet, function| Event {
                packet,
                entry_timestamp: event.timestamp / 2,
                function,
                kind: EventKind(kind),
                payload_offset: offset,
                payload_len: size,
                spare: event.packet,
                ..*event
            };
            let decided = other(EventKind::DECIDED.0, event.packet ^ 1 << 40, event.function);
            more.events
                .extend([decided, *event, other(77, event.packet, u32::MAX >> 3)]);
        }
        more
    });
    Canned {
        name: canned.name,
        trace: canned.trace.clone(),
        batches: batches.collect(),
        summary: canned.summary.clone(),
    }
}

/// Bit-fields of every type and format, also across byte boundaries.
fn bits() -> Canned {
    let members = |last: u64| {
        [("FIRST", 1), ("SECOND", 2), ("LAST", last)]
            .map(|(name, value)| EnumMember {
                name: name.to_owned(),
                value,
            })
            .to_vec()
    };
    // Offset, size, bit and width.
    let list = [
        ("low", (0, 1), (0, 3), FieldType::Unsigned, FieldFormat::Plain),
        ("high", (0, 1), (7, 1), FieldType::Bool, FieldFormat::Plain),
        ("across", (0, 2), (3, 10), FieldType::Signed, FieldFormat::Plain),
        ("pointer", (0, 8), (4, 60), FieldType::Pointer, FieldFormat::Plain),
        ("nine", (0, 9), (1, 64), FieldType::Unsigned, FieldFormat::Plain),
        ("hex", (0, 9), (1, 64), FieldType::Signed, FieldFormat::Hex),
        (
            "enum",
            (1, 1),
            (2, 3),
            FieldType::Signed,
            FieldFormat::Enum(members(-1_i64 as u64)),
        ),
        (
            "flags",
            (2, 1),
            (1, 5),
            FieldType::Unsigned,
            FieldFormat::Flags(members(4)),
        ),
    ];
    let mut script = Script::new(Tracer::Function, &[("ip_rcv", "vmlinux")]);
    script.trace.schema.size = 9;
    for (name, (offset, size), (bit, width), kind, format) in list {
        script.trace.schema.fields.push(Field {
            bits: Some(Bits { offset: bit, width }),
            ..field(name, offset, size, kind, format)
        });
    }
    script.at(100).payload(vec![0; 9]).enter(1, 0);
    script.at(200).payload(vec![0xff; 9]).enter(1, 0);
    script
        .at(300)
        .payload(vec![0x81, 0x16, 0x84, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe])
        .enter(1, 0);
    script.can("bits")
}

pub fn field(name: &str, offset: u32, size: u32, kind: FieldType, format: FieldFormat) -> Field {
    Field {
        name: name.to_owned(),
        offset,
        size,
        bits: None,
        kind,
        format,
    }
}

/// Writes a trace event by event. Time, CPU, thread and payload keep their last value.
pub struct Script {
    pub trace: Trace,
    pub summary: Summary,
    batches: Vec<Batch>,
    /// Names of tagged fields; those added later are only in later batches.
    names: Vec<String>,
    timestamp: u64,
    cpu: u32,
    thread: u32,
    payload: Vec<u8>,
}

impl Script {
    pub fn new(tracer: Tracer, functions: &[(&str, &str)]) -> Self {
        let function = |(index, (name, module)): (usize, &(&str, &str))| Function {
            name: (*name).to_owned(),
            module: (*module).to_owned(),
            // The kernel does not expose every address.
            address: [0xffff_ffff_8100_0000 + 0x40 * index as u64, 0][usize::from(index == 3)],
        };
        Script {
            trace: Trace {
                tracer,
                backend: "kprobe-session".to_owned(),
                functions: functions.iter().enumerate().map(function).collect(),
                schema: Schema::default(),
                clock_offset: 1_767_225_600_123_456_789,
                command_line: ["ipft", "-m", "0xdeadbeef"].map(str::to_owned).to_vec(),
                kernel_release: "6.12.1".to_owned(),
                mark: 0xdead_beef,
                mask: u32::MAX,
                filter: String::new(),
                follow: false,
                drop_reasons: Vec::new(),
            },
            summary: Summary {
                attached: functions.len() as u32,
                ..Summary::default()
            },
            batches: vec![Batch::default()],
            names: Vec::new(),
            timestamp: 0,
            cpu: 0,
            thread: 0,
            payload: Vec::new(),
        }
    }

    pub fn at(&mut self, timestamp: u64) -> &mut Self {
        self.timestamp = timestamp;
        self
    }

    pub fn cpu(&mut self, cpu: u32) -> &mut Self {
        self.cpu = cpu;
        self
    }

    pub fn thread(&mut self, thread: u32) -> &mut Self {
        self.thread = thread;
        self
    }

    pub fn payload(&mut self, payload: Vec<u8>) -> &mut Self {
        self.payload = payload;
        self
    }

    pub fn enter(&mut self, packet: u64, function: u32) {
        self.event(EventKind::ENTRY, packet, function);
    }

    pub fn leave(&mut self, packet: u64, function: u32) {
        self.event(EventKind::RETURN, packet, function);
    }

    /// The packet was made of another one.
    pub fn born(&mut self, packet: u64, parent: u64, function: u32) {
        self.other(EventKind::BORN, packet, function, parent);
    }

    /// It became part of another one.
    pub fn join(&mut self, packet: u64, into: u64) {
        self.other(EventKind::JOINED, packet, NO_FUNCTION, into);
    }

    /// The packet ended, with this outcome.
    pub fn end(&mut self, packet: u64, function: u32, outcome: u64) {
        self.other(EventKind::ENDED, packet, function, outcome);
    }

    /// It was decided what becomes of it.
    pub fn decide(&mut self, packet: u64, function: u32, decision: Decision) {
        self.other(EventKind::DECIDED, packet, function, decision.to_word());
    }

    /// It is about to end as dropped, in this stack.
    pub fn stack(&mut self, packet: u64, stack: u32) {
        self.other(EventKind::STACK, packet, stack, 0);
    }

    fn other(&mut self, kind: EventKind, packet: u64, function: u32, spare: u64) {
        let payload = std::mem::take(&mut self.payload);
        self.event(kind, packet, function);
        self.payload = payload;
        let batch = self.batches.last_mut().expect("there is always one");
        if let Some(event) = batch.events.last_mut() {
            event.spare = spare;
        }
    }

    pub fn end_batch(&mut self) {
        self.batches.push(Batch::default());
    }

    fn event(&mut self, kind: EventKind, packet: u64, function: u32) {
        let batch = self.batches.last_mut().expect("there is always one");
        batch.names.clone_from(&self.names);
        let skb = match kind {
            EventKind::ENTRY => 0xffff_8da1_f50b_0000 | (packet & 0xff) << 8,
            _ => 0,
        };
        batch.events.push(Event {
            packet,
            skb,
            timestamp: self.timestamp,
            entry_timestamp: 0,
            function,
            cpu: self.cpu,
            kind,
            thread: self.thread,
            payload_offset: batch.payload.len() as u32,
            payload_len: self.payload.len() as u32,
            spare: 0,
        });
        batch.payload.extend_from_slice(&self.payload);
    }

    /// Returns the trace as sinks get it: returns know their entries.
    pub fn can(mut self, name: &'static str) -> Canned {
        let mut calls = OpenCalls::default();
        let mut packets = std::collections::BTreeSet::new();
        for batch in &mut self.batches {
            calls.pair(&mut batch.events);
            self.summary.events += batch.calls().count() as u64;
            packets.extend(batch.events.iter().map(|event| event.packet));
        }
        self.summary.packets = packets.len() as u64;
        Canned {
            name,
            trace: self.trace,
            batches: self.batches,
            summary: self.summary,
        }
    }
}

/// Returns a sink's output for the trace.
pub fn draw<S: Sink>(canned: &Canned, sink: impl FnOnce(Shared) -> S) -> String {
    let output = Shared::default();
    let mut sink = sink(output.clone());
    sink.start(&canned.trace).expect("the sink starts");
    for batch in &canned.batches {
        sink.events(batch).expect("the sink takes events");
    }
    sink.finish(&canned.summary).expect("the sink finishes");
    output.text()
}

/// Compares with the golden file of this name.
pub fn golden(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if let Some((number, (expected, actual))) = (1..)
        .zip(expected.lines().zip(actual.lines()))
        .find(|(_, (expected, actual))| expected != actual)
    {
        panic!("{name}, line {number}:\nexpected {expected}\n     got {actual}");
    }
    assert_eq!(expected, actual, "{name}");
}

/// A writer whose content stays readable through a clone.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).expect("sinks write UTF-8")
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
