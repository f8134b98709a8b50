/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The limit of events a second on each CPU. May include state.h.
 */
#ifndef IPFT_LIMIT_H
#define IPFT_LIMIT_H

#include "core/state.h"

/* How far ahead of the highest rate events may come: a CPU that was idle may send the events of one second at once. */
#define LIMIT_BURST 1000000000ull /* nanoseconds */

/*
 * Returns whether one more event is within the limit, and charges it if so.
 *
 * This is a token bucket that holds a time instead of tokens, so that it needs no division: each event makes the CPU's
 * `due` later by one interval, and `due` never lies in the past. A program that is interrupted in here may lose what
 * the other one added: a few events more pass then.
 */
static __always_inline int within_limit(struct ipft_cpu *cpu, __u64 now)
{
	if (!ipft_config.event_interval)
		return 1;
	__u64 due = *(volatile __u64 *)&cpu->due;

	if (due < now)
		due = now;
	due += ipft_config.event_interval;
	if (due - now > LIMIT_BURST)
		return 0;
	*(volatile __u64 *)&cpu->due = due;
	return 1;
}

/* Charges an event that is sent even over the limit. */
static __always_inline void charge(struct ipft_cpu *cpu)
{
	if (ipft_config.event_interval)
		*(volatile __u64 *)&cpu->due += ipft_config.event_interval;
}

#endif
