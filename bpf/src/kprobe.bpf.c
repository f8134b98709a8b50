// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs of the kprobe, kprobe-multi and kprobe-session backends. They are the same code; the backend chooses
 * the attach type, and with it how the function is known and how a return finds its entry.
 */
#include "probe.h"
#include <linux/ptrace.h>
#include <bpf/bpf_tracing.h>

static __always_inline __u64 this_function(struct pt_regs *ctx)
{
	if (ipft_config.function_source == IPFT_FROM_COOKIE)
		return bpf_get_attach_cookie(ctx);
	if (ipft_config.function_source == IPFT_FROM_FUNC_IP)
		return bpf_get_func_ip(ctx);
	/* All kinds of kprobes show the address behind the one-byte breakpoint, even where none was hit
	 * (arch/x86/kernel/kprobes/ftrace.c, opt.c). */
	return PT_REGS_IP(ctx) - 1;
}

/* At a function's entry the stack pointer is the address of the return address. */
static __always_inline __u64 frame_of(struct pt_regs *ctx)
{
	return PT_REGS_SP(ctx);
}

/* In a session, 1 tells the kernel to leave the return of this call alone. */
#define UNTRACED SESSION
#define CONTEXT struct pt_regs
#define SECTION "?kprobe"
#define PARAMETER_0 PT_REGS_PARM1(ctx)
#define PARAMETER_1 PT_REGS_PARM2(ctx)
#define PARAMETER_2 PT_REGS_PARM3(ctx)
#define PARAMETER_3 PT_REGS_PARM4(ctx)
#define PARAMETER_4 PT_REGS_PARM5(ctx)
#define PARAMETER_5 PT_REGS_PARM6(ctx)
#define ARGUMENT(position) PARAMETER_##position

#include "untyped.h"

ALL_PROGRAMS

/* The return of any function. The return address has been popped, so the frame lies one word below. */
SEC("?kretprobe")
int ipft_function_return(struct pt_regs *ctx)
{
	/* Without a cookie nothing tells which function it is: the instruction pointer is the caller's. */
	__u64 function = ipft_config.function_source == IPFT_FROM_REGS ? ~0ull : this_function(ctx);

	close_call(ctx, PT_REGS_SP(ctx) - sizeof(long), function);
	return 0;
}
