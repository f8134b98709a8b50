/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packets that are made of a followed one: each is followed as a packet of its own, and its birth is
 * reported to user space. May include ended.h and core/emit.h.
 *
 * Every copier of the kernel calls __copy_skb_header(new, old) out of line: skb_clone, skb_copy, skb_morph, skb_segment
 * and the rest (net/core/skbuff.c; the same in the images of Linux 5.10 to 7.2). IP fragments pass ip_copy_metadata(to,
 * from), and a TCP segment that is split skb_split(skb, rest). Both sk_buffs are arguments, so an entry probe is
 * enough.
 */
#ifndef IPFT_LINEAGE_H
#define IPFT_LINEAGE_H

#include "core/emit.h"
#include "track/ended.h"

/* How a new packet takes over what another one is. */
enum making {
	COPY,	  /* the new sk_buff holds no packet until now: what was followed at its address is over */
	FRAGMENT, /* likewise, but a fragment that arrived as a packet and is sent on stays that packet */
};

/* Tells user space of a packet that was made of `parent`. */
static __always_inline void tell_born(void *ctx, __u32 processor, __u64 packet, __u64 parent, __u64 skb, __u64 now,
				      __u64 function)
{
	struct ipft_cpu *cpu = &ipft_cpus[processor & (IPFT_MAX_CPUS - 1)];

	if (ipft_config.use_perf_buffer) {
		struct ipft_birth record = {
			.event = {
				.packet = packet,
				.skb = skb,
				.timestamp = now,
				.function = IPFT_BORN,
				.cpu_and_kind = processor,
				.thread = bpf_get_current_pid_tgid(),
			},
			.parent = parent,
			.function = function,
		};
		if (bpf_perf_event_output(ctx, &ipft_perf, BPF_F_CURRENT_CPU, &record, sizeof(record)))
			__sync_fetch_and_add(&cpu->buffer_full, 1);
		return;
	}
	struct ipft_birth *record = reserve(processor, sizeof(*record));
	if (!record) {
		__sync_fetch_and_add(&cpu->buffer_full, 1);
		return;
	}
	record->event.packet = packet;
	record->event.skb = skb;
	record->event.timestamp = now;
	record->event.function = IPFT_BORN;
	record->event.cpu_and_kind = processor;
	record->event.thread = bpf_get_current_pid_tgid();
	record->parent = parent;
	record->function = function;
	/* An event of its function or of the next one wakes the reader. */
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/* Its own function keeps its stack out of made(). */
static __noinline int inherit(__u64 child, __u64 parent)
{
	return inherit_queue(child, parent);
}

/*
 * Handles the making of `child` out of `parent`, of which one may be followed. Whatever was followed at the address of
 * a copy is over: its end may have been missed.
 */
static __always_inline void made(void *ctx, __u64 child, __u64 parent, enum making making, __u64 function)
{
	__u32 processor = bpf_get_smp_processor_id();
	__u64 now = bpf_ktime_get_ns();

	if (making == FRAGMENT) {
		if (followed_at(child))
			return;
	} else {
		end(ctx, processor, child, now);
	}
	if (ipft_config.judge_each)
		return;
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &parent);
	if (!packet)
		return;
	__u64 id = packet->id;
	__u32 joining = packet->joining;
	__u64 fresh = follow(child, now);
	if (!fresh)
		return;
	if (joining == QUEUED)
		inherit(child, parent);
	tell_born(ctx, processor, fresh, id, child, now, function);
}

#endif
