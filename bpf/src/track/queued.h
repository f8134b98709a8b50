/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets in the queue of a TCP socket, of which clones are sent. May include lineage.h.
 *
 * A gate sees the clone. What is sent again is another clone of the one in the queue, which is no child of the first
 * clone. So the queued one is followed from the gate on that selects a clone, until it is acknowledged. Its sk_buff and
 * that of the clone are allocated together (include/linux/skbuff.h, struct sk_buff_fclones).
 */
#ifndef IPFT_QUEUED_H
#define IPFT_QUEUED_H

#include "track/lineage.h"

#define FCLONE_CLONE 2 /* SKB_FCLONE_CLONE */

struct sk_buff___fclone {
	__u8 fclone : 2;
} __attribute__((preserve_access_index));

/*
 * Follows the packet of which the one at `skb`, which was just selected, is a clone, if it is in a queue. A function of
 * its own, for its stack.
 */
static __noinline int follow_queued(void *ctx, __u64 skb, __u64 packet, __u64 now, __u64 function)
{
	struct sk_buff___fclone *held = (void *)skb;
	__u64 queued = skb - bpf_core_type_size(struct sk_buff);

	if (BPF_CORE_READ_BITFIELD_PROBED(held, fclone) != FCLONE_CLONE || followed_at(queued))
		return 0;
	/* Identities are times. */
	__u64 fresh = follow(queued, now + 1);
	if (fresh)
		tell_born(ctx, bpf_get_smp_processor_id(), fresh, packet, queued, now, function);
	return 0;
}

#endif
