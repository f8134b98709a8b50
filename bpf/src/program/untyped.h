/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For programs that serve many functions at once and so get arguments without a type: how they read the mark, tell a
 * packet from rubbish, and use a session. The .bpf.c files define this_function(), frame_of(), UNTRACED (what a program
 * returns for a call that is not traced), CONTEXT, SECTION and ARGUMENT(position) before this. They are compiled
 * twice: with SESSION 1, one program serves entry and return.
 *
 * There is one program for each place where the packet often is: which argument (0 to 5, the registers of the calling
 * convention) and what the argument is. The place is known when a function is attached, so a program that had to look
 * it up per packet would waste time. But every program needs a link, whose release takes the kernel a grace period. So
 * functions of the other places share ipft_any, which looks the place up.
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

/* One for all roles, for programs that many functions share: the larger a program, the longer its loading takes. */
#define TRACE_ANY(name, pointer)                                             \
	static __noinline int name(void *ctx, __u64 skb, enum role role)     \
	{                                                                    \
		return trace(ctx, skb, pointer, role);                       \
	}

TRACE_ANY(trace_any, NUMBER)
TRACE_ANY(trace_typed_any, TYPED)

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

/* What the attach cookie of ipft_any and ipft_end says of a function, above an index (program_key.rs). */
#define PLACE_POSITION(cookie) ((cookie) >> 32 & 7)
#define PLACE_ARGUMENT(cookie) ((enum argument)((cookie) >> 36 & 3))
#define PLACE_ROLE(cookie) ((enum role)((cookie) >> 40 & 3))
#define PLACE_SILENT(cookie) ((cookie) >> 44 & 1)

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

/* The compiler must not merge the loads: the verifier allows none whose place in the context is not constant. */
#define ARGUMENT_AT(position)                           \
	case position: {                                \
		__u64 value = ARGUMENT(position);       \
		asm volatile("" : "+r"(value));         \
		return value;                           \
	}

static __always_inline __u64 argument_at(CONTEXT *ctx, __u32 position)
{
	switch (position) {
		ARGUMENT_AT(0)
		ARGUMENT_AT(1)
		ARGUMENT_AT(2)
		ARGUMENT_AT(3)
		ARGUMENT_AT(4)
		ARGUMENT_AT(5)
	}
	return 0;
}

#define JUDGE_ANY(name, mark, skb, pointer)                             \
	do {                                                            \
		if (!admit((__u64)(skb), pointer, mark, role))          \
			return UNTRACED;                                \
		return name(ctx, (__u64)(skb), role);                   \
	} while (0)

/* Its own function keeps its stack out of the fast path. */
static __noinline __u64 pointed_to(__u64 address)
{
	__u64 skb = 0;

	bpf_probe_read_kernel(&skb, sizeof(skb), (void *)address);
	return skb;
}

/* Functions of any place. */
static __always_inline int probe_any(CONTEXT *ctx)
{
	if (SESSION && session_is_return(ctx))
		return session_return(ctx);
	__u64 place = bpf_get_attach_cookie(ctx);
	__u64 skb = argument_at(ctx, PLACE_POSITION(place));
	enum argument argument = PLACE_ARGUMENT(place);
	enum role role = PLACE_ROLE(place);

	if (PLACE_SILENT(place)) {
		forget(skb, NUMBER, role);
		return UNTRACED;
	}
	if (argument == DOUBLE_POINTER)
		skb = pointed_to(skb);
	if (argument != POINTER && IS_NO_SKB(skb))
		return UNTRACED;

	if (reads_directly()) {
		struct sk_buff *typed = bpf_rdonly_cast((void *)skb, bpf_core_type_id_kernel(struct sk_buff));

		JUDGE_ANY(trace_typed_any, typed->mark, typed, TYPED);
	} else {
		JUDGE_ANY(trace_any, mark_read(skb), skb, NUMBER);
	}
}

#define JUDGE_END(name, mark, skb, pointer)                                                  \
	do {                                                                                 \
		int matches = mark_matches(mark);                                            \
		if (!matches && !ipft_live_packets[slot_of_packet((__u64)(skb), pointer)])     \
			return UNTRACED;                                                     \
		__u64 place = bpf_get_attach_cookie(ctx);                                    \
		enum role role = PLACE_ROLE(place);                                          \
		if (matches && !PLACE_SILENT(place))                                         \
			return name(ctx, (__u64)(skb), role);                                \
		if (role == RELEASE || role == FREE)                                         \
			forget((__u64)(skb), pointer, role);                                 \
		return UNTRACED;                                                             \
	} while (0)

/*
 * Functions that play a part in a packet's life, with the packet as first argument. Every packet passes some of them,
 * so the cookie, for which the kernel searches, is only read if something is to be done.
 */
static __always_inline int probe_end(CONTEXT *ctx)
{
	if (SESSION && session_is_return(ctx))
		return session_return(ctx);
	__u64 skb = ARGUMENT(0);

	if (reads_directly()) {
		struct sk_buff *typed = bpf_rdonly_cast((void *)skb, bpf_core_type_id_kernel(struct sk_buff));

		JUDGE_END(trace_typed_any, typed->mark, typed, TYPED);
	} else {
		JUDGE_END(trace_any, mark_read(skb), skb, NUMBER);
	}
}

/* Programs of backends whose links have cookies. */
#define SHARED_PROGRAMS                       \
	SEC(SECTION)                          \
	int ipft_any(CONTEXT *ctx)            \
	{                                     \
		return probe_any(ctx);        \
	}                                     \
	SEC(SECTION)                          \
	int ipft_end(CONTEXT *ctx)            \
	{                                     \
		return probe_end(ctx);        \
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
