//! The built-in fields behind the event of an entry: their bits, sizes and structs. Imports nothing of ours.

use std::mem::offset_of;

#[cfg(doc)]
use super::Config;
use super::{half_of, layout};

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
