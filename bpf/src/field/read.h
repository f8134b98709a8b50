/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a field is read from an sk_buff: as a program reads the mark. May include core/identity.h.
 */
#ifndef IPFT_FIELD_READ_H
#define IPFT_FIELD_READ_H

#include "core/identity.h"

/* Returns whether a field is loaded. Without a type there is no direct load. */
static __always_inline int reads_typed(enum pointer pointer)
{
	return pointer == TYPED && READS != BY_HELPER;
}

#define READ_FIELD(to, skb, member, directly)                                     \
	do {                                                                      \
		if (directly)                                                     \
			*(to) = (skb)->member;                                    \
		else                                                              \
			bpf_probe_read_kernel(to, sizeof(*(to)), &(skb)->member); \
	} while (0)

#endif
