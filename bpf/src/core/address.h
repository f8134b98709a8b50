/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Addresses that the verifier takes for pointers, as numbers. May include kernel.h.
 */
#ifndef IPFT_ADDRESS_H
#define IPFT_ADDRESS_H

#include "core/kernel.h"

/* The verifier's type of an address, mostly that of an sk_buff. */
enum pointer {
	NUMBER,
	TYPED,
};

/*
 * The low half of an address as a number. Verifiers allow one 32-bit operation on a pointer, the subtraction, and its
 * result is a number (kernel/bpf/verifier.c, adjust_ptr_min_max_vals; 5.9 and later). Call this before the pointer has
 * served as a map's key: it may be a number after that.
 */
static __always_inline __u64 low_half(__u64 skb, enum pointer pointer)
{
	__u64 low = skb;

	if (pointer == TYPED)
		asm volatile("r0 = %1\n\tw0 -= 0\n\t%0 = r0" : "=r"(low) : "r"(skb) : "r0");
	return low;
}

/*
 * An address as a number. A pointer on the stack stays one for the verifier until a part of it is written again, here
 * with the value that is there.
 */
static __always_inline __u64 number_of(__u64 skb, enum pointer pointer)
{
	volatile union {
		__u64 whole;
		__u32 low; /* x86-64 is little-endian */
	} memory;

	if (pointer == NUMBER)
		return skb;
	memory.whole = skb;
	memory.low = low_half(skb, pointer);
	return memory.whole;
}

#endif
