//! Traces of good days and bad ones, to be compared.

use ipft_core::event::*;

use crate::canned::Script;

/// What the datagrams enter, and what judges them.
pub const FUNCTIONS: [(&str, &str); 6] = [
    ("ip_rcv", "vmlinux"),
    ("nf_hook_slow", "vmlinux"),
    ("udp_rcv", "vmlinux"),
    ("nft_do_chain", "nf_tables"),
    ("icmp_send", "vmlinux"),
    ("nft inet filter input filter", ""),
];
const RECEIVE: u32 = 0;
const HOOK: u32 = 1;
const UDP: u32 = 2;
const CHAIN: u32 = 3;
/// The function that only packets enter that are dropped.
pub const ICMP: u32 = 4;
const RULES: u32 = 5;

/// Returns a day of this many datagrams, of which a firewall drops one in `dropped`; none if that is 0. Each spends `wait`
/// nanoseconds more in a function.
pub fn day(functions: &[(&str, &str)], follow: bool, packets: u64, dropped: u64, wait: u64) -> Script {
    let mut script = Script::new(Tracer::FunctionGraph, functions);
    script.trace.follow = follow;
    script.trace.drop_reasons = vec![EnumMember {
        name: "NETFILTER_DROP".to_owned(),
        value: 12,
    }];
    for packet in 1..=packets {
        let begin = packet * 1_000_000;
        script.at(begin).enter(packet, RECEIVE);
        script.at(begin + 1000).enter(packet, HOOK);
        let drop = dropped > 0 && packet % dropped == 0;
        let verdict = if drop { Verdict::Drop } else { Verdict::Accept };
        if functions.len() == FUNCTIONS.len() {
            script
                .at(begin + 1500)
                .decide(packet, RULES, Decision::Netfilter(verdict));
        }
        script.at(begin + 1500 + wait).leave(packet, HOOK);
        if drop {
            script.at(begin + 2000 + wait).enter(packet, ICMP);
        } else {
            script.at(begin + 2000 + wait).enter(packet, UDP);
        }
        if follow {
            let outcome = match drop {
                true => Outcome::Dropped { reason: 12 },
                false => Outcome::Delivered,
            };
            let function = if drop { CHAIN } else { NO_FUNCTION };
            script.at(begin + 3000 + wait).end(packet, function, outcome.to_word());
        }
    }
    script
}
