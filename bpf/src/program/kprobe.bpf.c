// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs of the kprobe, kprobe-multi and kprobe-session backends. They are the same code; the backend chooses
 * the attach type, and with it how the function is known and how a return finds its entry.
 */
#include "arch/x86_64.h"
#include "core/calls.h"

static __always_inline __u64 this_function(struct pt_regs *ctx)
{
	if (ipft_config.function_source == IPFT_FROM_COOKIE)
		return bpf_get_attach_cookie(ctx);
	if (ipft_config.function_source == IPFT_FROM_FUNC_IP)
		return bpf_get_func_ip(ctx);
	return probed_address(ctx);
}

static __always_inline __u64 frame_of(struct pt_regs *ctx)
{
	return frame_at_entry(ctx);
}

/* In a session, 1 makes the kernel skip the return of this call. */
#define UNTRACED SESSION
#define CONTEXT struct pt_regs
#define SECTION "?kprobe"
#define ARGUMENT(position) REGISTER_##position(ctx)

#if FOLLOW
#include "program/following.h"

FOLLOWING_PROGRAMS
#else
#include "program/untyped.h"

ALL_PROGRAMS
SHARED_PROGRAMS
#endif

static __noinline int close_this(struct pt_regs *ctx)
{
	/* Without a cookie the function is unknown: the instruction pointer is the caller's. */
	__u64 function = ipft_config.function_source == IPFT_FROM_REGS ? ~0ull : this_function(ctx);

	close_call(ctx, frame_at_return(ctx), function);
	return 0;
}

/* Handles the return of any function. */
SEC("?kretprobe")
int ipft_function_return(struct pt_regs *ctx)
{
	if (may_be_open(frame_at_return(ctx)))
		close_this(ctx);
	return 0;
}
