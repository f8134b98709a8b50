/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets that are built again behind a program of XDP. May include lineage.h.
 *
 * If a program of veth sends a packet out or elsewhere, its sk_buff is released, and its bytes go on as a frame, until
 * __xdp_build_skb_from_frame(frame, skb, device) builds another sk_buff around them. The frame lies where the head of
 * the old one was (drivers/net/veth.c, veth_xdp_rcv_skb; net/core/xdp.c; from 5.12 on). So the heads of packets that
 * are released are remembered for a moment.
 */
#ifndef IPFT_REBUILT_H
#define IPFT_REBUILT_H

#include "track/lineage.h"

#define HEADS 4096			    /* a power of two */
#define HEAD_REMEMBERED 1000000000ull /* nanoseconds: the memory of a head that was freed has other owners soon */

/* As what a CPU remembers (identity.h): words of different packets do not fit together. */
struct head {
	__u64 packet;
	__u64 check; /* the packet, mixed with the address of its head */
	__u64 time;
	__u64 padding;
};

struct head ipft_heads[HEADS] SEC(".bss.heads");

static __always_inline struct head *head_at(__u64 address)
{
	/* Heads are aligned to 64 bytes, some to a page. */
	return &ipft_heads[(address >> 6 ^ address >> 12) & (HEADS - 1)];
}

static __always_inline void remember_head(__u64 skb, __u64 packet, __u64 now)
{
	__u64 address = (__u64)LOAD(PACKET_AT(skb), head);
	struct head *head = head_at(address);

	*(volatile __u64 *)&head->packet = packet;
	*(volatile __u64 *)&head->time = now;
	*(volatile __u64 *)&head->check = packet ^ address;
}

/* Returns the packet that was released and had its head at an address, or 0. */
static __always_inline __u64 packet_of_head(__u64 address)
{
	struct head *head = head_at(address);
	__u64 packet = *(volatile __u64 *)&head->packet;

	return packet && *(volatile __u64 *)&head->check == (packet ^ address) ? packet : 0;
}

/* Handles the building of `child` around a frame, of which one may be of a followed packet. */
static __always_inline void rebuilt(void *ctx, __u64 child, __u64 frame, __u64 function)
{
	__u32 processor = bpf_get_smp_processor_id();
	__u64 now = bpf_ktime_get_ns();
	__u64 parent = packet_of_head(frame);

	end(ctx, processor, child, now);
	if (!parent || ipft_config.judge_each || now - head_at(frame)->time > HEAD_REMEMBERED)
		return;
	*(volatile __u64 *)&head_at(frame)->packet = 0;
	__u64 fresh = follow(child, now);
	if (fresh)
		tell_born(ctx, processor, fresh, parent, child, now, function);
}

#endif
