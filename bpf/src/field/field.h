/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields that the user chose, between the event and the payload of an extension: each in its bit's order,
 * four bytes wide. This is the list of them; each is a header here, a bit in core/wire.h, and a file in user space. May
 * include the fields' headers.
 *
 * Which of them are chosen is constant for the verifier, so a field that is not chosen leaves no instruction behind.
 */
#ifndef IPFT_FIELD_H
#define IPFT_FIELD_H

#include "field/len.h"
#include "field/mark.h"

/* Size of all fields, rounded up to a multiple of eight. */
#define FIELDS_ROOM ((IPFT_FIELDS * sizeof(__u32) + 7) & ~7ul)
_Static_assert(FIELDS_ROOM <= IPFT_FIELDS_MOST, "user space counts on less");

#define FILL(bit, name)                                                  \
	do {                                                             \
		if (chosen & 1u << (bit))                                \
			fill_##name(next++, (struct sk_buff *)skb, directly); \
	} while (0)

static __always_inline void fill_fields(__u32 *to, __u32 chosen, __u64 skb, enum pointer pointer)
{
	int directly = reads_typed(pointer);
	__u32 *next = to;

	/* Padding. */
	*(__u32 *)((void *)to + ipft_config.fields_size - sizeof(__u32)) = 0;
	FILL(IPFT_FIELD_LEN, len);
	FILL(IPFT_FIELD_MARK, mark);
}

#endif
