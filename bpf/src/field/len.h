/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in field `len`: bytes of the packet, from the header that the kernel is at work on. May include field/read.h.
 */
#ifndef IPFT_FIELD_LEN_H
#define IPFT_FIELD_LEN_H

#include "field/read.h"

static __always_inline void fill_len(void *to, struct sk_buff *skb, int directly)
{
	READ_FIELD((__u32 *)to, skb, len, directly);
}

#endif
