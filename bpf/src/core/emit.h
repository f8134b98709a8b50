/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sends the record of an event. May include identity.h and the fields.
 */
#ifndef IPFT_EMIT_H
#define IPFT_EMIT_H

#include "core/identity.h"
#include "field/field.h"

#if EXTENSION
/*
 * The user's, linked in by host/core/src/probe/link.rs: fills the payload and returns 0, or returns anything else to
 * drop the event. It takes a struct sk_buff *, which is declared void * here because the linker compares declarations.
 */
extern int module(void *ctx, void *skb, void *data) __hidden;
#define PAYLOAD IPFT_PAYLOAD
#else
#define PAYLOAD 0
/* An extension has its own, or program/license.bpf.c is linked in. */
char LICENSE[] SEC("license") = "GPL";
#endif

/* The record of an entry at its maximum size; a return is only the event. */
struct record {
	struct ipft_event event;
	__u8 more[FIELDS_ROOM + PAYLOAD];
};

/* Fills the part after the event of an entry. Returns whether the event is wanted. */
static __always_inline int describe(void *ctx, void *more, __u64 skb, enum pointer pointer, __u64 number,
				    __u32 fields)
{
	if (fields)
		fill_fields(more, fields, skb, pointer);
#if EXTENSION
	__u64 *payload = more + (fields ? ipft_config.fields_size : 0);
#pragma unroll
	for (int i = 0; i < PAYLOAD / 8; i++)
		payload[i] = 0;
	/* A number: extensions may calculate with it. */
	return !module(ctx, (void *)number, payload);
#else
	return 1;
#endif
}

/* Sends a record that was made on the stack by the perf buffer. Returns as emit() does. */
static __always_inline int send_by_perf(void *ctx, void *record, __u64 size)
{
	/* PERF_RECORD_LOST only reports losses that a later event of the CPU follows, so the error is counted: the helper
	 * returns it since 5.1 (kernel/events/core.c, perf_event_output). */
	if (bpf_perf_event_output(ctx, &ipft_perf, BPF_F_CURRENT_CPU, record, size)) {
		__sync_fetch_and_add(&this_cpu()->buffer_full, 1);
		return 0;
	}
	return 1;
}

#define FILL_EVENT(event)                                           \
	do {                                                        \
		(event)->packet = packet;                           \
		(event)->skb = skb;                                 \
		(event)->timestamp = now;                           \
		(event)->function = function;                       \
		(event)->cpu_and_kind = processor | kind;           \
		(event)->thread = bpf_get_current_pid_tgid();       \
	} while (0)

/* The body of a function that sends an entry by the perf buffer, with so much room for fields. */
#define ENTRY_BY_PERF(room, pointer)                                                                          \
	struct {                                                                                              \
		struct ipft_event event;                                                                      \
		__u8 more[(room) + PAYLOAD];                                                                  \
	} record;                                                                                             \
	__u32 fields = ipft_config.fields & FIELDS_BY_PERF;                                                   \
	__u64 number = pointer == NUMBER ? skb : 0;                                                           \
                                                                                                              \
	FILL_EVENT(&record.event);                                                                            \
	/* On the stack a typed pointer stays one. */                                                         \
	if (EXTENSION && pointer == TYPED)                                                                    \
		bpf_probe_read_kernel(&number, sizeof(number), &record.event.skb);                            \
	if (!describe(ctx, record.more, skb, pointer, number, fields))                                        \
		return 0;                                                                                     \
	return send_by_perf(ctx, &record,                                                                     \
			    sizeof(struct ipft_event) + PAYLOAD + (fields ? ipft_config.fields_size : 0));

/*
 * Functions of their own, at most one of which is called: the verifier counts no stack of the others. With records in
 * their callers, 5.10 and 6.1 would refuse an extension where packets are followed, and call graphs with first bytes,
 * even if the ring is used.
 */
#define BY_PERF(name, room, pointer)                                                                          \
	static OUT_OF_LINE __attribute__((unused)) int name(void *ctx, __u64 packet, __u64 skb, __u64 now,     \
							   __u64 function)                                    \
	{                                                                                                     \
		__u32 processor = bpf_get_smp_processor_id(), kind = 0;                                       \
                                                                                                              \
		ENTRY_BY_PERF(room, pointer)                                                                  \
	}

#define FEW_FIELDS 32  /* bytes: such as length and mark */
#define MORE_FIELDS 96 /* those that are shown by default with a filter */

BY_PERF(send_few_of_number, FEW_FIELDS, NUMBER)
BY_PERF(send_few_of_typed, FEW_FIELDS, TYPED)
BY_PERF(send_more_of_number, MORE_FIELDS, NUMBER)
BY_PERF(send_more_of_typed, MORE_FIELDS, TYPED)
BY_PERF(send_of_number, FIELDS_ROOM_BY_PERF, NUMBER)
BY_PERF(send_of_typed, FIELDS_ROOM_BY_PERF, TYPED)

static __always_inline int enter_by_perf(void *ctx, __u32 processor, __u64 packet, __u64 skb, enum pointer pointer,
					 __u64 now, __u64 function, __u32 kind)
{
	if (ipft_config.fields_size <= FEW_FIELDS)
		return pointer == TYPED ? send_few_of_typed(ctx, packet, skb, now, function)
					: send_few_of_number(ctx, packet, skb, now, function);
	if (ipft_config.fields_size <= MORE_FIELDS)
		return pointer == TYPED ? send_more_of_typed(ctx, packet, skb, now, function)
					: send_more_of_number(ctx, packet, skb, now, function);
	return pointer == TYPED ? send_of_typed(ctx, packet, skb, now, function)
				: send_of_number(ctx, packet, skb, now, function);
}

/* Returns 1 if the event was sent to user space; 0 if it is not wanted, or lost and counted. */
static __always_inline int emit(void *ctx, struct ipft_cpu *cpu, __u32 processor, __u64 packet, __u64 skb,
				enum pointer pointer, __u64 now, __u64 function, __u32 kind)
{
	if (ipft_config.use_perf_buffer && !(kind & IPFT_RETURN))
		return enter_by_perf(ctx, processor, packet, skb, pointer, now, function, kind);
	if (ipft_config.use_perf_buffer) {
		struct ipft_event event;

		FILL_EVENT(&event);
		return send_by_perf(ctx, &event, sizeof(event));
	}

	int entry = !(kind & IPFT_RETURN);
	__u32 fields = entry ? ipft_config.fields : 0;
	__u64 size = sizeof(struct ipft_event) + (entry ? PAYLOAD : 0);

	if (fields)
		size += ipft_config.fields_size;
	struct record *record = reserve(processor, size);
	if (!record) {
		__sync_fetch_and_add(&cpu->buffer_full, 1);
		return 0;
	}
	struct ipft_event *event = &record->event;
	FILL_EVENT(event);
	if (entry) {
		/* Read back from memory, it is a number. */
		__u64 number = EXTENSION ? *(volatile __u64 *)&event->skb : 0;

		if (!describe(ctx, record->more, skb, pointer, number, fields)) {
			bpf_ringbuf_discard(record, BPF_RB_NO_WAKEUP);
			return 0;
		}
	}
	bpf_ringbuf_submit(record, ++cpu->emitted & ipft_config.wake_mask ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP);
	return 1;
}

#endif
