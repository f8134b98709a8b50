/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields of segmentation offload: what the shared information behind the packet's linear part says. May
 * include field/read.h.
 */
#ifndef IPFT_FIELD_GSO_H
#define IPFT_FIELD_GSO_H

#include "field/read.h"

struct skb_shared_info {
	__u16 gso_size;
	__u16 gso_segs;
	__u32 gso_type;
} __attribute__((preserve_access_index));

struct sk_buff___ended {
	__u32 end; /* an offset, on 64-bit machines */
} __attribute__((preserve_access_index));

static __always_inline void fill_gso(void *to, struct sk_buff *skb, int directly)
{
	struct ipft_gso *gso = to;
	struct sk_buff___ended *ended = (void *)skb;
	struct skb_shared_info *info;
	__u8 *head = 0;
	__u32 end = 0;

	READ_FIELD(&head, skb, head, directly);
	READ_FIELD(&end, ended, end, directly);
#if READS == BY_LOADS
	info = bpf_rdonly_cast(head + end, bpf_core_type_id_kernel(struct skb_shared_info));
#else
	info = (void *)(head + end);
#endif
	gso->gso_size = LOAD(info, gso_size);
	gso->gso_segs = LOAD(info, gso_segs);
	gso->gso_type = LOAD(info, gso_type);
}

#endif
