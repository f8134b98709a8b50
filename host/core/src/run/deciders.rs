//! Names what decides about packets, so that it has a place in the function table. May import the events of `stream`.
//!
//! A chain is named as nft lists it, with its table, its hook and its priority: `nft inet filter forward hook forward
//! priority 0`. A table of iptables has no chain of its own at a hook: `iptables filter hook forward priority 0`. Of
//! traffic control and XDP, the device is named: `tc clsact on eth1 ingress`, `tc htb on eth1 class 1:10`, `tc action gact
//! on eth1 egress`, `xdp filter id 12 on eth1`.

use std::collections::HashMap;

use ipft_bpf::wire::TC_INGRESS;

use crate::event::Function;
use crate::stream::{Decider, DeciderKind};

/// Deciders that are remembered.
const MOST: usize = 4096;

/// `NFPROTO_*` (`include/uapi/linux/netfilter.h`), as nft calls them.
const FAMILIES: [(u8, &str); 6] = [
    (1, "inet"),
    (IPV4, "ip"),
    (ARP, "arp"),
    (NETDEV, "netdev"),
    (7, "bridge"),
    (IPV6, "ip6"),
];

const IPV4: u8 = 2;
const ARP: u8 = 3;
const NETDEV: u8 = 5;
const IPV6: u8 = 10;

/// The qdiscs whose filters choose no class.
const CLASSLESS: [&str; 2] = ["clsact", "ingress"];

/// The hooks of a family, in order of their numbers.
fn hooks(family: u8) -> &'static [&'static str] {
    match family {
        ARP => &["input", "output", "forward"],
        NETDEV => &["ingress", "egress"],
        _ => &["prerouting", "input", "forward", "output", "postrouting", "ingress"],
    }
}

/// The deciders that are in the function table, with their indices.
#[derive(Debug, Default)]
pub(super) struct Deciders {
    known: HashMap<Decider, u32>,
}

impl Deciders {
    /// Returns the index of a decider. If it has none, it gets the one that `add` returns for its name.
    pub(super) fn index(&mut self, decider: &Decider, add: impl FnOnce(Function) -> u32) -> u32 {
        if let Some(index) = self.known.get(decider) {
            return *index;
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        let index = add(function(decider));
        self.known.insert(*decider, index);
        index
    }
}

/// Returns the entry of the function table. It has no address: it is no code.
fn function(decider: &Decider) -> Function {
    let text = |bytes: &[u8]| {
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        String::from_utf8_lossy(text).into_owned()
    };
    if !matches!(decider.kind, DeciderKind::Nft | DeciderKind::Iptables) {
        return Function {
            name: name_of_tc(decider, &text(&decider.table), &text(&decider.chain)),
            module: "vmlinux".to_owned(),
            address: 0,
        };
    }
    let family = FAMILIES.iter().find(|(number, _)| *number == decider.family);
    let family = family.map_or_else(|| format!("family {}", decider.family), |(_, name)| (*name).to_owned());
    let hook = match hooks(decider.family).get(usize::from(decider.hook)) {
        Some(name) => (*name).to_owned(),
        None => decider.hook.to_string(),
    };
    let table = text(&decider.table);
    let (what, module) = match (decider.kind, decider.family) {
        (DeciderKind::Nft, _) => (format!("nft {family} {table} {}", text(&decider.chain)), "nf_tables"),
        (_, IPV6) => (format!("ip6tables {table}"), "ip6_tables"),
        _ => (format!("iptables {table}"), "ip_tables"),
    };
    Function {
        name: format!("{what} hook {hook} priority {}", decider.priority),
        module: module.to_owned(),
        address: 0,
    }
}

/// Returns the name of what decides in traffic control or XDP, by its own name or kind and that of the device.
fn name_of_tc(decider: &Decider, what: &str, device: &str) -> String {
    let number = decider.priority.cast_unsigned();
    let on = match device {
        "" => String::new(),
        device => format!(" on {device}"),
    };
    let way = match decider.hook {
        TC_INGRESS => " ingress",
        _ => " egress",
    };
    match decider.kind {
        DeciderKind::Xdp => format!("xdp {what} id {number}{on}"),
        DeciderKind::TcActions if number > 1 => format!("tc action {what} and {} more{on}{way}", number - 1),
        DeciderKind::TcActions => format!("tc action {what}{on}{way}"),
        // Of a block that qdiscs share, none is known.
        _ if what.is_empty() => format!("tc block{on}{way}"),
        _ if CLASSLESS.contains(&what) => format!("tc {what}{on}{way}"),
        _ if number == 0 => format!("tc {what}{on}"),
        _ => format!("tc {what}{on} class {:x}:{:x}", number >> 16, number & 0xffff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        bytes
    }

    fn decider(kind: DeciderKind, family: u8, hook: u8, priority: i32, table: &str, chain: &str) -> Decider {
        Decider {
            kind,
            family,
            hook,
            priority,
            table: name(table),
            chain: name(chain),
        }
    }

    #[test]
    fn deciders_have_the_names_that_nft_gives_them() {
        for (decider, expected, module) in [
            (
                decider(DeciderKind::Nft, 1, 2, 0, "filter", "fwd"),
                "nft inet filter fwd hook forward priority 0",
                "nf_tables",
            ),
            (
                decider(DeciderKind::Nft, 5, 0, -500, "t", "c"),
                "nft netdev t c hook ingress priority -500",
                "nf_tables",
            ),
            (
                decider(DeciderKind::Nft, 3, 1, 0, "t", "c"),
                "nft arp t c hook output priority 0",
                "nf_tables",
            ),
            (
                decider(DeciderKind::Nft, 99, 77, 1, "", ""),
                "nft family 99   hook 77 priority 1",
                "nf_tables",
            ),
            (
                decider(DeciderKind::Iptables, 2, 1, 0, "filter", ""),
                "iptables filter hook input priority 0",
                "ip_tables",
            ),
            (
                decider(DeciderKind::Iptables, 10, 4, 100, "nat", ""),
                "ip6tables nat hook postrouting priority 100",
                "ip6_tables",
            ),
            (
                decider(DeciderKind::Xdp, 0, 0, 12, "pass_all", "eth1"),
                "xdp pass_all id 12 on eth1",
                "vmlinux",
            ),
            (
                decider(DeciderKind::TcFilters, 0, 1, 0, "clsact", "eth1"),
                "tc clsact on eth1 ingress",
                "vmlinux",
            ),
            (
                decider(DeciderKind::TcFilters, 0, 2, 0x1_0010, "htb", "eth1"),
                "tc htb on eth1 class 1:10",
                "vmlinux",
            ),
            (
                decider(DeciderKind::TcFilters, 0, 2, 0, "", "eth1"),
                "tc block on eth1 egress",
                "vmlinux",
            ),
            (
                decider(DeciderKind::TcActions, 0, 2, 1, "gact", "eth1"),
                "tc action gact on eth1 egress",
                "vmlinux",
            ),
            (
                decider(DeciderKind::TcActions, 0, 1, 3, "mirred", ""),
                "tc action mirred and 2 more ingress",
                "vmlinux",
            ),
        ] {
            let found = function(&decider);
            assert_eq!(
                (found.name.as_str(), found.module.as_str(), found.address),
                (expected, module, 0)
            );
        }
    }

    #[test]
    fn a_decider_is_added_once() {
        let mut deciders = Deciders::default();
        let one = decider(DeciderKind::Nft, 1, 2, 0, "filter", "fwd");
        let other = decider(DeciderKind::Nft, 1, 2, 1, "filter", "fwd");
        let mut added = 0;
        for (each, expected) in [(&one, 0), (&other, 1), (&one, 0), (&other, 1)] {
            let index = deciders.index(each, |_| {
                added += 1;
                added - 1
            });
            assert_eq!(index, expected);
        }
        assert_eq!(added, 2);
    }
}
