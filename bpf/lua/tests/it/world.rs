//! A kernel for the tests: its types, and memory with a packet.

use bpf_btf::{Btf, Builder, Kind};
use lua_bpf::{CompileError, Field, Fields, Program, Source, condition, fields, module};

use super::machine::{Machine, Memory, Value};

/// Addresses of the structs.
pub(crate) const PACKET: u64 = 0xffff_8880_0000_1000;
const DEVICE: u64 = 0xffff_8880_0000_2000;
const SOCKET: u64 = 0xffff_8880_0000_3000;
const HEAD: u64 = 0xffff_8880_0000_4000;
const ADDRESS: u64 = 0xffff_8880_0000_5000;
const KIND: u64 = 0xffff_8880_0000_6000;
/// Bytes of each.
const BYTES: usize = 256;

/// A packet and what it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) len: u32,
    pub(crate) mark: u32,
    pub(crate) protocol: [u8; 2],
    pub(crate) signed: i16,
    pub(crate) cookie: u64,
    pub(crate) narrow: u8,
    pub(crate) wide: u32,
    pub(crate) tilt: i8,
    pub(crate) cloned: bool,
    pub(crate) network_header: u16,
    pub(crate) dev: bool,
    pub(crate) name: [u8; 16],
    pub(crate) ifindex: i32,
    pub(crate) mac: [u8; 6],
    pub(crate) port: [u8; 2],
    pub(crate) saddr: [u8; 4],
    pub(crate) state: u8,
    pub(crate) head: [u8; 64],
    pub(crate) kind: &'static str,
}

impl Default for World {
    fn default() -> Self {
        World {
            len: 1500,
            mark: 0xdead_beef,
            protocol: [0x08, 0x00],
            signed: -7,
            cookie: 0x8000_0000_0000_0001,
            narrow: 5,
            wide: 0x12345,
            tilt: -2,
            cloned: true,
            network_header: 14,
            dev: true,
            name: *b"eth0\0unusedbytes",
            ifindex: 3,
            mac: [2, 0, 0, 0, 0, 0xab],
            port: [0x1f, 0x90],
            saddr: [192, 0, 2, 1],
            state: 2,
            head: std::array::from_fn(|index| index as u8),
            kind: "veth",
        }
    }
}

/// Offsets in bytes.
mod at {
    pub(crate) const LEN: usize = 8;
    pub(crate) const MARK: usize = 12;
    pub(crate) const PROTOCOL: usize = 16;
    pub(crate) const SIGNED: usize = 18;
    pub(crate) const COOKIE: usize = 24;
    pub(crate) const BITS: usize = 32;
    pub(crate) const CLONED: usize = 36;
    pub(crate) const NETWORK: usize = 38;
    pub(crate) const DEV: usize = 40;
    pub(crate) const SK: usize = 48;
    pub(crate) const HEAD: usize = 56;
    pub(crate) const NAME: usize = 0;
    pub(crate) const IFINDEX: usize = 20;
    pub(crate) const DEV_ADDR: usize = 24;
    pub(crate) const MAC: usize = 32;
    pub(crate) const KIND: usize = 40;
    pub(crate) const PORT: usize = 16;
    pub(crate) const SADDR: usize = 20;
    pub(crate) const STATE: usize = 24;
    pub(crate) const V6: usize = 32;
}

pub(crate) fn types() -> Vec<u8> {
    let mut b = Builder::new();
    let u8 = b.int("unsigned char", 1);
    let u16 = b.int("unsigned short", 2);
    let u32 = b.int("unsigned int", 4);
    let u64 = b.int("long long unsigned int", 8);
    let i16 = b.add(Kind::Int, "short", false, 0, 2, &[1 << 24 | 16]);
    let i32 = b.add(Kind::Int, "int", false, 0, 4, &[1 << 24 | 32]);
    let boolean = b.add(Kind::Int, "_Bool", false, 0, 1, &[4 << 24 | 8]);
    let character = b.add(Kind::Int, "char", false, 0, 1, &[1 << 24 | 8]);
    let be16 = b.refer(Kind::Typedef, "__be16", u16);
    let be32 = b.refer(Kind::Typedef, "__be32", u32);
    let sixteen = b.add(Kind::Array, "", false, 0, 0, &[character, u32, 16]);
    let six = b.add(Kind::Array, "", false, 0, 0, &[u8, u32, 6]);
    let twelve = b.add(Kind::Array, "", false, 0, 0, &[u32, u32, 3]);
    let bytes = b.pointer(u8);
    let constant = b.refer(Kind::Const, "", character);
    let string = b.pointer(constant);
    let v6 = b.add(Kind::Array, "", false, 0, 0, &[u8, u32, 16]);
    let in6 = b.composite(Kind::Struct, "in6_addr", 16, &[("s6_addr", v6, 0)]);
    let [established, closed] = ["TCP_ESTABLISHED", "TCP_CLOSE"].map(|name| b.string(name));
    let state = b.add(Kind::Enum, "state", false, 2, 1, &[established, 1, closed, 7]);
    let bit = |offset: usize| u32::try_from(8 * offset).unwrap();
    let kinds = b.composite(Kind::Struct, "ops", 8, &[("kind", string, 0)]);
    let to_kinds = b.pointer(kinds);
    let device = b.composite(
        Kind::Struct,
        "net_device",
        64,
        &[
            ("name", sixteen, bit(at::NAME)),
            ("ifindex", i32, bit(at::IFINDEX)),
            ("dev_addr", bytes, bit(at::DEV_ADDR)),
            ("perm_addr", six, bit(at::MAC)),
            ("ops", to_kinds, bit(at::KIND)),
        ],
    );
    let common = b.composite(
        Kind::Struct,
        "sock_common",
        48,
        &[
            ("skc_dport", be16, 0),
            ("skc_daddr", be32, 32),
            ("skc_state", state, 64),
            ("skc_v6_daddr", in6, 128),
        ],
    );
    let socket = b.composite(Kind::Struct, "sock", 128, &[("__sk_common", common, 128)]);
    let (to_device, to_socket) = (b.pointer(device), b.pointer(socket));
    let inside = b.composite(Kind::Struct, "", 8, &[("dev", to_device, 0)]);
    let union = b.composite(Kind::Union, "", 8, &[("", inside, 0), ("dev_scratch", u64, 0)]);
    // Bit-fields: the flag, and the width in the top byte.
    let mut members = Vec::new();
    let field = |offset: u32, width: u32| width << 24 | offset;
    for (name, kind, place) in [
        ("len", u32, bit(at::LEN)),
        ("mark", u32, bit(at::MARK)),
        ("protocol", be16, bit(at::PROTOCOL)),
        ("signed", i16, bit(at::SIGNED)),
        ("cookie", u64, bit(at::COOKIE)),
        ("narrow", u8, field(bit(at::BITS) + 1, 3)),
        ("wide", u32, field(bit(at::BITS) + 5, 20)),
        ("tilt", i32, field(bit(at::BITS) + 26, 4)),
        ("cloned", boolean, bit(at::CLONED)),
        ("network_header", u16, bit(at::NETWORK)),
        ("", union, bit(at::DEV)),
        ("sk", to_socket, bit(at::SK)),
        ("head", bytes, bit(at::HEAD)),
        ("words", twelve, bit(at::LEN)),
    ] {
        members.extend([b.string(name), kind, place]);
    }
    let count = u32::try_from(members.len() / 3).unwrap();
    b.add(Kind::Struct, "sk_buff", true, count, 128, &members);
    b.composite(
        Kind::Struct,
        "iphdr",
        20,
        &[("ttl", u8, 64), ("protocol", u8, 72), ("saddr", be32, 96)],
    );
    b.build()
}

impl World {
    fn part(&self, address: u64) -> Option<[u8; BYTES]> {
        let mut bytes = [0; BYTES];
        let mut put = |at: usize, with: &[u8]| bytes[at..at + with.len()].copy_from_slice(with);
        match address {
            PACKET => {
                put(at::LEN, &self.len.to_le_bytes());
                put(at::MARK, &self.mark.to_le_bytes());
                put(at::PROTOCOL, &self.protocol);
                put(at::SIGNED, &self.signed.to_le_bytes());
                put(at::COOKIE, &self.cookie.to_le_bytes());
                let bits = u32::from(self.narrow & 7) << 1
                    | (self.wide & 0xf_ffff) << 5
                    | u32::from(self.tilt.cast_unsigned() & 15) << 26
                    | 0xc000_0011;
                put(at::BITS, &bits.to_le_bytes());
                put(at::CLONED, &[self.cloned.into()]);
                put(at::NETWORK, &self.network_header.to_le_bytes());
                put(at::DEV, &(if self.dev { DEVICE } else { 0 }).to_le_bytes());
                put(at::SK, &SOCKET.to_le_bytes());
                put(at::HEAD, &HEAD.to_le_bytes());
            }
            DEVICE => {
                put(at::NAME, &self.name);
                put(at::IFINDEX, &self.ifindex.to_le_bytes());
                put(at::DEV_ADDR, &ADDRESS.to_le_bytes());
                put(at::MAC, &self.mac);
                put(at::KIND, &KIND.to_le_bytes());
            }
            SOCKET => {
                put(at::PORT, &self.port);
                put(at::SADDR, &self.saddr);
                put(at::STATE, &[self.state]);
                put(at::V6, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            }
            HEAD => put(0, &self.head),
            ADDRESS => put(0, &self.mac),
            // The pointer to the text, and the text.
            KIND => {
                put(0, &(KIND + 8).to_le_bytes());
                put(8, self.kind.as_bytes());
            }
            _ => return None,
        }
        Some(bytes)
    }
}

impl Memory for World {
    fn byte(&self, address: u64) -> Option<u8> {
        let start = address & !0xfff;
        let bytes = self.part(start)?;
        bytes.get((address - start) as usize).copied()
    }
}

/// A world whose parts are made once.
pub(crate) struct Image(Vec<(u64, [u8; BYTES])>);

impl Image {
    pub(crate) fn of(world: &World) -> Image {
        let all = [PACKET, DEVICE, SOCKET, HEAD, ADDRESS, KIND];
        Image(
            all.iter()
                .map(|address| (*address, world.part(*address).unwrap()))
                .collect(),
        )
    }
}

impl Memory for Image {
    fn byte(&self, address: u64) -> Option<u8> {
        let start = address & !0xfff;
        let (_, bytes) = self.0.iter().find(|(part, _)| *part == start)?;
        bytes.get((address - start) as usize).copied()
    }
}

pub(crate) fn compile_condition(text: &str) -> Result<Program, CompileError> {
    let types = types();
    condition(source(text), &Btf::parse(&types).unwrap())
}

pub(crate) fn compile_fields(texts: &[(&str, &str)]) -> Result<Fields, CompileError> {
    let types = types();
    let sources: Vec<_> = texts.iter().map(|(name, text)| (*name, source(text))).collect();
    fields(&sources, &Btf::parse(&types).unwrap(), 64)
}

pub(crate) fn compile_script(text: &str) -> Result<Fields, CompileError> {
    let types = types();
    let source = Source {
        name: "script.lua",
        text,
    };
    module(source, &Btf::parse(&types).unwrap(), 64)
}

pub(crate) fn source(text: &str) -> Source<'_> {
    Source {
        name: "expression",
        text,
    }
}

pub(crate) fn judge(memory: &dyn Memory, program: &Program) -> bool {
    match Machine::run(memory, &[Value::Number(PACKET)], 0, &program.code) {
        Ok((verdict, _)) => verdict == 1,
        Err(error) => panic!("{error}"),
    }
}

/// Returns the bytes that a program writes.
pub(crate) fn write(memory: &dyn Memory, program: &Program, size: u32) -> Vec<u8> {
    written(memory, program, size).expect("the event is wanted")
}

/// Returns the bytes that a program writes, if it wants the event.
pub(crate) fn written(memory: &dyn Memory, program: &Program, size: u32) -> Option<Vec<u8>> {
    let arguments = [Value::Number(0), Value::Number(PACKET), Value::Result(0)];
    match Machine::run(memory, &arguments, size as usize, &program.code) {
        Ok((0, bytes)) => Some(bytes),
        Ok((1, _)) => None,
        Ok((other, _)) => panic!("it returned {other}"),
        Err(error) => panic!("{error}"),
    }
}

/// Returns a field's bytes.
pub(crate) fn bytes_of<'b>(bytes: &'b [u8], field: &Field) -> &'b [u8] {
    &bytes[field.offset as usize..(field.offset + field.size) as usize]
}
