//! The functions that the kernel forbids to probe: `/sys/kernel/debug/kprobes/blacklist`.
//!
//! A line is `0xSTART-0xEND<TAB>NAME`. The file may be missing (debugfs not mounted, or locked down): then nothing is
//! known to be forbidden and the kernel itself will refuse.

use super::Root;
use super::lines::{for_each_line, hexadecimal};
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;

/// The forbidden functions.
#[derive(Debug, Default)]
pub(super) struct Blacklist {
    /// Address ranges, end exclusive, sorted, none touching another.
    ranges: Vec<(u64, u64)>,
    /// Names, for kernels that hide addresses.
    names: HashSet<Vec<u8>>,
}

impl Blacklist {
    /// Reads it, or an empty one if there is none to read.
    pub(super) fn read(root: &Root) -> Self {
        match File::open(root.path("/sys/kernel/debug/kprobes/blacklist")) {
            Ok(file) => Self::parse(file),
            Err(_) => Blacklist::default(),
        }
    }

    fn parse(source: impl Read) -> Self {
        let mut list = Blacklist::default();
        let read = for_each_line(source, |line| {
            let Some((start, rest)) = hexadecimal(line) else { return };
            let Some((end, rest)) = rest.strip_prefix(b"-").and_then(hexadecimal) else {
                return;
            };
            if start != 0 {
                list.ranges.push((start, end));
            } else if let Some(name) = rest.strip_prefix(b"\t") {
                list.names.insert(name.to_vec());
            }
        });
        // The readable part counts, even if the rest failed: the list only saves attempts that would fail.
        drop(read);
        list.ranges.sort_unstable();
        list.ranges.dedup_by(|next, previous| {
            let overlap = next.0 <= previous.1;
            if overlap {
                previous.1 = previous.1.max(next.1);
            }
            overlap
        });
        list
    }

    /// Returns whether probing the function with this address (0 if unknown) and name is forbidden.
    pub(super) fn contains(&self, address: u64, name: &str) -> bool {
        if address == 0 || self.ranges.is_empty() {
            return self.names.contains(name.as_bytes());
        }
        let after = self.ranges.partition_point(|(start, _)| *start <= address);
        after
            .checked_sub(1)
            .and_then(|last| self.ranges.get(last))
            .is_some_and(|(_, end)| address < *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_nested_ranges_is_forbidden() {
        let list = Blacklist::parse(
            &b"0x0000000000001000-0x0000000000002000\tsection\n\
               0x0000000000001100-0x0000000000001110\tinner\n\
               0x0000000000003000-0x0000000000003010\tlater\n\
               rubbish\n"[..],
        );
        for (address, forbidden) in [
            (0xfff, false),
            (0x1000, true),
            (0x1105, true),
            (0x1200, true),
            (0x2000, false),
            (0x300f, true),
            (0x3010, false),
        ] {
            assert_eq!(list.contains(address, "any"), forbidden, "{address:#x}");
        }
    }

    #[test]
    fn where_addresses_are_hidden_names_are_forbidden() {
        let list = Blacklist::parse(&b"0x0000000000000000-0x0000000000000000\tdo_int3\n"[..]);
        assert!(list.contains(0, "do_int3"));
        assert!(list.contains(0xffff_ffff_8100_0000, "do_int3"));
        assert!(!list.contains(0, "ip_rcv"));
    }
}
