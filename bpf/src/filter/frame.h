/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The frame that a filter judges. May include kernel.h and wire.h.
 *
 * A filter is compiled for Ethernet (host/core/src/filter), and judges each packet as the frame that it would be on an
 * Ethernet, whether or not it has that header at the moment. So one program answers for the link and the network layer,
 * before the MAC header is there and after it is gone. The frame is built on the stack: two bytes that say whether the
 * MAC addresses are valid, 12 of these, the Ethernet type, and then the first bytes of the network header. The network
 * header is aligned to 8 there, as the verifier wants loads from the stack.
 */
#ifndef IPFT_FRAME_H
#define IPFT_FRAME_H

#include "core/kernel.h"
#include "core/wire.h"

/* The compiled filter, linked in. Returns 1, 0, or -1 if it needs bytes behind `available`. */
extern int ipft_filter(const void *header, __u64 start, __u32 available, __u32 length) __hidden;

/* The same for the packet inside a tunnel's packet. */
extern int ipft_inner_filter(const void *header, __u64 start, __u32 available, __u32 length) __hidden;

#define FRAME_TAG 4	/* of a VLAN */
#define FRAME_BYTES 64	/* LONGEST_PREFIX in ebpf.rs, less the header */
#define FRAME_WORDS 11	/* padding, header, tag and bytes */

/* An accelerated VLAN tag, which is not in the packet's bytes. `vlan_present` exists up to 6.2, and since then a
 * tag is present if vlan_proto is not 0 or, with vlan_all, either of them. */
struct frame_tag {
	__u16 protocol; /* as on the wire; 0: none */
	__u16 tci;
};

/* What a packet has at a gate. */
struct frame_packet {
	__u64 head;
	__u32 network;	 /* offset of the network header */
	__u32 mac;	 /* offset of the MAC header, or NO_HEADER */
	__u32 tail;	 /* offset of the end of what can be read there */
	__u32 length;	 /* from the network header on */
	__u16 protocol;	 /* as on the wire */
	struct frame_tag tag;
};

/* Copies a packet's bytes to the stack, behind a tag, at a multiple of four. `count` is a multiple of eight. */
static __always_inline int read_behind_tag(__u32 *to, __u32 count, __u64 from)
{
	if (!count)
		return 0;
#if READS == BY_LOADS
	if (count <= LONGEST_LOAD) {
		__u32 *bytes = bytes_at(from);

#pragma unroll
		for (int i = 0; i < LONGEST_LOAD / 4; i++) {
			if (i * 4 < count)
				to[i] = bytes[i];
		}
		return 0;
	}
#endif
	return bpf_probe_read_kernel(to, count, (void *)from);
}

/* Copies both Ethernet addresses, to a multiple of two. */
static __always_inline void read_addresses(__u16 *to, __u64 from)
{
#if READS == BY_LOADS
	__u16 *bytes = bytes_at(from);

#pragma unroll
	for (int i = 0; i < 6; i++)
		to[i] = bytes[i];
#else
	bpf_probe_read_kernel(to, 12, (void *)from);
#endif
}

/* Returns what ipft_filter() returns, or ipft_inner_filter() of a packet that is `inside`. */
static __always_inline int judge_frame(const volatile struct ipft_frame *uses, const struct frame_packet *packet,
				       int inside)
{
	__u64 frame[FRAME_WORDS];
	__u16 *types = (__u16 *)&frame[1] + 3;
	__u64 start = packet->head + packet->network;
	__u32 header = FRAME_HEADER;
	__u32 available = packet->tail - packet->network;
	__u16 protocol = packet->protocol;
	__u32 bytes = uses->bytes;

	if ((__s32)available < 0)
		available = 0;
	frame[0] = 0;
	frame[1] = 0;
	if (uses->mac && packet->mac != NO_HEADER) {
		read_addresses((__u16 *)frame + 1, packet->head + packet->mac);
		*(__u8 *)frame = 1;
	}
	if (bytes > FRAME_BYTES)
		bytes = FRAME_BYTES;
	if (uses->vlan && packet->tag.protocol) {
		/* Words, since the network header is at 4 bytes more. */
		types[0] = packet->tag.protocol;
		types[1] = packet->tag.tci;
		types[2] = protocol;
		header += FRAME_TAG;
		if (read_behind_tag((__u32 *)frame + 5, bytes, start))
			return -1;
	} else {
		if (read_bytes(frame + 2, bytes, start))
			return -1;
		types[0] = protocol;
	}
	__u32 length = uses->length ? packet->length + header : 0;

	if (inside)
		return ipft_inner_filter(frame, start - header, available + header, length);
	return ipft_filter(frame, start - header, available + header, length);
}

#endif
