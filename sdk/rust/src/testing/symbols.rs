//! Symbols of a recording, at invented addresses: a recording has none for them.

use std::collections::HashMap;

use crate::trace::Member;

/// The first address, in a part of the address space without a kernel.
const FIRST: u64 = 0xffff_9000_0000_0000;

/// Distance between symbols: larger than any offset that is shown.
const DISTANCE: u64 = 64 << 20;

/// The symbols so far.
#[derive(Debug, Default)]
pub(super) struct Symbols {
    addresses: HashMap<String, u64>,
    members: Vec<Member>,
}

impl Symbols {
    /// Returns an address that is shown as this text: `name`, `name+0x12`, or `0x12`.
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

    /// Returns all symbols, sorted by address.
    pub(super) fn into_members(self) -> Vec<Member> {
        self.members
    }
}

/// Parses a number with the prefix `0x`.
pub(super) fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    u64::from_str_radix(digits, 16)
        .ok()
        .filter(|_| !digits.starts_with('+'))
}
