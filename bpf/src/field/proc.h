/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The built-in fields of the process in which a function runs, where it is one of the packet. May include field/task.h.
 */
#ifndef IPFT_FIELD_PROC_H
#define IPFT_FIELD_PROC_H

#include "field/task.h"

static __always_inline void fill_proc(void *to, struct sk_buff *skb)
{
	struct ipft_proc *proc = to;
	__u64 *comm = (__u64 *)proc->comm;

	comm[0] = 0;
	comm[1] = 0;
	proc->pid = 0;
	if (is_in_task()) {
		proc->pid = bpf_get_current_pid_tgid() >> 32;
		bpf_get_current_comm(proc->comm, sizeof(proc->comm));
	}
}

#endif
