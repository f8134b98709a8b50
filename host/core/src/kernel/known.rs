//! Functions of modules that take a packet, on kernels that have no BTF for modules.
//!
//! Linux 5.10 has BTF for itself only, and conntrack and NAT are modules. Nothing on such a machine says what their
//! functions take, so the prototypes of that one series are built in (`modules-5.10.txt` says where they come from);
//! other series have other prototypes and no table. A packet that is found so is checked before it is trusted.

use super::function::PacketArgument;
use super::prototype::Packet;
use std::collections::HashMap;

/// The table of each series of kernels: the beginning of its releases, and the file.
const TABLES: [(&str, &str); 1] = [("5.10.", include_str!("modules-5.10.txt"))];

/// The functions of one module, as the table has them.
#[derive(Clone, Copy)]
pub(super) struct KnownFunctions(&'static str);

/// The modules that are known for a kernel of this release (`uname -r`).
pub(super) fn modules_of(release: &str) -> HashMap<&'static str, KnownFunctions> {
    let Some((_, table)) = TABLES.iter().find(|(series, _)| release.starts_with(series)) else {
        return HashMap::new();
    };
    table
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(' '))
        .map(|(module, functions)| (module, KnownFunctions(functions)))
        .collect()
}

impl KnownFunctions {
    /// Each function's name, and how it takes the packet.
    pub(super) fn parse(self) -> impl Iterator<Item = (&'static str, Packet)> {
        self.0.split(' ').filter_map(|entry| {
            let (name, place) = entry.split_once(':')?;
            let (position, argument) = match place.strip_suffix('*') {
                Some(position) => (position, PacketArgument::DoublePointer),
                None => (place, PacketArgument::Pointer),
            };
            let packet = Packet {
                argument,
                arguments: 0,
                trampoline: false,
                position: Ok(position.parse().ok()?),
                unfilled: None,
            };
            Some((name, packet))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_entry_has_a_function_and_a_register() {
        for (series, table) in TABLES {
            let modules = modules_of(&format!("{series}0-32-cloud-amd64"));
            let entries: usize = table
                .lines()
                .filter(|line| !line.starts_with('#'))
                .map(|line| line.split(' ').count() - 1)
                .sum();
            let parsed: Vec<_> = modules.values().flat_map(|functions| functions.parse()).collect();
            assert_eq!(parsed.len(), entries);
            assert!(entries > 1000);
            for (name, packet) in parsed {
                assert!(packet.position.unwrap() < 6, "{name}");
                assert!(
                    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_series_without_table_has_no_known_modules() {
        assert!(modules_of("5.1.0").is_empty());
        assert!(modules_of("6.1.0-55-cloud-amd64").is_empty());
        assert!(modules_of("").is_empty());
    }

    #[test]
    fn nat_hooks_take_the_packet_second() {
        let nat = modules_of("5.10.0-32-cloud-amd64")["nf_nat"];
        let hook = nat
            .parse()
            .find(|(name, _)| *name == "nf_nat_ipv4_pre_routing")
            .unwrap()
            .1;
        assert_eq!(hook.position, Ok(1));
        assert_eq!(hook.argument, PacketArgument::Pointer);
    }
}
