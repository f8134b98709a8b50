//! What the kernel's types say of packets that it drops: the names of its reasons, and what its tracepoint tells. May
//! import `btf`.
//!
//! Reasons came with Linux 5.17, and their numbers change with nearly every release. The lower half of one is a number of
//! its subsystem, which the upper half names: 0 is the core (`enum skb_drop_reason`). Each other subsystem has an enum of
//! its own, some of them in a module: `qdisc_drop_reason`, `ovs_drop_reason`, `mac80211_drop_reason`
//! (`include/net/dropreason.h`).

use super::Root;
use super::btf::{Btf, Kind, Type};
use super::types::Types;

/// What the kernel tells of dropped packets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Reasons and their names, in order of value; empty if the kernel tells none.
    pub reasons: Vec<(u32, String)>,
    /// Whether the third argument of the tracepoint `skb:kfree_skb` is the reason.
    pub tells_reason: bool,
}

/// The reasons of the core.
const CORE: &str = "skb_drop_reason";
/// What the names of the subsystems' enums end with.
const OF_SUBSYSTEM: &str = "drop_reason";
/// What the names of the core's reasons begin with.
const PREFIX: &str = "SKB_DROP_REASON_";
/// Bits of the number of a reason within its subsystem.
const NUMBER_BITS: u32 = 16;

impl Drops {
    /// Looks into the types of the kernel, and reads those of its modules. What cannot be read tells of nothing: reasons
    /// have numbers then.
    pub fn read(root: &Root, types: &Types<'_>) -> Drops {
        let Ok(vmlinux) = types.get() else {
            return Drops::default();
        };
        let mut drops = Drops {
            reasons: Vec::new(),
            tells_reason: tells_reason(vmlinux),
        };
        // Modules are not searched in vain, as that takes longer.
        if !drops.add(vmlinux) {
            drops.reasons.clear();
            return drops;
        }
        let folder = root.path("/sys/kernel/btf");
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_name() != "vmlinux"
                && let Ok(data) = std::fs::read(entry.path())
                && let Ok(module) = Btf::parse_split(&data, vmlinux)
            {
                drops.add(&module);
            }
        }
        drops.reasons.sort();
        drops.reasons.dedup_by_key(|(reason, _)| *reason);
        drops
    }

    /// Adds the reasons of a BTF. Returns whether the core's are among them.
    fn add(&mut self, btf: &Btf<'_>) -> bool {
        let mut has_core = false;
        for found in btf.types() {
            if matches!(found.kind(), Kind::Enum | Kind::Enum64) && found.name().ends_with(OF_SUBSYSTEM) {
                let is_core = found.name() == CORE;
                has_core |= is_core;
                self.add_enum(&found, is_core);
            }
        }
        has_core
    }

    fn add_enum(&mut self, found: &Type<'_>, is_core: bool) {
        for each in found.enumerators() {
            let reason = each.value as u32;
            let name = each.name.strip_prefix(PREFIX).unwrap_or(each.name);
            // Limits, masks, and the first number of a subsystem, are no reasons.
            let is_reason = !name.starts_with('_') && name != "MAX" && !name.ends_with("_MAX") && name != "SUBSYS_MASK";
            if is_reason && (reason >> NUMBER_BITS == 0) == is_core {
                self.reasons.push((reason, name.to_owned()));
            }
        }
    }
}

/// Returns whether the tracepoint has a third argument: its programs get those of `btf_trace_kfree_skb` but the first, which
/// is the tracepoint's own.
fn tells_reason(vmlinux: &Btf<'_>) -> bool {
    const ARGUMENTS: usize = 1 + 3;
    let prototype = vmlinux
        .find(Kind::Typedef, "btf_trace_kfree_skb")
        .and_then(|found| vmlinux.peel(found.target()))
        .and_then(|pointer| vmlinux.peel(pointer.target()));
    prototype.is_some_and(|prototype| prototype.parameters().count() >= ARGUMENTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::TypeBytes;
    use crate::kernel::testing::{BtfBuilder, Tree};

    fn enumeration(btf: &mut BtfBuilder, name: &str, values: &[(&str, u32)]) {
        let words: Vec<u32> = values
            .iter()
            .flat_map(|(name, value)| [btf.string(name), *value])
            .collect();
        btf.add(Kind::Enum, name, false, values.len() as u32, 4, &words);
    }

    fn tracepoint(btf: &mut BtfBuilder, arguments: usize) {
        let int = btf.int("int", 4);
        let prototype = btf.prototype(0, &vec![int; 1 + arguments]);
        let pointer = btf.pointer(prototype);
        btf.refer(Kind::Typedef, "btf_trace_kfree_skb", pointer);
    }

    const REASONS: [(&str, u32); 6] = [
        ("SKB_NOT_DROPPED_YET", 0),
        ("SKB_DROP_REASON_NOT_SPECIFIED", 2),
        ("SKB_DROP_REASON_NETFILTER_DROP", 12),
        ("SKB_DROP_REASON_NO_SOCKET", 3),
        ("SKB_DROP_REASON_MAX", 125),
        ("SKB_DROP_REASON_SUBSYS_MASK", 0xffff_0000),
    ];

    fn read(vmlinux: &BtfBuilder, modules: &[(&str, &BtfBuilder)]) -> Drops {
        let mut tree = Tree::new().with("/sys/kernel/btf/vmlinux", vmlinux.build());
        for (name, module) in modules {
            tree = tree.with(&format!("/sys/kernel/btf/{name}"), module.build());
        }
        read_tree(&tree)
    }

    fn read_tree(tree: &Tree) -> Drops {
        Drops::read(&tree.root(), &TypeBytes::new(&tree.root()).types())
    }

    #[test]
    fn reasons_of_core_and_subsystems_have_names() {
        let mut vmlinux = BtfBuilder::new();
        tracepoint(&mut vmlinux, 4);
        enumeration(&mut vmlinux, "skb_drop_reason", &REASONS);
        let qdisc = [("__QDISC_DROP_REASON", 5 << 16), ("QDISC_DROP_OVERLIMIT", 5 << 16 | 1)];
        enumeration(&mut vmlinux, "qdisc_drop_reason", &qdisc);
        // Another enum of such a name, which is not of packets.
        enumeration(
            &mut vmlinux,
            "vlan_drop_reason",
            &[("DROP_NOTHING", 0), ("DROP_ALL", 1)],
        );
        let mut module = BtfBuilder::split(&vmlinux);
        let ovs = [("OVS_DROP_ACTION_ERROR", 3 << 16 | 2), ("OVS_DROP_MAX", 3 << 16 | 3)];
        enumeration(&mut module, "ovs_drop_reason", &ovs);
        let drops = read(&vmlinux, &[("openvswitch", &module)]);
        let reasons: Vec<(u32, &str)> = drops
            .reasons
            .iter()
            .map(|(value, name)| (*value, name.as_str()))
            .collect();
        let expected = [
            (0, "SKB_NOT_DROPPED_YET"),
            (2, "NOT_SPECIFIED"),
            (3, "NO_SOCKET"),
            (12, "NETFILTER_DROP"),
            (0x3_0002, "OVS_DROP_ACTION_ERROR"),
            (0x5_0001, "QDISC_DROP_OVERLIMIT"),
        ];
        assert_eq!(reasons, expected);
        assert!(drops.tells_reason);
    }

    #[test]
    fn an_old_kernel_tells_no_reason() {
        let mut vmlinux = BtfBuilder::new();
        tracepoint(&mut vmlinux, 2);
        assert_eq!(read(&vmlinux, &[]), Drops::default());
        assert_eq!(read_tree(&Tree::new()), Drops::default());
        let broken = Tree::new().with("/sys/kernel/btf/vmlinux", b"\x9f\xeb");
        assert_eq!(read_tree(&broken), Drops::default());
    }

    #[test]
    fn a_tracepoint_of_three_arguments_tells_the_reason() {
        for (arguments, expected) in [(2, false), (3, true), (4, true)] {
            let mut vmlinux = BtfBuilder::new();
            tracepoint(&mut vmlinux, arguments);
            assert_eq!(read(&vmlinux, &[]).tells_reason, expected, "{arguments}");
        }
    }
}
