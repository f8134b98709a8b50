//! The blocks of a pcapng file, as the IETF's draft of the format (draft-ietf-opsawg-pcapng) lays them out: a section
//! header, a description of each interface, packets with options. Nothing else is needed here, and nothing is read.
//!
//! Written by hand: of the one crate that writes packets with comments, `pcap-file`, the maintained version has only ever
//! been a release candidate. All numbers are little-endian, which the section header tells.

use crate::text::push_visible;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

/// By it a reader knows the byte order.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Length of a section that ends with the file.
const UNTIL_THE_END: u64 = u64::MAX;

/// Options of every block.
const END: u16 = 0;
const COMMENT: u16 = 1;
/// Options of a section header.
const OS: u16 = 3;
const APPLICATION: u16 = 4;
/// Options of an interface.
const NAME: u16 = 2;
const DESCRIPTION: u16 = 3;
const TIMESTAMP_RESOLUTION: u16 = 9;
/// Options of a packet.
const PACKET_ID: u16 = 5;

/// The longest option: its length is 16 bits wide, and padded it must fit them, too.
const LONGEST_OPTION: usize = 0xfffc;

/// A packet to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// The number of its interface: the first that was described is 0.
    pub(super) interface: u32,
    /// Nanoseconds since 1970.
    pub(super) time: u64,
    /// Original length, without `header`.
    pub(super) length: u32,
    /// Bytes prepended to it.
    pub(super) header: &'a [u8],
    /// Its first bytes.
    pub(super) bytes: &'a [u8],
    /// Its identity.
    pub(super) identity: u64,
    /// Text for people, with a newline between its lines. Each becomes a comment of its own, as programs that show
    /// comments show the beginning of each.
    pub(super) comment: &'a [u8],
}

/// Appends the block that a file begins with.
pub(super) fn section_header(out: &mut Vec<u8>, os: &str, application: &str, comment: &str) {
    block(out, SECTION_HEADER, |out| {
        out.extend_from_slice(&BYTE_ORDER.to_le_bytes());
        // Version 1.0.
        out.extend_from_slice(&1u16.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        out.extend_from_slice(&UNTIL_THE_END.to_le_bytes());
        for (code, text) in [(COMMENT, comment), (OS, os), (APPLICATION, application)] {
            let mut visible = Vec::new();
            push_visible(&mut visible, text);
            // Text is cut between two characters.
            let mut end = visible.len().min(LONGEST_OPTION);
            while visible.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
                end -= 1;
            }
            option(out, code, &visible[..end]);
        }
    });
}

/// Appends the description of an interface whose timestamps are nanoseconds. An empty `description` is left out.
pub(super) fn interface(out: &mut Vec<u8>, link_type: u16, name: &str, description: &str) {
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&link_type.to_le_bytes());
        out.extend_from_slice(&0u16.to_le_bytes());
        // Packets of any length.
        out.extend_from_slice(&0u32.to_le_bytes());
        option(out, NAME, name.as_bytes());
        if !description.is_empty() {
            option(out, DESCRIPTION, description.as_bytes());
        }
        option(out, TIMESTAMP_RESOLUTION, &[9]);
    });
}

/// Appends a packet.
pub(super) fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    block(out, ENHANCED_PACKET, |out| {
        out.extend_from_slice(&packet.interface.to_le_bytes());
        out.extend_from_slice(&((packet.time >> 32) as u32).to_le_bytes());
        out.extend_from_slice(&(packet.time as u32).to_le_bytes());
        let captured = packet.header.len() + packet.bytes.len();
        let length = packet.length.saturating_add(packet.header.len() as u32);
        out.extend_from_slice(&(captured as u32).to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(packet.header);
        out.extend_from_slice(packet.bytes);
        pad(out, captured);
        for line in packet
            .comment
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            option(out, COMMENT, line);
        }
        option(out, PACKET_ID, &packet.identity.to_le_bytes());
    });
}

/// Appends a block around what `fill` appends, and the end of its options.
fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    fill(out);
    option(out, END, b"");
    let length = (out.len() - start + 4) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
}

/// Appends an option. What is longer than an option can be is cut.
fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(LONGEST_OPTION)];
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out, value.len());
}

/// Appends what is missing behind so many bytes to a multiple of four.
fn pad(out: &mut Vec<u8>, length: usize) {
    out.resize(out.len() + length.wrapping_neg() % 4, 0);
}
