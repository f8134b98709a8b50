/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every program does once it holds the sk_buff: compare the mark, find the packet's identity, emit the event.
 * The programs in the .bpf.c files differ only in how they get the sk_buff and the function.
 *
 * A packet that does not match is the product's price on a busy host, so it costs one load and one compare.
 */
#ifndef IPFT_PROBE_H
#define IPFT_PROBE_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include "wire.h"

#define MAX_CPUS 1024 /* a power of two; also the room for the CPU in a packet's identity */
#define FILTER_SIZE 16384

struct net_device {
	__u16 type;
} __attribute__((preserve_access_index));

struct sk_buff {
	__u32 mark;
	__u32 len;
	__u16 protocol;
	__u16 network_header;
	__u16 mac_header;
	__u32 tail;
	__u8 *head;
	__u8 *data;
	struct net_device *dev;
} __attribute__((preserve_access_index));

const volatile struct ipft_config ipft_config SEC(".rodata.ipft") = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ipft_ring SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} ipft_perf SEC(".maps");

/*
 * Identity. The kernel reuses the memory of an sk_buff at once, so its address names a packet only while it lives.
 * The table says which packet lives at an address. An entry is made when a matching packet is first seen and is
 * deleted by the functions that give the memory back (kfree_skbmem, napi_skb_cache_put). Some paths give it back
 * without a function that could be probed (kfree_skb_partial, bulk frees), but all of them call
 * skb_release_head_state first (net/core/skbuff.c); from there on the packet is `dying`: what is seen of that
 * address later, other than the functions that tear an sk_buff down, is a new packet.
 *
 * The identity itself is the time of the first event and its CPU: no counter to share between CPUs, and no two
 * packets are first seen on one CPU in the same nanosecond, because the program itself takes longer.
 */
struct packet {
	__u64 id;
	__u32 dying;
	__u32 captured; /* nothing is left to be done about its first bytes */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct packet);
} ipft_packets SEC(".maps");

/*
 * Traced calls that have not returned, by their frame: the address of their return address. Calls that run at the same
 * time have different ones, but for tail calls: a function that ends by jumping to another hands its frame on, and
 * when that returns, both do, the inner one first.
 */
#define TAIL_CALLS 6

struct call {
	__u64 packet;
	__u64 function;
};

struct frame {
	__u64 depth; /* how many of the calls are open */
	struct call calls[TAIL_CALLS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct frame);
} ipft_calls SEC(".maps");

/*
 * How many entries of a table hash to a slot: a program that runs for every packet asks here before it pays for a
 * lookup. Kept in step with the tables by atomic additions, so a zero is certain.
 */
__u32 ipft_live_packets[FILTER_SIZE];
__u32 ipft_live_calls[FILTER_SIZE];

/* In a map of its own, which user space reads whole. */
struct ipft_cpu ipft_cpus[MAX_CPUS] SEC(".bss.cpus");

/*
 * Grows whenever an identity ends, on whichever CPU. Most events of a CPU are of the packet of the event before, so a
 * CPU remembers that packet and needs no lookup while no identity has ended.
 *
 * What is remembered is two words, and a program may be interrupted by another one between them. So the second word
 * holds the identity too, mixed with the address and the epoch: words of different packets do not fit together.
 */
__u64 ipft_epoch;

static __always_inline __u64 check_of(__u64 packet, __u64 skb)
{
	/* Odd, so that every epoch changes other bits than the address does. */
	return packet ^ skb ^ *(volatile __u64 *)&ipft_epoch * 0x9e3779b97f4a7c15ull;
}

/* What the verifier takes the address of an sk_buff for. */
enum pointer {
	NUMBER,
	TYPED,
};

static __always_inline __u32 slot_of(__u64 address)
{
	/* Frames and sk_buffs are aligned to 8 and spread over a page at least. */
	return (__u32)((address >> 3) ^ (address >> 17)) & (FILTER_SIZE - 1);
}

/*
 * Verifiers allow no arithmetic on a typed pointer but the difference to another pointer, which hashes as well. To be
 * asked before the pointer has served as a map's key: it may be a number after that.
 */
static __always_inline __u32 slot_of_packet(__u64 skb, enum pointer pointer)
{
	if (pointer == TYPED)
		asm volatile("%0 -= %1" : "+r"(skb) : "r"(ipft_live_packets));
	return slot_of(skb);
}

static __always_inline struct ipft_cpu *this_cpu(void)
{
	return &ipft_cpus[bpf_get_smp_processor_id() & (MAX_CPUS - 1)];
}

static __always_inline int mark_matches(__u32 mark)
{
	if (ipft_config.mask != ~0u)
		mark &= ipft_config.mask;
	return mark == ipft_config.mark;
}

/* Where a packet stands in its life when a function sees it. */
enum role {
	ORDINARY, /* the packet lives */
	TEARDOWN, /* runs on a packet whose memory is being given back, too */
	RELEASE,  /* the packet is dying from here on */
	FREE,	  /* the memory is given back: the last that is seen of the packet */
};

/* A new identity. */
static __always_inline __u64 new_packet(__u64 now)
{
	__u32 cpu = bpf_get_smp_processor_id() & (MAX_CPUS - 1);

	__sync_fetch_and_add(&ipft_cpus[cpu].packets, 1);
	return now << 10 | cpu;
}

/* The packet that lives at `skb`, made if there is none. 0: the table is full. */
static __always_inline __u64 identify(__u64 skb, enum pointer pointer, __u64 now, enum role role)
{
	__u32 slot = slot_of_packet(skb, pointer);
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);

	if (packet) {
		if (role == ORDINARY && packet->dying) {
			packet->id = new_packet(now);
			packet->dying = 0;
			packet->captured = 0;
		}
		__u64 id = packet->id;
		if (role == RELEASE)
			packet->dying = 1;
		if (role == FREE && !bpf_map_delete_elem(&ipft_packets, &skb))
			__sync_fetch_and_add(&ipft_live_packets[slot], -1);
		if (role == RELEASE || role == FREE)
			__sync_fetch_and_add(&ipft_epoch, 1);
		return id;
	}

	struct packet fresh = {
		.id = new_packet(now),
		.dying = role == RELEASE,
	};
	if (role == FREE)
		return fresh.id;
	if (!bpf_map_update_elem(&ipft_packets, &skb, &fresh, BPF_NOEXIST)) {
		__sync_fetch_and_add(&ipft_live_packets[slot], 1);
		return fresh.id;
	}
	/* Full, or another CPU was first: packets in a shared sk_buff. */
	packet = bpf_map_lookup_elem(&ipft_packets, &skb);
	if (packet)
		return packet->id;
	__sync_fetch_and_add(&this_cpu()->packets_full, 1);
	return 0;
}

#define PROTOCOL_IPV4 0x0800
#define PROTOCOL_IPV6 0x86dd
#define DEVICE_ETHERNET 1 /* ARPHRD_ETHER */
#define UNSET 0xffff	  /* of mac_header */
#define IPV4_HEADER 20
#define IPV4_LONGEST_HEADER 60
#define IPV6_HEADER 40
#define IP_LONGEST 0xffff    /* a longer packet, which will be segmented, has 0 as its length */
#define IPV4_FRAGMENT 0x3fff /* "more fragments", and the offset */
#define ETHERNET_PADDED 46   /* shorter packets are padded, and received so */

/* Whether an IP header's length is that of the packet. */
static __always_inline int length_fits(__u32 said, __u32 length)
{
	return said == length || (said < length && length <= ETHERNET_PADDED);
}

/* `first` is the header's first byte; `placed`: the packet has a device, see capture(). */
static __always_inline int ipv4_is_complete(__u8 first, void *header, __u32 room, __u32 length, int placed)
{
	__u16 parts[IPV4_LONGEST_HEADER / 2] = {};
	__u32 size = (first & 15) * 4;
	__u32 sum = 0;

	if (size < IPV4_HEADER || size > room || bpf_probe_read_kernel(parts, size, header))
		return 0;
#pragma unroll
	for (int i = 0; i < IPV4_LONGEST_HEADER / 2; i++)
		sum += parts[i];
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	if (sum != 0xffff || (!placed && parts[3] & bpf_htons(IPV4_FRAGMENT)))
		return 0;
	__u32 total = bpf_ntohs(parts[1]);
	return total ? total >= size && length_fits(total, length) : length > IP_LONGEST;
}

static __always_inline int ipv6_is_complete(void *header, __u32 room, __u32 length, int placed)
{
	__u16 payload = 0;

	if (!placed || room < IPV6_HEADER || bpf_probe_read_kernel(&payload, sizeof(payload), header + 4))
		return 0;
	__u32 total = IPV6_HEADER + bpf_ntohs(payload);
	return length_fits(total, length) || (!payload && length > IPV6_HEADER + IP_LONGEST);
}

/*
 * Sends the first bytes of a packet once, and says whether that is over and done with.
 *
 * A packet is often seen before its headers are complete: their memory then holds what was there before, which may look
 * like a header, as memory is given to packets of the same sort again and again. So a packet waits, at most until it is
 * released, until its IP header fits it, whatever function that is in. An sk_buff gets its protocol no later than the
 * length and the checksum of an IPv4 header, but the protocol of an IPv6 packet comes before its UDP header, and only
 * its device after that. A datagram that is put together has the header of its first fragment and no device until it is
 * whole (inet_frag_reasm_finish): the order of all that is the same in Linux 5.10 to 7.2.
 *
 * Only what lies between head and tail can be read: pages that hang on the packet are not taken. Nothing is sent of a
 * packet that is neither IP nor on an Ethernet device, nor of one whose memory is already being given back.
 */
static __noinline int capture(__u64 skb, __u64 now, int released)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);

	if (!packet || packet->captured || (packet->dying && !released))
		return 1;
	struct sk_buff *held = (void *)skb;
	__u16 protocol = BPF_CORE_READ(held, protocol);
	if (!protocol && !released)
		return 0;

	__u8 *head = BPF_CORE_READ(held, head);
	__u32 tail = BPF_CORE_READ(held, tail);
	__u32 start = BPF_CORE_READ(held, network_header);
	/* Both headers may lie before the data, which begins where the kernel is at work. */
	__u32 end = BPF_CORE_READ(held, len) + (__u32)(BPF_CORE_READ(held, data) - head);
	struct net_device *device = BPF_CORE_READ(held, dev);
	__u32 link = IPFT_ETHERNET;
	if (!protocol || protocol == bpf_htons(PROTOCOL_IPV4) || protocol == bpf_htons(PROTOCOL_IPV6)) {
		__u8 first = 0;
		int complete = 0;

		/* Before the network layer has seen the packet, the offset may be anything. */
		if (start < tail && (__s32)(end - start) > 0)
			bpf_probe_read_kernel(&first, sizeof(first), head + start);
		if (first >> 4 == 4)
			complete = ipv4_is_complete(first, head + start, tail - start, end - start, !!device);
		else if (first >> 4 == 6)
			complete = ipv6_is_complete(head + start, tail - start, end - start, !!device);
		if (!complete && !released)
			return 0;
		/* What was wrong to the end is shown as it is, if the packet was ever one. */
		if (complete || (protocol && (first >> 4 == 4 || first >> 4 == 6)))
			link = IPFT_IP;
	}
	if (link == IPFT_ETHERNET) {
		start = BPF_CORE_READ(held, mac_header);
		if (start == UNSET || BPF_CORE_READ(device, type) != DEVICE_ETHERNET)
			return 0;
	}
	__u32 length = end - start;
	if (start >= tail || (__s32)length <= 0)
		return 0;

	packet->captured = 1;
	__u64 room = ipft_config.record_bytes;
	struct ipft_capture *record = bpf_ringbuf_reserve(&ipft_ring, sizeof(*record) + room, 0);
	if (!record) {
		__sync_fetch_and_add(&this_cpu()->buffer_full, 1);
		return 1;
	}
	__u64 size = tail - start;
	if (size > length)
		size = length;
	if (size > room)
		size = room;
	record->packet = packet->id;
	record->length = length;
	record->captured = size;
	record->timestamp = now;
	record->function = IPFT_CAPTURE;
	record->link = link;
	record->padding = 0;
	if (bpf_probe_read_kernel(record->bytes, size, head + start))
		bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
	else
		bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 1;
}

/* The packet that lives at `skb`, from memory if this CPU saw it last. */
static __always_inline __u64 identify_again(struct ipft_cpu *cpu, __u64 skb, enum pointer pointer, __u64 now,
					    enum role role)
{
	__u64 packet = *(volatile __u64 *)&cpu->last_packet;
	__u64 address = 0;

	/* As a number, which a typed pointer is not: see slot_of_packet. */
	if (pointer == TYPED) {
		address = skb;
		asm volatile("%0 -= %1" : "+r"(address) : "r"(ipft_live_packets));
	} else {
		address = skb;
	}
	if (role == ORDINARY && packet && *(volatile __u64 *)&cpu->last_check == check_of(packet, address))
		return packet;
	packet = identify(skb, pointer, now, role);
	/* What is remembered is not looked at again, so its first bytes must be on their way. */
	if (ipft_config.record_bytes && !capture(skb, now, role == RELEASE))
		return packet;
	if (role == ORDINARY) {
		*(volatile __u64 *)&cpu->last_packet = packet;
		*(volatile __u64 *)&cpu->last_check = check_of(packet, address);
	}
	return packet;
}

/* A packet that does not match (any more) is released or freed: it loses its identity if it had one. */
static __always_inline void forget(__u64 skb, enum pointer pointer, enum role role)
{
	__u32 slot = slot_of_packet(skb, pointer);

	if (!ipft_live_packets[slot])
		return;
	if (role == FREE) {
		if (!bpf_map_delete_elem(&ipft_packets, &skb))
			__sync_fetch_and_add(&ipft_live_packets[slot], -1);
	} else {
		struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);
		if (packet)
			packet->dying = 1;
	}
	__sync_fetch_and_add(&ipft_epoch, 1);
}

#if EXTENSION
/*
 * The user's, linked in by host/core/src/probe/link.rs: fills the payload and returns 0, or returns anything else to drop the
 * event. It takes a struct sk_buff *, which is declared void * here because the linker compares declarations.
 */
extern int module(void *ctx, void *skb, void *data) __hidden;
#define PAYLOAD IPFT_PAYLOAD
#else
#define PAYLOAD 0
#endif

/* What is sent for an entry; a return has no payload. */
struct record {
	struct ipft_event event;
	__u8 payload[PAYLOAD];
};

/* Lets the extension fill the payload. Whether the event is wanted. `skb` is a number: extensions may calculate with it. */
static __always_inline int describe(void *ctx, __u64 skb, struct record *record)
{
#if EXTENSION
	return !module(ctx, (void *)skb, record->payload);
#else
	return 1;
#endif
}

/* 1 if the event is on its way to user space; 0 if it is not wanted, or lost and counted. */
static __always_inline int emit(void *ctx, struct ipft_cpu *cpu, __u32 processor, __u64 packet, __u64 skb, __u64 now,
				__u64 function, __u32 kind)
{
	int entry = !(kind & IPFT_RETURN);
	__u64 size = entry ? sizeof(struct record) : sizeof(struct ipft_event);

	if (ipft_config.use_perf_buffer) {
		struct record record = {
			.event = {
				.packet = packet,
				.skb = skb,
				.timestamp = now,
				.function = function,
				.cpu_and_kind = processor | kind,
				.thread = bpf_get_current_pid_tgid(),
			},
		};
		if (EXTENSION && entry) {
			__u64 number = 0;

			/* On the stack a typed pointer stays one. */
			bpf_probe_read_kernel(&number, sizeof(number), &record.event.skb);
			if (!describe(ctx, number, &record))
				return 0;
		}
		/* PERF_RECORD_LOST tells only of losses that a later event of the CPU follows, so the error is counted: the
		 * helper passes it on since 5.1 (kernel/events/core.c, perf_event_output). */
		if (bpf_perf_event_output(ctx, &ipft_perf, BPF_F_CURRENT_CPU, &record, size)) {
			__sync_fetch_and_add(&cpu->buffer_full, 1);
			return 0;
		}
		return 1;
	}

	struct record *record = bpf_ringbuf_reserve(&ipft_ring, size, 0);
	if (!record) {
		__sync_fetch_and_add(&cpu->buffer_full, 1);
		return 0;
	}
	struct ipft_event *event = &record->event;
	event->packet = packet;
	event->skb = skb;
	event->timestamp = now;
	event->function = function;
	event->cpu_and_kind = processor | kind;
	event->thread = bpf_get_current_pid_tgid();
	if (EXTENSION && entry) {
		__builtin_memset(record->payload, 0, sizeof(record->payload));
		/* What is read back from memory is a number. */
		if (!describe(ctx, *(volatile __u64 *)&event->skb, record)) {
			bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
			return 0;
		}
	}
	bpf_ringbuf_submit(record, ++cpu->emitted & ipft_config.wake_mask ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP);
	return 1;
}

/* The entry of a function with a packet that matches. The packet's identity, or 0 if the event is lost. */
static __always_inline __u64 enter(void *ctx, __u64 skb, enum pointer pointer, __u64 function, enum role role)
{
	__u32 processor = bpf_get_smp_processor_id();
	struct ipft_cpu *cpu = &ipft_cpus[processor & (MAX_CPUS - 1)];
	__u64 now = bpf_ktime_get_ns();
	__u64 packet = identify_again(cpu, skb, pointer, now, role);

	if (!packet || !emit(ctx, cpu, processor, packet, skb, now, function, 0))
		return 0;
	return packet;
}

/* A return of a call that was traced. */
static __always_inline void leave(void *ctx, __u64 packet, __u64 function)
{
	__u32 processor = bpf_get_smp_processor_id();

	emit(ctx, &ipft_cpus[processor & (MAX_CPUS - 1)], processor, packet, 0, bpf_ktime_get_ns(), function, IPFT_RETURN);
}

/* Remembers a traced call, so that exactly its return is traced. */
static __always_inline void open_call(__u64 address, __u64 packet, __u64 function)
{
	struct frame *frame = bpf_map_lookup_elem(&ipft_calls, &address);

	if (!frame) {
		struct frame fresh = {
			.depth = 1,
			.calls[0] = { .packet = packet, .function = function },
		};
		if (bpf_map_update_elem(&ipft_calls, &address, &fresh, BPF_NOEXIST))
			__sync_fetch_and_add(&this_cpu()->calls_full, 1);
		else
			__sync_fetch_and_add(&ipft_live_calls[slot_of(address)], 1);
		return;
	}
	__u64 depth = frame->depth;
	if (depth >= TAIL_CALLS) {
		/* No function jumps on that often: returns of this frame were missed. */
		__sync_fetch_and_add(&this_cpu()->calls_missed, depth);
		depth = 0;
	}
	frame->calls[depth].packet = packet;
	frame->calls[depth].function = function;
	frame->depth = depth + 1;
}

/* The return from a call with this frame, if that call was traced. A `function` of ~0 stands for any. */
static __always_inline void close_call(void *ctx, __u64 address, __u64 function)
{
	if (!ipft_live_calls[slot_of(address)])
		return;
	struct frame *frame = bpf_map_lookup_elem(&ipft_calls, &address);
	if (!frame)
		return;
	__u64 depth = frame->depth - 1;
	if (depth >= TAIL_CALLS)
		return;
	struct call call = frame->calls[depth];
	/* The return of another packet's call, at a frame whose own return was missed. */
	if (function != ~0ull && call.function != function)
		return;
	if (depth)
		frame->depth = depth;
	else if (!bpf_map_delete_elem(&ipft_calls, &address))
		__sync_fetch_and_add(&ipft_live_calls[slot_of(address)], -1);
	leave(ctx, call.packet, call.function);
}

#if !EXTENSION
char LICENSE[] SEC("license") = "GPL";
#endif

#endif
