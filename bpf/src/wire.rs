//! The records as they lie in the ring or perf buffer, and a CPU's counters: the twin of `wire.h`, which says what the
//! fields mean.

/// In [`Event::cpu_and_kind`]: the event is a return.
pub const RETURN: u32 = 0x8000_0000;

/// Number of [`Cpu`]s in the `ipft_cpus` variable.
pub const MAX_CPUS: usize = 1024;

/// `struct ipft_event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Identity of the packet.
    pub packet: u64,
    /// Address of the sk_buff; 0 in a return.
    pub skb: u64,
    /// `bpf_ktime_get_ns()`.
    pub timestamp: u64,
    /// Index of the function, or its address.
    pub function: u64,
    /// CPU number, and [`RETURN`].
    pub cpu_and_kind: u32,
    /// The kernel's id of the current thread.
    pub thread: u32,
}

/// Bytes of an event without payload.
pub const EVENT_SIZE: usize = size_of::<Event>();

/// Bytes that follow the event of an entry when there is an extension (`IPFT_PAYLOAD`).
pub const PAYLOAD_SIZE: usize = 64;

/// In the place of [`Event::function`]: the record is a capture.
pub const CAPTURE: u64 = u64::MAX;

/// The most bytes that are taken of a packet ([`Config::record_bytes`]).
pub const MAX_RECORD_BYTES: u32 = 16384;

/// `struct ipft_capture`, up to the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Capture {
    /// Identity of the packet.
    pub packet: u64,
    /// Bytes of the packet from the first that was taken on.
    pub length: u32,
    /// How many were taken: the first of the bytes that follow.
    pub captured: u32,
    /// `bpf_ktime_get_ns()`.
    pub timestamp: u64,
    /// [`CAPTURE`].
    pub function: u64,
    /// `enum ipft_link`: [`LINK_ETHERNET`] or [`LINK_IP`].
    pub link: u32,
    padding: u32,
}

/// Bytes of a capture without those of the packet.
pub const CAPTURE_SIZE: usize = size_of::<Capture>();

/// In [`Capture::link`]: the first byte is of an Ethernet header.
pub const LINK_ETHERNET: u32 = 0;

/// In [`Capture::link`]: the first byte is of an IPv4 or IPv6 header.
pub const LINK_IP: u32 = 1;

/// `struct ipft_cpu`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Cpu {
    /// Events handed to the buffer.
    pub emitted: u64,
    /// Records that found no room in the buffer.
    pub buffer_full: u64,
    /// Events of packets that found no room in the table of packets.
    pub packets_full: u64,
    /// Returns not traced because the table of open calls was full.
    pub calls_full: u64,
    /// Returns that never came.
    pub calls_missed: u64,
    internal: [u64; 2],
    /// Identities given on this CPU.
    pub packets: u64,
}

/// `struct ipft_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The mark a packet must carry, already masked.
    pub mark: u32,
    /// The bits of the mark that count.
    pub mask: u32,
    /// Events go to the perf buffer, not to the ring buffer.
    pub use_perf_buffer: bool,
    /// Each traced call is remembered for the return program.
    pub remember_calls: bool,
    /// A CPU wakes the reader every so many events, less one: all bits below a power of two.
    pub wake_mask: u32,
    /// How a program knows the function it runs in.
    pub function_source: FunctionSource,
    /// Of each packet are sent so many of its first bytes, at most [`MAX_RECORD_BYTES`]; 0: none are.
    pub record_bytes: u32,
    /// The kernel does not handle every fault of a program that calls functions of its own.
    pub faults_crash: bool,
}

/// `enum ipft_function_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FunctionSource {
    /// The attach cookie: events carry the function's index.
    Cookie = 0,
    /// `bpf_get_func_ip`: events carry the function's address.
    FuncIp = 1,
    /// The instruction pointer: events carry the function's address.
    Regs = 2,
}

impl Config {
    /// The bytes of `.rodata.ipft`.
    pub fn to_bytes(self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..4].copy_from_slice(&self.mark.to_ne_bytes());
        bytes[4..8].copy_from_slice(&self.mask.to_ne_bytes());
        bytes[8] = self.use_perf_buffer.into();
        bytes[9] = self.remember_calls.into();
        bytes[10] = self.function_source as u8;
        bytes[11] = self.faults_crash.into();
        bytes[12..16].copy_from_slice(&self.wake_mask.to_ne_bytes());
        bytes[16..].copy_from_slice(&self.record_bytes.to_ne_bytes());
        bytes
    }
}

const _: () = {
    assert!(size_of::<Event>() == 40);
    assert!(std::mem::offset_of!(Event, skb) == 8);
    assert!(std::mem::offset_of!(Event, timestamp) == 16);
    assert!(std::mem::offset_of!(Event, function) == 24);
    assert!(std::mem::offset_of!(Event, cpu_and_kind) == 32);
    assert!(std::mem::offset_of!(Event, thread) == 36);
    assert!(size_of::<Capture>() == 40);
    assert!(std::mem::offset_of!(Capture, length) == 8);
    assert!(std::mem::offset_of!(Capture, captured) == 12);
    assert!(std::mem::offset_of!(Capture, timestamp) == 16);
    assert!(std::mem::offset_of!(Capture, function) == 24);
    assert!(std::mem::offset_of!(Capture, link) == 32);
    assert!(size_of::<Cpu>() == 64);
};

fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_ne_bytes(word)
}

fn half(bytes: &[u8], at: usize) -> u32 {
    let mut half = [0; 4];
    half.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(half)
}

impl Event {
    /// The event at the start of a record, or `None` if the record is too short.
    #[inline]
    pub fn parse(record: &[u8]) -> Option<Event> {
        let bytes: &[u8; EVENT_SIZE] = record.get(..EVENT_SIZE)?.try_into().ok()?;
        let last = word(bytes, 32).to_ne_bytes();
        Some(Event {
            packet: word(bytes, 0),
            skb: word(bytes, 8),
            timestamp: word(bytes, 16),
            function: word(bytes, 24),
            cpu_and_kind: u32::from_ne_bytes([last[0], last[1], last[2], last[3]]),
            thread: u32::from_ne_bytes([last[4], last[5], last[6], last[7]]),
        })
    }
}

impl Capture {
    /// The capture at the start of a record whose function is [`CAPTURE`], and the bytes that were taken; `None` if the
    /// record is too short for them.
    pub fn parse(record: &[u8]) -> Option<(Capture, &[u8])> {
        let (head, bytes) = record.split_first_chunk::<CAPTURE_SIZE>()?;
        let capture = Capture {
            packet: word(head, 0),
            length: half(head, 8),
            captured: half(head, 12),
            timestamp: word(head, 16),
            function: word(head, 24),
            link: half(head, 32),
            padding: 0,
        };
        let bytes = bytes.get(..usize::try_from(capture.captured).ok()?)?;
        (capture.function == CAPTURE).then_some((capture, bytes))
    }
}

impl Cpu {
    /// The counters of all CPUs, out of the bytes of the `cpus` variable.
    pub fn parse_all(bytes: &[u8]) -> impl Iterator<Item = Cpu> + '_ {
        bytes.chunks_exact(size_of::<Cpu>()).map(|bytes| Cpu {
            emitted: word(bytes, 0),
            buffer_full: word(bytes, 8),
            packets_full: word(bytes, 16),
            calls_full: word(bytes, 24),
            calls_missed: word(bytes, 32),
            internal: [0; 2],
            packets: word(bytes, 56),
        })
    }
}
