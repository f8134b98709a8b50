/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The entry of a function with a traced packet, and its return. May include identity.h, capture.h, emit.h, limit.h and
 * track/enter.h.
 */
#ifndef IPFT_EVENT_H
#define IPFT_EVENT_H

#include "core/capture.h"
#include "core/emit.h"
#include "core/identity.h"
#include "core/limit.h"
#if FOLLOW
#include "track/enter.h"
#endif

/* Returns the packet that lives at `skb`, from memory if this CPU saw it last. */
static __always_inline __u64 identify_again(struct ipft_cpu *cpu, __u64 skb, enum pointer pointer, __u64 now,
					    enum role role)
{
	__u64 packet = *(volatile __u64 *)&cpu->last_packet;
	__u64 address = number_of(skb, pointer);

	if (role == ORDINARY && packet && *(volatile __u64 *)&cpu->last_check == check_of(packet, address))
		return packet;
	packet = identify(skb, pointer, now, role);
	/* A remembered packet is not examined again, so its first bytes must have been sent. */
	if (READS != BY_LOADS_ALONE && ipft_config.record_bytes && !capture(skb, now, role == RELEASE))
		return packet;
	if (role == ORDINARY) {
		*(volatile __u64 *)&cpu->last_packet = packet;
		*(volatile __u64 *)&cpu->last_check = check_of(packet, address);
	}
	return packet;
}

/* Handles the entry of a function with a matching packet. Returns the packet's identity, or 0 if the event is lost. */
static __always_inline __u64 enter(void *ctx, __u64 skb, enum pointer pointer, __u64 function, enum role role)
{
	__u32 processor = bpf_get_smp_processor_id();
	struct ipft_cpu *cpu = &ipft_cpus[processor & (IPFT_MAX_CPUS - 1)];
	__u64 now = bpf_ktime_get_ns();
#if FOLLOW
	int selected = 0;
	__u64 address = number_of(skb, pointer);
	__u64 packet = entering(ctx, cpu, processor, address, now, role, &selected);
	__u64 sent = 0;

	if (packet && !within_limit(cpu, now))
		__sync_fetch_and_add(&cpu->over_limit, 1);
	else if (packet && emit(ctx, cpu, processor, packet, skb, pointer, now, function, 0))
		sent = packet;
	if (selected)
		follow_queued(ctx, address, packet, now, function);
	return sent;
#else
	if (!within_limit(cpu, now)) {
		__sync_fetch_and_add(&cpu->over_limit, 1);
		if (role == RELEASE || role == FREE)
			forget(skb, pointer, role);
		return 0;
	}
	__u64 packet = identify_again(cpu, skb, pointer, now, role);

	if (!packet || !emit(ctx, cpu, processor, packet, skb, pointer, now, function, 0))
		return 0;
	return packet;
#endif
}

/* Handles the return of a traced call. It is sent over the limit, too, or the entry would have been in vain. */
static __always_inline void leave(void *ctx, __u64 packet, __u64 function)
{
	__u32 processor = bpf_get_smp_processor_id();
	struct ipft_cpu *cpu = &ipft_cpus[processor & (IPFT_MAX_CPUS - 1)];

	charge(cpu);
	emit(ctx, cpu, processor, packet, 0, NUMBER, bpf_ktime_get_ns(), function, IPFT_RETURN);
}

#endif
