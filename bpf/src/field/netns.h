/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in field `netns`: inode number of the packet's network namespace, which is that of its device or, before it
 * has one, of its socket. May include field/device.h.
 */
#ifndef IPFT_FIELD_NETNS_H
#define IPFT_FIELD_NETNS_H

#include "field/device.h"

static __always_inline void fill_netns(void *to, struct sk_buff *skb, const struct device *device, int directly)
{
	__u32 inum = device->inum;

	if (!inum) {
		struct sock *sk = directly ? skb->sk : BPF_CORE_READ(skb, sk);

		inum = sk ? namespace_of_socket(sk, directly) : 0;
	}
	*(__u32 *)to = inum;
}

#endif
