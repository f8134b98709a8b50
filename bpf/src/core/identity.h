/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which packet lives at the address of an sk_buff. May include address.h and state.h.
 */
#ifndef IPFT_IDENTITY_H
#define IPFT_IDENTITY_H

#include "core/address.h"
#include "core/state.h"

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
	__u16 dying;
	__u16 joining;	/* where packets are followed: enum joining */
	__u32 captured; /* nothing is left to be done about its first bytes */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct packet);
} ipft_packets SEC(".maps");

/* In maps of their own, as not all objects that share them have the same other variables. */
__u32 ipft_live_packets[FILTER_SIZE] SEC(".bss.packets");

/*
 * The epoch of an address grows whenever an identity of one of its group ends, on whichever CPU. Most events of a CPU
 * are of the packet of the event before, so a CPU remembers that packet and needs no lookup while no identity of its
 * group has ended. Groups have cache lines of their own, so that a CPU is seldom disturbed by the packets of another.
 *
 * What is remembered is two words, and a program may be interrupted by another one between them. So the second word
 * holds the identity too, mixed with the address and the epoch: words of different packets do not fit together.
 */
#define EPOCHS 256 /* groups: a power of two, at most FILTER_SIZE */

struct epoch {
	__u64 count;
} __attribute__((aligned(64)));

struct epoch ipft_epochs[EPOCHS] SEC(".bss.epochs");

static __always_inline __u64 *epoch_of(__u32 slot)
{
	return &ipft_epochs[slot & (EPOCHS - 1)].count;
}

/* State of a packet's life, by the function that sees it. */
enum role {
	ORDINARY, /* the packet lives */
	TEARDOWN, /* runs on a packet whose memory is being given back, too */
	RELEASE,  /* the packet is dying from here on */
	FREE,	  /* the memory is given back: the last that is seen of the packet */
#if FOLLOW
	GATE, /* the packet lives and its headers are in order: here packets are selected that are followed then */
#endif
};

/* The slot in ipft_live_packets. It is the same in all programs, which share the table. */
static __always_inline __u32 slot_of_packet(__u64 skb, enum pointer pointer)
{
	return slot_of(low_half(skb, pointer));
}

static __always_inline __u64 check_of(__u64 packet, __u64 skb)
{
	/* Odd, so that every epoch changes other bits than the address does. */
	return packet ^ skb ^ *(volatile __u64 *)epoch_of(slot_of(skb)) * 0x9e3779b97f4a7c15ull;
}

/* Returns a new identity. */
static __always_inline __u64 new_packet(__u64 now)
{
	__u32 cpu = bpf_get_smp_processor_id() & (IPFT_MAX_CPUS - 1);

	__sync_fetch_and_add(&ipft_cpus[cpu].packets, 1);
	return now << 10 | cpu;
}

/* Returns the packet that lives at `skb`, creating it if needed; 0 if the table is full. */
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
			__sync_fetch_and_add(epoch_of(slot), 1);
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

/* Ends the identity of the packet at an address, if there is one. */
static OUT_OF_LINE int forget_known(__u64 skb, __u32 slot, enum role role)
{
	if (role == FREE) {
		if (!bpf_map_delete_elem(&ipft_packets, &skb))
			__sync_fetch_and_add(&ipft_live_packets[slot & (FILTER_SIZE - 1)], -1);
	} else {
		struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);
		if (packet)
			packet->dying = 1;
	}
	__sync_fetch_and_add(epoch_of(slot), 1);
	return 0;
}

/* Ends the identity, if any, of a packet that does not match (any more) and is released or freed. */
static __always_inline void forget(__u64 skb, enum pointer pointer, enum role role)
{
	__u32 slot = slot_of_packet(skb, pointer);

	if (RARELY(ipft_live_packets[slot]))
		forget_known(skb, slot, role);
}

#endif
