//! The records as they lie in the ring or perf buffer, and a CPU's counters: the twin of `wire.h`, which says what the
//! fields mean. Values come from there; structs are written again here, and compared with it field by field when this
//! is compiled. Imports nothing of ours.

use std::mem::offset_of;

/// The build script's constants for `wire.h`: size of each struct, offset and size of each field, and all values.
#[allow(non_upper_case_globals, dead_code, missing_docs, unreachable_pub)]
mod layout {
    include!(concat!(env!("OUT_DIR"), "/wire_layout.rs"));
}

/// Fails to compile unless a struct has exactly the fields of the one in `wire.h`, at the same offsets.
macro_rules! same_layout {
    ($rust:ident, $c:ident, $($field:ident),* $(,)?) => {
        const _: () = {
            const fn size_of_field<S, F>(_: fn(&S) -> &F) -> usize {
                size_of::<F>()
            }
            $(
                assert!(offset_of!($rust, $field) == layout::$c::$field.0, concat!(stringify!($field), " has another place in wire.h"));
                assert!(size_of_field(|of: &$rust| &of.$field) == layout::$c::$field.1, concat!(stringify!($field), " has another size in wire.h"));
            )*
            assert!([$(stringify!($field)),*].len() == layout::$c::COUNT, "wire.h has more fields");
            assert!(size_of::<$rust>() == layout::$c::SIZE, "it has another size in wire.h");
            // No field is left out.
            const fn _all(whole: &$rust) {
                let $rust { $($field: _),* } = whole;
            }
        };
    };
}

const fn half_of(value: u64) -> u32 {
    assert!(value <= u32::MAX as u64, "a value of wire.h has more than 32 bits");
    value as u32
}

/// In [`Event::cpu_and_kind`]: the event is a return.
pub const RETURN: u32 = half_of(layout::IPFT_RETURN);

/// Number of [`Cpu`]s in the `ipft_cpus` variable.
pub const MAX_CPUS: usize = layout::IPFT_MAX_CPUS as usize;

/// What the count of followed packets begins with if every function selects packets; the count is in the bits below.
pub const ANYWHERE: u64 = layout::IPFT_ANYWHERE;

/// The mask's place in the programs, which [`crate::Code::for_mark`] fills.
#[cfg(test)]
pub(crate) const MASK_PLACE: u32 = half_of(layout::IPFT_MASK_PLACE);

/// The mark's place in the programs, which [`crate::Code::for_mark`] fills.
#[cfg(test)]
pub(crate) const MARK_PLACE: u32 = half_of(layout::IPFT_MARK_PLACE);

/// The place of the function's index in the templates of the ftrace backend: the operand of a 64-bit load.
pub const FUNCTION_PLACE: u32 = half_of(layout::IPFT_FUNCTION_PLACE);

/// `struct ipft_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Identity of the packet.
    pub packet: u64,
    /// Address of the sk_buff; 0 in a return.
    pub skb: u64,
    /// `bpf_ktime_get_ns()`.
    pub timestamp: u64,
    /// Index of the function, or its address.
    pub function: u64,
    /// CPU number, and [`RETURN`].
    pub cpu_and_kind: u32,
    /// The kernel's id of the current thread.
    pub thread: u32,
}

same_layout!(
    Event,
    ipft_event,
    packet,
    skb,
    timestamp,
    function,
    cpu_and_kind,
    thread
);

/// Size of an event without payload.
pub const EVENT_SIZE: usize = size_of::<Event>();

/// Marks the birth of a packet, in the place of [`Event::function`].
pub const BORN: u64 = layout::IPFT_BORN;

/// `struct ipft_birth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Birth {
    /// The event of the new packet; its function is [`BORN`].
    pub event: Event,
    /// Identity of the packet that it was made of.
    pub parent: u64,
    /// Index of the function that made it, or its address; neither if it is not traced.
    pub function: u64,
}

same_layout!(Birth, ipft_birth, event, parent, function);

impl Birth {
    /// Parses the birth in a record whose function is [`BORN`]; `None` if the record is too short.
    pub fn parse(record: &[u8]) -> Option<Birth> {
        let bytes = record.get(..size_of::<Birth>())?;
        Some(Birth {
            event: Event::parse(bytes)?,
            parent: word(bytes, offset_of!(Birth, parent)),
            function: word(bytes, offset_of!(Birth, function)),
        })
    }
}

/// Marks the end of a packet, in the place of [`Event::function`].
pub const ENDED: u64 = layout::IPFT_ENDED;

/// `struct ipft_ended`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ended {
    /// The event of the packet; its function is [`ENDED`].
    pub event: Event,
    /// 0, or [`DROP`] or [`DROP_ALONE`].
    pub dropped: u32,
    /// The kernel's reason, 0 if it tells none.
    pub reason: u32,
    /// Identity of the packet that it became part of, 0 if it did not.
    pub into: u64,
}

same_layout!(Ended, ipft_ended, event, dropped, reason, into);

/// In [`Ended::dropped`]: the kernel dropped the packet.
pub const DROP: u32 = layout::ipft_drop::IPFT_DROP;

/// In [`Ended::dropped`]: likewise, and it is all that was seen of the packet; its fields follow the record.
pub const DROP_ALONE: u32 = layout::ipft_drop::IPFT_DROP_ALONE;

const _: () = assert!(layout::ipft_drop::COUNT == 3, "wire.h has other kinds of ends");

/// Return addresses in [`Dropped::frames`].
pub const FRAMES: usize = layout::IPFT_FRAMES as usize;

/// `struct ipft_dropped`: what the record of a dropped packet has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Dropped {
    /// The end.
    pub ended: Ended,
    /// Where the kernel says that the packet was dropped.
    pub location: u64,
    /// Return addresses, beginning with the program itself; 0 where there are none.
    pub frames: [u64; FRAMES],
}

same_layout!(Dropped, ipft_dropped, ended, location, frames);

impl Ended {
    /// Parses the end in a record whose function is [`ENDED`]; `None` if the record is too short.
    pub fn parse(record: &[u8]) -> Option<Ended> {
        let bytes = record.get(..size_of::<Ended>())?;
        Some(Ended {
            event: Event::parse(bytes)?,
            dropped: half(bytes, offset_of!(Ended, dropped)),
            reason: half(bytes, offset_of!(Ended, reason)),
            into: word(bytes, offset_of!(Ended, into)),
        })
    }
}

impl Dropped {
    /// Parses the record of a packet that was dropped; `None` if it is too short.
    pub fn parse(record: &[u8]) -> Option<Dropped> {
        let bytes = record.get(..size_of::<Dropped>())?;
        let mut frames = [0; FRAMES];
        for (index, frame) in frames.iter_mut().enumerate() {
            *frame = word(bytes, offset_of!(Dropped, frames) + index * size_of::<u64>());
        }
        Some(Dropped {
            ended: Ended::parse(bytes)?,
            location: word(bytes, offset_of!(Dropped, location)),
            frames,
        })
    }
}

/// Size of a [`Dropped`].
pub const DROPPED_SIZE: usize = size_of::<Dropped>();

/// Marks a decision about a packet, in the place of [`Event::function`].
pub const DECIDED: u64 = layout::IPFT_DECIDED;

/// In [`Decided::decider`]: a base chain of nf_tables.
pub const DECIDER_NFT: u8 = layout::ipft_decider::IPFT_NFT as u8;

/// In [`Decided::decider`]: a table of ip_tables or ip6_tables.
pub const DECIDER_IPTABLES: u8 = layout::ipft_decider::IPFT_IPTABLES as u8;

/// In [`Decided::decider`]: a program of generic XDP.
pub const DECIDER_XDP: u8 = layout::ipft_decider::IPFT_XDP as u8;

/// In [`Decided::decider`]: the filters of a qdisc.
pub const DECIDER_TC_FILTERS: u8 = layout::ipft_decider::IPFT_TC_FILTERS as u8;

/// In [`Decided::decider`]: actions of traffic control.
pub const DECIDER_TC_ACTIONS: u8 = layout::ipft_decider::IPFT_TC_ACTIONS as u8;

/// In [`Decided::hook`] of traffic control: the packet has come from the device.
pub const TC_INGRESS: u8 = layout::ipft_tc_way::IPFT_TC_INGRESS as u8;

const _: () = assert!(layout::ipft_decider::COUNT == 5, "wire.h has other kinds of deciders");

/// Bytes of a name in [`Decided`].
pub const DECIDER_NAME: usize = layout::IPFT_DECIDER_NAME as usize;

/// `struct ipft_decided`: a verdict of netfilter, traffic control or XDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Decided {
    /// The event of the packet; its function is [`DECIDED`].
    pub event: Event,
    /// What the function returned.
    pub verdict: u32,
    /// Priority of the hook; of XDP the identifier of the program, of filters the class, of actions their number.
    pub priority: i32,
    /// [`DECIDER_NFT`] or another one.
    pub decider: u8,
    /// `NFPROTO_*`.
    pub family: u8,
    /// Number of the hook in the family; of traffic control [`TC_INGRESS`] or the other way.
    pub hook: u8,
    /// Nothing.
    pub padding: [u8; 5],
    /// Name of the table, ended by a NUL; of others the name or kind of what decides.
    pub table: [u8; DECIDER_NAME],
    /// Name of the chain, ended by a NUL; empty if it is a table that decides. Of others the name of the device.
    pub chain: [u8; DECIDER_NAME],
}

same_layout!(
    Decided,
    ipft_decided,
    event,
    verdict,
    priority,
    decider,
    family,
    hook,
    padding,
    table,
    chain
);

impl Decided {
    /// Parses the decision in a record whose function is [`DECIDED`]; `None` if the record is too short. What is behind
    /// the NUL of a name is 0.
    pub fn parse(record: &[u8]) -> Option<Decided> {
        let bytes = record.get(..size_of::<Decided>())?;
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let name = |at: usize| {
            let mut name = [0; DECIDER_NAME];
            let text = bytes.get(at..at + DECIDER_NAME).unwrap_or_default();
            let length = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            name[..length].copy_from_slice(&text[..length]);
            name
        };
        Some(Decided {
            event: Event::parse(bytes)?,
            verdict: half(bytes, offset_of!(Decided, verdict)),
            priority: half(bytes, offset_of!(Decided, priority)).cast_signed(),
            decider: byte(offset_of!(Decided, decider)),
            family: byte(offset_of!(Decided, family)),
            hook: byte(offset_of!(Decided, hook)),
            padding: [0; 5],
            table: name(offset_of!(Decided, table)),
            chain: name(offset_of!(Decided, chain)),
        })
    }
}

/// `struct ipft_drop_place`: what a CPU has dropped at a place for a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DropPlace {
    /// Where the kernel says that it dropped packets; 0 if the slot is free.
    pub location: u64,
    /// Number of packets.
    pub count: u64,
    /// Start of the second that `sent` belongs to.
    pub start: u64,
    /// The kernel's reason, 0 if it tells none.
    pub reason: u32,
    /// Number of records in that second.
    pub sent: u32,
}

same_layout!(DropPlace, ipft_drop_place, location, count, start, reason, sent);

impl DropPlace {
    /// Words of a slot.
    pub const WORDS: usize = size_of::<DropPlace>() / size_of::<u64>();
    /// The word that is 0 unless the slot is in use.
    pub const COUNT: usize = offset_of!(DropPlace, count) / size_of::<u64>();

    /// Parses a slot.
    pub fn parse(words: [u64; Self::WORDS]) -> DropPlace {
        let slot = words.map(u64::to_ne_bytes);
        let slot = slot.as_flattened();
        DropPlace {
            location: word(slot, offset_of!(DropPlace, location)),
            count: word(slot, offset_of!(DropPlace, count)),
            start: word(slot, offset_of!(DropPlace, start)),
            reason: half(slot, offset_of!(DropPlace, reason)),
            sent: half(slot, offset_of!(DropPlace, sent)),
        }
    }
}

/// Bytes of an extension's payload, after an entry's event and fields (`IPFT_PAYLOAD`).
pub const PAYLOAD_SIZE: usize = layout::IPFT_PAYLOAD as usize;

/// In [`Config::fields`]: the packet's length.
pub const FIELD_LEN: u32 = 1 << layout::ipft_field::IPFT_FIELD_LEN;

/// In [`Config::fields`]: the packet's mark.
pub const FIELD_MARK: u32 = 1 << layout::ipft_field::IPFT_FIELD_MARK;

/// In [`Config::fields`]: [`Tuple`].
pub const FIELD_TUPLE: u32 = 1 << layout::ipft_field::IPFT_FIELD_TUPLE;

/// In [`Config::fields`]: [`Iface`].
pub const FIELD_IFACE: u32 = 1 << layout::ipft_field::IPFT_FIELD_IFACE;

/// In [`Config::fields`]: the inode number of the network namespace.
pub const FIELD_NETNS: u32 = 1 << layout::ipft_field::IPFT_FIELD_NETNS;

/// In [`Config::fields`]: [`Vlan`].
pub const FIELD_VLAN: u32 = 1 << layout::ipft_field::IPFT_FIELD_VLAN;

/// In [`Config::fields`]: [`Gso`].
pub const FIELD_GSO: u32 = 1 << layout::ipft_field::IPFT_FIELD_GSO;

/// In [`Config::fields`]: [`Csum`].
pub const FIELD_CSUM: u32 = 1 << layout::ipft_field::IPFT_FIELD_CSUM;

/// In [`Config::fields`]: [`Sock`].
pub const FIELD_SOCK: u32 = 1 << layout::ipft_field::IPFT_FIELD_SOCK;

/// In [`Config::fields`]: [`Proc`].
pub const FIELD_PROC: u32 = 1 << layout::ipft_field::IPFT_FIELD_PROC;

/// In [`Config::fields`]: [`Tuple`] of the packet inside.
pub const FIELD_TUNNEL: u32 = 1 << layout::ipft_field::IPFT_FIELD_TUNNEL;

/// In [`Config::fields`]: [`Ct`].
pub const FIELD_CT: u32 = 1 << layout::ipft_field::IPFT_FIELD_CT;

/// In [`Config::fields`]: [`Route`].
pub const FIELD_ROUTE: u32 = 1 << layout::ipft_field::IPFT_FIELD_ROUTE;

/// In [`Config::fields`]: nothing; that verdicts of netfilter are requested.
pub const FIELD_NETFILTER: u32 = 1 << layout::ipft_field::IPFT_FIELD_NETFILTER;

/// In [`Config::fields`]: nothing; that verdicts of traffic control and XDP are requested.
pub const FIELD_TC: u32 = 1 << layout::ipft_field::IPFT_FIELD_TC;

/// In [`Config::fields`]: nothing; that stacks of drops are to be shown.
pub const FIELD_STACK: u32 = 1 << layout::ipft_field::IPFT_FIELD_STACK;

/// Number of groups of fields.
pub const FIELDS: usize = layout::ipft_field::IPFT_FIELDS as usize;

/// Size and alignment of each group, in the order of their bits.
pub const FIELD_PLACES: [(u32, u32); FIELDS] = [
    (4, 4),
    (4, 4),
    (size_of::<Tuple>() as u32, 8),
    (size_of::<Iface>() as u32, 8),
    (4, 8),
    (size_of::<Vlan>() as u32, 8),
    (size_of::<Gso>() as u32, 8),
    (size_of::<Csum>() as u32, 8),
    (size_of::<Sock>() as u32, 8),
    (size_of::<Proc>() as u32, 8),
    (size_of::<Tuple>() as u32, 8),
    (size_of::<Ct>() as u32, 8),
    (size_of::<Route>() as u32, 8),
    (0, 1),
    (0, 1),
    (0, 1),
];

/// `struct ipft_tuple`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Tuple {
    /// Source address; an IPv4 address as `::ffff:a.b.c.d`.
    pub saddr: [u8; 16],
    /// Destination address.
    pub daddr: [u8; 16],
    /// Source port, big-endian.
    pub sport: [u8; 2],
    /// Destination port, big-endian.
    pub dport: [u8; 2],
    /// EtherType; 0 if the packet has no network header yet.
    pub ethertype: u16,
    /// Protocol number of IP.
    pub proto: u8,
    /// Flags of TCP.
    pub tcp_flags: u8,
    /// Sequence number of TCP.
    pub seq: u32,
    /// Acknowledgement number of TCP.
    pub ack: u32,
    /// Type of ICMP.
    pub icmp_type: u8,
    /// Code of ICMP.
    pub icmp_code: u8,
    /// Flags and offset of a fragment, as in an IPv4 header.
    pub frag: u16,
    /// Identifier of an ICMP echo.
    pub icmp_id: u16,
    /// Sequence number of an ICMP echo.
    pub icmp_seq: u16,
}

same_layout!(
    Tuple, ipft_tuple, saddr, daddr, sport, dport, ethertype, proto, tcp_flags, seq, ack, icmp_type, icmp_code, frag,
    icmp_id, icmp_seq
);

/// `struct ipft_iface`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Iface {
    /// The device's name, ended by a NUL.
    pub iface: [u8; 16],
    /// Its index; 0 if the packet has no device.
    pub ifindex: u32,
}

same_layout!(Iface, ipft_iface, iface, ifindex);

/// `struct ipft_vlan`: the tag that is not in the packet's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Vlan {
    /// Identifier of the network.
    pub vlan: u16,
    /// EtherType of the tag; 0 if there is no tag.
    pub vlan_proto: u16,
    /// Priority.
    pub vlan_priority: u32,
}

same_layout!(Vlan, ipft_vlan, vlan, vlan_proto, vlan_priority);

/// `struct ipft_gso`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Gso {
    /// Bytes of each segment; 0 if the packet is not to be segmented.
    pub gso_size: u16,
    /// Number of segments.
    pub gso_segs: u16,
    /// `SKB_GSO_*`.
    pub gso_type: u32,
}

same_layout!(Gso, ipft_gso, gso_size, gso_segs, gso_type);

/// `struct ipft_csum`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Csum {
    /// `CHECKSUM_*`.
    pub ip_summed: u16,
    /// Bytes from `csum_start` to the checksum.
    pub csum_offset: u16,
    /// Bytes from the data of the sk_buff to what is summed up.
    pub csum_start: i32,
}

same_layout!(Csum, ipft_csum, ip_summed, csum_offset, csum_start);

/// `struct ipft_sock`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Sock {
    /// Cookie; 0 until something asks for it.
    pub sock_cookie: u64,
    /// Identifier of the control group.
    pub sock_cgroup: u64,
    /// `AF_*`.
    pub sock_family: u32,
    /// `TCP_*`.
    pub sock_state: u32,
}

same_layout!(Sock, ipft_sock, sock_cookie, sock_cgroup, sock_family, sock_state);

/// `struct ipft_proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Proc {
    /// Name of the thread, ended by a NUL.
    pub comm: [u8; 16],
    /// Number of the process; 0 in a softirq.
    pub pid: u32,
}

same_layout!(Proc, ipft_proc, comm, pid);

/// `struct ipft_ct`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Ct {
    /// Source address of the packets in the first direction, as they come.
    pub ct_saddr: [u8; 16],
    /// Destination address.
    pub ct_daddr: [u8; 16],
    /// The source address that NAT makes of it; all of the four are 0 without NAT.
    pub ct_nat_saddr: [u8; 16],
    /// The destination address.
    pub ct_nat_daddr: [u8; 16],
    /// Source port, big-endian; of ICMP the identifier of an echo.
    pub ct_sport: [u8; 2],
    /// Destination port.
    pub ct_dport: [u8; 2],
    /// The source port that NAT makes of it.
    pub ct_nat_sport: [u8; 2],
    /// The destination port.
    pub ct_nat_dport: [u8; 2],
    /// `IPS_*`.
    pub ct_status: u32,
    /// The connection's mark.
    pub ct_mark: u32,
    /// Its zone.
    pub ct_zone: u16,
    /// Protocol number of IP.
    pub ct_proto: u8,
    /// `IP_CT_*`, and 1; 0 if the packet has no connection.
    pub ct_state: u8,
}

same_layout!(
    Ct,
    ipft_ct,
    ct_saddr,
    ct_daddr,
    ct_nat_saddr,
    ct_nat_daddr,
    ct_sport,
    ct_dport,
    ct_nat_sport,
    ct_nat_dport,
    ct_status,
    ct_mark,
    ct_zone,
    ct_proto,
    ct_state
);

/// In [`Route::route_type`]: the tables of routes have none for the packet. Other values are `RTN_*`.
pub const NO_ROUTE: u32 = half_of(layout::IPFT_NO_ROUTE);

/// `struct ipft_route`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Route {
    /// Address of the gateway; an IPv4 address as `::ffff:a.b.c.d`. 0 if there is none.
    pub route_gateway: [u8; 16],
    /// Name of the device, ended by a NUL; empty if the route leads nowhere.
    pub route_dev: [u8; 16],
    /// `RTN_*`, or [`NO_ROUTE`].
    pub route_type: u32,
    /// Number of the table, of IPv6; 0 if it is not known.
    pub route_table: u32,
}

same_layout!(Route, ipft_route, route_gateway, route_dev, route_type, route_table);

/// Maximum size of all fields of an event ([`Config::fields_size`]).
pub const MAX_FIELDS_SIZE: u32 = half_of(layout::IPFT_FIELDS_MOST);

/// Returns the total size of the fields with these bits ([`Config::fields_size`]).
pub const fn fields_size(fields: u32) -> u32 {
    let mut end: u32 = 0;
    let mut bit = 0;
    while bit < FIELDS {
        let (size, alignment) = FIELD_PLACES[bit];
        if fields >> bit & 1 == 1 {
            end = end.next_multiple_of(alignment) + size;
        }
        bit += 1;
    }
    end.next_multiple_of(8)
}

/// Marks a capture, in the place of [`Event::function`].
pub const CAPTURE: u64 = layout::IPFT_CAPTURE;

/// Maximum bytes recorded of a packet ([`Config::record_bytes`]).
pub const MAX_RECORD_BYTES: u32 = 16384;

/// `struct ipft_capture`, up to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Capture {
    /// Identity of the packet.
    pub packet: u64,
    /// Length of the packet from the first captured byte on.
    pub length: u32,
    /// Number of captured bytes, which follow.
    pub captured: u32,
    /// `bpf_ktime_get_ns()`.
    pub timestamp: u64,
    /// [`CAPTURE`].
    pub function: u64,
    /// `enum ipft_link`: [`LINK_ETHERNET`] or [`LINK_IP`].
    pub link: u32,
    padding: u32,
    /// The packet's bytes begin here.
    bytes: [u8; 0],
}

same_layout!(
    Capture,
    ipft_capture,
    packet,
    length,
    captured,
    timestamp,
    function,
    link,
    padding,
    bytes
);

/// Size of a capture without the packet's bytes.
pub const CAPTURE_SIZE: usize = size_of::<Capture>();

/// In [`Capture::link`]: the first byte is of an Ethernet header.
pub const LINK_ETHERNET: u32 = layout::ipft_link::IPFT_ETHERNET;

/// In [`Capture::link`]: the first byte is of an IPv4 or IPv6 header.
pub const LINK_IP: u32 = layout::ipft_link::IPFT_IP;

const _: () = assert!(layout::ipft_link::COUNT == 2, "wire.h has other links");

/// `struct ipft_cpu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(128))]
pub struct Cpu {
    /// Events passed to the buffer.
    pub emitted: u64,
    last_packet: u64,
    last_check: u64,
    due: u64,
    /// Identities given on this CPU.
    pub packets: u64,
    /// Records that did not fit the buffer.
    pub buffer_full: u64,
    /// Events over the limit of events a second.
    pub over_limit: u64,
    /// Events of packets that did not fit the table of packets.
    pub packets_full: u64,
    /// Returns not traced because the table of open calls was full.
    pub calls_full: u64,
    /// Returns that never came.
    pub calls_missed: u64,
}

same_layout!(
    Cpu,
    ipft_cpu,
    emitted,
    last_packet,
    last_check,
    due,
    packets,
    buffer_full,
    over_limit,
    packets_full,
    calls_full,
    calls_missed
);

/// `struct ipft_frame`: what a packet filter looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Frame {
    /// Bytes from the network header on at constant places, a multiple of 8.
    pub bytes: u32,
    /// Whether it looks at Ethernet addresses.
    pub mac: bool,
    /// Whether it looks at VLAN tags.
    pub vlan: bool,
    /// Whether it looks at the packet's length.
    pub length: bool,
    /// Always 0.
    pub padding: u8,
}

same_layout!(Frame, ipft_frame, bytes, mac, vlan, length, padding);

/// `struct ipft_place`: where packets are selected, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Place {
    /// Name of the device, masked.
    pub name: [u64; 2],
    /// The bits of the name that count; 0 for any device.
    pub mask: [u64; 2],
    /// Bits of which one must be set, in each word that has some.
    pub present: [u64; 2],
    /// Inode number of the network namespace; 0 for any.
    pub netns: u32,
    /// One of so many flows is selected; 0 and 1 for all.
    pub sample: u32,
    /// At most so many packets are selected per second; 0 for any number.
    pub rate: u32,
    /// Number of the process; 0 for any.
    pub pid: u32,
    /// Name of the thread; 0 for any.
    pub comm: [u64; 2],
    /// Number of the control group of the socket, or of one above that; 0 for any.
    pub cgroup: u64,
    /// How many groups are above it.
    pub cgroup_level: u32,
    /// In a trace of drops: at most so many are sent per second of each place, on each CPU; 0 for any number.
    pub drops: u32,
}

same_layout!(
    Place,
    ipft_place,
    name,
    mask,
    present,
    netns,
    sample,
    rate,
    pid,
    comm,
    cgroup,
    cgroup_level,
    drops
);

/// `struct ipft_context`: where a CPU counts its contexts; 0 if that is not known or not wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Context {
    /// Address of `__per_cpu_offset`.
    pub per_cpu_offset: u64,
    /// Address of `__preempt_count` or of `pcpu_hot`.
    pub preempt_count: u64,
}

same_layout!(Context, ipft_context, per_cpu_offset, preempt_count);

/// `struct ipft_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// Whether events go to the perf buffer instead of the ring buffer.
    pub use_perf_buffer: bool,
    /// Whether each traced call is stored for the return program.
    pub remember_calls: bool,
    /// How a program identifies its function.
    pub function_source: FunctionSource,
    /// Number of events per CPU between wake-ups of the reader, less one: all bits below a power of two.
    pub wake_mask: u32,
    /// Number of first bytes to send of each packet, at most [`MAX_RECORD_BYTES`]; 0: none.
    pub record_bytes: u32,
    /// The built-in fields after the event of an entry: [`FIELD_LEN`] and so on.
    pub fields: u32,
    /// Total size of these fields, a multiple of 8.
    pub fields_size: u32,
    /// Number of ring buffers, less one: all bits below a power of two.
    pub ring_mask: u32,
    /// Nanoseconds between events of a CPU at the highest rate in the long run; 0 for any rate.
    pub event_interval: u32,
    /// Of programs that follow packets: the mark that a packet must carry to be selected, already masked.
    pub mark: u32,
    /// The bits of the mark that count; 0 if any mark will do.
    pub mask: u32,
    /// Whether every function selects packets, not only gates.
    pub select_anywhere: bool,
    /// Whether the tracepoint `skb:kfree_skb` tells the reason.
    pub drops_have_reason: bool,
    /// Whether a function shows a packet only if it selects it.
    pub judge_each: bool,
    /// Whether the packet inside must match the inner filter.
    pub judge_inner: bool,
    /// Whether the packet must match the expression.
    pub judge_where: bool,
    /// What the packet filter looks at.
    pub frame: Frame,
    /// What the inner filter looks at.
    pub inner: Frame,
    /// Where packets are selected, and how many.
    pub place: Place,
    /// Where a CPU counts its contexts.
    pub context: Context,
}

same_layout!(
    Config,
    ipft_config,
    use_perf_buffer,
    remember_calls,
    function_source,
    wake_mask,
    record_bytes,
    fields,
    fields_size,
    ring_mask,
    event_interval,
    mark,
    mask,
    select_anywhere,
    drops_have_reason,
    judge_each,
    judge_inner,
    judge_where,
    frame,
    inner,
    place,
    context
);

/// `enum ipft_function_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FunctionSource {
    /// The attach cookie: events carry the function's index.
    Cookie = layout::ipft_function_source::IPFT_FROM_COOKIE as u8,
    /// `bpf_get_func_ip`: events carry the function's address.
    FuncIp = layout::ipft_function_source::IPFT_FROM_FUNC_IP as u8,
    /// The instruction pointer: events carry the function's address.
    Regs = layout::ipft_function_source::IPFT_FROM_REGS as u8,
}

const _: () = assert!(layout::ipft_function_source::COUNT == 3, "wire.h has other sources");

impl Config {
    /// Returns the bytes of `.rodata.ipft`.
    pub fn to_bytes(self) -> [u8; size_of::<Config>()] {
        let mut bytes = [0; size_of::<Config>()];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(offset_of!(Config, use_perf_buffer), &[self.use_perf_buffer.into()]);
        put(offset_of!(Config, remember_calls), &[self.remember_calls.into()]);
        put(offset_of!(Config, function_source), &[self.function_source as u8]);
        put(offset_of!(Config, wake_mask), &self.wake_mask.to_ne_bytes());
        put(offset_of!(Config, record_bytes), &self.record_bytes.to_ne_bytes());
        put(offset_of!(Config, fields), &self.fields.to_ne_bytes());
        put(offset_of!(Config, fields_size), &self.fields_size.to_ne_bytes());
        put(offset_of!(Config, ring_mask), &self.ring_mask.to_ne_bytes());
        put(offset_of!(Config, event_interval), &self.event_interval.to_ne_bytes());
        put(offset_of!(Config, select_anywhere), &[self.select_anywhere.into()]);
        put(offset_of!(Config, drops_have_reason), &[self.drops_have_reason.into()]);
        put(offset_of!(Config, judge_each), &[self.judge_each.into()]);
        put(offset_of!(Config, judge_inner), &[self.judge_inner.into()]);
        put(offset_of!(Config, judge_where), &[self.judge_where.into()]);
        for (at, frame) in [
            (offset_of!(Config, frame), self.frame),
            (offset_of!(Config, inner), self.inner),
        ] {
            put(at + offset_of!(Frame, bytes), &frame.bytes.to_ne_bytes());
            put(at + offset_of!(Frame, mac), &[frame.mac.into()]);
            put(at + offset_of!(Frame, vlan), &[frame.vlan.into()]);
            put(at + offset_of!(Frame, length), &[frame.length.into()]);
        }
        const PLACE: usize = offset_of!(Config, place);
        for (at, words) in [
            (offset_of!(Place, name), self.place.name),
            (offset_of!(Place, mask), self.place.mask),
            (offset_of!(Place, present), self.place.present),
            (offset_of!(Place, comm), self.place.comm),
        ] {
            put(PLACE + at, &words[0].to_ne_bytes());
            put(PLACE + at + 8, &words[1].to_ne_bytes());
        }
        put(PLACE + offset_of!(Place, netns), &self.place.netns.to_ne_bytes());
        put(PLACE + offset_of!(Place, sample), &self.place.sample.to_ne_bytes());
        put(PLACE + offset_of!(Place, rate), &self.place.rate.to_ne_bytes());
        put(PLACE + offset_of!(Place, pid), &self.place.pid.to_ne_bytes());
        put(PLACE + offset_of!(Place, cgroup), &self.place.cgroup.to_ne_bytes());
        put(
            PLACE + offset_of!(Place, cgroup_level),
            &self.place.cgroup_level.to_ne_bytes(),
        );
        put(PLACE + offset_of!(Place, drops), &self.place.drops.to_ne_bytes());
        const CONTEXT: usize = offset_of!(Config, context);
        for (at, address) in [
            (offset_of!(Context, per_cpu_offset), self.context.per_cpu_offset),
            (offset_of!(Context, preempt_count), self.context.preempt_count),
        ] {
            put(CONTEXT + at, &address.to_ne_bytes());
        }
        put(offset_of!(Config, mark), &self.mark.to_ne_bytes());
        put(offset_of!(Config, mask), &self.mask.to_ne_bytes());
        bytes
    }
}

#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

#[inline]
fn half(bytes: &[u8], at: usize) -> u32 {
    let mut half = [0; 4];
    half.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(half)
}

impl Event {
    /// Parses the event at the start of a record; `None` if the record is too short.
    #[inline]
    pub fn parse(record: &[u8]) -> Option<Event> {
        let bytes: &[u8; EVENT_SIZE] = record.get(..EVENT_SIZE)?.try_into().ok()?;
        // Both in one load.
        const LAST: usize = offset_of!(Event, cpu_and_kind);
        const _: () = assert!(offset_of!(Event, thread) == LAST + 4);
        let last = word(bytes, LAST).to_ne_bytes();
        Some(Event {
            packet: word(bytes, offset_of!(Event, packet)),
            skb: word(bytes, offset_of!(Event, skb)),
            timestamp: word(bytes, offset_of!(Event, timestamp)),
            function: word(bytes, offset_of!(Event, function)),
            cpu_and_kind: u32::from_ne_bytes([last[0], last[1], last[2], last[3]]),
            thread: u32::from_ne_bytes([last[4], last[5], last[6], last[7]]),
        })
    }
}

impl Capture {
    /// The capture at the start of a record whose function is [`CAPTURE`], and the bytes that were taken; `None` if the
    /// record is too short for them.
    pub fn parse(record: &[u8]) -> Option<(Capture, &[u8])> {
        let (head, bytes) = record.split_first_chunk::<CAPTURE_SIZE>()?;
        let capture = Capture {
            packet: word(head, offset_of!(Capture, packet)),
            length: half(head, offset_of!(Capture, length)),
            captured: half(head, offset_of!(Capture, captured)),
            timestamp: word(head, offset_of!(Capture, timestamp)),
            function: word(head, offset_of!(Capture, function)),
            link: half(head, offset_of!(Capture, link)),
            padding: 0,
            bytes: [],
        };
        let bytes = bytes.get(..usize::try_from(capture.captured).ok()?)?;
        (capture.function == CAPTURE).then_some((capture, bytes))
    }
}

impl Cpu {
    /// Words of a CPU's counters in the `cpus` variable.
    pub const WORDS: usize = size_of::<Cpu>() / size_of::<u64>();

    /// Parses the counters of a CPU.
    pub fn parse(words: [u64; Self::WORDS]) -> Cpu {
        let at = |offset: usize| words[offset / size_of::<u64>()];
        Cpu {
            emitted: at(offset_of!(Cpu, emitted)),
            buffer_full: at(offset_of!(Cpu, buffer_full)),
            over_limit: at(offset_of!(Cpu, over_limit)),
            packets_full: at(offset_of!(Cpu, packets_full)),
            calls_full: at(offset_of!(Cpu, calls_full)),
            calls_missed: at(offset_of!(Cpu, calls_missed)),
            last_packet: 0,
            last_check: 0,
            due: 0,
            packets: at(offset_of!(Cpu, packets)),
        }
    }
}
