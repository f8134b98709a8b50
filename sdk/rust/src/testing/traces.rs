//! Built-in traces: the usual cases and the pathological ones.

use super::{Chunk, Recording};
use crate::event::Event;
use crate::trace::{Field, Format, Function, Kind, Loss, Member, Skipped, Trace};

/// All traces, by name:
///
/// - `empty`: no event;
/// - `one-event`: a single entry;
/// - `function`: entries only, of two packets whose events alternate;
/// - `graph`: entries and returns, nested, in several contexts;
/// - `many`: 100,000 events of some hundred packets that take a few paths;
/// - `fields`: a payload with a field of every kind and format, and payloads that are not there;
/// - `tagged`: payloads that list their own values, with names that come later;
/// - `built-in`: payloads with fixed fields, and in some of them values behind;
/// - `late`: functions that come later;
/// - `losses`: every kind of loss in the summary, functions that could not be traced, and events that were missed;
/// - `unpaired`: returns without entries, entries without returns, and a recursion of which an end is missing;
/// - `deepest`: 512 calls within each other;
/// - `followed`: packets with addresses, made of each other, which end in every way;
/// - `hostile`: names that attack terminals, XML, HTML, JSON and tables, functions that there are not, payloads out of
///   range, timestamps at the ends of their range, events of kinds that are not known.
pub fn traces() -> Vec<Recording> {
    vec![
        Script::new("empty", "function", &["ip_rcv"]).done(),
        one_event(),
        function(),
        graph(),
        many(),
        fields(),
        tagged(),
        built_in(),
        late(),
        losses(),
        unpaired(),
        deepest(),
        followed(),
        hostile(),
    ]
}

/// Writes a trace event by event.
struct Script {
    recording: Recording,
    chunk: Chunk,
    time: u64,
    thread: u32,
    cpu: u32,
    /// Open calls: packet, function, time.
    open: Vec<(u64, u32, u64)>,
}

impl Script {
    fn new(name: &str, tracer: &str, functions: &[&str]) -> Self {
        let mut script = Script {
            recording: Recording {
                name: name.to_owned(),
                trace: Trace {
                    tracer: tracer.to_owned(),
                    backend: "kprobe-multi".to_owned(),
                    clock_offset: 1_767_225_600_123_456_789,
                    command_line: ["ipft", "-m", "0xdeadbeef"].map(str::to_owned).to_vec(),
                    kernel_release: "6.12.1".to_owned(),
                    mark: 0xdead_beef,
                    mask: u32::MAX,
                    ..Trace::default()
                },
                ..Recording::default()
            },
            chunk: Chunk::default(),
            time: 75_681_519_000,
            thread: 812,
            cpu: 0,
            open: Vec::new(),
        };
        script.learn(functions);
        script
    }

    fn learn(&mut self, functions: &[&str]) {
        let known: usize = self.recording.chunks.iter().map(|chunk| chunk.functions.len()).sum();
        for (name, index) in functions.iter().zip(known as u64..) {
            let (name, module) = name.split_once('@').unwrap_or((name, "vmlinux"));
            self.chunk.functions.push(Function {
                name: name.to_owned(),
                module: module.to_owned(),
                address: 0xffff_ffff_8100_0000 + 0x40 * index,
            });
        }
    }

    fn on(&mut self, thread: u32, cpu: u32) -> &mut Self {
        (self.thread, self.cpu) = (thread, cpu);
        self
    }

    fn wait(&mut self, nanoseconds: u64) -> &mut Self {
        self.time += nanoseconds;
        self
    }

    fn event(&mut self, packet: u64, function: u32, kind: u32) -> &mut Event {
        self.chunk.events.push(Event {
            packet,
            skb: 0xffff_8da1_f50b_0000 | packet << 8 & 0xff00,
            timestamp: self.time,
            function,
            cpu: self.cpu,
            kind,
            thread: self.thread,
            ..Event::default()
        });
        self.time += 100;
        let last = self.chunk.events.len() - 1;
        &mut self.chunk.events[last]
    }

    fn enter(&mut self, packet: u64, function: u32) -> &mut Event {
        self.open.push((packet, function, self.time));
        self.event(packet, function, Event::ENTRY)
    }

    /// Returns from the newest open call of the function and closes it; without one, the entry was lost.
    fn leave(&mut self, packet: u64, function: u32) -> &mut Event {
        let found = self
            .open
            .iter()
            .rposition(|open| (open.0, open.1) == (packet, function));
        let entered = found.map(|position| self.open.remove(position).2);
        let event = self.event(packet, function, Event::RETURN);
        match entered {
            Some(entered) => event.entry_timestamp = entered,
            None => event.skb = 0,
        }
        event
    }

    /// An event that is no call.
    fn happen(&mut self, packet: u64, function: u32, kind: u32, spare: u64) {
        self.event(packet, function, kind).spare = spare;
    }

    /// Sets the last event's payload.
    fn payload(&mut self, bytes: &[u8]) {
        if let Some(event) = self.chunk.events.last_mut() {
            event.payload_offset = self.chunk.payload.len() as u32;
            event.payload_len = bytes.len() as u32;
            self.chunk.payload.extend_from_slice(bytes);
        }
    }

    fn end_chunk(&mut self) {
        self.recording.chunks.push(std::mem::take(&mut self.chunk));
    }

    fn done(mut self) -> Recording {
        self.end_chunk();
        let events = self.recording.chunks.iter().flat_map(|chunk| &chunk.events);
        let mut packets: Vec<u64> = events.map(|event| event.packet).collect();
        let summary = &mut self.recording.summary;
        summary.missed = self.recording.chunks.iter().map(|chunk| chunk.missed).sum();
        summary.events = packets.len() as u64 + summary.missed;
        packets.sort_unstable();
        packets.dedup();
        summary.packets = packets.len() as u64;
        summary.attached = self
            .recording
            .chunks
            .iter()
            .map(|chunk| chunk.functions.len() as u32)
            .sum();
        self.recording
    }
}

fn one_event() -> Recording {
    let mut script = Script::new("one-event", "function_graph", &["ip_rcv"]);
    script.enter(1, 0);
    script.done()
}

fn function() -> Recording {
    let functions = [
        "ip_rcv",
        "ipv4_conntrack_in@nf_conntrack",
        "ip_local_deliver",
        "kfree_skb_reason",
    ];
    let mut script = Script::new("function", "function", &functions);
    script.on(0, 5).enter(1, 0);
    script.enter(1, 1);
    script.on(0, 12).enter(2, 0);
    script.end_chunk();
    script.on(0, 5).enter(1, 2);
    script.on(0, 12).enter(2, 1);
    script.enter(2, 3);
    script.done()
}

fn graph() -> Recording {
    let functions = [
        "ip_output",
        "nf_hook_slow",
        "ipt_do_table@ip_tables",
        "ip_rcv",
        "icmp_rcv",
    ];
    let mut script = Script::new("graph", "function_graph", &functions);
    script.enter(1, 0);
    script.wait(1_000).enter(1, 1);
    script.wait(500).enter(1, 2);
    script.wait(1_139).leave(1, 2);
    script.end_chunk();
    // A softirq on another CPU takes the packet while the functions that queued it are still returning.
    script.on(0, 1).enter(1, 3);
    script.on(812, 0).wait(400).leave(1, 1);
    script.on(0, 1).enter(1, 4);
    script.on(812, 0).wait(900).leave(1, 0);
    script.on(0, 1).wait(70_000).leave(1, 4);
    script.wait(20).leave(1, 3);
    // Recursion.
    script.on(9, 3).enter(2, 1);
    script.enter(2, 1);
    script.wait(1_234_567).leave(2, 1);
    script.leave(2, 1);
    script.done()
}

fn many() -> Recording {
    let functions = [
        "ip_rcv",
        "ip_rcv_core",
        "nf_hook_slow",
        "ipt_do_table@ip_tables",
        "ip_rcv_finish",
        "ip_local_deliver",
        "tcp_v4_rcv",
        "kfree_skb_reason",
    ];
    let mut script = Script::new("many", "function_graph", &functions);
    let mut events = 0;
    let mut packet = 0;
    while events < 100_000 {
        packet += 1;
        script.on(0, (packet % 4) as u32).wait(1_000);
        // One in a hundred is dropped by the firewall; one in a thousand is seen twice as often.
        let path: &[u32] = if packet % 100 == 0 {
            &[1, 2, 3, 7]
        } else {
            &[1, 2, 3, 4, 5, 6]
        };
        for _ in 0..if packet % 1000 == 7 { 2 } else { 1 } {
            script.enter(packet, 0);
            for function in path {
                script.enter(packet, *function);
                script
                    .wait(100 + packet % 7 * u64::from(*function) * 50)
                    .leave(packet, *function);
            }
            script.leave(packet, 0);
            events += 2 + 2 * path.len();
        }
        if script.chunk.events.len() > 1_000 {
            script.end_chunk();
        }
    }
    // Exactly the documented number.
    let surplus = events - 100_000;
    let last = script.chunk.events.len().saturating_sub(surplus);
    script.chunk.events.truncate(last);
    script.done()
}

fn field(name: &str, offset: u32, size: u32, kind: Kind, format: Format) -> Field {
    Field {
        name: name.to_owned(),
        offset,
        size,
        bit_offset: 0,
        bit_width: 0,
        kind,
        format,
        members: Vec::new(),
    }
}

fn members(members: &[(&str, u64)]) -> Vec<Member> {
    let member = |(name, value): &(&str, u64)| Member {
        name: (*name).to_owned(),
        value: *value,
    };
    members.iter().map(member).collect()
}

fn fields() -> Recording {
    let mut script = Script::new("fields", "function", &["ip_rcv", "kfree_skb_reason"]);
    let trace = &mut script.recording.trace;
    trace.fields = vec![
        field("len", 0, 4, Kind::Unsigned, Format::Plain),
        field("delta", 4, 2, Kind::Signed, Format::Plain),
        field("wide", 6, 8, Kind::Signed, Format::Plain),
        field("cloned", 14, 1, Kind::Bool, Format::Plain),
        field("dev.name", 15, 8, Kind::Char, Format::Plain),
        field("sk", 23, 8, Kind::Pointer, Format::Plain),
        field("raw", 31, 3, Kind::Bytes, Format::Plain),
        field("mark", 34, 4, Kind::Unsigned, Format::Hex),
        field("verdict", 38, 4, Kind::Signed, Format::Enum),
        field("gso", 42, 4, Kind::Unsigned, Format::Flags),
        field("saddr", 46, 4, Kind::Bytes, Format::Ipv4),
        field("daddr6", 50, 16, Kind::Bytes, Format::Ipv6),
        field("source", 66, 6, Kind::Bytes, Format::Mac),
        field("sport", 72, 2, Kind::Unsigned, Format::Be16),
        field("spi", 74, 4, Kind::Unsigned, Format::Be32),
        field("tstamp", 78, 8, Kind::Signed, Format::Ktime),
        field("caller", 86, 8, Kind::Pointer, Format::Symbol),
        Field {
            bit_offset: 3,
            bit_width: 3,
            ..field("pkt_type", 94, 1, Kind::Unsigned, Format::Plain)
        },
        Field {
            bit_offset: 6,
            bit_width: 4,
            ..field("level", 94, 2, Kind::Signed, Format::Plain)
        },
    ];
    trace.fields[8].members = members(&[("DROP", 0), ("ACCEPT", 1), ("STOLEN", u64::MAX)]);
    trace.fields[9].members = members(&[("NONE", 0), ("TCPV4", 1), ("DODGY", 2), ("ECN", 4)]);
    trace.fields[16].members = members(&[
        ("_stext", 0xffff_ffff_8100_0000),
        ("kfree_skb", 0xffff_ffff_8112_3400),
        ("ip_rcv", 0xffff_ffff_8112_3480),
    ]);
    trace.payload_size = 96;
    let mut payload = Vec::new();
    payload.extend_from_slice(&2688_u32.to_le_bytes());
    payload.extend_from_slice(&(-5_i16).to_le_bytes());
    payload.extend_from_slice(&(-9_000_000_000_000_000_000_i64).to_le_bytes());
    payload.push(1);
    payload.extend_from_slice(b"veth0\0\0\0");
    payload.extend_from_slice(&0xffff_8da1_f50b_7f00_u64.to_le_bytes());
    payload.extend_from_slice(&[0xde, 0xad, 0x00]);
    payload.extend_from_slice(&0xdead_beef_u32.to_le_bytes());
    payload.extend_from_slice(&1_u32.to_le_bytes());
    payload.extend_from_slice(&0x43_u32.to_le_bytes());
    payload.extend_from_slice(&[192, 0, 2, 1]);
    payload.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    payload.extend_from_slice(&[0, 0x1a, 0x2b, 0x3c, 0x4d, 0x5e]);
    payload.extend_from_slice(&443_u16.to_be_bytes());
    payload.extend_from_slice(&0x1234_5678_u32.to_be_bytes());
    payload.extend_from_slice(&12_000_000_345_i64.to_le_bytes());
    payload.extend_from_slice(&0xffff_ffff_8112_3412_u64.to_le_bytes());
    payload.extend_from_slice(&0b11_1110_1000_u16.to_le_bytes());
    script.enter(1, 0);
    script.payload(&payload);
    script.enter(1, 1);
    script.payload(&[0; 96]);
    script.enter(2, 0);
    script.payload(&[0xff; 96]);
    // An event without a payload has no fields.
    script.enter(2, 1);
    script.done()
}

fn tagged() -> Recording {
    let mut script = Script::new("tagged", "function_graph", &["ip_rcv", "kfree_skb_reason"]);
    script.recording.trace.tail = true;
    let integer = |name: u32, value: i64| [&name.to_le_bytes()[..], &[0], &value.to_le_bytes()].concat();
    let float = |name: u32, value: f64| [&name.to_le_bytes()[..], &[1], &value.to_le_bytes()].concat();
    let text = |name: u32, value: &[u8]| {
        let length = (value.len() as u32).to_le_bytes();
        [&name.to_le_bytes()[..], &[2], &length, value].concat()
    };
    script.chunk.names = ["len", "gso_type"].map(str::to_owned).to_vec();
    script.enter(1, 0);
    script.payload(&[integer(0, 2688), text(1, b"tcpv4|dodgy")].concat());
    script.leave(1, 0);
    script.end_chunk();
    script.chunk.names = vec!["later".to_owned()];
    script.enter(2, 1);
    script.payload(&[float(2, 0.1), integer(0, i64::MIN), float(0, f64::NAN), text(2, b"")].concat());
    script.leave(2, 1);
    // A truncated list.
    script.payload(&integer(0, 1)[..7]);
    script.done()
}

fn built_in() -> Recording {
    let mut script = Script::new("built-in", "function_graph", &["ip_rcv", "kfree_skb_reason"]);
    let trace = &mut script.recording.trace;
    trace.fields = vec![
        field("len", 0, 4, Kind::Unsigned, Format::Plain),
        field("mark", 4, 4, Kind::Unsigned, Format::Hex),
    ];
    trace.payload_size = 8;
    trace.tail = true;
    script.chunk.names = ["verdict", "len"].map(str::to_owned).to_vec();
    let fixed = |len: u32| [len.to_le_bytes(), 0xdead_beef_u32.to_le_bytes()].concat();
    let integer = |name: u32, value: i64| [&name.to_le_bytes()[..], &[0], &value.to_le_bytes()].concat();
    script.enter(1, 0);
    script.payload(&[fixed(2688), integer(0, -1), integer(1, 7)].concat());
    script.enter(1, 1);
    script.payload(&fixed(1500));
    script.leave(1, 1);
    script.leave(1, 0);
    // The fixed part is incomplete, and then the values are truncated.
    script.enter(2, 0);
    script.payload(&fixed(9)[..7]);
    script.enter(2, 1);
    script.payload(&[fixed(9), integer(0, 3), integer(0, 1)[..7].to_vec()].concat());
    script.done()
}

fn late() -> Recording {
    let mut script = Script::new("late", "function_graph", &["ip_rcv"]);
    script.enter(1, 0);
    script.end_chunk();
    script.learn(&["mark_tg@xt_mark", "kfree_skb_reason"]);
    script.enter(1, 1);
    script.leave(1, 1);
    script.enter(1, 2);
    script.leave(1, 2);
    script.leave(1, 0);
    script.done()
}

fn losses() -> Recording {
    let mut script = Script::new("losses", "function_graph", &["ip_rcv", "ip_rcv_core"]);
    script.enter(1, 0);
    script.enter(1, 1);
    script.end_chunk();
    // The return of `ip_rcv_core` is among the missed events.
    script.chunk.missed = 17;
    script.wait(1_000).leave(1, 0);
    let loss = |kind: &str, cpu, count| Loss {
        kind: kind.to_owned(),
        cpu,
        count,
    };
    script.recording.summary.losses = vec![
        loss("buffer-full", Some(0), 17),
        loss("recursion", Some(3), 1),
        loss("return-missed", None, 2),
        loss("map-full", None, u64::MAX),
        loss("undecodable", None, 3),
        loss("a-way-of-a-later-version", None, 4),
    ];
    script.recording.summary.skipped = vec![Skipped {
        name: "skb_panic".to_owned(),
        module: "vmlinux".to_owned(),
        reason: "the kernel says \"Device or resource busy\"".to_owned(),
    }];
    script.done()
}

fn unpaired() -> Recording {
    let functions = ["mark_tg@xt_mark", "ip_rcv", "ip_rcv_core", "ip_rcv_finish"];
    let mut script = Script::new("unpaired", "function_graph", &functions);
    script.on(7, 0).leave(1, 0);
    script.enter(1, 1);
    script.enter(1, 2);
    script.enter(1, 3);
    script.leave(1, 0);
    script.leave(1, 3);
    script.leave(1, 1);
    script.enter(1, 3);
    script.enter(1, 1);
    script.leave(1, 1);
    // The entry of the inner call is lost: its return is taken for that of the outer call.
    script.enter(2, 1);
    script.leave(2, 1);
    script.leave(2, 1);
    // A return that refers to a missing entry.
    script.leave(3, 2).entry_timestamp = 75_681_000_000;
    script.done()
}

fn deepest() -> Recording {
    let mut script = Script::new("deepest", "function_graph", &["br_handle_frame", "netif_receive_skb"]);
    for level in 0..512 {
        script.enter(1, level % 2);
    }
    for level in (0..512).rev() {
        script.leave(1, level % 2);
    }
    script.done()
}

/// The fields that name a packet, with a device behind them.
const ADDRESSED: [(&str, u32, Kind, Format); 17] = [
    ("len", 4, Kind::Unsigned, Format::Plain),
    ("saddr", 16, Kind::Bytes, Format::Ip),
    ("daddr", 16, Kind::Bytes, Format::Ip),
    ("sport", 2, Kind::Unsigned, Format::Be16),
    ("dport", 2, Kind::Unsigned, Format::Be16),
    ("ethertype", 2, Kind::Unsigned, Format::Hex),
    ("proto", 1, Kind::Unsigned, Format::Enum),
    ("tcp_flags", 1, Kind::Unsigned, Format::Flags),
    ("seq", 4, Kind::Unsigned, Format::Plain),
    ("ack", 4, Kind::Unsigned, Format::Plain),
    ("icmp_type", 1, Kind::Unsigned, Format::Plain),
    ("icmp_code", 1, Kind::Unsigned, Format::Plain),
    ("frag", 2, Kind::Unsigned, Format::Hex),
    ("icmp_id", 2, Kind::Unsigned, Format::Plain),
    ("icmp_seq", 2, Kind::Unsigned, Format::Plain),
    ("iface", 16, Kind::Char, Format::Plain),
    ("netns", 4, Kind::Unsigned, Format::Plain),
];

/// The payload of an IPv4 packet from 10.0.0.1 to 10.0.0.2, with these fields besides the addresses.
fn addressed(proto: u8, len: u32, more: &[(&str, &[u8])]) -> Vec<u8> {
    let v4 = |last| [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, last];
    let mut payload = Vec::new();
    for (name, size, ..) in ADDRESSED {
        let start = payload.len();
        let given = more.iter().find(|(other, _)| *other == name);
        match (given, name) {
            (Some((_, bytes)), _) => payload.extend_from_slice(bytes),
            (None, "len") => payload.extend_from_slice(&len.to_le_bytes()),
            (None, "saddr") => payload.extend_from_slice(&v4(1)),
            (None, "daddr") => payload.extend_from_slice(&v4(2)),
            (None, "ethertype") => payload.extend_from_slice(&0x0800_u16.to_le_bytes()),
            (None, "proto") => payload.push(proto),
            _ => {}
        }
        payload.resize(start + size as usize, 0);
    }
    payload
}

fn followed() -> Recording {
    const FUNCTIONS: [&str; 9] = [
        "__ip_local_out",
        "ip_do_fragment",
        "ip_copy_metadata",
        "dev_hard_start_xmit",
        "__netif_receive_skb_core",
        "icmp_rcv",
        "nft_do_chain@nf_tables",
        "skb_clone",
        "kfree_skb_reason",
    ];
    let mut script = Script::new("followed", "function_graph", &FUNCTIONS);
    let trace = &mut script.recording.trace;
    (trace.mark, trace.mask) = (0, 0);
    trace.command_line = ["ipft", "-t", "function_graph", "host 10.0.0.2"]
        .map(str::to_owned)
        .to_vec();
    trace.more = [
        ("filter", "host 10.0.0.2"),
        ("follow", "true"),
        ("drop-reasons", "2=NOT_SPECIFIED,3=NO_SOCKET,12=NETFILTER_DROP"),
        ("drop-classes", "NO_SOCKET@icmp_rcv=unwanted"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec();
    for (name, size, kind, format) in ADDRESSED {
        trace.fields.push(field(name, trace.payload_size, size, kind, format));
        trace.payload_size += size;
    }
    let member = |(name, value): (&str, u64)| Member {
        name: name.to_owned(),
        value,
    };
    for field in &mut trace.fields {
        field.members = match field.name.as_str() {
            "proto" => [("icmp", 1), ("tcp", 6), ("udp", 17)].map(member).to_vec(),
            "tcp_flags" => [("syn", 2), ("ack", 16)].map(member).to_vec(),
            _ => Vec::new(),
        };
    }
    let ping = addressed(1, 3028, &[("icmp_type", &[8]), ("icmp_id", &[7]), ("icmp_seq", &[1])]);
    let fragment = |offset: u16| addressed(1, 1500, &[("frag", &offset.to_le_bytes()), ("iface", b"va")]);
    let none = u32::MAX;

    // A ping is cut in two, and put together again where it arrives; no function sees a clone of it.
    script.enter(1, 0);
    script.payload(&ping);
    script.enter(1, 1);
    script.payload(&ping);
    script.happen(2, 2, Event::BORN, 1);
    script.enter(2, 3);
    script.payload(&fragment(185));
    script.leave(2, 3);
    script.leave(1, 1);
    script.leave(1, 0);
    script.end_chunk();
    script.happen(3, none, Event::BORN, 2);
    script.happen(4, 7, Event::BORN, 3);
    script.on(0, 1).enter(4, 4);
    script.payload(&fragment(185));
    script.happen(2, none, Event::ENDED, Event::SENT);
    script.happen(4, none, Event::JOINED, 1);
    script.happen(4, none, Event::ENDED, Event::BECAME_PART);
    script.leave(4, 4);
    script.enter(1, 5);
    script.payload(&ping);
    script.happen(1, none, Event::ENDED, Event::DELIVERED);
    script.leave(1, 5);
    // A connection that the firewall refuses, a packet that is forwarded, and drops of which less is known.
    let syn = addressed(
        6,
        60,
        &[("sport", &[0x0f, 0xa0]), ("dport", &[0, 80]), ("tcp_flags", &[2])],
    );
    script.on(812, 0).enter(5, 6);
    script.payload(&syn);
    script.enter(5, 8);
    script.happen(5, 6, Event::ENDED, Event::DROPPED | 12);
    script.leave(5, 8);
    script.leave(5, 6);
    script.enter(6, 3);
    script.payload(&addressed(17, 100, &[("sport", &[0, 53]), ("dport", &[2, 0])]));
    script.happen(6, none, Event::ENDED, Event::FORWARDED);
    script.leave(6, 3);
    let ends = [
        (7, none, Event::DROPPED),
        (8, none, Event::DROPPED | 99),
        (9, none, 0),
        (14, 5, Event::DROPPED | 3),
    ];
    for (packet, function, outcome) in ends {
        script.enter(packet, 4);
        script.leave(packet, 4);
        script.happen(packet, function, Event::ENDED, outcome);
    }
    // Made of a packet that is not known, with a name of its own; and two that a broken recording makes of each other.
    script.happen(10, none, Event::BORN, 99);
    script.enter(10, 4);
    script.payload(&addressed(
        0,
        28,
        &[("ethertype", &[6, 8]), ("saddr", &[0; 16]), ("daddr", &[0; 16])],
    ));
    script.happen(11, none, Event::BORN, 12);
    script.happen(12, none, Event::BORN, 11);
    script.enter(11, 4);
    script.enter(12, 4);
    // The end of a packet that has no event, and a part that has not ended.
    script.happen(13, none, Event::ENDED, Event::SENT);
    script.happen(10, none, Event::JOINED, 1);
    let mut recording = script.done();
    // Only calls count.
    let events = recording.chunks.iter().flat_map(|chunk| &chunk.events);
    recording.summary.events = events.filter(|event| event.kind <= Event::RETURN).count() as u64;
    recording
}

fn hostile() -> Recording {
    let functions = [
        "\x1b[31mred\x1b[0m\u{9b}2J\x07\r@new\nline",
        "</script><script>alert(1)</script>",
        "\"'><svg onload=alert(1)>&amp;",
        "semi;colon 12 34@nul\0tab\t",
        "\u{202e}txet \u{2028} é😀\u{ffff}",
        "back\\slash\\x1b|pipe,comma",
        "",
    ];
    let mut script = Script::new("hostile", "function_graph", &functions);
    let trace = &mut script.recording.trace;
    trace.kernel_release = "6.12\n\"\x1b[2J</title>".to_owned();
    trace.backend = "back\\end".to_owned();
    trace.command_line = ["ipft", "--plugin-opt", "title=\"\\\x1b</text>"]
        .map(str::to_owned)
        .to_vec();
    trace.fields = vec![
        field("\x1b]0;title\x07</b>", 0, 4, Kind::Unsigned, Format::Plain),
        field("te\"xt", 4, 4, Kind::Char, Format::Plain),
        field("outside", 4, u32::MAX, Kind::Bytes, Format::Plain),
    ];
    trace.payload_size = 8;
    for (function, text) in [(0, b"\x1b[0m"), (1, b"<b>\xff"), (2, b"\"'&\\"), (3, b"a;b ")] {
        script.enter(u64::MAX, function);
        script.payload(&[&7_u32.to_le_bytes()[..], text].concat());
    }
    for function in [3, 4, 5, 6] {
        script.enter(u64::MAX, function);
        script.leave(u64::MAX, function);
    }
    for function in [2, 1, 0] {
        script.leave(u64::MAX, function);
    }
    // An unknown function, a payload out of range, and an unknown kind.
    script.enter(1, 7);
    script.leave(1, u32::MAX);
    let event = script.enter(1, 0);
    (event.payload_offset, event.payload_len) = (u32::MAX, u32::MAX);
    script.event(1, 0, 2);
    // Extreme timestamps.
    script.time = u64::MAX - 1000;
    script.leave(1, 0);
    script.event(0, 0, Event::ENTRY).timestamp = 0;
    script.done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Batch;
    use crate::heading::Headings;
    use crate::journeys::{Journeys, families};

    #[test]
    fn every_trace_has_the_property_of_its_name() {
        let traces = traces();
        let of = |name: &str| traces.iter().find(|trace| trace.name == name).expect("there is one");
        let events = |name: &str| of(name).chunks.iter().map(|chunk| chunk.events.len()).sum::<usize>();
        assert_eq!((events("empty"), events("one-event"), events("many")), (0, 1, 100_000));
        assert_eq!(of("late").chunks[1].functions.len(), 2);
        let fields = &of("fields").trace;
        for field in &fields.fields {
            assert!(field.value(&[0; 96]).is_some(), "{}", field.name);
        }
        let deepest: usize = of("deepest").chunks[0]
            .events
            .iter()
            .filter(|event| event.is_entry())
            .count();
        assert_eq!(deepest, 512);
        // In traces that are not hostile, every call is of a known function.
        for trace in traces.iter().filter(|trace| trace.name != "hostile") {
            let mut known = 0;
            for chunk in &trace.chunks {
                known += chunk.functions.len();
                let mut calls = chunk.events.iter().filter(|event| event.kind <= Event::RETURN);
                assert!(calls.all(|event| (event.function as usize) < known), "{}", trace.name);
            }
        }
    }

    #[test]
    fn families_of_the_followed_trace_are_named() {
        let traces = traces();
        let Recording { trace, chunks, .. } = traces
            .iter()
            .find(|trace| trace.name == "followed")
            .expect("there is one");
        let mut trace = trace.clone();
        trace.functions = chunks.iter().flat_map(|chunk| chunk.functions.clone()).collect();
        let mut journeys = Journeys::default();
        for chunk in chunks {
            let batch = Batch {
                trace: &trace,
                events: &chunk.events,
                payload: &chunk.payload,
            };
            assert!(journeys.add(&batch).is_empty());
        }
        let journeys = journeys.take();
        let headings = Headings::new(&trace);
        let shown: Vec<String> = families(&journeys)
            .into_iter()
            .map(|(depth, index)| {
                let journey = &journeys[index];
                let end = journey
                    .lineage
                    .end
                    .map_or("not ended".to_owned(), |end| end.words(&trace));
                format!("{depth} {}: {end}", journey.heading(&trace, &headings))
            })
            .collect();
        let expected = [
            "0 10.0.0.1 > 10.0.0.2 icmp echo request id 7 seq 1, 3028 B: delivered",
            "1 10.0.0.1 > 10.0.0.2 icmp frag 1480, 1500 B: sent",
            // Packet 3, which no function sees, is between.
            "2 10.0.0.1 > 10.0.0.2 icmp frag 1480, 1500 B: joined",
            "0 10.0.0.1:4000 > 10.0.0.2:80 tcp SYN seq 0, 60 B: dropped NETFILTER_DROP in nft_do_chain",
            "0 10.0.0.1:53 > 10.0.0.2:512 udp, 100 B: forwarded",
            "0 packet 0x7: dropped",
            "0 packet 0x8: dropped reason 99",
            "0 packet 0x9: released",
            "0 packet 0xe: discarded NO_SOCKET in icmp_rcv",
            "0 arp, 28 B: not ended",
            "0 packet 0xb: not ended",
            "1 packet 0xc: not ended",
        ];
        assert_eq!(shown, expected);
        assert!(journeys[2].lineage.root == 1 && journeys[2].packet == 4);
    }
}
