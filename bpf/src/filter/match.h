/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a packet matches the filter, and the packet inside it the inner filter. May include frame.h and the headers
 * of fields.
 */
#ifndef IPFT_MATCH_H
#define IPFT_MATCH_H

#include "field/inner.h"
#include "field/network.h"
#include "field/vlan.h"
#include "filter/frame.h"

/* Packets that could not be judged, because the filter needs bytes that are not in the linear part of the sk_buff. */
__u64 ipft_unjudged SEC(".bss.unjudged");

static __always_inline struct frame_tag tag_of(struct sk_buff *skb)
{
	struct sk_buff___tagged *tagged = (void *)skb;
	struct frame_tag tag = {};

	if (is_tagged(skb, READS == BY_LOADS)) {
		tag.protocol = LOAD(tagged, vlan_proto);
		tag.tci = bpf_htons(LOAD(tagged, vlan_tci));
	}
	return tag;
}

/* A header may be pushed before the protocol is set: then its version says what it is. */
static __always_inline __u16 protocol_at(__u16 protocol, __u64 network)
{
	__u8 first = 0;

	if (protocol && protocol != bpf_htons(PROTOCOL_IPV4) && protocol != bpf_htons(PROTOCOL_IPV6))
		return protocol;
#if READS != BY_LOADS
	bpf_probe_read_kernel(&first, sizeof(first), (void *)network);
#else
	first = *(__u8 *)bytes_at(network);
#endif
	if (first >> 4 == 4)
		return bpf_htons(PROTOCOL_IPV4);
	if (first >> 4 == 6)
		return bpf_htons(PROTOCOL_IPV6);
	return protocol;
}

/* Returns how many bytes the packet has from an address on. */
static __always_inline __u32 length_behind(struct sk_buff *held, __u64 address)
{
	/* Both may be pointers for the verifier. */
	return LOAD(held, len) + (__u32)low_half((__u64)LOAD(held, data), TYPED) - (__u32)low_half(address, TYPED);
}

/*
 * Counts a packet that a filter wants more bytes of. If all of its bytes are here, it has no more: no match.
 */
static __always_inline void cannot_judge(struct sk_buff *held)
{
	if ((__s32)length_behind(held, (__u64)LOAD(held, head) + LOAD(held, tail)) > 0)
		__sync_fetch_and_add(&ipft_unjudged, 1);
}

/* Returns whether the packet matches the filter. What cannot be read does not match. */
static __always_inline int matches_filter(__u64 skb)
{
	struct sk_buff *held = PACKET_AT(skb);
	struct frame_packet packet = {
		.head = (__u64)LOAD(held, head),
		.network = network_of(held, READS == BY_LOADS),
		.mac = NO_HEADER,
		.tail = LOAD(held, tail),
	};

	if (!packet.network)
		return 0;
	if (ipft_config.frame.mac) {
		struct net_device *device = LOAD(held, dev);
		__u16 type = device ? LOAD(device, type) : 0;

		if (type == DEVICE_ETHERNET || type == DEVICE_LOOP)
			packet.mac = LOAD(held, mac_header);
	}
	if (ipft_config.frame.vlan)
		packet.tag = tag_of(held);
	packet.protocol = protocol_at(LOAD(held, protocol), packet.head + packet.network);
	if (ipft_config.frame.length)
		packet.length = length_behind(held, packet.head + packet.network);

	int verdict = judge_frame(&ipft_config.frame, &packet, 0);
	if (verdict < 0)
		cannot_judge(held);
	return verdict > 0;
}

/* Returns whether there is a packet inside that matches the inner filter. What cannot be read does not match. */
static __noinline int matches_inner_filter(__u64 skb)
{
	struct sk_buff *held = PACKET_AT(skb);
	struct inner inner;

	find_inner_of(&inner, held, READS == BY_LOADS);
	if (!inner.available) {
		if (inner.out_of_reach)
			cannot_judge(held);
		return 0;
	}
	__u64 head = number_of((__u64)LOAD(held, head), TYPED);
	struct frame_packet packet = {
		.head = head,
		.network = inner.start - head,
		.mac = ipft_config.inner.mac && inner.ethernet ? inner.ethernet - head : NO_HEADER,
		.tail = LOAD(held, tail),
		.protocol = protocol_at(inner.protocol, inner.start),
		.tag = { .protocol = inner.tag, .tci = inner.tci },
	};
	/* The headers are not those of a packet. */
	if (!packet.protocol)
		return 0;
	if (ipft_config.inner.length)
		packet.length = length_behind(held, inner.start);

	int verdict = judge_frame(&ipft_config.inner, &packet, 1);
	if (verdict < 0)
		cannot_judge(held);
	return verdict > 0;
}

#endif
