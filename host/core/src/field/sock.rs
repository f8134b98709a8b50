//! `sock_cookie`, `sock_cgroup`, `sock_family` and `sock_state`: the socket that the packet is of. All are 0 if it has none.

use std::mem::offset_of;

use ipft_bpf::wire::Sock;

use super::{BuiltIn, Part, PartFormat};
use crate::event::FieldType;

/// `AF_*` in `include/linux/socket.h`.
const FAMILIES: &[(&str, u64)] = &[
    ("none", 0),
    ("unix", 1),
    ("inet", 2),
    ("inet6", 10),
    ("netlink", 16),
    ("packet", 17),
    ("xdp", 44),
    ("vsock", 40),
];

/// `TCP_*` in `include/net/tcp_states.h`. Sockets of other protocols use the values for connected and unconnected.
const STATES: &[(&str, u64)] = &[
    ("none", 0),
    ("established", 1),
    ("syn_sent", 2),
    ("syn_recv", 3),
    ("fin_wait1", 4),
    ("fin_wait2", 5),
    ("time_wait", 6),
    ("close", 7),
    ("close_wait", 8),
    ("last_ack", 9),
    ("listen", 10),
    ("closing", 11),
    ("new_syn_recv", 12),
];

pub(super) static GROUP: BuiltIn = BuiltIn {
    name: "sock",
    about: "its socket",
    fields: &[
        Part {
            name: "sock_cookie",
            offset: offset_of!(Sock, sock_cookie),
            size: 8,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "sock_cgroup",
            offset: offset_of!(Sock, sock_cgroup),
            size: 8,
            kind: FieldType::Unsigned,
            format: PartFormat::PLAIN,
        },
        Part {
            name: "sock_family",
            offset: offset_of!(Sock, sock_family),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::Enum(FAMILIES),
        },
        Part {
            name: "sock_state",
            offset: offset_of!(Sock, sock_state),
            size: 4,
            kind: FieldType::Unsigned,
            format: PartFormat::Enum(STATES),
        },
    ],
};
