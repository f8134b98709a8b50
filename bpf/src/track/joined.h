/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets that become part of another one: segments that GRO or TCP puts together, and the fragments of a datagram. May
 * include followed.h.
 *
 * The functions that merge packets may refuse to, which an entry probe does not see. So what is noted at their entry
 * counts at the packet's end only: one that GRO refused passes a gate before that, which clears the note; one that TCP
 * took over is freed by kfree_skb_partial(), which confirms it; and fragments wait in a queue, whose datagram is known
 * once it is whole.
 */
#ifndef IPFT_JOINED_H
#define IPFT_JOINED_H

#include "track/followed.h"

/* In struct packet. */
enum joining {
	NOT_JOINING,
	JOINING,    /* the value in ipft_joins is the other packet's identity */
	COALESCING, /* likewise, if kfree_skb_partial() follows */
	QUEUED,	    /* the value in ipft_joins is the address of a queue of fragments */
};

/* By the address of an sk_buff that joins. What is overwritten was released, for all that is known. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u64);
} ipft_joins SEC(".maps");

/* Identities of assembled datagrams, by the address of their queue (struct inet_frag_queue). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u64);
} ipft_queues SEC(".maps");

/* Notes that a packet joins. */
static __always_inline void note_joining(__u64 skb, __u64 into, enum joining joining)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);

	if (!packet || bpf_map_update_elem(&ipft_joins, &skb, &into, BPF_ANY))
		return;
	packet->joining = joining;
	/* A CPU that remembers the packet looks it up again at a gate. */
	__sync_fetch_and_add(epoch_of(slot_of(skb)), 1);
}

/* skb_gro_receive(whole, part): at most 64 kB are put together, so it may refuse. */
static __always_inline int joining_gro(__u64 whole, __u64 part)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &whole);

	if (!packet)
		return 0;
	/* If this one was refused before, others join it now. */
	packet->joining = NOT_JOINING;
	note_joining(part, packet->id, JOINING);
	return 0;
}

/* skb_try_coalesce(whole, part, ...). */
static __always_inline int joining_coalesce(__u64 whole, __u64 part)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &part);

	/* Fragments join their datagram in any case. */
	if (!packet || packet->joining == QUEUED)
		return 0;
	__u64 into = followed_at(whole);

	if (into)
		note_joining(part, into, COALESCING);
	return 0;
}

/* kfree_skb_partial(skb, ...): what is left of a packet whose data another one has. */
static __always_inline int joining_partial(__u64 unused, __u64 skb)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);

	if (packet && packet->joining == COALESCING)
		packet->joining = JOINING;
	return 0;
}

/* inet_frag_queue_insert(queue, skb, ...). */
static __always_inline int joining_queue(__u64 queue, __u64 skb)
{
	/* What was assembled there belonged to the memory's former owner. */
	bpf_map_delete_elem(&ipft_queues, &queue);
	note_joining(skb, queue, QUEUED);
	return 0;
}

/* inet_frag_reasm_finish(queue, head, ...): all fragments of the queue become part of the head. */
static __always_inline int joining_assemble(__u64 queue, __u64 head)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &head);

	if (!packet)
		return 0;
	__u64 id = packet->id;

	packet->joining = NOT_JOINING;
	bpf_map_update_elem(&ipft_queues, &queue, &id, BPF_ANY);
	return 0;
}

/*
 * A queued fragment is copied when its datagram is assembled: the copy of the last one takes its place, and that of the
 * first one becomes the head.
 */
static __always_inline int inherit_queue(__u64 child, __u64 parent)
{
	__u64 *queue = bpf_map_lookup_elem(&ipft_joins, &parent);

	if (queue)
		note_joining(child, *queue, QUEUED);
	return 0;
}

/* Returns the packet that the one at `skb` became part of; 0 if it did not, or if that is not known. */
static __noinline __u64 joined_into(__u64 skb, __u32 joining)
{
	__u64 *into = bpf_map_lookup_elem(&ipft_joins, &skb);

	if (!into || joining == COALESCING)
		return 0;
	if (joining == JOINING)
		return *into;
	__u64 queue = *into;
	__u64 *whole = bpf_map_lookup_elem(&ipft_queues, &queue);

	return whole ? *whole : 0;
}

#endif
