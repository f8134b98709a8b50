/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which packet enters a function, in programs that follow packets. May include queued.h, rebuilt.h, core/capture.h,
 * filter/rate.h and filter/select.h.
 */
#ifndef IPFT_ENTER_H
#define IPFT_ENTER_H

#include "core/capture.h"
#include "filter/rate.h"
#include "filter/select.h"
#include "track/queued.h"
#include "track/rebuilt.h"

/*
 * Returns whether a packet is followed, or selected; if nothing is followed, whether it is selected. A function of its
 * own that is called before there is a record on the stack: a function and all that it calls may have 512 bytes
 * together, and 5.10 refuses programs that have more.
 */
static __noinline int is_wanted(__u64 skb)
{
	if (!ipft_config.judge_each && may_be_followed(skb, NUMBER) && followed_at(skb))
		return 1;
	return selects(skb);
}

/*
 * Returns whether a function has to do with the packet: that is followed, or selected by this gate. Nearly all packets
 * that pass a gate are neither.
 */
static __always_inline int may_concern(__u64 skb, enum pointer pointer, enum role role)
{
	if (role == GATE)
		return is_wanted(skb);
	if (may_be_followed(skb, pointer))
		return 1;
	if (role == RELEASE) {
		/* Another packet lives here now: the one that was released here before was freed unseen. */
		released_at(bpf_get_smp_processor_id(), skb, 1);
		return 0;
	}
	if (role == TEARDOWN || role == FREE)
		return !!released_at(bpf_get_smp_processor_id(), skb, 0);
	return 0;
}

/* Returns the packet at `skb`, from memory if this CPU saw it last; 0 if it is not followed. */
static __always_inline __u64 followed_again(struct ipft_cpu *cpu, __u64 skb, __u64 now, enum role role)
{
	__u64 packet = *(volatile __u64 *)&cpu->last_packet;

	if (packet && *(volatile __u64 *)&cpu->last_check == check_of(packet, skb))
		return packet;
	packet = role == GATE ? going_on_at(skb) : followed_at(skb);
	/* A remembered packet is not examined again, so its first bytes must have been sent. */
	if (packet && !(ipft_config.record_bytes && !capture(skb, now, 0))) {
		*(volatile __u64 *)&cpu->last_packet = packet;
		*(volatile __u64 *)&cpu->last_check = check_of(packet, skb);
	}
	return packet;
}

/*
 * Returns the packet that enters a function of this role, 0 if it is not followed. Says whether a gate selects it: once
 * it is reported, follow_queued() is to be called.
 */
static __always_inline __u64 entering(void *ctx, struct ipft_cpu *cpu, __u32 processor, __u64 skb, __u64 now,
				      enum role role, int *selected)
{
	__u64 packet;

	switch (role) {
	case RELEASE:
		if (ipft_config.record_bytes && followed_at(skb))
			capture(skb, now, 1);
		packet = end(ctx, processor, skb, now);
		if (packet) {
			remember_released(processor, skb, packet);
			remember_head(skb, packet, now);
		}
		return packet;
	case FREE:
		packet = end(ctx, processor, skb, now);
		return packet ? packet : released_at(processor, skb, 1);
	case TEARDOWN:
		packet = followed_at(skb);
		return packet ? packet : released_at(processor, skb, 0);
	default:
		packet = followed_again(cpu, skb, now, role);
		if (packet || !(role == GATE || ipft_config.select_anywhere))
			return packet;
		/* is_wanted() was true. */
		packet = within_rate(now) ? follow(skb, now) : 0;
		if (role == GATE)
			*selected = packet && !ipft_config.judge_each;
		return packet;
	}
}

#endif
