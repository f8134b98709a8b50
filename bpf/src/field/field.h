/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields that the user chose, between the event and the payload of an extension: each in its bit's order.
 * This is the list of them; each is a header here, a bit in core/wire.h, and a file in user space. May include the
 * fields' headers.
 *
 * Which of them are chosen is constant for the verifier, so a field that is not chosen leaves no instruction behind,
 * and every offset is a constant.
 */
#ifndef IPFT_FIELD_H
#define IPFT_FIELD_H

#include "field/csum.h"
#include "field/ct.h"
#include "field/gso.h"
#include "field/iface.h"
#include "field/len.h"
#include "field/mark.h"
#include "field/netns.h"
#include "field/proc.h"
#include "field/route.h"
#include "field/sock.h"
#include "field/tuple.h"
#include "field/tunnel.h"
#include "field/vlan.h"

/* Size of all fields; wire.rs says the size of some. */
#define ALIGNED(size) (((size) + 7) / 8 * 8)
#define FIELDS_ROOM                                                                                                  \
	(2 * sizeof(__u32) + sizeof(struct ipft_tuple) + ALIGNED(sizeof(struct ipft_iface)) + ALIGNED(sizeof(__u32)) + \
	 sizeof(struct ipft_vlan) + sizeof(struct ipft_gso) + sizeof(struct ipft_csum) +                      \
	 sizeof(struct ipft_sock) + ALIGNED(sizeof(struct ipft_proc)) + sizeof(struct ipft_tuple) +          \
	 ALIGNED(sizeof(struct ipft_ct)) + sizeof(struct ipft_route))
/* By the perf buffer, whose record is on the stack, three are not sent: user space does not ask for them. */
#define FIELDS_BY_PERF (~(1u << IPFT_FIELD_TUNNEL | 1u << IPFT_FIELD_CT | 1u << IPFT_FIELD_ROUTE))
#define FIELDS_ROOM_BY_PERF \
	(FIELDS_ROOM - sizeof(struct ipft_tuple) - ALIGNED(sizeof(struct ipft_ct)) - sizeof(struct ipft_route))
_Static_assert(FIELDS_ROOM <= IPFT_FIELDS_MOST && FIELDS_ROOM % 8 == 0, "user space counts on less");

/* The compiler must not know the offset: it would join it to a pointer by an `|`, which the verifier refuses. */
#define FILL(bit, name, size, ...)                                                  \
	do {                                                                        \
		if (chosen & 1u << (bit)) {                                         \
			asm volatile("" : "+r"(next));                              \
			fill_##name(to + next, (struct sk_buff *)skb, ##__VA_ARGS__); \
			next += (size);                                             \
		}                                                                   \
	} while (0)

/* What follows begins at a multiple of eight. */
#define ALIGN                                        \
	do {                                         \
		if (next & 4) {                      \
			asm volatile("" : "+r"(next)); \
			*(__u32 *)(to + next) = 0;   \
			next += 4;                   \
		}                                    \
	} while (0)

static __always_inline void fill_fields(void *to, __u32 chosen, __u64 skb, enum pointer pointer)
{
	int directly = reads_typed(pointer);
	__u64 next = 0;
	struct device device = {};

	if (chosen & (1u << IPFT_FIELD_IFACE | 1u << IPFT_FIELD_NETNS))
		device = device_of((struct sk_buff *)skb, directly);

	FILL(IPFT_FIELD_LEN, len, sizeof(__u32), directly);
	FILL(IPFT_FIELD_MARK, mark, sizeof(__u32), directly);
	ALIGN;
	FILL(IPFT_FIELD_TUPLE, tuple, sizeof(struct ipft_tuple), directly);
	FILL(IPFT_FIELD_IFACE, iface, sizeof(struct ipft_iface), &device, directly);
	ALIGN;
	FILL(IPFT_FIELD_NETNS, netns, sizeof(__u32), &device, directly);
	ALIGN;
	FILL(IPFT_FIELD_VLAN, vlan, sizeof(struct ipft_vlan), directly);
	FILL(IPFT_FIELD_GSO, gso, sizeof(struct ipft_gso), directly);
	FILL(IPFT_FIELD_CSUM, csum, sizeof(struct ipft_csum), directly);
	FILL(IPFT_FIELD_SOCK, sock, sizeof(struct ipft_sock), directly);
	FILL(IPFT_FIELD_PROC, proc, sizeof(struct ipft_proc));
	ALIGN;
	FILL(IPFT_FIELD_TUNNEL, tunnel, sizeof(struct ipft_tuple), directly);
	FILL(IPFT_FIELD_CT, ct, sizeof(struct ipft_ct), directly);
	ALIGN;
	FILL(IPFT_FIELD_ROUTE, route, sizeof(struct ipft_route), directly);
}

#endif
