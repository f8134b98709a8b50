/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The packets that are followed: which one lives at the address of an sk_buff, whatever has become of its mark, its
 * addresses or its headers. May include core/identity.h.
 *
 * A packet that was selected is in the table from then on, and so is every packet that is made of it (lineage.h). It
 * leaves the table when the kernel begins to release its sk_buff, not when the memory is given back: some memory is
 * given back without a function that could be probed (__kfree_skb_defer in 6.1, bulk frees), and its next owner would
 * be taken for the packet. The functions that tear an sk_buff down run on the same CPU right after that, so each CPU
 * remembers the last few packets that it released.
 */
#ifndef IPFT_FOLLOWED_H
#define IPFT_FOLLOWED_H

#include "core/identity.h"

/* In struct packet, `dying` means here that the kernel drops the packet, which was reported. */

/*
 * How many packets are followed, in the lower half. In its own map, so that its cache line is written only when a
 * packet begins or ends. User space sets it to IPFT_ANYWHERE before the start if every function selects packets, so
 * that one test of it says whether a function has anything to do.
 */
__u64 ipft_followed SEC(".bss.followed");

#define RELEASED 4

/* Two cache lines. */
struct released {
	__u64 next;
	__u64 count;		   /* how many there are; what is released without being freed stays until it is overwritten */
	__u64 addresses[RELEASED]; /* 0 if there is none */
	__u64 packets[RELEASED];
	__u64 padding[6];
};

struct released ipft_released[IPFT_MAX_CPUS] SEC(".bss.released");

/* Returns whether the packet may be followed: certainly not if this is 0. */
static __always_inline int may_be_followed(__u64 skb, enum pointer pointer)
{
	return *(volatile __u64 *)&ipft_followed && ipft_live_packets[slot_of_packet(skb, pointer)];
}

/* Returns whether any packet may be followed or selected by a function that is no gate. */
static __always_inline int is_anything_followed(void)
{
	return !!*(volatile __u64 *)&ipft_followed;
}

/* From here on addresses are numbers. */

/* Returns the identity of the packet at `skb`, or 0. */
static __always_inline __u64 followed_at(__u64 skb)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);

	return packet ? packet->id : 0;
}

/* As followed_at(), for a packet that goes on: it has not become part of another one. */
static __always_inline __u64 going_on_at(__u64 skb)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);

	if (!packet)
		return 0;
	if (packet->joining)
		packet->joining = 0;
	return packet->id;
}

/* Follows the packet at `skb` as a new one. Returns its identity, or 0 if the table is full. */
static __always_inline __u64 follow(__u64 skb, __u64 now)
{
	struct packet fresh = { .id = new_packet(now) };

	if (bpf_map_update_elem(&ipft_packets, &skb, &fresh, BPF_NOEXIST)) {
		/* Full, or another CPU was first: packets in a shared sk_buff. */
		__u64 other = followed_at(skb);

		if (!other)
			__sync_fetch_and_add(&this_cpu()->packets_full, 1);
		return other;
	}
	__sync_fetch_and_add(&ipft_live_packets[slot_of(skb)], 1);
	__sync_fetch_and_add(&ipft_followed, 1);
	return fresh.id;
}

/* Forgets the packet at `skb`. Returns whether there was one: of two CPUs, one deletes it. */
static __always_inline int unfollow(__u64 skb)
{
	if (bpf_map_delete_elem(&ipft_packets, &skb))
		return 0;
	__sync_fetch_and_add(&ipft_live_packets[slot_of(skb)], -1);
	__sync_fetch_and_add(&ipft_followed, -1);
	__sync_fetch_and_add(epoch_of(slot_of(skb)), 1);
	return 1;
}

/* Returns the packet that this CPU has lately released at `skb`, or 0; `over`: and forgets it. */
static __always_inline __u64 released_at(__u32 processor, __u64 skb, int over)
{
	struct released *released = &ipft_released[processor & (IPFT_MAX_CPUS - 1)];
	__u64 packet = 0;

	/* As nearly always. */
	if (!*(volatile __u64 *)&released->count)
		return 0;
#pragma unroll
	for (int i = 0; i < RELEASED; i++) {
		if (*(volatile __u64 *)&released->addresses[i] == skb) {
			packet = released->packets[i];
			if (over) {
				released->addresses[i] = 0;
				released->count--;
			}
		}
	}
	return packet;
}

static __always_inline void remember_released(__u32 processor, __u64 skb, __u64 packet)
{
	struct released *released = &ipft_released[processor & (IPFT_MAX_CPUS - 1)];

	/* What was released there before was freed unseen. */
	released_at(processor, skb, 1);
	__u64 at = released->next++ & (RELEASED - 1);

	if (!released->addresses[at])
		released->count++;
	released->packets[at] = packet;
	released->addresses[at] = skb;
}

#endif
