/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sends the record of an event. May include state.h and the fields.
 */
#ifndef IPFT_EMIT_H
#define IPFT_EMIT_H

#include "core/state.h"

#if EXTENSION
/*
 * The user's, linked in by host/core/src/probe/link.rs: fills the payload and returns 0, or returns anything else to drop the
 * event. It takes a struct sk_buff *, which is declared void * here because the linker compares declarations.
 */
extern int module(void *ctx, void *skb, void *data) __hidden;
#define PAYLOAD IPFT_PAYLOAD
#else
#define PAYLOAD 0
/* An extension brings its own, or program/license.bpf.c is linked in. */
char LICENSE[] SEC("license") = "GPL";
#endif

/* What is sent for an entry; a return has no payload. */
struct record {
	struct ipft_event event;
	__u8 payload[PAYLOAD];
};

/* Lets the extension fill the payload. Whether the event is wanted. `skb` is a number: extensions may calculate with it. */
static __always_inline int describe(void *ctx, __u64 skb, struct record *record)
{
#if EXTENSION
	return !module(ctx, (void *)skb, record->payload);
#else
	return 1;
#endif
}

/* 1 if the event is on its way to user space; 0 if it is not wanted, or lost and counted. */
static __always_inline int emit(void *ctx, struct ipft_cpu *cpu, __u32 processor, __u64 packet, __u64 skb, __u64 now,
				__u64 function, __u32 kind)
{
	int entry = !(kind & IPFT_RETURN);
	__u64 size = entry ? sizeof(struct record) : sizeof(struct ipft_event);

	if (ipft_config.use_perf_buffer) {
		struct record record = {
			.event = {
				.packet = packet,
				.skb = skb,
				.timestamp = now,
				.function = function,
				.cpu_and_kind = processor | kind,
				.thread = bpf_get_current_pid_tgid(),
			},
		};
		if (EXTENSION && entry) {
			__u64 number = 0;

			/* On the stack a typed pointer stays one. */
			bpf_probe_read_kernel(&number, sizeof(number), &record.event.skb);
			if (!describe(ctx, number, &record))
				return 0;
		}
		/* PERF_RECORD_LOST tells only of losses that a later event of the CPU follows, so the error is counted: the
		 * helper passes it on since 5.1 (kernel/events/core.c, perf_event_output). */
		if (bpf_perf_event_output(ctx, &ipft_perf, BPF_F_CURRENT_CPU, &record, size)) {
			__sync_fetch_and_add(&cpu->buffer_full, 1);
			return 0;
		}
		return 1;
	}

	struct record *record = bpf_ringbuf_reserve(&ipft_ring, size, 0);
	if (!record) {
		__sync_fetch_and_add(&cpu->buffer_full, 1);
		return 0;
	}
	struct ipft_event *event = &record->event;
	event->packet = packet;
	event->skb = skb;
	event->timestamp = now;
	event->function = function;
	event->cpu_and_kind = processor | kind;
	event->thread = bpf_get_current_pid_tgid();
	if (EXTENSION && entry) {
		__builtin_memset(record->payload, 0, sizeof(record->payload));
		/* What is read back from memory is a number. */
		if (!describe(ctx, *(volatile __u64 *)&event->skb, record)) {
			bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
			return 0;
		}
	}
	bpf_ringbuf_submit(record, ++cpu->emitted & ipft_config.wake_mask ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP);
	return 1;
}

#endif
