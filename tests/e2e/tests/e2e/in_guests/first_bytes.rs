//! Checks that first bytes of packets are their own and complete, although the kernel's memory contains those of
//! earlier packets: in a guest that does not clear allocations.

use std::collections::BTreeSet;
use std::fs;

use ipft_e2e::guest::{self, Left, Shared};
use ipft_e2e::jsonl::{Recording, entries};
use ipft_e2e::pcapng::{Capture, Packet};
use xtask::kernel::Kernel;

fn left() -> &'static Left {
    static RUN: Shared = Shared::new();
    RUN.left(|| {
        guest::run_with_kernel_words(
            "first-bytes",
            Kernel::V6_12,
            "init_on_alloc=0",
            include_str!("../../../guest/first_bytes.sh"),
        )
    })
}

/// A trace and the packets of it.
fn trace(name: &str) -> (Recording, Vec<Packet>) {
    assert_eq!(left().exit(name), 0);
    let recording = Recording::read(&left().path(&format!("{name}.out"))).unwrap();
    let file = fs::read(left().path(&format!("{name}.pcapng"))).unwrap();
    (recording, Capture::parse(&file).unwrap().packets)
}

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Returns the IP packet in an Ethernet frame, if it is of this version.
fn ip(packet: &Packet, version: u8) -> Option<&[u8]> {
    let types = [(4, 0x0800), (6, 0x86dd)];
    let wanted = types.contains(&(version, word(&packet.bytes, 12)));
    wanted.then(|| &packet.bytes[14..])
}

#[test]
fn no_packet_is_made_of_uncleared_memory() {
    let (recording, _) = trace("clones");
    let packets = recording.packets();
    assert!(packets.len() >= 120, "{} packets", packets.len());
    let copies = packets
        .values()
        .filter(|events| events.iter().all(|event| event.function == "__copy_skb_header"));
    assert_eq!(copies.count(), 0);
    assert!(
        packets.values().any(|events| entries(events, "__copy_skb_header") > 0),
        "no packet was copied, so nothing was shown"
    );
}

#[test]
fn a_clone_has_the_bytes_of_its_original() {
    let (recording, file) = trace("clones");
    let packets = recording.packets();
    let entered = |packet: &Packet, function| {
        let events = packets.get(&packet.identity);
        events.is_some_and(|events| entries(events, function) > 0)
    };
    assert!(file.iter().all(|packet| packet.link_type == 101));
    // The IPv4 identification, which the sender makes unique per datagram.
    let number = |packet: &Packet| word(&packet.bytes, 4);
    let sent: BTreeSet<u16> = file
        .iter()
        .filter(|packet| entered(packet, "udp_send_skb") || entered(packet, "udp_rcv"))
        .map(number)
        .collect();
    assert_eq!(sent.len(), 60);
    let clones: Vec<_> = file.iter().filter(|packet| entered(packet, "tpacket_rcv")).collect();
    assert!(clones.len() >= 60, "{} clones", clones.len());
    for clone in clones {
        assert!(sent.contains(&number(clone)), "{clone:?}");
        assert_eq!((clone.bytes[9], word(&clone.bytes, 22)), (17, 9000), "{clone:?}");
    }
}

#[test]
fn a_reassembled_datagram_has_its_own_bytes() {
    let (recording, file) = trace("bytes");
    let packets = recording.packets();
    let (mut whole, mut fragments) = (0, 0);
    for packet in &file {
        let Some(bytes) = ip(packet, 4) else { continue };
        let fragment = word(bytes, 6) & 0x3fff != 0;
        assert_eq!(u32::from(word(bytes, 2)), packet.length - 14, "{packet:?}");
        if entries(&packets[&packet.identity], "icmp_rcv") > 0 {
            assert!(!fragment && packet.length == 14 + 4028, "{packet:?}");
            whole += 1;
        }
        fragments += usize::from(fragment);
    }
    // The request and the reply, each in three fragments.
    assert_eq!(whole, 2);
    assert!(fragments >= 6, "{fragments} fragments");
}

#[test]
fn an_ipv6_packet_has_its_length() {
    let (_, file) = trace("bytes");
    let pings: Vec<_> = file
        .iter()
        .filter_map(|packet| Some((packet.length, ip(packet, 6)?)))
        .filter(|(_, bytes)| bytes[6] == 58 && bytes[40] == 128)
        .collect();
    assert!(!pings.is_empty(), "no ping was recorded");
    for (length, bytes) in pings {
        assert_eq!((length, word(bytes, 4)), (14 + 104, 64));
    }
}

#[test]
fn a_file_with_arp_can_be_read_by_libpcap() {
    let (_, file) = trace("bytes");
    assert!(file.iter().all(|packet| packet.link_type == 1));
    assert!(file.iter().any(|packet| word(&packet.bytes, 12) == 0x0806), "no ARP");
    let (said, shown) = (left().text("bytes-read.err"), left().text("bytes-read.out"));
    assert_eq!(left().exit("bytes-read"), 0, "{said}");
    assert_eq!(shown.lines().count(), file.len(), "{shown}");
}

#[test]
fn followed_packets_name_their_origin_and_end() {
    let (recording, file) = trace("followed");
    let (said, shown) = (left().text("followed-read.err"), left().text("followed-read.out"));
    assert_eq!(left().exit("followed-read"), 0, "{said}");
    assert_eq!(shown.lines().count(), file.len(), "{shown}");
    let mut made = 0;
    for packet in &file {
        let first = &packet.comments[0];
        let identity = format!("packet {:#x}", packet.identity);
        assert!(first.starts_with(&identity), "{first}");
        let mut births = recording.births.iter();
        if let Some(birth) = births.find(|birth| birth.packet == packet.identity) {
            assert!(first.contains(&format!(", made of {:#x} by ", birth.parent)), "{first}");
            made += 1;
        }
    }
    // The second and the third fragment.
    assert!(made >= 2, "{made}");
    let delivered = file.iter().filter(|packet| packet.comments[0].ends_with(", delivered"));
    assert_eq!(delivered.count(), 1);
}
