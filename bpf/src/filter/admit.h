/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether a packet is traced: the only test of it, in all programs. May include identity.h.
 *
 * A packet that is not traced is what a busy host pays for, so it costs one load and one compare.
 */
#ifndef IPFT_ADMIT_H
#define IPFT_ADMIT_H

#include "core/identity.h"

/* Few functions of programs that follow packets look at the mark. */
static __always_inline int mark_matches(__u32 mark)
{
#if FOLLOW
	return (mark & ipft_config.mask) == ipft_config.mark;
#else
	__u64 masked = mark;

	asm volatile("%0 &= %1" : "+r"(masked) : "i"(IPFT_MASK_PLACE));
	return (__u32)masked == IPFT_MARK_PLACE;
#endif
}

/* Returns whether an entry is traced. A packet that does not match (any more) loses its identity when it is released or
 * freed. */
static __always_inline int admit(__u64 skb, enum pointer pointer, __u32 mark, enum role role)
{
	if (RARELY(mark_matches(mark)))
		return 1;
	if (role == RELEASE || role == FREE)
		forget(skb, pointer, role);
	return 0;
}

#endif
