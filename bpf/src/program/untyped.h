/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For programs that serve many functions at once and so get arguments without a type: how they read the mark, tell a
 * packet from rubbish, and use a session. The .bpf.c files define this_function(), frame_of(), UNTRACED (what a program
 * returns for a call that is not traced), CONTEXT, SECTION and ARGUMENT(position) before this. They are compiled
 * twice: with SESSION 1, one program serves entry and return.
 *
 * There is one program for each place where the packet can be: which argument (0 to 5, the registers of the calling
 * convention) and what the argument is. The place is known when a function is attached, so a program that had to look
 * it up per packet would waste time.
 */
#ifndef IPFT_UNTYPED_H
#define IPFT_UNTYPED_H

#include "arch/x86_64.h"
#include "core/calls.h"
#include "filter/admit.h"

extern void *bpf_rdonly_cast(const void *object, __u32 btf_id) __ksym __weak;

/* From 6.10 these take no argument, from 7.0 the context (fsession needed it); libbpf takes the one that fits. */
extern _Bool bpf_session_is_return(void) __ksym __weak;
extern __u64 *bpf_session_cookie(void) __ksym __weak;
extern _Bool bpf_session_is_return___ctx(void *ctx) __ksym __weak;
extern __u64 *bpf_session_cookie___ctx(void *ctx) __ksym __weak;

static __always_inline int session_is_return(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_is_return___ctx))
		return bpf_session_is_return___ctx(ctx);
	return bpf_session_is_return();
}

static __always_inline __u64 *session_cookie(void *ctx)
{
	if (bpf_ksym_exists(bpf_session_cookie___ctx))
		return bpf_session_cookie___ctx(ctx);
	return bpf_session_cookie();
}

/*
 * Whether the mark is read directly. The cast is there from 6.2 on, and these programs call functions of their own, so
 * that a pointer which is wrong must not fault everywhere.
 */
static __always_inline int reads_directly(void)
{
	return bpf_ksym_exists(bpf_rdonly_cast) && !ipft_config.faults_crash;
}

/* For kernels that do not read it directly. Its own function keeps its stack out of the fast path. */
static __noinline __u32 mark_read(__u64 skb)
{
	struct sk_buff *untyped = (void *)skb;
	__u32 mark = 0;

	bpf_probe_read_kernel(&mark, sizeof(mark), &untyped->mark);
	return mark;
}

enum argument {
	POINTER,	/* struct sk_buff * */
	DOUBLE_POINTER, /* struct sk_buff ** */
	UNSURE,		/* struct sk_buff * if the compiler left the argument where the prototype has it */
};

/* Handles the return of a call in a session. If the kernel cannot skip the returns of others, their cookie is zero. */
static __always_inline int session_return(void *ctx)
{
	__u64 packet = *session_cookie(ctx);

	if (packet)
		leave(ctx, packet, this_function(ctx));
	return 0;
}

static __always_inline int trace(void *ctx, __u64 skb, enum pointer pointer, enum role role)
{
	__u64 function = this_function(ctx);
	__u64 packet = enter(ctx, skb, pointer, function, role);

	if (!packet)
		return UNTRACED;
	/* A session without returns is an entry probe. */
	if (SESSION && !ipft_config.remember_calls)
		return UNTRACED;
	if (SESSION)
		*session_cookie(ctx) = packet;
	else if (ipft_config.remember_calls)
		open_call(frame_of(ctx), packet, function);
	return 0;
}

/* Separate functions, so that a packet that does not match does not pay for the registers that they save. */
#define TRACE(name, pointer, role)                                \
	static __noinline int name(void *ctx, __u64 skb)          \
	{                                                         \
		return trace(ctx, skb, pointer, role);            \
	}

TRACE(trace_ordinary, NUMBER, ORDINARY)
TRACE(trace_teardown, NUMBER, TEARDOWN)
TRACE(trace_release, NUMBER, RELEASE)
TRACE(trace_free, NUMBER, FREE)
TRACE(trace_typed_ordinary, TYPED, ORDINARY)
TRACE(trace_typed_teardown, TYPED, TEARDOWN)
TRACE(trace_typed_release, TYPED, RELEASE)
TRACE(trace_typed_free, TYPED, FREE)

#define JUDGE(prefix, mark, skb, pointer)                                 \
	do {                                                              \
		if (!admit((__u64)(skb), pointer, mark, role))            \
			return UNTRACED;                                  \
		switch (role) {                                           \
		case ORDINARY:                                            \
			return prefix##_ordinary(ctx, (__u64)(skb));      \
		case TEARDOWN:                                            \
			return prefix##_teardown(ctx, (__u64)(skb));      \
		case RELEASE:                                             \
			return prefix##_release(ctx, (__u64)(skb));       \
		case FREE:                                                \
			return prefix##_free(ctx, (__u64)(skb));          \
		}                                                         \
	} while (0)

static __always_inline int probe(void *ctx, __u64 value, enum argument argument, enum role role)
{
	__u64 skb = value;

	if (SESSION && session_is_return(ctx))
		return session_return(ctx);
	if (argument == DOUBLE_POINTER) {
		skb = 0;
		bpf_probe_read_kernel(&skb, sizeof(skb), (void *)value);
	}
	if (argument != POINTER && IS_NO_SKB(skb))
		return UNTRACED;

	if (reads_directly()) {
		struct sk_buff *typed = bpf_rdonly_cast((void *)skb, bpf_core_type_id_kernel(struct sk_buff));

		/* The result is passed on, so that the argument needs no register that outlives the call. */
		JUDGE(trace_typed, typed->mark, typed, TYPED);
	} else {
		JUDGE(trace, mark_read(skb), skb, NUMBER);
	}
	return UNTRACED;
}

/* Defines the programs. */
#define ENTRY(name, position, argument, role)                                    \
	SEC(SECTION)                                                             \
	int ipft_##name(CONTEXT *ctx)                                                   \
	{                                                                        \
		return probe(ctx, ARGUMENT(position), argument, role);           \
	}

/* Functions that identity needs although the user did not select them. */
#define SILENT(name, position, role)                                             \
	SEC(SECTION)                                                             \
	int ipft_##name(CONTEXT *ctx)                                                   \
	{                                                                        \
		forget(ARGUMENT(position), NUMBER, role);                                \
		return UNTRACED;                                                         \
	}

#define ALL_PROGRAMS                                  \
	ENTRY(pointer_0, 0, POINTER, ORDINARY)        \
	ENTRY(pointer_1, 1, POINTER, ORDINARY)        \
	ENTRY(pointer_2, 2, POINTER, ORDINARY)        \
	ENTRY(pointer_3, 3, POINTER, ORDINARY)        \
	ENTRY(pointer_4, 4, POINTER, ORDINARY)        \
	ENTRY(pointer_5, 5, POINTER, ORDINARY)        \
	ENTRY(double_0, 0, DOUBLE_POINTER, ORDINARY)  \
	ENTRY(double_1, 1, DOUBLE_POINTER, ORDINARY)  \
	ENTRY(double_2, 2, DOUBLE_POINTER, ORDINARY)  \
	ENTRY(double_3, 3, DOUBLE_POINTER, ORDINARY)  \
	ENTRY(double_4, 4, DOUBLE_POINTER, ORDINARY)  \
	ENTRY(double_5, 5, DOUBLE_POINTER, ORDINARY)  \
	ENTRY(unsure_0, 0, UNSURE, ORDINARY)          \
	ENTRY(unsure_1, 1, UNSURE, ORDINARY)          \
	ENTRY(unsure_2, 2, UNSURE, ORDINARY)          \
	ENTRY(unsure_3, 3, UNSURE, ORDINARY)          \
	ENTRY(unsure_4, 4, UNSURE, ORDINARY)          \
	ENTRY(unsure_5, 5, UNSURE, ORDINARY)          \
	ENTRY(teardown_0, 0, POINTER, TEARDOWN)       \
	ENTRY(release_0, 0, POINTER, RELEASE)         \
	ENTRY(release_1, 1, POINTER, RELEASE)         \
	ENTRY(free_0, 0, POINTER, FREE)               \
	SILENT(silent_release_0, 0, RELEASE)          \
	SILENT(silent_release_1, 1, RELEASE)          \
	SILENT(silent_free_0, 0, FREE)

#endif
