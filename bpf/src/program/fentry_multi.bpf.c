// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs of the fentry-multi backend: one program for many functions through BPF trampolines (tracing-multi
 * links, Linux 7.x). libbpf does not know the section, so the backend sets type and attach type itself.
 */
#include "core/calls.h"

/* The lower half of the cookie; the upper one has the place, see untyped.h. */
static __always_inline __u64 this_function(__u64 *ctx)
{
	return (__u32)bpf_get_attach_cookie(ctx);
}

/* These sessions keep track of their calls themselves. */
static __always_inline __u64 frame_of(__u64 *ctx)
{
	return 0;
}

/*
 * The verifier checks the programs against a function without arguments (bpf_multi_func), so they cannot load them
 * from the context; it inlines this helper.
 */
static __always_inline __u64 argument_of(__u64 *ctx, __u32 position)
{
	__u64 value = 0;

	bpf_get_func_arg(ctx, position, &value);
	return value;
}

/* A tracing program may only return 0. */
#define UNTRACED 0
#define CONTEXT __u64
#define SECTION "?tracing_multi"
#define ARGUMENT(position) argument_of(ctx, position)

#include "program/untyped.h"

ALL_PROGRAMS
SHARED_PROGRAMS
