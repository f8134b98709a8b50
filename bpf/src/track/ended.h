/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The end of a followed packet, which is reported to user space once: as dropped by the tracepoint skb:kfree_skb, which
 * comes before the release of the sk_buff, or else as released. May include joined.h.
 */
#ifndef IPFT_ENDED_H
#define IPFT_ENDED_H

#include "track/joined.h"

static __always_inline void fill_ended(struct ipft_ended *ended, __u32 processor, __u64 packet, __u64 skb, __u64 now,
				       __u64 into)
{
	ended->event.packet = packet;
	ended->event.skb = skb;
	ended->event.timestamp = now;
	ended->event.function = IPFT_ENDED;
	ended->event.cpu_and_kind = processor;
	ended->event.thread = bpf_get_current_pid_tgid();
	ended->into = into;
}

/* Tells user space of a packet that was released. */
static __always_inline void tell_released(void *ctx, __u32 processor, __u64 packet, __u64 skb, __u64 now, __u64 into)
{
	struct ipft_cpu *cpu = &ipft_cpus[processor & (IPFT_MAX_CPUS - 1)];

	if (ipft_config.use_perf_buffer) {
		struct ipft_ended record = {};

		fill_ended(&record, processor, packet, skb, now, into);
		if (bpf_perf_event_output(ctx, &ipft_perf, BPF_F_CURRENT_CPU, &record, sizeof(record)))
			__sync_fetch_and_add(&cpu->buffer_full, 1);
		return;
	}
	struct ipft_ended *record = reserve(processor, sizeof(*record));
	if (!record) {
		__sync_fetch_and_add(&cpu->buffer_full, 1);
		return;
	}
	fill_ended(record, processor, packet, skb, now, into);
	record->dropped = 0;
	record->reason = 0;
	/* An event of the releasing function or of a later one wakes the reader. */
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

static __always_inline void fill_frames(void *ctx, struct ipft_dropped *record)
{
	/* Nested too deep, a raw tracepoint gets no stack, and nothing is written (kernel/trace/bpf_trace.c). */
	if (bpf_get_stack(ctx, record->frames, sizeof(record->frames), 0) < 0)
		__builtin_memset(record->frames, 0, sizeof(record->frames));
}

static __always_inline void fill_dropped(void *ctx, struct ipft_dropped *record, __u32 reason, __u64 location)
{
	record->ended.dropped = IPFT_DROP;
	record->ended.reason = reason;
	record->location = location;
	fill_frames(ctx, record);
}

/* Tells user space of a packet that the kernel drops. */
static __always_inline void tell_dropped(void *ctx, __u64 packet, __u64 skb, __u32 reason, __u64 location, __u64 into)
{
	__u32 processor = bpf_get_smp_processor_id();
	struct ipft_cpu *cpu = &ipft_cpus[processor & (IPFT_MAX_CPUS - 1)];
	__u64 now = bpf_ktime_get_ns();

	if (ipft_config.use_perf_buffer) {
		struct ipft_dropped record = {};

		fill_ended(&record.ended, processor, packet, skb, now, into);
		fill_dropped(ctx, &record, reason, location);
		if (bpf_perf_event_output(ctx, &ipft_perf, BPF_F_CURRENT_CPU, &record, sizeof(record)))
			__sync_fetch_and_add(&cpu->buffer_full, 1);
		return;
	}
	struct ipft_dropped *record = reserve(processor, sizeof(*record));
	if (!record) {
		__sync_fetch_and_add(&cpu->buffer_full, 1);
		return;
	}
	fill_ended(&record->ended, processor, packet, skb, now, into);
	fill_dropped(ctx, record, reason, location);
	bpf_ringbuf_submit(record, BPF_RB_NO_WAKEUP);
}

/*
 * Ends the packet at `skb`, and reports it unless that has been done. Returns its identity, or 0 if there is none.
 */
static __always_inline __u64 end(void *ctx, __u32 processor, __u64 skb, __u64 now)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);

	if (!packet)
		return 0;
	__u64 id = packet->id;
	__u32 reported = packet->dying;
	__u32 joining = packet->joining;
	if (unfollow(skb) && !reported)
		tell_released(ctx, processor, id, skb, now, joining ? joined_into(skb, joining) : 0);
	return id;
}

/* Handles the drop of a packet that may be followed. Its sk_buff is released next, by a function that is probed. */
static __always_inline void drop(void *ctx, __u64 skb, __u32 reason, __u64 location)
{
	struct packet *packet = bpf_map_lookup_elem(&ipft_packets, &skb);

	if (!packet || packet->dying)
		return;
	packet->dying = 1;
	__u64 id = packet->id;
	__u32 joining = packet->joining;

	/* Some packets that became part of another one are freed with it as if they were dropped. */
	tell_dropped(ctx, id, skb, reason, location, joining ? joined_into(skb, joining) : 0);
}

#endif
