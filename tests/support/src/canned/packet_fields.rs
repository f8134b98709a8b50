//! The built-in fields of a packet at one function, as the programs store them. Imports nothing of ours.

use ipft_core::event::*;

/// The built-in fields of a packet at one function, in the order in which they are stored.
#[derive(Clone, Copy, Default)]
pub struct Fields {
    pub len: u32,
    pub mark: u32,
    pub saddr: [u8; 16],
    pub daddr: [u8; 16],
    pub ports: (u16, u16),
    pub ethertype: u16,
    pub proto: u8,
    /// Flags, sequence number and acknowledgement.
    pub tcp: (u8, u32, u32),
    /// Type and code.
    pub icmp: (u8, u8),
    pub frag: u16,
    /// Identifier and sequence number.
    pub echo: (u16, u16),
    pub iface: &'static str,
    pub netns: u32,
}

impl Fields {
    /// A packet from 10.0.0.1 to 10.0.0.2.
    pub fn ipv4(proto: u8, len: u32) -> Self {
        Fields {
            len,
            saddr: mapped(10, 0, 0, 1),
            daddr: mapped(10, 0, 0, 2),
            ethertype: 0x0800,
            proto,
            ..Fields::default()
        }
    }

    /// The payload with these fields.
    pub fn bytes(&self) -> Vec<u8> {
        let schema = Fields::schema();
        let mut bytes = vec![0; schema.size as usize];
        let mut set = |name: &str, value: &[u8]| {
            let field = schema.fields.iter().find(|field| field.name == name);
            let start = field.expect("there is such a field").offset as usize;
            bytes[start..start + value.len()].copy_from_slice(value);
        };
        set("len", &self.len.to_ne_bytes());
        set("mark", &self.mark.to_ne_bytes());
        set("saddr", &self.saddr);
        set("daddr", &self.daddr);
        set("sport", &self.ports.0.to_be_bytes());
        set("dport", &self.ports.1.to_be_bytes());
        set("ethertype", &self.ethertype.to_ne_bytes());
        set("proto", &[self.proto]);
        set("tcp_flags", &[self.tcp.0]);
        set("seq", &self.tcp.1.to_ne_bytes());
        set("ack", &self.tcp.2.to_ne_bytes());
        set("icmp_type", &[self.icmp.0]);
        set("icmp_code", &[self.icmp.1]);
        set("frag", &self.frag.to_ne_bytes());
        set("icmp_id", &self.echo.0.to_ne_bytes());
        set("icmp_seq", &self.echo.1.to_ne_bytes());
        set("iface", self.iface.as_bytes());
        set("ifindex", &(self.iface.len() as u32).to_ne_bytes());
        set("netns", &self.netns.to_ne_bytes());
        bytes
    }

    /// The schema of these bytes.
    pub fn schema() -> Schema {
        ipft_core::field::Show::of_filter().schema(&Schema::default())
    }
}

/// An IPv4 address as it is stored.
pub fn mapped(a: u8, b: u8, c: u8, d: u8) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
