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
 * The context is an array of arguments. The verifier checks the programs against a function without any
 * (bpf_multi_func), so they cannot load them from the context. They can from its address, as that of a struct which has
 * words there: pt_regs begins with six.
 */
static __always_inline __u64 argument_of(__u64 *ctx, __u32 position)
{
	__u64 *words = bpf_rdonly_cast(ctx, bpf_core_type_id_kernel(struct pt_regs));

	return words[position];
}

#if !FOLLOW
/*
 * And sk_buff begins with a pointer to an sk_buff (`next`, which sk_buff_head needs first), so that this is a pointer
 * with a type without a cast of its own. If the struct began with anything else, the verifier would refuse the programs.
 */
static __always_inline __u64 packet_of(__u64 *ctx, __u32 position)
{
	struct sk_buff **packet = bpf_rdonly_cast(ctx + position, bpf_core_type_id_kernel(struct sk_buff));

	return (__u64)*packet;
}
#endif

/* A tracing program may only return 0. */
#define UNTRACED 0
#define CONTEXT __u64
#define SECTION "?tracing_multi"
#define ARGUMENT(position) argument_of(ctx, position)
#define PACKET(position) packet_of(ctx, position)

#if FOLLOW
#include "program/following.h"

FOLLOWING_PROGRAMS
#else
#include "program/untyped.h"

ALL_PROGRAMS
SHARED_PROGRAMS
#endif
