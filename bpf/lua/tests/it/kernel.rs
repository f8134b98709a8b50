//! What the kernel gives a program of a socket: a context, a packet, and maps.

use std::collections::BTreeMap;

/// Bytes of the context that are readable here.
pub(crate) const CONTEXT: usize = 192;

/// A map of integers. An array has all its elements, and none can be removed.
pub(crate) struct MapOf {
    pub(crate) key: usize,
    pub(crate) value: usize,
    pub(crate) elements: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The kernel around a program of a socket. Maps go by their file descriptors.
pub(crate) struct Kernel {
    pub(crate) packet: Vec<u8>,
    pub(crate) context: [u8; CONTEXT],
    pub(crate) maps: BTreeMap<i32, MapOf>,
}

impl Kernel {
    /// Returns a kernel with a packet, and with a hash of keys and values of these bytes as descriptor 5.
    pub(crate) fn new(packet: &[u8], key: usize, value: usize) -> Kernel {
        let mut context = [0; CONTEXT];
        context[..4].copy_from_slice(&(packet.len() as u32).to_le_bytes());
        context[8..12].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        let elements = BTreeMap::new();
        Kernel {
            packet: packet.to_vec(),
            context,
            maps: BTreeMap::from([(5, MapOf { key, value, elements })]),
        }
    }

    /// Returns the map's elements as numbers without sign.
    pub(crate) fn numbers(&self) -> BTreeMap<u64, u64> {
        let wide = |bytes: &[u8]| {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(whole)
        };
        let elements = &self.maps[&5].elements;
        elements.iter().map(|(key, value)| (wide(key), wide(value))).collect()
    }

    /// Returns bytes of the packet as a number; none if the packet has not so many. Negative offsets are those of the
    /// network layer, which follows an Ethernet header.
    pub(crate) fn load(&self, offset: i32, size: usize) -> Option<u64> {
        let offset = if offset < 0 { offset + 0x10_0000 + 14 } else { offset };
        let start = usize::try_from(offset).ok()?;
        let bytes = self.packet.get(start..start + size)?;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}
