// SPDX-License-Identifier: GPL-2.0-only
/*
 * The programs of the ftrace backend (fentry and fexit). They are templates: the kernel wants one program per
 * function, so the backend takes a template's instructions as libbpf has relocated them, writes the function's index
 * into the FUNCTION constant, and loads that.
 *
 * An argument has the type that the function's prototype gives it, so the verifier lets the program read the mark
 * directly on every kernel. The pointer may be NULL all the same (everybody frees NULL), and the read then faults.
 */
#include "arch/x86_64.h"
#include "core/calls.h"
#include "filter/admit.h"

/* The function's index: a 64-bit constant that the compiler must not see through, and that the backend replaces. */
static __always_inline __u64 this_function(__u64 *ctx)
{
	__u64 function;

	asm volatile("%0 = %1 ll" : "=r"(function) : "i"(IPFT_FUNCTION_PLACE));
	return function;
}

/*
 * Entry and exit programs of one call get the same context: the arguments that the trampoline saved on its stack
 * (arch/x86/net/bpf_jit_comp.c). As a number, because old verifiers do not let this pointer be a map's key.
 */
static __always_inline __u64 frame_of(__u64 *ctx)
{
	return number_of((__u64)ctx, TYPED);
}

#if FOLLOW

/* Old verifiers refuse to load a pointer to a pointer from the context (btf_ctx_access), so it is read as memory. */
static __always_inline __u64 argument_of(__u64 *ctx, __u32 position, int is_pointer)
{
	__u64 value = 0;

	if (is_pointer)
		return number_of(ctx[position], TYPED);
	bpf_probe_read_kernel(&value, sizeof(value), &ctx[position]);
	return value;
}

#define UNTRACED 0
#define CONTEXT __u64
#define SECTION "?fentry"
#define ARGUMENT(position) argument_of(ctx, position, 1)
#define ARGUMENT_AS(position, argument) argument_of(ctx, position, argument == POINTER)
#define EVERY_FUNCTION_HAS_A_PROGRAM

#include "program/following.h"

FOLLOWING_PROGRAMS

#else

static __always_inline int trace(__u64 *ctx, __u64 skb, enum pointer pointer, enum role role)
{
	__u64 function = this_function(ctx);
	__u64 packet = enter(ctx, skb, pointer, function, role);

	if (packet && ipft_config.remember_calls)
		open_call(frame_of(ctx), packet, function);
	return 0;
}

#define TRACE(name, pointer, role)                                \
	static OUT_OF_LINE int name(__u64 *ctx, __u64 skb)        \
	{                                                         \
		return trace(ctx, skb, pointer, role);            \
	}

TRACE(trace_behind_double, NUMBER, ORDINARY)
TRACE(trace_ordinary, TYPED, ORDINARY)
TRACE(trace_teardown, TYPED, TEARDOWN)
TRACE(trace_release, TYPED, RELEASE)
TRACE(trace_free, TYPED, FREE)

static __always_inline int finish(__u64 *ctx, __u64 skb, enum pointer pointer, __u32 mark, enum role role)
{
	if (!admit(skb, pointer, mark, role))
		return 0;
	if (pointer == NUMBER)
		return trace_behind_double(ctx, skb);
	switch (role) {
	case ORDINARY:
		return trace_ordinary(ctx, skb);
	case TEARDOWN:
		return trace_teardown(ctx, skb);
	case RELEASE:
		return trace_release(ctx, skb);
	case FREE:
		return trace_free(ctx, skb);
	}
	return 0;
}

static __always_inline __u32 mark_of(struct sk_buff *skb)
{
#if READS == BY_HELPER
	__u32 mark = 0;

	bpf_probe_read_kernel(&mark, sizeof(mark), &skb->mark);
	return mark;
#else
	return skb->mark;
#endif
}

#define POINTER(name, position, role)                                           \
	SEC("?fentry")                                                           \
	int ipft_##name(__u64 *ctx)                                                    \
	{                                                                       \
		struct sk_buff *skb = (void *)ctx[position];                    \
		return finish(ctx, (__u64)skb, TYPED, mark_of(skb), role);                \
	}

/* Old verifiers refuse to load a pointer to a pointer from the context (btf_ctx_access), so it is read as memory. */
#define DOUBLE(name, position)                                                   \
	SEC("?fentry")                                                           \
	int ipft_##name(__u64 *ctx)                                                     \
	{                                                                        \
		void *where = 0;                                                 \
		struct sk_buff *skb = 0;                                         \
		__u32 mark = 0;                                                  \
		bpf_probe_read_kernel(&where, sizeof(where), &ctx[position]);    \
		bpf_probe_read_kernel(&skb, sizeof(skb), where);                 \
		if (IS_NO_SKB(skb))                           \
			return 0;                                                \
		bpf_probe_read_kernel(&mark, sizeof(mark), &skb->mark);          \
		return finish(ctx, (__u64)skb, NUMBER, mark, ORDINARY);                  \
	}

POINTER(pointer_0, 0, ORDINARY)
POINTER(pointer_1, 1, ORDINARY)
POINTER(pointer_2, 2, ORDINARY)
POINTER(pointer_3, 3, ORDINARY)
POINTER(pointer_4, 4, ORDINARY)
POINTER(pointer_5, 5, ORDINARY)
DOUBLE(double_0, 0)
DOUBLE(double_1, 1)
DOUBLE(double_2, 2)
DOUBLE(double_3, 3)
DOUBLE(double_4, 4)
DOUBLE(double_5, 5)
POINTER(teardown_0, 0, TEARDOWN)
POINTER(release_0, 0, RELEASE)
POINTER(release_1, 1, RELEASE)
POINTER(free_0, 0, FREE)

#define SILENT(name, position, role)                  \
	SEC("?fentry")                                 \
	int ipft_##name(__u64 *ctx)                          \
	{                                             \
		forget(ctx[position], TYPED, role);          \
		return 0;                             \
	}

SILENT(silent_release_0, 0, RELEASE)
SILENT(silent_release_1, 1, RELEASE)
SILENT(silent_free_0, 0, FREE)

#endif

static OUT_OF_LINE int close_this(__u64 *ctx)
{
	close_call(ctx, frame_of(ctx), this_function(ctx));
	return 0;
}

SEC("?fexit")
int ipft_function_return(__u64 *ctx)
{
	if (may_be_open(low_half((__u64)ctx, TYPED)))
		close_this(ctx);
	return 0;
}
