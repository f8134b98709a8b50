//! How long packets wait in queues, by the functions that they enter: one puts a packet into a queue, and the next of
//! certain others has taken it out. Packets also wait for the address of the next host (ARP, neighbour discovery). May
//! import the events.
//!
//! Nothing is added in the kernel for that: where these functions are not traced, no wait is known. Of a queue that is
//! inside another one, as a class of `htb` is, the outer one counts.

use std::collections::HashMap;

use crate::event::{Event, EventKind, Function};

/// What it says that a packet enters a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Nothing,
    /// A qdisc takes the packet.
    Enqueues,
    /// The packet is given to a driver, or is about to be.
    Dequeues,
    /// The queue of a UDP socket takes it.
    EnqueuesForUdp,
    /// A program has read it from there.
    Reads,
    /// The address of the next host is not known, or has to be confirmed: the packet is kept if there is none.
    AwaitsNeighbour,
    /// The next host's address is known, or was not found.
    HasNeighbour,
    /// The packet goes on to the device, and was not kept.
    GoesToDevice,
}

/// What all qdiscs call the function that takes a packet (`net/sched/`).
const ENQUEUES: &str = "_enqueue";
/// Some add this to their name.
const QDISC: &str = "_qdisc";

/// Functions that packets enter when they have left their qdisc. `sch_direct_xmit` is entered with the first of several
/// packets that are sent together, the others are seen by those that prepare each of them (`net/core/dev.c`).
const DEQUEUES: [&str; 6] = [
    "dev_hard_start_xmit",
    "dev_queue_xmit_nit",
    "netif_skb_features",
    "sch_direct_xmit",
    "validate_xmit_skb",
    "validate_xmit_skb_list",
];

/// Functions that packets enter which were kept for the address of the next host, when it is known or was not found
/// (`net/core/neighbour.c`, `net/ipv4/arp.c`, `net/ipv6/ndisc.c`). Those that need not be kept have entered the first of
/// them before.
const HAVE_NEIGHBOUR: [&str; 4] = [
    "arp_error_report",
    "ndisc_error_report",
    "neigh_connected_output",
    "neigh_resolve_output",
];

/// Functions with such a name that are no qdisc's: what calls them, its tracepoint, those that drop all, and queues of other
/// sorts.
const OTHERS: [&str; 7] = [
    "blackhole_enqueue",
    "dev_qdisc_enqueue",
    "noop_enqueue",
    "perf_trace_qdisc_enqueue",
    "pneigh_enqueue",
    "sk_psock_skb_ingress_enqueue",
    "trace_event_raw_event_qdisc_enqueue",
];

/// What the functions of a trace say.
#[derive(Debug, Default)]
pub(super) struct Waits {
    sayings: Vec<Says>,
    /// The name of the qdisc of each function that puts packets into one, by the function's index.
    queues: Vec<(u32, String)>,
}

/// The queue that a packet is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Queued {
    /// When it was put there; 0 if it is in none.
    since: u64,
    function: u32,
}

/// A wait that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// Its duration in nanoseconds.
    pub(super) duration: u64,
    /// The function that put the packet into the queue.
    function: u32,
}

/// Where a packet has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place<'a> {
    /// In a qdisc of this kind.
    Qdisc(&'a str),
    /// In the queue of a UDP socket.
    Socket,
    /// For the address of the next host.
    Neighbour,
}

/// Packets that are remembered in queues. What leaves a queue unseen stays until there are so many.
const MOST: usize = 65_536;

/// Waits of packets that are not remembered otherwise.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    waits: Waits,
    packets: HashMap<u64, Queued>,
}

impl Waiting {
    /// Appends functions to those that are known.
    pub(super) fn append(&mut self, functions: &[Function]) {
        self.waits.append(functions);
    }

    /// Takes an event, and returns the wait that it ends: its duration in nanoseconds, and where it was.
    #[inline]
    pub(super) fn note(&mut self, event: &Event) -> Option<(u64, Place<'_>)> {
        if !self.waits.concerns(event) {
            return None;
        }
        let before = self.packets.get(&event.packet).copied().unwrap_or_default();
        let mut queued = before;
        let wait = self.waits.note(&mut queued, event);
        if queued == Queued::default() {
            self.packets.remove(&event.packet);
        } else if queued != before {
            if self.packets.len() >= MOST {
                self.packets.clear();
            }
            self.packets.insert(event.packet, queued);
        }
        wait.map(|wait| (wait.duration, self.waits.place(wait)))
    }
}

impl Waits {
    /// Appends functions to those that are known.
    pub(super) fn append(&mut self, functions: &[Function]) {
        for function in functions {
            // A suffix is the compiler's.
            let name = function.name.split('.').next().unwrap_or_default();
            let says = says(name);
            if says == Says::Enqueues {
                let name = name.strip_suffix(ENQUEUES).unwrap_or(name);
                let qdisc = name.strip_suffix(QDISC).unwrap_or(name);
                self.queues.push((self.sayings.len() as u32, qdisc.to_owned()));
            }
            self.sayings.push(says);
        }
    }

    /// Returns whether an event may begin or end a wait.
    #[inline]
    fn concerns(&self, event: &Event) -> bool {
        let says = self.sayings.get(event.function as usize);
        event.kind == EventKind::ENTRY && says.is_some_and(|says| *says != Says::Nothing)
    }

    /// Takes an event of a packet, and returns the wait that it ends.
    #[inline]
    pub(super) fn note(&self, queued: &mut Queued, event: &Event) -> Option<Wait> {
        let says = self.sayings.get(event.function as usize).copied()?;
        if says == Says::Nothing || event.kind != EventKind::ENTRY {
            return None;
        }
        let before = *queued;
        let fills = match says {
            // A queue inside another one.
            Says::Enqueues => !self.is_in(before, Says::Enqueues),
            Says::EnqueuesForUdp | Says::AwaitsNeighbour => true,
            _ => false,
        };
        if fills {
            *queued = Queued {
                since: event.timestamp,
                function: event.function,
            };
            return None;
        }
        let ends = match says {
            Says::Reads => Says::EnqueuesForUdp,
            Says::HasNeighbour | Says::GoesToDevice => Says::AwaitsNeighbour,
            Says::Dequeues => Says::Enqueues,
            _ => return None,
        };
        if !self.is_in(before, ends) {
            return None;
        }
        *queued = Queued::default();
        (says != Says::GoesToDevice).then(|| Wait {
            duration: event.timestamp.saturating_sub(before.since),
            function: before.function,
        })
    }

    /// Returns where a packet has waited.
    pub(super) fn place(&self, wait: Wait) -> Place<'_> {
        let found = self
            .queues
            .binary_search_by_key(&wait.function, |(function, _)| *function);
        match found.ok().and_then(|found| self.queues.get(found)) {
            Some((_, name)) => Place::Qdisc(name),
            None if self.sayings.get(wait.function as usize) == Some(&Says::AwaitsNeighbour) => Place::Neighbour,
            None => Place::Socket,
        }
    }

    /// Returns whether a packet is in a queue that a function fills which says this.
    fn is_in(&self, queued: Queued, says: Says) -> bool {
        queued.since != 0 && self.sayings.get(queued.function as usize) == Some(&says)
    }
}

fn says(name: &str) -> Says {
    match name {
        "__udp_enqueue_schedule_skb" => Says::EnqueuesForUdp,
        "skb_consume_udp" => Says::Reads,
        "__neigh_event_send" => Says::AwaitsNeighbour,
        "__dev_queue_xmit" | "dev_queue_xmit" => Says::GoesToDevice,
        _ if HAVE_NEIGHBOUR.contains(&name) => Says::HasNeighbour,
        _ if DEQUEUES.contains(&name) => Says::Dequeues,
        _ if name.ends_with(ENQUEUES) && !name.starts_with('_') && !OTHERS.contains(&name) => Says::Enqueues,
        _ => Says::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FUNCTIONS: [&str; 12] = [
        "__dev_queue_xmit",
        "dev_qdisc_enqueue",
        "htb_enqueue",
        "pfifo_enqueue.constprop.0",
        "sch_direct_xmit",
        "netif_skb_features",
        "pie_qdisc_enqueue",
        "__udp_enqueue_schedule_skb",
        "skb_consume_udp",
        "__neigh_event_send",
        "neigh_resolve_output",
        "arp_error_report",
    ];

    fn waits() -> Waits {
        let mut waits = Waits::default();
        let function = |name: &str| Function {
            name: name.to_owned(),
            module: "vmlinux".to_owned(),
            address: 0,
        };
        waits.append(&FUNCTIONS.map(function));
        waits
    }

    fn words(place: Place<'_>) -> String {
        match place {
            Place::Qdisc(name) => name.to_owned(),
            other => format!("{other:?}"),
        }
    }

    /// Returns the waits that entries of these functions end.
    fn after(calls: &[(u64, &str)]) -> Vec<(u64, String)> {
        let waits = waits();
        let mut queued = Queued::default();
        let ended = calls.iter().filter_map(|(timestamp, name)| {
            let function = FUNCTIONS.iter().position(|function| function == name).unwrap();
            let event = Event {
                packet: 1,
                skb: 1,
                timestamp: *timestamp,
                entry_timestamp: 0,
                function: function as u32,
                cpu: 0,
                kind: EventKind::ENTRY,
                thread: 1,
                payload_offset: 0,
                payload_len: 0,
                spare: 0,
            };
            let wait = waits.note(&mut queued, &event)?;
            Some((wait.duration, words(waits.place(wait))))
        });
        ended.collect()
    }

    #[test]
    fn the_outer_queue_counts_until_the_packet_is_sent() {
        let calls = [
            (1, "__dev_queue_xmit"),
            (2, "dev_qdisc_enqueue"),
            (10, "htb_enqueue"),
            (11, "pfifo_enqueue.constprop.0"),
            (500, "sch_direct_xmit"),
            (510, "netif_skb_features"),
        ];
        assert_eq!(after(&calls), [(490, "htb".to_owned())]);
    }

    #[test]
    fn each_packet_of_several_has_its_wait() {
        let calls = [
            (10, "pie_qdisc_enqueue"),
            (30, "netif_skb_features"),
            (40, "skb_consume_udp"),
        ];
        assert_eq!(after(&calls), [(20, "pie".to_owned())]);
    }

    #[test]
    fn what_was_not_queued_has_not_waited() {
        assert_eq!(after(&[(10, "sch_direct_xmit"), (20, "skb_consume_udp")]), []);
        // It was dropped there, and what is seen of it later is not of this queue.
        let calls = [
            (5, "__udp_enqueue_schedule_skb"),
            (10, "sch_direct_xmit"),
            (40, "skb_consume_udp"),
        ];
        assert_eq!(after(&calls), [(35, "Socket".to_owned())]);
    }

    #[test]
    fn a_packet_waits_for_the_next_hosts_address() {
        let neighbour = |duration| (duration, "Neighbour".to_owned());
        let calls = [
            (10, "neigh_resolve_output"),
            (11, "__neigh_event_send"),
            (500, "neigh_resolve_output"),
            (510, "__dev_queue_xmit"),
            (600, "neigh_resolve_output"),
        ];
        assert_eq!(after(&calls), [neighbour(489)]);
        // It was not found.
        assert_eq!(
            after(&[(11, "__neigh_event_send"), (3011, "arp_error_report")]),
            [neighbour(3000)]
        );
        // It was only to be confirmed, and the packet comes to the next hop later.
        let calls = [
            (11, "__neigh_event_send"),
            (20, "__dev_queue_xmit"),
            (900, "neigh_resolve_output"),
        ];
        assert_eq!(after(&calls), []);
    }

    #[test]
    fn packets_wait_for_themselves() {
        let mut waiting = Waiting {
            waits: waits(),
            packets: HashMap::new(),
        };
        let mut note = |packet: u64, timestamp: u64, name: &str| {
            let function = FUNCTIONS.iter().position(|function| *function == name).unwrap();
            let event = Event {
                packet,
                skb: packet,
                timestamp,
                entry_timestamp: 0,
                function: function as u32,
                cpu: 0,
                kind: EventKind::ENTRY,
                thread: 1,
                payload_offset: 0,
                payload_len: 0,
                spare: 0,
            };
            let wait = waiting.note(&event);
            let wait = wait.map(|(duration, place)| (duration, words(place)));
            (wait, waiting.packets.len())
        };
        assert_eq!(note(1, 10, "htb_enqueue"), (None, 1));
        assert_eq!(note(2, 20, "__udp_enqueue_schedule_skb"), (None, 2));
        assert_eq!(note(3, 25, "sch_direct_xmit"), (None, 2));
        assert_eq!(note(1, 30, "sch_direct_xmit"), (Some((20, "htb".to_owned())), 1));
        assert_eq!(note(2, 50, "skb_consume_udp"), (Some((30, "Socket".to_owned())), 0));
        for packet in 0..=MOST as u64 {
            note(packet, 60, "htb_enqueue");
        }
        assert_eq!(waiting.packets.len(), 1);
    }

    #[test]
    fn unknown_functions_and_returns_are_passed_over() {
        let waits = waits();
        let mut queued = Queued::default();
        let event = Event {
            packet: 1,
            skb: 1,
            timestamp: 10,
            entry_timestamp: 0,
            function: u32::MAX,
            cpu: 0,
            kind: EventKind::ENTRY,
            thread: 1,
            payload_offset: 0,
            payload_len: 0,
            spare: 0,
        };
        assert_eq!(waits.note(&mut queued, &event), None);
        let returned = Event {
            function: 2,
            kind: EventKind::RETURN,
            ..event
        };
        assert_eq!(waits.note(&mut queued, &returned), None);
        assert_eq!(queued, Queued::default());
    }
}
