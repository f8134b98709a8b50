/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The limit of packets that are selected in a second, on all CPUs together. May include core/state.h.
 */
#ifndef IPFT_RATE_H
#define IPFT_RATE_H

#include "core/state.h"

#define RATE_WINDOW 1000000000ull /* nanoseconds */

/* In its own map, which user space reads as a whole: it wants the first word. */
struct {
	__u64 over;	/* packets over the limit, each time that one of them passes a function that would select it */
	__u64 start;	/* of the window */
	__u64 selected; /* in it */
} ipft_rate SEC(".bss.rate");

/*
 * Returns whether one more packet is within the limit, and counts it.
 *
 * Windows of a second and not a token bucket: with tokens that come one by one, most packets would be selected in the
 * middle of their way, at the gate that they pass when one comes. The first packets of a window are nearly all selected at
 * their first gate.
 *
 * CPUs that begin a window together, or are in here together at its last packet, may select a few more. The clocks of CPUs
 * differ, so a window may begin in this one's future.
 */
static __always_inline int within_rate(__u64 now)
{
	if (!ipft_config.place.rate)
		return 1;
	if ((__s64)(now - *(volatile __u64 *)&ipft_rate.start) >= (__s64)RATE_WINDOW) {
		*(volatile __u64 *)&ipft_rate.start = now;
		*(volatile __u64 *)&ipft_rate.selected = 0;
	}
	if (*(volatile __u64 *)&ipft_rate.selected >= ipft_config.place.rate) {
		__sync_fetch_and_add(&ipft_rate.over, 1);
		return 0;
	}
	__sync_fetch_and_add(&ipft_rate.selected, 1);
	return 1;
}

#endif
