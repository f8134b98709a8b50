/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How a field is read from an sk_buff: as a program reads the mark. May include core/identity.h.
 */
#ifndef IPFT_FIELD_READ_H
#define IPFT_FIELD_READ_H

#include "core/identity.h"

/*
 * Whether the verifier lets a program load from the sk_buff, and a wrong pointer does no harm: kernels that do not handle
 * every fault do so in programs that call functions of their own, which ftrace programs are in these two cases. Without a
 * type there is no direct load, and only kernels that handle faults have types elsewhere (reads_directly() in untyped.h).
 */
static __always_inline int reads_typed(enum pointer pointer)
{
	return pointer == TYPED && !(ipft_config.faults_crash && (ipft_config.record_bytes || EXTENSION));
}

#define READ_FIELD(to, skb, member, directly)                                     \
	do {                                                                      \
		if (directly)                                                     \
			*(to) = (skb)->member;                                    \
		else                                                              \
			bpf_probe_read_kernel(to, sizeof(*(to)), &(skb)->member); \
	} while (0)

#endif
