//! Reads the files of `--pcapng`, with an independent parser of the format.

use anyhow::{Context as _, Result, anyhow, ensure};
use pcap_parser::pcapng::{Block, OptionCode, PcapNGOption, parse_block_le};
use pcap_parser::traits::PcapNGPacketBlock as _;

/// A whole file: one section.
#[derive(Debug)]
pub struct Capture {
    /// The section's comment.
    pub command_line: String,
    /// The capturing system.
    pub os: String,
    /// The writing program.
    pub application: String,
    /// Packets, in file order.
    pub packets: Vec<Packet>,
}

/// A packet.
#[derive(Debug)]
pub struct Packet {
    /// The link type; all interfaces have nanoseconds.
    pub link_type: i32,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Original length.
    pub length: u32,
    /// Captured bytes.
    pub bytes: Vec<u8>,
    /// `epb_packetid`.
    pub identity: u64,
    /// Its comments.
    pub comments: Vec<String>,
}

/// The option `epb_packetid`, which the parser does not name.
const PACKET_ID: OptionCode = OptionCode(5);

impl Capture {
    /// Reads a file; anything that is not described above fails.
    pub fn parse(mut file: &[u8]) -> Result<Capture> {
        let mut capture = None;
        let mut interfaces = Vec::new();
        while !file.is_empty() {
            let at = file.len();
            let (rest, block) =
                parse_block_le(file).map_err(|error| anyhow!("{at} bytes before the end: {error:?}"))?;
            file = rest;
            match block {
                Block::SectionHeader(header) => {
                    ensure!(capture.is_none(), "a second section");
                    ensure!(
                        (header.major_version, header.minor_version) == (1, 0),
                        "another version"
                    );
                    ends(&header.options)?;
                    capture = Some(Capture {
                        command_line: text(&header.options, OptionCode::Comment)?.concat(),
                        os: text(&header.options, OptionCode::ShbOs)?.concat(),
                        application: text(&header.options, OptionCode::ShbUserAppl)?.concat(),
                        packets: Vec::new(),
                    });
                }
                Block::InterfaceDescription(interface) => {
                    ends(&interface.options)?;
                    ensure!(interface.if_tsresol == 9, "its times are no nanoseconds");
                    interfaces.push(interface.linktype.0);
                }
                Block::EnhancedPacket(packet) => {
                    let capture = capture.as_mut().context("a packet before the section")?;
                    ends(&packet.options)?;
                    let identity = packet.options.iter().find(|option| option.code == PACKET_ID);
                    let identity = identity.context("a packet without an identity")?.as_bytes();
                    capture.packets.push(Packet {
                        link_type: *interfaces.get(packet.if_id as usize).context("no such interface")?,
                        time: u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low),
                        length: packet.origlen,
                        bytes: packet.packet_data().to_vec(),
                        identity: u64::from_le_bytes(identity?.try_into()?),
                        comments: text(&packet.options, OptionCode::Comment)?,
                    });
                }
                other => anyhow::bail!("a block that ipft does not write: {other:?}"),
            }
        }
        capture.context("no section")
    }
}

fn ends(options: &[PcapNGOption<'_>]) -> Result<()> {
    let last = options.last().map(|option| option.code);
    ensure!(last == Some(OptionCode::EndOfOpt), "the options do not end");
    Ok(())
}

fn text(options: &[PcapNGOption<'_>], code: OptionCode) -> Result<Vec<String>> {
    let options = options.iter().filter(|option| option.code == code);
    options.map(|option| Ok(option.as_str()?.to_owned())).collect()
}
