/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a packet that is not followed yet is selected here: it has the mark, and the filter matches. May include
 * admit.h and frame.h.
 */
#ifndef IPFT_SELECT_H
#define IPFT_SELECT_H

#include "filter/admit.h"
#include "filter/frame.h"

/* The accelerated tag: before 6.2 a bit says that there is one, then the words together (include/linux/skbuff.h). */
struct sk_buff___tagged_by_bit {
	__u8 vlan_present : 1;
} __attribute__((preserve_access_index));

struct sk_buff___tagged {
	__u32 vlan_all;
	__be16 vlan_proto;
	__u16 vlan_tci;
} __attribute__((preserve_access_index));

/* Packets that could not be judged, because the filter needs bytes that are not in the linear part of the sk_buff. */
__u64 ipft_unjudged SEC(".bss.unjudged");

static __always_inline struct frame_tag tag_of(__u64 skb)
{
	struct sk_buff___tagged *tagged = (void *)skb;
	struct frame_tag tag = {};
	int present;

	if (bpf_core_field_exists(tagged->vlan_all)) {
		present = !!BPF_CORE_READ(tagged, vlan_all);
	} else {
		struct sk_buff___tagged_by_bit *by_bit = (void *)skb;

		present = BPF_CORE_READ_BITFIELD_PROBED(by_bit, vlan_present);
	}
	if (present) {
		tag.protocol = BPF_CORE_READ(tagged, vlan_proto);
		tag.tci = bpf_htons(BPF_CORE_READ(tagged, vlan_tci));
	}
	return tag;
}

/* A header may be pushed before the protocol is set: then its version says what it is. */
static __always_inline __u16 protocol_at(__u16 protocol, __u64 network)
{
	__u8 first = 0;

	if (protocol && protocol != bpf_htons(PROTOCOL_IPV4) && protocol != bpf_htons(PROTOCOL_IPV6))
		return protocol;
	bpf_probe_read_kernel(&first, sizeof(first), (void *)network);
	if (first >> 4 == 4)
		return bpf_htons(PROTOCOL_IPV4);
	if (first >> 4 == 6)
		return bpf_htons(PROTOCOL_IPV6);
	return protocol;
}

/* Returns whether the packet matches the filter. What cannot be read does not match. */
static __noinline int matches_filter(__u64 skb)
{
	struct sk_buff *held = (void *)skb;
	struct frame_packet packet = {
		.head = (__u64)BPF_CORE_READ(held, head),
		.network = BPF_CORE_READ(held, network_header),
		.mac = NO_HEADER,
		.tail = BPF_CORE_READ(held, tail),
	};

	if (!packet.network) {
		/* It is not set yet: the header is behind the Ethernet header, if that is known. */
		__u32 mac = BPF_CORE_READ(held, mac_header);

		if (mac == NO_HEADER)
			return 0;
		packet.network = mac + FRAME_HEADER;
	}
	if (ipft_config.frame.mac) {
		struct net_device *device = BPF_CORE_READ(held, dev);
		__u16 type = device ? BPF_CORE_READ(device, type) : 0;

		if (type == DEVICE_ETHERNET || type == DEVICE_LOOP)
			packet.mac = BPF_CORE_READ(held, mac_header);
	}
	if (ipft_config.frame.vlan)
		packet.tag = tag_of(skb);
	packet.protocol = protocol_at(BPF_CORE_READ(held, protocol), packet.head + packet.network);
	packet.length = BPF_CORE_READ(held, len) + (__u32)((__u64)BPF_CORE_READ(held, data) - packet.head) - packet.network;

	int verdict = judge_frame(&ipft_config.frame, &packet);
	/* Of a packet whose bytes are all here, it wants more than there are: no match. */
	if (verdict < 0 && packet.length > packet.tail - packet.network)
		__sync_fetch_and_add(&ipft_unjudged, 1);
	return verdict > 0;
}

static __always_inline int selects(__u64 skb)
{
	struct sk_buff *held = (void *)skb;

	if (ipft_config.mask && !mark_matches(BPF_CORE_READ(held, mark)))
		return 0;
	return matches_filter(skb);
}

#endif
