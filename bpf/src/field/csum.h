/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields of the checksum: who computes it, and where it is. May include field/read.h.
 */
#ifndef IPFT_FIELD_CSUM_H
#define IPFT_FIELD_CSUM_H

#include "field/read.h"

#define CHECKSUM_PARTIAL 3 /* include/linux/skbuff.h */

struct sk_buff___summed {
	__u8 ip_summed : 2;
	__u16 csum_start; /* from the head; shares its memory with the sum of CHECKSUM_COMPLETE */
	__u16 csum_offset;
} __attribute__((preserve_access_index));

static __always_inline void fill_csum(void *to, struct sk_buff *skb, int directly)
{
	struct sk_buff___summed *summed = (void *)skb;
	struct ipft_csum *csum = to;
	__u32 kind = BPF_CORE_READ_BITFIELD_PROBED(summed, ip_summed);

	csum->csum_start = 0;
	csum->csum_offset = 0;
	csum->ip_summed = kind;
	if (kind == CHECKSUM_PARTIAL) {
		__u8 *head = 0, *data = 0;
		__u16 start = 0, offset = 0;

		READ_FIELD(&head, skb, head, directly);
		READ_FIELD(&data, skb, data, directly);
		READ_FIELD(&start, summed, csum_start, directly);
		READ_FIELD(&offset, summed, csum_offset, directly);
		csum->csum_start = (__s32)start - (__s32)((__u64)data - (__u64)head);
		csum->csum_offset = offset;
	}
}

#endif
