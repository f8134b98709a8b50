//! Lists the loaded modules (`/proc/modules`).

use std::collections::BTreeMap;
use std::fs;

use super::Root;

/// The modules that are loaded, by name, with what tells a module from one of the same name that was there before: its
/// address, where the kernel shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadedModules {
    modules: BTreeMap<String, String>,
    /// A module is being loaded or unloaded, so that it is worth to look again soon.
    pub changing: bool,
}

impl LoadedModules {
    /// Reads the list; empty where it cannot be read.
    pub fn read(root: &Root) -> Self {
        let mut loaded = LoadedModules::default();
        let text = fs::read(root.path("/proc/modules")).unwrap_or_default();
        // "nf_nat 57344 2 nft_chain_nat,xt_MASQUERADE, Live 0xffffffffc0a3c000"
        for line in String::from_utf8_lossy(&text).lines() {
            let mut words = line.split(' ');
            let (Some(name), Some(state), Some(address)) = (words.next(), words.nth(3), words.next()) else {
                continue;
            };
            // One that is still being loaded may yet fail to; one that is being unloaded takes no packets.
            if state == "Live" {
                loaded.modules.insert(name.to_owned(), address.to_owned());
            } else {
                loaded.changing = true;
            }
        }
        loaded
    }

    /// The names of the modules here that are not among the others.
    pub fn not_in<'a>(&'a self, others: &'a LoadedModules) -> impl Iterator<Item = &'a str> {
        let differs = |(name, address): &(&String, &String)| others.modules.get(*name) != Some(*address);
        self.modules.iter().filter(differs).map(|(name, _)| name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tree;
    use super::*;

    fn loaded(lines: &str) -> LoadedModules {
        LoadedModules::read(&Tree::new().with("/proc/modules", lines).root())
    }

    #[test]
    fn only_modules_that_are_live_are_loaded() {
        let before = loaded("veth 45056 0 - Live 0xffffffffc0000000\n");
        let after = loaded(
            "dummy 16384 0 - Loading 0xffffffffc0400000\nnf_nat 57344 2 xt_NAT,nft_nat, Live 0xffffffffc0a3c000 (E)\n\
             veth 45056 0 - Live 0xffffffffc0000000\n",
        );
        assert_eq!(after.not_in(&before).collect::<Vec<_>>(), ["nf_nat"]);
        assert_eq!(before.not_in(&after).count(), 0);
        assert!(after.changing && !before.changing);
    }

    #[test]
    fn a_module_that_was_loaded_again_is_another_one() {
        let before = loaded("veth 45056 0 - Live 0xffffffffc0000000\n");
        let after = loaded("veth 45056 0 - Live 0xffffffffc0800000\n");
        assert_eq!(after.not_in(&before).collect::<Vec<_>>(), ["veth"]);
    }

    #[test]
    fn a_list_that_is_not_one_has_no_modules() {
        for text in ["", "\n", "veth\n", "veth 1 2 3\n", "\u{fffd} \n\n"] {
            assert_eq!(loaded(text), LoadedModules::default());
        }
        assert_eq!(LoadedModules::read(&Tree::new().root()), LoadedModules::default());
    }
}
