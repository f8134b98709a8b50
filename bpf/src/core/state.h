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
