/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the network header of an sk_buff is. May include core/kernel.h.
 */
#ifndef IPFT_FIELD_NETWORK_H
#define IPFT_FIELD_NETWORK_H

#include "core/kernel.h"

/* Returns the offset of the network header from the head; 0 if it is not known. */
static __always_inline __u32 network_of(struct sk_buff *skb, int directly)
{
	__u32 network = directly ? skb->network_header : BPF_CORE_READ(skb, network_header);

	if (!network) {
		/* It is not set yet: the header is behind the Ethernet header, if that is known. */
		__u32 mac = directly ? skb->mac_header : BPF_CORE_READ(skb, mac_header);

		network = mac == NO_HEADER ? 0 : mac + FRAME_HEADER;
	}
	return network;
}

#endif
