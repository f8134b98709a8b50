/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What user space sets up and reads: the configuration, the buffers, and the counters of each CPU. May include kernel.h
 * and wire.h.
 */
#ifndef IPFT_STATE_H
#define IPFT_STATE_H

#include "core/kernel.h"
#include "core/wire.h"

const volatile struct ipft_config ipft_config SEC(".rodata.ipft") = {};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} ipft_ring SEC(".maps");

/* Rings of groups of CPUs: CPU n writes to the ring n & ring_mask. User space makes them. */
struct ipft_ring_of_cpus {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct ipft_ring_of_cpus);
} ipft_rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} ipft_perf SEC(".maps");

/* In its own map, which user space reads as a whole. */
struct ipft_cpu ipft_cpus[IPFT_MAX_CPUS] SEC(".bss.cpus");

static __always_inline struct ipft_cpu *this_cpu(void)
{
	return &ipft_cpus[bpf_get_smp_processor_id() & (IPFT_MAX_CPUS - 1)];
}

/* Reserves a record in the ring of this CPU; NULL if it is full. */
static __always_inline void *reserve(__u32 processor, __u64 size)
{
	void *ring;

	if (ipft_config.ring_mask) {
		__u32 number = processor & ipft_config.ring_mask;

		ring = bpf_map_lookup_elem(&ipft_rings, &number);
		if (!ring)
			return 0;
	} else {
		ring = &ipft_ring;
		/* Keeps the compiler from naming the map before the branch: it does not exist if there are several rings. */
		asm volatile("" : "+r"(ring));
	}
	return bpf_ringbuf_reserve(ring, size, 0);
}

/*
 * The size of the tables that count how many entries of a map hash to a slot: a program that runs for every packet looks
 * there before it pays for a lookup. Kept in step with the maps by atomic additions, so a zero is certain.
 */
#define FILTER_SIZE 16384
_Static_assert((FILTER_SIZE * 1ull) << 17 <= 1ull << 32, "slot_of takes bits of the low half of an address");

static __always_inline __u32 slot_of(__u64 address)
{
	/* Frames and sk_buffs are aligned to 8 and spread over at least a page. Only bits of the low half count, see low_half. */
	return (__u32)((address >> 3) ^ (address >> 17)) & (FILTER_SIZE - 1);
}

#endif
