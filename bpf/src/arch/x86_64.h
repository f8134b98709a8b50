/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All that the programs know of x86-64: where a function's arguments and its return address are, what an address looks
 * like, and how the kernel's probes show them. Another architecture gets a header of its own with the same names. May
 * include core/kernel.h.
 */
#ifndef IPFT_X86_64_H
#define IPFT_X86_64_H

#ifndef __TARGET_ARCH_x86
#error "this header is for x86-64"
#endif

#include "core/kernel.h"
#include <linux/ptrace.h>
#include <bpf/bpf_tracing.h>

/* Arguments of a function at its entry, in the registers of the calling convention. Further ones are on the stack. */
#define REGISTER_0(regs) PT_REGS_PARM1(regs)
#define REGISTER_1(regs) PT_REGS_PARM2(regs)
#define REGISTER_2(regs) PT_REGS_PARM3(regs)
#define REGISTER_3(regs) PT_REGS_PARM4(regs)
#define REGISTER_4(regs) PT_REGS_PARM5(regs)
#define REGISTER_5(regs) PT_REGS_PARM6(regs)

/* Address of a kprobe: all kinds show the address after the one-byte breakpoint, even if none was hit
 * (arch/x86/kernel/kprobes/ftrace.c, opt.c). */
static __always_inline __u64 probed_address(struct pt_regs *regs)
{
	return PT_REGS_IP(regs) - 1;
}

/* Location of the return address: at a function's entry the stack pointer holds it. */
static __always_inline __u64 frame_at_entry(struct pt_regs *regs)
{
	return PT_REGS_SP(regs);
}

/* The same at the function's return, which has popped the return address. */
static __always_inline __u64 frame_at_return(struct pt_regs *regs)
{
	return PT_REGS_SP(regs) - sizeof(long);
}

/* Returns whether a value cannot be the address of an sk_buff: kernel addresses are the upper half of the address
 * space, and every sk_buff is aligned to a word. */
#define IS_NO_SKB(value) ((__s64)(value) >= 0 || (__u64)(value) & 7)

#endif
