/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Traced calls that have not returned, for backends whose mechanism does not remember them. May include event.h.
 */
#ifndef IPFT_CALLS_H
#define IPFT_CALLS_H

#include "core/event.h"

/*
 * Traced calls that have not returned, by their frame: the address of their return address. Calls that run at the same
 * time have different ones, but for tail calls: a function that ends by jumping to another hands its frame on, and
 * when that returns, both do, the inner one first.
 */
#define TAIL_CALLS 6

struct call {
	__u64 packet;
	__u64 function;
};

struct frame {
	__u64 depth; /* how many of the calls are open */
	struct call calls[TAIL_CALLS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct frame);
} ipft_calls SEC(".maps");

__u32 ipft_live_calls[FILTER_SIZE];

/*
 * Remembers a traced call, so that exactly its return is traced. A function of its own: its stack would leave too
 * little for the record that its caller sends.
 */
static OUT_OF_LINE __attribute__((unused)) int open_call(__u64 address, __u64 packet, __u64 function)
{
	struct frame *frame = bpf_map_lookup_elem(&ipft_calls, &address);

	if (!frame) {
		struct frame fresh = {
			.depth = 1,
			.calls[0] = { .packet = packet, .function = function },
		};
		if (bpf_map_update_elem(&ipft_calls, &address, &fresh, BPF_NOEXIST))
			__sync_fetch_and_add(&this_cpu()->calls_full, 1);
		else
			__sync_fetch_and_add(&ipft_live_calls[slot_of(address)], 1);
		return 0;
	}
	__u64 depth = frame->depth;
	if (depth >= TAIL_CALLS) {
		/* No function tail-calls that often: returns of this frame were missed. */
		__sync_fetch_and_add(&this_cpu()->calls_missed, depth);
		depth = 0;
	}
	frame->calls[depth].packet = packet;
	frame->calls[depth].function = function;
	frame->depth = depth + 1;
	return 0;
}

/* Returns whether a call with this frame may be open: all calls of other packets end here. */
static __always_inline int may_be_open(__u64 address)
{
	return RARELY(ipft_live_calls[slot_of(address)]);
}

/* Finds the call with this frame at its return, if that call was traced. A `function` of ~0 matches any. */
static __always_inline void close_call(void *ctx, __u64 address, __u64 function)
{
	struct frame *frame = bpf_map_lookup_elem(&ipft_calls, &address);

	if (!frame)
		return;
	__u64 depth = frame->depth - 1;
	if (depth >= TAIL_CALLS)
		return;
	struct call call = frame->calls[depth];
	/* The return of another packet's call, at a frame whose own return was missed. */
	if (function != ~0ull && call.function != function)
		return;
	if (depth)
		frame->depth = depth;
	else if (!bpf_map_delete_elem(&ipft_calls, &address))
		__sync_fetch_and_add(&ipft_live_calls[slot_of(address)], -1);
	leave(ctx, call.packet, call.function);
}

#endif
