//! The values that programs are loaded with (`.rodata.ipft`). Imports nothing of ours.

use std::mem::offset_of;

use super::layout;
#[cfg(doc)]
use super::{FIELD_LEN, MAX_RECORD_BYTES};

/// `struct ipft_frame`: what a packet filter looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Frame {
    /// Bytes from the network header on at constant places, a multiple of 8.
    pub bytes: u32,
    /// Whether it looks at Ethernet addresses.
    pub mac: bool,
    /// Whether it looks at VLAN tags.
    pub vlan: bool,
    /// Whether it looks at the packet's length.
    pub length: bool,
    /// Always 0.
    pub padding: u8,
}

same_layout!(Frame, ipft_frame, bytes, mac, vlan, length, padding);

/// `struct ipft_place`: where packets are selected, and how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Place {
    /// Name of the device, masked.
    pub name: [u64; 2],
    /// The bits of the name that count; 0 for any device.
    pub mask: [u64; 2],
    /// Bits of which one must be set, in each word that has some.
    pub present: [u64; 2],
    /// Inode number of the network namespace; 0 for any.
    pub netns: u32,
    /// One of so many flows is selected; 0 and 1 for all.
    pub sample: u32,
    /// At most so many packets are selected per second; 0 for any number.
    pub rate: u32,
    /// Number of the process; 0 for any.
    pub pid: u32,
    /// Name of the thread; 0 for any.
    pub comm: [u64; 2],
    /// Number of the control group of the socket, or of one above that; 0 for any.
    pub cgroup: u64,
    /// How many groups are above it.
    pub cgroup_level: u32,
    /// In a trace of drops: at most so many are sent per second of each place, on each CPU; 0 for any number.
    pub drops: u32,
}

same_layout!(
    Place,
    ipft_place,
    name,
    mask,
    present,
    netns,
    sample,
    rate,
    pid,
    comm,
    cgroup,
    cgroup_level,
    drops
);

/// `struct ipft_context`: where a CPU counts its contexts; 0 if that is not known or not wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Context {
    /// Address of `__per_cpu_offset`.
    pub per_cpu_offset: u64,
    /// Address of `__preempt_count` or of `pcpu_hot`.
    pub preempt_count: u64,
}

same_layout!(Context, ipft_context, per_cpu_offset, preempt_count);

/// `struct ipft_config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// Whether events go to the perf buffer instead of the ring buffer.
    pub use_perf_buffer: bool,
    /// Whether each traced call is stored for the return program.
    pub remember_calls: bool,
    /// How a program identifies its function.
    pub function_source: FunctionSource,
    /// Number of events per CPU between wake-ups of the reader, less one: all bits below a power of two.
    pub wake_mask: u32,
    /// Number of first bytes to send of each packet, at most [`MAX_RECORD_BYTES`]; 0: none.
    pub record_bytes: u32,
    /// The built-in fields after the event of an entry: [`FIELD_LEN`] and so on.
    pub fields: u32,
    /// Total size of these fields, a multiple of 8.
    pub fields_size: u32,
    /// Number of ring buffers, less one: all bits below a power of two.
    pub ring_mask: u32,
    /// Nanoseconds between events of a CPU at the highest rate in the long run; 0 for any rate.
    pub event_interval: u32,
    /// Of programs that follow packets: the mark that a packet must carry to be selected, already masked.
    pub mark: u32,
    /// The bits of the mark that count; 0 if any mark will do.
    pub mask: u32,
    /// Whether every function selects packets, not only gates.
    pub select_anywhere: bool,
    /// Whether the tracepoint `skb:kfree_skb` tells the reason.
    pub drops_have_reason: bool,
    /// Whether a function shows a packet only if it selects it.
    pub judge_each: bool,
    /// Whether the packet inside must match the inner filter.
    pub judge_inner: bool,
    /// Whether the packet must match the expression.
    pub judge_where: bool,
    /// What the packet filter looks at.
    pub frame: Frame,
    /// What the inner filter looks at.
    pub inner: Frame,
    /// Where packets are selected, and how many.
    pub place: Place,
    /// Where a CPU counts its contexts.
    pub context: Context,
}

same_layout!(
    Config,
    ipft_config,
    use_perf_buffer,
    remember_calls,
    function_source,
    wake_mask,
    record_bytes,
    fields,
    fields_size,
    ring_mask,
    event_interval,
    mark,
    mask,
    select_anywhere,
    drops_have_reason,
    judge_each,
    judge_inner,
    judge_where,
    frame,
    inner,
    place,
    context
);

/// `enum ipft_function_source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FunctionSource {
    /// The attach cookie: events carry the function's index.
    Cookie = layout::ipft_function_source::IPFT_FROM_COOKIE as u8,
    /// `bpf_get_func_ip`: events carry the function's address.
    FuncIp = layout::ipft_function_source::IPFT_FROM_FUNC_IP as u8,
    /// The instruction pointer: events carry the function's address.
    Regs = layout::ipft_function_source::IPFT_FROM_REGS as u8,
}

const _: () = assert!(layout::ipft_function_source::COUNT == 3, "wire.h has other sources");

/// `enum ipft_maker`: what a function does that makes packets of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Maker {
    /// Its first argument becomes a copy of the second.
    Copy = layout::ipft_maker::IPFT_MAKER_COPY as u8,
    /// Its first argument becomes a fragment of the second.
    Fragment = layout::ipft_maker::IPFT_MAKER_FRAGMENT as u8,
    /// A part of its first argument becomes the second.
    Split = layout::ipft_maker::IPFT_MAKER_SPLIT as u8,
    /// GRO makes its second argument part of the first, or refuses to.
    Gro = layout::ipft_maker::IPFT_MAKER_GRO as u8,
    /// Likewise, with the data of packets in a socket's queue.
    Coalesce = layout::ipft_maker::IPFT_MAKER_COALESCE as u8,
    /// It frees a packet whose data became part of another one.
    Partial = layout::ipft_maker::IPFT_MAKER_PARTIAL as u8,
    /// Its second argument, a fragment, waits in the queue that is the first one.
    Queue = layout::ipft_maker::IPFT_MAKER_QUEUE as u8,
    /// Its second argument becomes the datagram of the fragments in the queue.
    Assemble = layout::ipft_maker::IPFT_MAKER_ASSEMBLE as u8,
}

const _: () = assert!(layout::ipft_maker::COUNT == 8, "wire.h has other makers");

impl Config {
    /// Returns the bytes of `.rodata.ipft`.
    pub fn to_bytes(self) -> [u8; size_of::<Config>()] {
        let mut bytes = [0; size_of::<Config>()];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(offset_of!(Config, use_perf_buffer), &[self.use_perf_buffer.into()]);
        put(offset_of!(Config, remember_calls), &[self.remember_calls.into()]);
        put(offset_of!(Config, function_source), &[self.function_source as u8]);
        put(offset_of!(Config, wake_mask), &self.wake_mask.to_ne_bytes());
        put(offset_of!(Config, record_bytes), &self.record_bytes.to_ne_bytes());
        put(offset_of!(Config, fields), &self.fields.to_ne_bytes());
        put(offset_of!(Config, fields_size), &self.fields_size.to_ne_bytes());
        put(offset_of!(Config, ring_mask), &self.ring_mask.to_ne_bytes());
        put(offset_of!(Config, event_interval), &self.event_interval.to_ne_bytes());
        put(offset_of!(Config, select_anywhere), &[self.select_anywhere.into()]);
        put(offset_of!(Config, drops_have_reason), &[self.drops_have_reason.into()]);
        put(offset_of!(Config, judge_each), &[self.judge_each.into()]);
        put(offset_of!(Config, judge_inner), &[self.judge_inner.into()]);
        put(offset_of!(Config, judge_where), &[self.judge_where.into()]);
        for (at, frame) in [
            (offset_of!(Config, frame), self.frame),
            (offset_of!(Config, inner), self.inner),
        ] {
            put(at + offset_of!(Frame, bytes), &frame.bytes.to_ne_bytes());
            put(at + offset_of!(Frame, mac), &[frame.mac.into()]);
            put(at + offset_of!(Frame, vlan), &[frame.vlan.into()]);
            put(at + offset_of!(Frame, length), &[frame.length.into()]);
        }
        const PLACE: usize = offset_of!(Config, place);
        for (at, words) in [
            (offset_of!(Place, name), self.place.name),
            (offset_of!(Place, mask), self.place.mask),
            (offset_of!(Place, present), self.place.present),
            (offset_of!(Place, comm), self.place.comm),
        ] {
            put(PLACE + at, &words[0].to_ne_bytes());
            put(PLACE + at + 8, &words[1].to_ne_bytes());
        }
        put(PLACE + offset_of!(Place, netns), &self.place.netns.to_ne_bytes());
        put(PLACE + offset_of!(Place, sample), &self.place.sample.to_ne_bytes());
        put(PLACE + offset_of!(Place, rate), &self.place.rate.to_ne_bytes());
        put(PLACE + offset_of!(Place, pid), &self.place.pid.to_ne_bytes());
        put(PLACE + offset_of!(Place, cgroup), &self.place.cgroup.to_ne_bytes());
        put(
            PLACE + offset_of!(Place, cgroup_level),
            &self.place.cgroup_level.to_ne_bytes(),
        );
        put(PLACE + offset_of!(Place, drops), &self.place.drops.to_ne_bytes());
        const CONTEXT: usize = offset_of!(Config, context);
        for (at, address) in [
            (offset_of!(Context, per_cpu_offset), self.context.per_cpu_offset),
            (offset_of!(Context, preempt_count), self.context.preempt_count),
        ] {
            put(CONTEXT + at, &address.to_ne_bytes());
        }
        put(offset_of!(Config, mark), &self.mark.to_ne_bytes());
        put(offset_of!(Config, mask), &self.mask.to_ne_bytes());
        bytes
    }
}
