/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in field `mark`: the packet's mark, with the bits that the filter does not look at. May include
 * field/read.h.
 */
#ifndef IPFT_FIELD_MARK_H
#define IPFT_FIELD_MARK_H

#include "field/read.h"

static __always_inline void fill_mark(void *to, struct sk_buff *skb, int directly)
{
	READ_FIELD((__u32 *)to, skb, mark, directly);
}

#endif
