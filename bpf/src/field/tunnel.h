/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields of the headers of the packet inside, where the packet is one of a tunnel. May include
 * field/inner.h and field/tuple.h.
 */
#ifndef IPFT_FIELD_TUNNEL_H
#define IPFT_FIELD_TUNNEL_H

#include "field/inner.h"
#include "field/tuple.h"

/*
 * Finds the packet inside. Returns the offset of its network header, above that how many bytes can be read there, and
 * above that its protocol, each in 16 bits; 0 if there is none. A function of its own: its stack would leave too little
 * for a record.
 */
static OUT_OF_LINE __u64 find_tunnel(struct sk_buff *skb, int directly)
{
	struct inner inner;

	if (directly)
		find_inner_of(&inner, skb, 1);
	else
		find_inner_of(&inner, skb, 0);
	if (!inner.available)
		return 0;
	__u64 head = number_of((__u64)(directly ? skb->head : BPF_CORE_READ(skb, head)), TYPED);
	__u32 available = inner.available > 0xffff ? 0xffff : inner.available;

	return (inner.start - head) | (__u64)available << 16 | (__u64)bpf_ntohs(inner.protocol) << 32;
}

static __always_inline void fill_tunnel(void *to, struct sk_buff *skb, int directly)
{
	clear_tuple(to, skb);
	__u64 found = find_tunnel(skb, directly);
	__u64 head = (__u64)(directly ? skb->head : BPF_CORE_READ(skb, head));

	if (found)
		fill_headers(to, head + (found & 0xffff), found >> 16 & 0xffff, found >> 32);
}

#endif
