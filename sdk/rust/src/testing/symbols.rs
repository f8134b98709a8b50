//! Symbols that a recording names, at addresses that are made up: a recording has no addresses for them.

use std::collections::HashMap;

use crate::trace::Member;

/// Where the first one is, in a part of the address space where no kernel is.
const FIRST: u64 = 0xffff_9000_0000_0000;

/// Farther from one another than any distance from a symbol that is shown.
const DISTANCE: u64 = 64 << 20;

/// The symbols so far.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    addresses: HashMap<String, u64>,
    members: Vec<Member>,
}

impl Symbols {
    /// An address that is shown as this text: `name`, `name+0x12`, or `0x12`.
    pub(super) fn address(&mut self, text: &str) -> Option<u64> {
        if let Some(address) = hexadecimal(text) {
            return Some(address);
        }
        let (name, distance) = match text.rsplit_once('+') {
            Some((name, distance)) => match hexadecimal(distance) {
                Some(distance) => (name, distance),
                None => (text, 0),
            },
            None => (text, 0),
        };
        if let Some(address) = self.addresses.get(name) {
            return address.checked_add(distance);
        }
        let address = FIRST.checked_add(DISTANCE.checked_mul(self.members.len() as u64)?)?;
        self.addresses.insert(name.to_owned(), address);
        self.members.push(Member {
            name: name.to_owned(),
            value: address,
        });
        address.checked_add(distance)
    }

    /// All of them, sorted by address.
    pub(super) fn into_members(self) -> Vec<Member> {
        self.members
    }
}

/// A number with `0x` in front.
pub(super) fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16)
        .ok()
        .filter(|_| !digits.starts_with('+'))
}
