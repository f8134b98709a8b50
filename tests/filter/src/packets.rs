//! Packets from small pools of values, so that filters match often: whole ones and cut ones, some of them wrong.

use crate::random::Random;

const MACS: [[u8; 6]; 6] = [
    [0, 0x11, 0x22, 0x33, 0x44, 0x55],
    [2, 0, 0, 0, 0, 1],
    [0xff; 6],
    [1, 0, 0x5e, 0, 0, 1],
    [0x33, 0x33, 0, 0, 0, 1],
    [0; 6],
];
const IPV4: [[u8; 4]; 9] = [
    [10, 0, 0, 1],
    [10, 0, 0, 2],
    [10, 1, 2, 3],
    [192, 168, 1, 1],
    [192, 168, 0, 255],
    [224, 0, 0, 1],
    [255, 255, 255, 255],
    [127, 0, 0, 1],
    [0, 0, 0, 10],
];
const IPV6: [[u8; 16]; 5] = [
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
    [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
];
const PORTS: [u16; 11] = [80, 443, 22, 53, 8080, 1024, 5353, 4789, 6081, 65535, 21];
const PROTOCOLS: [u8; 20] = [
    6, 6, 6, 17, 17, 17, 1, 58, 132, 2, 47, 50, 51, 4, 41, 9, 103, 112, 88, 255,
];

/// An Ethernet frame, or its first bytes.
pub struct Frame {
    /// What was captured.
    pub bytes: Vec<u8>,
    /// The length of the whole.
    pub length: u32,
}

/// Returns a frame; about one in eight is cut, or was captured in part.
pub fn frame(random: &mut Random) -> Frame {
    let mut bytes = ethernet(random, 2);
    let mut length = bytes.len();
    if random.percent(12) {
        bytes.truncate(1 + random.below(length as u64) as usize);
        if random.percent(50) {
            length = bytes.len();
        }
    }
    Frame {
        bytes,
        length: u32::try_from(length).expect("frames are short"),
    }
}

fn fill(random: &mut Random, bytes: u64, into: &mut Vec<u8>) {
    for _ in 0..bytes {
        into.push(random.byte());
    }
}

/// `tunnels` says how many may still be inside each other.
fn ethernet(random: &mut Random, tunnels: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(random.pick(&MACS));
    frame.extend(random.pick(&MACS));
    let tags = if random.percent(20) { 1 + random.below(2) } else { 0 };
    for _ in 0..tags {
        frame.extend(random.pick(&[0x8100_u16, 0x88a8, 0x9100]).to_be_bytes());
        frame.extend(random.pick(&[100_u16, 200, 0x2064, 0]).to_be_bytes());
    }
    match random.below(26) {
        0 | 1 => arp(random, &mut frame),
        2 | 3 => mpls(random, &mut frame, tunnels),
        4 => pppoe(random, &mut frame, tunnels),
        5..=7 => llc(random, &mut frame),
        8 => {
            let kinds = [
                0x88cc_u16, 0x8863, 0x0842, 0x6001, 0x6002, 0x6003, 0x6004, 0x6007, 0x809b, 0x80f3, 0x8137, 0x9000,
            ];
            frame.extend(random.pick(&kinds).to_be_bytes());
            fill(random, 40, &mut frame);
        }
        _ => {
            let (kind, packet) = ip(random, tunnels);
            frame.extend(kind.to_be_bytes());
            frame.extend(packet);
        }
    }
    frame
}

fn arp(random: &mut Random, frame: &mut Vec<u8>) {
    frame.extend(random.pick(&[0x0806_u16, 0x0806, 0x8035]).to_be_bytes());
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1 + random.below(2) as u8]);
    frame.extend(random.pick(&MACS));
    frame.extend(random.pick(&IPV4));
    frame.extend(random.pick(&MACS));
    frame.extend(random.pick(&IPV4));
}

fn mpls(random: &mut Random, frame: &mut Vec<u8>, tunnels: u32) {
    frame.extend([0x88, 0x47]);
    let labels = 1 + random.below(2);
    for label in 0..labels {
        let last = u32::from(label + 1 == labels);
        let word = random.pick(&[100_u32, 1000]) << 12 | last << 8 | 64;
        frame.extend(word.to_be_bytes());
    }
    frame.extend(ip(random, tunnels).1);
}

fn pppoe(random: &mut Random, frame: &mut Vec<u8>, tunnels: u32) {
    frame.extend([0x88, 0x64, 0x11, 0, 0, random.pick(&[7, 8]).to_owned(), 0, 40]);
    let (kind, packet) = ip(random, tunnels);
    match random.below(5) {
        0 => frame.extend([0x02, 0x81, 0, 6, 0x41, 64]),
        _ if kind == 0x0800 => frame.extend([0, 0x21]),
        _ => frame.extend([0, 0x57]),
    }
    frame.extend(packet);
}

fn llc(random: &mut Random, frame: &mut Vec<u8>) {
    frame.extend((random.below(1501) as u16).to_be_bytes());
    match random.below(8) {
        0 => frame.extend([0x42, 0x42, 3]),
        1 | 2 => {
            frame.extend([0xfe, 0xfe, 3]);
            frame.push(*random.pick(&[0x81, 0x82, 0x83, 0x83]));
            fill(random, 3, frame);
            frame.push(*random.pick(&[15, 16, 17, 18, 20, 24, 25, 26, 27]));
        }
        3 => {
            let points = random
                .pick(&[[0xe0, 0xe0], [0xff, 0xff], [0xf0, 0xf0], [6, 6]])
                .to_owned();
            frame.extend(points);
            frame.push(3);
        }
        4 | 5 => {
            frame.extend([0xaa, 0xaa, 3]);
            let kinds = [
                [0, 0, 0, 0x81, 0x37],
                [8, 0, 7, 0x80, 0x9b],
                [0, 0, 0, 0x80, 0xf3],
                [0, 0, 0, 8, 0],
            ];
            frame.extend(random.pick(&kinds));
        }
        _ => {
            frame.extend([random.byte(), random.byte()]);
            let controls = [1, 5, 9, 3, 0x63, 0x43, 0x6f, 0xe3, 0xaf, 0x87, 0, 2];
            frame.push(*random.pick(&controls));
        }
    }
    fill(random, 20, frame);
}

/// Returns an IP packet and its Ethernet type.
fn ip(random: &mut Random, tunnels: u32) -> (u16, Vec<u8>) {
    let mut packet = Vec::new();
    let protocol = *random.pick(&PROTOCOLS);
    if random.percent(65) {
        let words: u8 = match random.below(20) {
            0..=3 => 6 + random.below(4) as u8,
            4 => random.below(16) as u8,
            _ => 5,
        };
        packet.push(0x40 | words);
        packet.push(4 * random.below(4) as u8);
        packet.extend((60 + random.below(1400) as u16).to_be_bytes());
        packet.extend([0, 1]);
        let fragment = match random.percent(15) {
            true => ((random.below(4) as u16) << 13) | (random.below(3) as u16 * 100),
            false => 0x4000,
        };
        packet.extend(fragment.to_be_bytes());
        packet.push(1 + random.below(64) as u8);
        packet.push(protocol);
        packet.extend([0, 0]);
        packet.extend(random.pick(&IPV4));
        packet.extend(random.pick(&IPV4));
        for _ in 5..words {
            packet.extend([1, 1, 1, 0]);
        }
        transport(random, protocol, &mut packet, tunnels);
        (0x0800, packet)
    } else {
        packet.extend([0x60, 0, 0, 0, 0, 40]);
        let extension = random.percent(20).then(|| *random.pick(&[0_u8, 43, 44, 60]));
        packet.push(extension.unwrap_or(protocol));
        packet.push(64);
        packet.extend(random.pick(&IPV6));
        packet.extend(random.pick(&IPV6));
        if extension.is_some() {
            packet.extend([protocol, 0, 0, 0, 0, 0, 0, 0]);
        }
        transport(random, protocol, &mut packet, tunnels);
        (0x86dd, packet)
    }
}

fn transport(random: &mut Random, protocol: u8, packet: &mut Vec<u8>, tunnels: u32) {
    match protocol {
        6 => {
            packet.extend(random.pick(&PORTS).to_be_bytes());
            packet.extend(random.pick(&PORTS).to_be_bytes());
            fill(random, 8, packet);
            packet.push(0x50);
            let any = random.byte();
            packet.push(*random.pick(&[2, 0x12, 0x10, 1, 4, 0x18, any]));
            fill(random, 6, packet);
        }
        17 => {
            packet.extend(random.pick(&PORTS).to_be_bytes());
            let destination = match random.percent(25) && tunnels > 0 {
                true => *random.pick(&[4789_u16, 6081, 6081]),
                false => *random.pick(&PORTS),
            };
            packet.extend(destination.to_be_bytes());
            packet.extend((random.below(100) as u16).to_be_bytes());
            packet.extend([0, 0]);
            match destination {
                4789 => {
                    packet.extend([*random.pick(&[8, 8, 8, 0]), 0, 0, 0, 0, 0, *random.pick(&[5, 6]), 0]);
                    packet.extend(ethernet(random, tunnels.saturating_sub(1)));
                }
                6081 => geneve(random, packet, tunnels),
                _ => {}
            }
        }
        132 => {
            packet.extend(random.pick(&PORTS).to_be_bytes());
            packet.extend(random.pick(&PORTS).to_be_bytes());
            fill(random, 8, packet);
        }
        1 | 58 => {
            packet.push(*random.pick(&[0, 8, 3, 11, 128, 129, 133, 135]));
            packet.push(random.below(4) as u8);
            fill(random, 6, packet);
        }
        _ => fill(random, 8, packet),
    }
    let rest = random.below(60);
    fill(random, rest, packet);
}

fn geneve(random: &mut Random, packet: &mut Vec<u8>, tunnels: u32) {
    let words = if random.percent(40) { random.below(4) as u8 } else { 0 };
    let version = if random.percent(10) { 0x40 } else { 0 };
    let vni = *random.pick(&[5, 6]);
    let (kind, inside) = match random.percent(70) {
        true => (0x6558, ethernet(random, tunnels.saturating_sub(1))),
        false => ip(random, tunnels.saturating_sub(1)),
    };
    packet.extend([version | words, 0]);
    packet.extend(kind.to_be_bytes());
    packet.extend([0, 0, vni, 0]);
    fill(random, 4 * u64::from(words), packet);
    packet.extend(inside);
}
