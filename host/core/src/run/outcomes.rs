//! What became of packets that were released in order, by the functions that they were seen to enter. May import the
//! events and `seeded`.
//!
//! The kernel reports drops alone: a packet is freed by its last user, a socket, the driver of a device or a protocol
//! that passes its content on in another packet. So a packet's last function that says where it is decides. Only what
//! these functions prove is said; where they are not traced, a packet was released.

use hashbrown::HashMap;

use crate::event::{Batch, Event, EventKind, Function, Outcome, Trace};
use crate::seeded::Seeded;

/// What a function says of the packet that enters it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    Nothing,
    /// A socket or a protocol takes it. If that refuses it, it is dropped.
    Delivered,
    /// Likewise, if TCP's drops are reported.
    DeliveredByTcp,
    /// A driver is given it.
    Handed,
    /// What sent it releases it, but for drivers that release what they cannot send.
    Completed,
    /// A device has received it, which may be the other end of one that was given it.
    Received,
    /// It goes on, or is about to be replaced by its parts.
    GoesOn,
}

/// What functions say, of Linux 5.10 to 7.2. Several say the same, so that a lost event does not matter.
const SAYINGS: [(&str, Says); 48] = [
    // TCP: a segment that the socket's state does not allow is dropped. Before 5.17 that is a call of tcp_drop(), which
    // the kernel does not report as a drop.
    ("tcp_v4_do_rcv", Says::DeliveredByTcp),
    ("tcp_v6_do_rcv", Says::DeliveredByTcp),
    ("tcp_rcv_established", Says::DeliveredByTcp),
    ("tcp_rcv_state_process", Says::DeliveredByTcp),
    (TCP_DROP, Says::GoesOn),
    // The queues of UDP, raw and ping sockets: a full one drops the packet.
    ("__udp_enqueue_schedule_skb", Says::Delivered),
    ("skb_consume_udp", Says::Delivered),
    ("sock_queue_rcv_skb", Says::Delivered),
    ("sock_queue_rcv_skb_reason", Says::Delivered),
    ("__sock_queue_rcv_skb", Says::Delivered),
    // A packet socket's: it has been read. packet_rcv() and tpacket_rcv() consume what a socket's filter refuses.
    ("skb_free_datagram", Says::Delivered),
    // Protocols of the kernel.
    ("icmp_rcv", Says::Delivered),
    ("icmpv6_rcv", Says::Delivered),
    ("igmp_rcv", Says::Delivered),
    ("arp_process", Says::Delivered),
    // net/core/dev.c. Tunnels have such a function too, and many free what they cannot send with consume_skb().
    ("dev_hard_start_xmit", Says::Handed),
    ("generic_xdp_tx", Says::Handed),
    // What drivers call when a packet has been sent. What they drop passes skb:kfree_skb.
    ("napi_consume_skb", Says::Completed),
    ("dev_kfree_skb_any_reason", Says::Completed),
    ("dev_kfree_skb_irq_reason", Says::Completed),
    ("__dev_kfree_skb_any", Says::Completed),
    ("__dev_kfree_skb_irq", Says::Completed),
    // User space has read it from a TUN or TAP device.
    ("skb_copy_datagram_iter", Says::Completed),
    ("eth_type_trans", Says::Received),
    ("__dev_forward_skb", Says::Received),
    ("dev_forward_skb", Says::Received),
    ("netif_rx", Says::Received),
    ("__netif_rx", Says::Received),
    ("netif_rx_internal", Says::Received),
    ("dev_gro_receive", Says::Received),
    ("netif_receive_skb", Says::Received),
    ("__netif_receive_skb", Says::Received),
    ("__netif_receive_skb_core", Says::Received),
    ("ip_rcv_core", Says::Received),
    ("ip6_rcv_core", Says::Received),
    ("__ip_local_out", Says::GoesOn),
    ("__ip6_local_out", Says::GoesOn),
    ("ip_output", Says::GoesOn),
    ("ip6_output", Says::GoesOn),
    ("ip_forward", Says::GoesOn),
    ("ip6_forward", Says::GoesOn),
    ("ip_do_fragment", Says::GoesOn),
    ("ip6_fragment", Says::GoesOn),
    ("skb_scrub_packet", Says::GoesOn),
    ("__dev_queue_xmit", Says::GoesOn),
    ("__skb_gso_segment", Says::GoesOn),
    ("skb_mac_gso_segment", Says::GoesOn),
    ("skb_segment", Says::GoesOn),
];

const TCP_DROP: &str = "tcp_drop";

/// A packet that was sent and one that went on are distinguished only if these are traced. All kernels have them.
const NEEDED: [&str; 5] = [
    "__netif_receive_skb_core",
    "__dev_queue_xmit",
    "dev_hard_start_xmit",
    "ip_do_fragment",
    "__skb_gso_segment",
];

/// What is known of a packet: the last that a function said, and whether it was received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    place: Place,
    received: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Unknown,
    Socket,
    Driver,
    Sent,
}

impl Known {
    fn after(self, says: Says) -> Known {
        let place = match says {
            Says::Nothing => return self,
            Says::Delivered => Place::Socket,
            Says::Handed => Place::Driver,
            Says::Completed if self.place == Place::Driver => Place::Sent,
            Says::Completed => self.place,
            Says::DeliveredByTcp | Says::Received | Says::GoesOn => Place::Unknown,
        };
        Known {
            place,
            received: self.received || says == Says::Received,
        }
    }
}

/// Packets of each half at most; more than the kernel's table of packets has. The ends of some are lost.
const MOST: usize = 1 << 17;

/// Finds the outcomes.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// What each function says.
    sayings: Vec<Says>,
    /// Bits of [`NEEDED`] that are traced.
    traced: u32,
    /// The kernel, or a traced function, reports what TCP drops.
    reports_tcp_drops: bool,
    newer: HashMap<u64, Known, Seeded>,
    older: HashMap<u64, Known, Seeded>,
}

impl Outcomes {
    /// Of a trace's functions.
    pub(super) fn new(trace: &Trace) -> Self {
        let mut outcomes = Outcomes {
            reports_tcp_drops: !trace.drop_reasons.is_empty(),
            ..Outcomes::default()
        };
        outcomes.append(&trace.functions);
        outcomes
    }

    /// Appends functions to those that are traced.
    pub(super) fn append(&mut self, functions: &[Function]) {
        for function in functions {
            // A suffix is the compiler's.
            let name = function.name.split('.').next().unwrap_or_default();
            let saying = SAYINGS.iter().find(|(function, _)| *function == name);
            self.reports_tcp_drops |= name == TCP_DROP;
            self.sayings.push(saying.map_or(Says::Nothing, |(_, says)| *says));
            if let Some(needed) = NEEDED.iter().position(|needed| *needed == name) {
                self.traced |= 1 << needed;
            }
        }
    }

    /// Notes where the packets of a batch are, and completes the ends of those that were not dropped.
    pub(super) fn complete(&mut self, batch: &mut Batch) {
        for event in &mut batch.events {
            match event.kind {
                EventKind::ENTRY => {
                    let says = self.sayings.get(event.function as usize).copied();
                    if let Some(says) = says.filter(|says| *says != Says::Nothing) {
                        self.note(event, says);
                    }
                }
                // A fragment of a packet that was received is sent on, too.
                EventKind::BORN => {
                    let received = self.known(event.spare).is_some_and(|known| known.received);
                    if received {
                        let place = Place::Unknown;
                        self.keep(event.packet, Known { place, received });
                    }
                }
                EventKind::ENDED => self.end(event),
                _ => {}
            }
        }
    }

    #[cold]
    fn note(&mut self, event: &Event, says: Says) {
        let says = match says {
            Says::DeliveredByTcp if self.reports_tcp_drops => Says::Delivered,
            Says::DeliveredByTcp => Says::GoesOn,
            says => says,
        };
        match self.newer.get_mut(&event.packet) {
            Some(known) => *known = known.after(says),
            None => {
                let known = self.older.remove(&event.packet).unwrap_or_default();
                self.keep(event.packet, known.after(says));
            }
        }
    }

    fn known(&self, packet: u64) -> Option<&Known> {
        self.newer.get(&packet).or_else(|| self.older.get(&packet))
    }

    fn keep(&mut self, packet: u64, known: Known) {
        if self.newer.len() >= MOST {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(packet, known);
    }

    fn end(&mut self, event: &mut Event) {
        let older = self.older.remove(&event.packet);
        let known = self.newer.remove(&event.packet).or(older);
        if event.outcome() != Some(Outcome::Released) {
            return;
        }
        let outcome = match known {
            Some(Known {
                place: Place::Socket, ..
            }) => Outcome::Delivered,
            Some(Known {
                place: Place::Sent,
                received,
            }) if self.traced == (1 << NEEDED.len()) - 1 => match received {
                true => Outcome::Forwarded,
                false => Outcome::Sent,
            },
            _ => return,
        };
        event.spare = outcome.to_word();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::NO_FUNCTION;

    fn functions() -> Vec<Function> {
        let names = SAYINGS.iter().map(|(name, _)| *name).chain(["consume_skb"]);
        names
            .map(|name| Function {
                name: name.to_owned(),
                module: "vmlinux".to_owned(),
                address: 0,
            })
            .collect()
    }

    fn event(kind: EventKind, packet: u64, function: u32, spare: u64) -> Event {
        Event {
            packet,
            skb: 0,
            timestamp: 0,
            entry_timestamp: 0,
            function,
            cpu: 0,
            kind,
            thread: 0,
            payload_offset: 0,
            payload_len: 0,
            spare,
        }
    }

    /// How a packet ends that passes these functions, each in a batch of its own.
    fn ends(functions: &[Function], path: &[&str]) -> Outcome {
        let mut outcomes = Outcomes::default();
        outcomes.append(functions);
        ended(&mut outcomes, functions, 1, path, 0)
    }

    fn ended(outcomes: &mut Outcomes, functions: &[Function], packet: u64, path: &[&str], spare: u64) -> Outcome {
        for name in path {
            let Some(function) = functions.iter().position(|function| function.name == *name) else {
                continue;
            };
            let mut batch = Batch::default();
            batch.events.push(event(EventKind::ENTRY, packet, function as u32, 0));
            outcomes.complete(&mut batch);
        }
        let mut batch = Batch::default();
        batch.events.push(event(EventKind::ENDED, packet, NO_FUNCTION, spare));
        outcomes.complete(&mut batch);
        batch.events[0].outcome().unwrap()
    }

    #[test]
    fn what_a_socket_or_protocol_takes_is_delivered() {
        for taker in ["__udp_enqueue_schedule_skb", "icmp_rcv", "arp_process"] {
            let path = [
                "dev_hard_start_xmit",
                "eth_type_trans",
                "ip_rcv_core",
                taker,
                "consume_skb",
            ];
            assert_eq!(ends(&functions(), &path), Outcome::Delivered, "{taker}");
            // Also where few functions are traced.
            let few: Vec<Function> = functions()
                .into_iter()
                .filter(|function| function.name == taker)
                .collect();
            assert_eq!(ends(&few, &path), Outcome::Delivered, "{taker}");
        }
    }

    #[test]
    fn what_tcp_drops_unseen_is_not_delivered() {
        let path = ["ip_rcv_core", "tcp_v4_do_rcv"];
        assert_eq!(ends(&functions(), &path), Outcome::Delivered);
        assert_eq!(
            ends(&functions(), &[&path, &["tcp_drop"] as &[&str]].concat()),
            Outcome::Released
        );
        let mut functions = functions();
        functions.retain(|function| function.name != TCP_DROP);
        assert_eq!(ends(&functions, &path), Outcome::Released);
        let mut outcomes = Outcomes {
            reports_tcp_drops: true,
            ..Outcomes::default()
        };
        outcomes.append(&functions);
        assert_eq!(ended(&mut outcomes, &functions, 1, &path, 0), Outcome::Delivered);
    }

    #[test]
    fn what_a_driver_completes_was_sent_or_forwarded() {
        let local = [
            "__ip_local_out",
            "__dev_queue_xmit",
            "dev_hard_start_xmit",
            "napi_consume_skb",
        ];
        assert_eq!(ends(&functions(), &local), Outcome::Sent);
        let through = [&["netif_receive_skb", "ip_forward"], &local[1..]].concat();
        assert_eq!(ends(&functions(), &through), Outcome::Forwarded);
    }

    #[test]
    fn what_goes_on_or_is_freed_otherwise_is_not_known() {
        for path in [
            // A driver that frees what it cannot send.
            &["dev_hard_start_xmit", "consume_skb"] as &[&str],
            // The other end of a pair of devices, where XDP drops it.
            &["dev_hard_start_xmit", "eth_type_trans", "napi_consume_skb"],
            // Its segments are sent.
            &["dev_hard_start_xmit", "__skb_gso_segment", "napi_consume_skb"],
            &["napi_consume_skb"],
            &[],
        ] {
            assert_eq!(ends(&functions(), path), Outcome::Released, "{path:?}");
        }
    }

    #[test]
    fn without_a_function_that_is_needed_nothing_is_sent() {
        for needed in NEEDED {
            let mut functions = functions();
            functions.retain(|function| function.name != needed);
            let path = ["dev_hard_start_xmit", "napi_consume_skb"];
            assert_eq!(ends(&functions, &path), Outcome::Released, "{needed}");
        }
    }

    #[test]
    fn a_drop_stays_one_and_the_next_packet_begins_anew() {
        let mut outcomes = Outcomes::default();
        outcomes.append(&functions());
        let dropped = Outcome::Dropped { reason: 7 };
        let found = ended(&mut outcomes, &functions(), 1, &["icmp_rcv"], dropped.to_word());
        assert_eq!(found, dropped);
        assert_eq!(ended(&mut outcomes, &functions(), 1, &[], 0), Outcome::Released);
    }

    #[test]
    fn parts_of_a_received_packet_are_forwarded() {
        let mut outcomes = Outcomes::default();
        outcomes.append(&functions());
        let received = functions()
            .iter()
            .position(|function| function.name == "ip_rcv_core")
            .unwrap();
        let mut batch = Batch::default();
        batch.events.push(event(EventKind::ENTRY, 1, received as u32, 0));
        batch.events.push(event(EventKind::BORN, 2, NO_FUNCTION, 1));
        outcomes.complete(&mut batch);
        let path = ["dev_hard_start_xmit", "napi_consume_skb"];
        assert_eq!(ended(&mut outcomes, &functions(), 2, &path, 0), Outcome::Forwarded);
        assert_eq!(ended(&mut outcomes, &functions(), 3, &path, 0), Outcome::Sent);
    }

    #[test]
    fn packets_whose_ends_were_lost_are_forgotten() {
        let mut outcomes = Outcomes::default();
        outcomes.append(&functions());
        for packet in 0..3 * MOST as u64 {
            outcomes.note(&event(EventKind::ENTRY, packet, 0, 0), Says::Delivered);
        }
        assert!(outcomes.newer.len() + outcomes.older.len() <= 2 * MOST);
        assert_eq!(outcomes.known(0), None);
    }
}
