/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whether the current task has to do with what happens. May include core/state.h.
 *
 * A softirq runs on top of whatever task it found, and most packets are received in one. The number in which the kernel
 * counts its contexts is a variable of each CPU: `__preempt_count`, from 6.2 to 6.14 a member of `pcpu_hot`
 * (arch/x86/include/asm/preempt.h). The BTF of 5.10 does not know variables, so user space finds their addresses.
 *
 * Bits of interrupts are no help: a breakpoint, which some probes are, counts as one (arch/x86/kernel/traps.c, exc_int3).
 */
#ifndef IPFT_FIELD_TASK_H
#define IPFT_FIELD_TASK_H

#include "core/state.h"

#define SERVING_SOFTIRQ 0x100 /* include/linux/preempt.h: SOFTIRQ_OFFSET; disabling softirqs adds twice that */

struct pcpu_hot {
	int preempt_count;
} __attribute__((preserve_access_index));

/* Returns whether the current task runs, and not a softirq on top of it. If that cannot be known, it does not. */
static __always_inline int is_in_task(void)
{
	const volatile struct ipft_context *context = &ipft_config.context;
	__u64 count_at = context->preempt_count;
	__u64 base = 0;
	__u64 count = 0;

	if (!context->per_cpu_offset)
		return 0;
	if (bpf_core_type_exists(struct pcpu_hot))
		count_at += bpf_core_field_offset(struct pcpu_hot, preempt_count);
	if (read_bytes(&base, sizeof(base), context->per_cpu_offset + bpf_get_smp_processor_id() * sizeof(base)) || !base ||
	    read_bytes(&count, sizeof(__u32), base + count_at))
		return 0;
	return !(count & SERVING_SOFTIRQ);
}

#endif
